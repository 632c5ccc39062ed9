/** The SQLite event store: the contract, and what only a file can get wrong. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openEventStore } from '../../../eventstore/open.ts'
import {
  type EventStore,
  EventStoreUnavailable,
  type Json,
  type Position,
  StreamDeleted,
  WrongExpectedRevision,
} from '../../../eventstore/port.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'
import { SqliteFileError } from '../../../eventstore/sqlite/file.ts'
import {
  all,
  anEvent,
  caughtUp,
  datas,
  eventStoreContract,
  having,
  ids,
  pull,
  someEvents,
} from '../../contract/event-store.ts'

async function temporaryFolder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'eventstore-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A store on a file of its own, closed at the end of the test. */
async function openStore(t: Test, path?: string): Promise<{ readonly path: string; readonly store: EventStore }> {
  const file = path ?? join(await temporaryFolder(t), 'events.db')
  const store = openSqliteEventStore({ path: file })
  t.teardown(() => store.close())
  return { path: file, store }
}

/** A process beside this one (see test/support/event-process.ts). `limit`: a shell command that it starts under. */
async function startProcess(t: Test, path: string, mode: string, stream = 's', number = 0, limit = '') {
  const script = join(import.meta.dirname, '../../support/event-process.ts')
  const command = [process.execPath, script, path, mode, stream, String(number)]
  const [program = '', ...rest] = limit ? ['sh', '-c', `${limit} exec "$@"`, 'sh', ...command] : command
  const child = spawn(program, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let output = ''
  let heard: () => void = () => {}
  child.stdin.on('error', () => {}) // it may be gone
  child.stdout.on('data', (chunk) => {
    output += chunk
    heard()
  })
  child.on('close', () => heard())
  /** What it has said so far, whole lines only, after `ready`. */
  const said = () => output.split('\n').slice(1, -1)
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`The process has ended: ${output}`)
      await new Promise<void>((resolve) => {
        heard = resolve
      })
    }
  }
  await until(() => output.startsWith('ready\n'))
  return {
    said,
    ended,
    go: () => child.stdin.write('\n'),
    untilSaid: (count: number) => until(() => said().length >= count),
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

const startProcesses = (t: Test, count: number, ...rest: [string, string, string?, number?]) =>
  Promise.all(Array.from({ length: count }, () => startProcess(t, ...rest)))

/** Transactions in the write-ahead log since it was last restarted (https://sqlite.org/fileformat2.html#walformat). */
async function commits(path: string): Promise<number> {
  const wal = await readFile(`${path}-wal`)
  if (wal.length === 0) return 0
  const frame = 24 + wal.readUInt32BE(8)
  let count = 0
  for (let at = 32; at + frame <= wal.length; at += frame) {
    const current = wal.subarray(at + 8, at + 16).equals(wal.subarray(16, 24))
    if (current && wal.readUInt32BE(at + 4) > 0) count++
  }
  return count
}

/** Whether the text stands anywhere in the files beside and at the path. */
async function isOnDisk(path: string, text: string): Promise<boolean> {
  const folder = join(path, '..')
  const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))))
  return files.some((bytes) => bytes.includes(text))
}

t.test('contract', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  await eventStoreContract(t, { open: () => openEventStore(`sqlite:${path}`) })
})

t.test('appends at the same time share a transaction', async (t) => {
  const { path, store } = await openStore(t)
  const started = await commits(path)
  await Promise.all(
    Array.from({ length: 300 }, (_, n) => store.append(`s-${n % 7}`, someEvents(2), { expected: 'any' })),
  )
  t.equal((await commits(path)) - started, 1)
  for (let n = 0; n < 5; n++) await store.append('s', someEvents(1), { expected: 'any' })
  t.equal((await commits(path)) - started, 6, 'appends one after the other do not')
})

t.test('a large group is several transactions', async (t) => {
  const { path, store } = await openStore(t)
  const started = await commits(path)
  const results = await Promise.all(
    Array.from({ length: 50 }, () => store.append('s', someEvents(100), { expected: 'any' })),
  )
  t.same(
    results.map(({ revision }) => revision),
    Array.from({ length: 50 }, (_, n) => n * 100 + 99),
  )
  t.equal((await commits(path)) - started, 5)
  let settled = 0
  const large = Array.from({ length: 8 }, async () => {
    await store.append('bytes', [anEvent(new Uint8Array(900_000))], { expected: 'any' })
    settled++
  })
  await Promise.race(large) // those of one transaction settle in one turn
  t.ok(settled < 8, `${settled} of 8 large ones in the first transaction`)
  await Promise.all(large)
  await store.append('large', someEvents(2500), { expected: 'any' })
  t.equal((await all(store.readStream('large'))).length, 2500, 'an append larger than a group')
})

t.test('metadata that JSON can not hold fails alone', async (t) => {
  const { store } = await openStore(t)
  const circular: { [key: string]: Json } = {}
  circular.self = circular
  const outcomes = await Promise.allSettled([
    store.append('a', someEvents(1), { expected: 'any' }),
    store.setStreamMetadata('a', circular),
    store.append('b', someEvents(1), { expected: 'any' }),
  ])
  t.same(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
})

t.test('what a caller changes after the call is not what is written', async (t) => {
  const { store } = await openStore(t)
  const bytes = Uint8Array.from([1, 2, 3])
  const metadata = { owner: 'first' }
  const writes = [
    store.append('s', [{ ...anEvent(bytes), metadata: bytes }], { expected: 'any' }),
    store.setStreamMetadata('s', metadata),
  ]
  bytes.fill(9)
  metadata.owner = 'second'
  await Promise.all(writes)
  const [event] = await all(store.readStream('s'))
  t.same(event?.data, Uint8Array.from([1, 2, 3]))
  t.same(event?.metadata, Uint8Array.from([1, 2, 3]))
  t.same(await store.getStreamMetadata('s'), { owner: 'first' })
})

t.test('a page is limited in bytes too, and loses nothing by it', async (t) => {
  const { store } = await openStore(t)
  const events = Array.from({ length: 30 }, (_, n) => anEvent({ n, pad: 'x'.repeat(n % 3 === 0 ? 10 : 700_000) }))
  for (const event of events) await store.append('s', [event], { expected: 'any' })
  for (const subscription of [
    store.subscribeToAll({ from: 'start' }),
    store.subscribeToStream('s', { from: 'start' }),
  ]) {
    const { batches, events: received } = await pull(subscription, caughtUp)
    t.same(ids(received), ids(events))
    for (const batch of batches) {
      const bytes = batch.events.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0)
      t.ok(bytes < 9 * 1024 * 1024, `${batch.events.length} events, ${bytes} bytes`)
    }
    await subscription.unsubscribe()
  }
  t.same(ids(await all(store.readStream('s'))), ids(events))
  t.same(ids(await all(store.readStream('s', { direction: 'backwards' }))), ids(events).toReversed())
  t.same(ids(await all(store.readAll())), ids(events))
  t.same(ids(await all(store.readAll({ direction: 'backwards', maxCount: 29 }))), ids(events).toReversed().slice(0, 29))
})

t.test('a log with a long stretch of removed events is read across it', async (t) => {
  const { store } = await openStore(t)
  await store.setStreamMetadata('counted', { $maxCount: 1 })
  const kept = someEvents(4)
  await store.append('a', kept.slice(0, 2), { expected: 'any' })
  for (let n = 0; n < 12; n++) await store.append('counted', someEvents(1000), { expected: 'any' })
  await store.append('a', kept.slice(2), { expected: 'any' })
  const filter = { streamPrefixes: ['a'] }
  t.same(ids(await all(store.readAll({ filter }))), ids(kept))
  t.same(ids(await all(store.readAll({ filter, direction: 'backwards' }))), ids(kept).toReversed())
  t.equal((await all(store.readAll())).length, 5)
  const subscription = store.subscribeToAll({ from: 'start', filter })
  const { batches, events } = await pull(subscription, caughtUp)
  t.same(ids(events), ids(kept))
  let last = 0n
  for (const { checkpoint } of batches) {
    t.ok(checkpoint.commit > last, 'the checkpoint rises where nothing is left')
    last = checkpoint.commit
    const resumed = store.subscribeToAll({ from: checkpoint, filter })
    const rest = (await pull(resumed, caughtUp)).events
    t.same(
      ids(rest),
      ids(events.filter(({ position }) => position.commit > checkpoint.commit)),
      'and is a place to go on from',
    )
    await resumed.unsubscribe()
  }
})

t.test('a refused append leaves the others of its group alone', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(1), { expected: 'any' })
  await store.tombstoneStream('closed', { expected: 'any' })
  const started = await commits(path)
  const refused = someEvents(2)
  const outcomes = await Promise.allSettled([
    store.append('s', someEvents(2), { expected: 0 }),
    store.append('s', refused, { expected: 0 }),
    store.append('closed', refused, { expected: 'any' }),
    store.deleteStream('missing', { expected: 'any' }),
    store.append('missing', refused, { expected: 'stream_exists' }),
    store.append('new', someEvents(1), { expected: 'no_stream' }),
    store.append('new', someEvents(1), { expected: 0 }),
    store.append('s', someEvents(1), { expected: 2 }),
  ])
  t.match(outcomes, [
    { value: { revision: 2 } },
    { reason: WrongExpectedRevision },
    { reason: StreamDeleted },
    { reason: WrongExpectedRevision },
    { reason: WrongExpectedRevision },
    { value: { revision: 0 } },
    { value: { revision: 1 } },
    { value: { revision: 3 } },
  ])
  t.equal((await commits(path)) - started, 1)
  const there = new Set(ids(await all(store.readAll({ systemEvents: true }))))
  t.notOk(refused.some(({ id }) => there.has(id)))
  t.equal((await store.append('s', refused, { expected: 3 })).revision, 5, 'a refused id is not remembered')
})

t.test('repeated in one group', async (t) => {
  const { store } = await openStore(t)
  const events = someEvents(2)
  const results = await Promise.all(
    (['any', 'any', 'no_stream', 'stream_exists'] as const).map((expected) => store.append('s', events, { expected })),
  )
  t.same(new Set(results.map(({ revision }) => revision)), new Set([1]))
  t.equal((await all(store.readStream('s'))).length, 2)
})

t.test('a repetition is known although $maxCount has removed some of it since', async (t) => {
  const { store } = await openStore(t)
  await store.setStreamMetadata('s', { $maxCount: 1 })
  const events = someEvents(3)
  const result = await store.append('s', events, { expected: 'no_stream' })
  t.same(await store.append('s', events, { expected: 'no_stream' }), result)
  await store.append('s', someEvents(1), { expected: 2 })
  t.same(await store.append('s', events, { expected: 'no_stream' }), result)
})

t.test('what $maxAge hides is no longer in the file once it is set again', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(3), { expected: 'no_stream' })
  const database = new DatabaseSync(path)
  database.exec('UPDATE events SET created = created - 10000 WHERE revision < 2')
  await store.setStreamMetadata('s', { $maxAge: 5 })
  const [{ count } = {}] = database.prepare("SELECT count(*) AS count FROM events WHERE type <> '$metadata'").all()
  database.close()
  t.equal(count, 1)
  t.same(
    (await all(store.readStream('s'))).map(({ revision }) => revision),
    [2],
  )
  t.equal((await store.append('s', someEvents(1), { expected: 2 })).revision, 3)
})

t.test('a repetition is known after the stream was deleted', async (t) => {
  const { store } = await openStore(t)
  const events = someEvents(2)
  const result = await store.append('s', events, { expected: 'no_stream' })
  await store.deleteStream('s', { expected: 'any' })
  t.same(await store.append('s', events, { expected: 'no_stream' }), result)
  t.equal((await store.append('s', someEvents(1), { expected: 'no_stream' })).revision, 2)
})

t.test('a file opened again holds everything', async (t) => {
  const { path, store } = await openStore(t)
  const events = someEvents(3)
  const result = await store.append('s', events, { expected: 'no_stream' })
  await store.setStreamMetadata('kept', { $maxCount: 2, owner: 'x' })
  await store.append('deleted', someEvents(2), { expected: 'any' })
  await store.deleteStream('deleted', { expected: 'any' })
  await store.tombstoneStream('closed', { expected: 'any' })
  const log = await all(store.readAll({ systemEvents: true }))
  await store.close()
  t.same(await readdir(join(path, '..')), ['events.db'], 'closed, it is one file')
  const { store: again } = await openStore(t, path)
  t.same(await all(again.readAll({ systemEvents: true })), log)
  t.same(await again.append('s', events, { expected: 'no_stream' }), result, 'a repetition is known')
  t.same(await again.getStreamMetadata('kept'), { $maxCount: 2, owner: 'x' })
  await t.rejects(again.append('closed', someEvents(1), { expected: 'any' }), StreamDeleted)
  t.equal((await again.append('deleted', someEvents(1), { expected: 'any' })).revision, 2)
  const from = log.at(-1)?.position as Position
  const subscription = again.subscribeToAll({ from })
  t.equal((await pull(subscription, caughtUp)).events.length, 1, 'a checkpoint stays good')
})

t.test('the file is for its owner alone', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(1), { expected: 'any' })
  for (const file of [path, `${path}-wal`, `${path}-shm`]) t.equal((await stat(file)).mode & 0o077, 0, file)
})

t.test('names and types that SQL or C would read otherwise', async (t) => {
  const { store } = await openStore(t)
  const names = ["it's", '%', '_', 'A', 'a', 'é', 'e\u0301', 'a b', ' a', 'x\u0000y', 'x\u0000z', '123', '1.0']
  for (const name of names) await store.append(name, [anEvent(name, name)], { expected: 'no_stream' })
  for (const name of names) {
    t.match(await all(store.readStream(name)), [{ stream: name, type: name, data: name }], JSON.stringify(name))
  }
})

t.test('a long read or catch-up lets the event loop turn', async (t) => {
  const { store } = await openStore(t)
  for (let n = 0; n < 20; n++) await store.append('s', someEvents(1000), { expected: 'any' })
  const subscription = store.subscribeToAll({ from: 'start', filter: { streamPrefixes: ['other'] }, batchSize: 500 })
  const reads: Record<string, () => Promise<unknown>> = {
    readStream: () => all(store.readStream('s')),
    'readStream backwards': () => all(store.readStream('s', { direction: 'backwards' })),
    readAll: () => all(store.readAll()),
    'readAll that finds nothing': () => all(store.readAll({ filter: { streamPrefixes: ['other'] } })),
    subscribeToAll: () => pull(subscription, caughtUp),
  }
  for (const [name, read] of Object.entries(reads)) {
    let turns = 0
    let over = false
    const turning = (async () => {
      for (; !over; turns++) await nextTurn()
    })()
    await read()
    over = true
    await turning
    // what is filtered out costs little: more of it goes into one page
    const least = name === 'subscribeToAll' || name === 'readAll that finds nothing' ? 3 : 38
    t.ok(turns >= least, `${name}: ${turns} turns`)
  }
})

t.test('malformed JSON in the file is read as the text it is', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(3), { expected: 'any' })
  const database = new DatabaseSync(path)
  database.exec(
    `UPDATE events SET data = '{"a":' WHERE revision = 1; UPDATE events SET metadata = '{' WHERE revision = 2`,
  )
  database.close()
  t.match(await all(store.readStream('s')), [{ data: 0 }, { data: '{"a":', isJson: true }, { data: 2, metadata: '{' }])
})

t.test('what $maxCount, $tb and a tombstone end is gone from the disk', async (t) => {
  const { path, store } = await openStore(t)
  const secret = (n: number) => anEvent({ hash: `SECRET-${n}-${'s'.repeat(6000)}` })
  await store.setStreamMetadata('counted', { $maxCount: 1 })
  for (let n = 1; n <= 5; n++) await store.append('counted', [secret(n)], { expected: 'any' })
  await store.append('truncated', [secret(6), secret(7)], { expected: 'any' })
  await store.setStreamMetadata('truncated', { $tb: 1 })
  await store.append('truncated', someEvents(1), { expected: 'any' })
  await store.append('closed', [secret(8)], { expected: 'any' })
  await store.tombstoneStream('closed', { expected: 'any' })
  await store.append('deleted', [secret(9)], { expected: 'any' })
  await store.deleteStream('deleted', { expected: 'any' })
  await store.append('deleted', someEvents(1), { expected: 'any' })
  await store.close()
  const found = []
  for (let n = 1; n <= 9; n++) if (await isOnDisk(path, `SECRET-${n}-`)) found.push(n)
  t.same(found, [5, 7])
})

t.test('caughtUp where the log ends with a full batch, of all streams too', async (t) => {
  const { store } = await openStore(t)
  await store.append('s', someEvents(20), { expected: 'any' })
  for (const batchSize of [1, 2, 5, 20]) {
    const full = 20 / batchSize
    for (const [subscription, count] of [
      [store.subscribeToAll({ from: 'start', batchSize }), full],
      [store.subscribeToAll({ from: 'start', batchSize, filter: { streamPrefixes: ['other'] } }), 1],
      [store.subscribeToStream('s', { from: 'start', batchSize }), full + 1], // the last one says that there is no more
    ] as const) {
      const { batches } = await pull(subscription, caughtUp)
      t.equal(batches.length, count, `batches of ${batchSize}`)
      await subscription.unsubscribe()
    }
  }
})

t.test('a commit wakes the subscriptions of every store of its file in this process at once', async (t) => {
  const { path, store } = await openStore(t)
  const { store: second } = await openStore(t, path)
  const subscription = second.subscribeToStream('s', { from: 'start' })
  await pull(subscription, caughtUp)
  let late = 0
  for (let n = 0; n < 20; n++) {
    const next = pull(subscription, having(1)).then(() => true)
    await delay(2)
    await store.append('s', someEvents(1), { expected: 'any' })
    // a poll comes every 10 ms only, so hardly ever in these turns
    if (!(await Promise.race([next, nextTurn().then(() => nextTurn(false))]))) late++
    await next
  }
  t.ok(late < 5, `${late} of 20 were late`)
  await second.close()
  await store.append('s', someEvents(1), { expected: 'any' })
})

t.test('a subscription that waits does not keep its process', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  const script = `
    import { openSqliteEventStore } from ${JSON.stringify(new URL('../../../eventstore/sqlite/event-store.ts', import.meta.url).href)}
    const events = openSqliteEventStore({ path: ${JSON.stringify(path)} }).subscribeToAll({ from: 'start' })
    const iterator = events[Symbol.asyncIterator]()
    iterator.next().then(() => iterator.next())
    process.stdout.write('waits')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  const ended = await Promise.race([once(child, 'close'), delay(10_000, ['still there'], { ref: false })])
  t.same(ended, [0, null])
  t.equal(said, 'waits')
})

t.test('a subscription that sees a foreign commit first does not hide it from one that waits', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(1), { expected: 'any' })
  const waiting = store.subscribeToStream('s', { from: 'end' })
  await pull(waiting, caughtUp)
  const next = pull(waiting, having(1))
  await nextTurn()
  const foreign = new DatabaseSync(path)
  foreign.exec(`INSERT INTO events (stream, revision, id, type, data, created)
    SELECT stream, 1, id, type, data, created FROM events; UPDATE streams SET revision = 1`)
  // in the same turn, so before a poll
  const busy = store.subscribeToAll({ from: 'start' })
  busy[Symbol.asyncIterator]().next()
  foreign.close()
  const outcome = await Promise.race([next, delay(1000, undefined, { ref: false })])
  t.match(outcome, { events: [{ revision: 1 }] })
})

t.test('ten processes append at one expected revision: one wins', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(3), { expected: 'any' })
  const processes = await startProcesses(t, 10, path, 'once', 's', 2)
  for (const { go } of processes) go()
  await Promise.all(processes.map(({ ended }) => ended))
  const said = processes.flatMap((each) => each.said())
  t.equal(said.filter((line) => line === 'won').length, 1)
  t.equal(said.filter((line) => line.startsWith('WrongExpectedRevision')).length, 9, said.join('; '))
  t.equal((await all(store.readStream('s'))).length, 4)
})

t.test('processes append with any at the same time: nothing is lost, and a subscriber here sees all', async (t) => {
  const { path, store } = await openStore(t)
  const subscription = store.subscribeToAll({ from: 'start', batchSize: 11 })
  const followed = pull(subscription, having(4 * 50 + 50))
  const processes = await startProcesses(t, 4, path, 'any', 's', 50)
  for (const { go } of processes) go()
  const own = await Promise.all(
    Array.from({ length: 50 }, async (_, n) => {
      await delay(n * 3)
      const event = anEvent()
      await store.append('s', [event], { expected: 'any' })
      return event.id
    }),
  )
  await Promise.all(processes.map(({ ended }) => ended))
  const acknowledged = [...processes.flatMap((each) => each.said()), ...own].sort()
  const read = await all(store.readStream('s'))
  t.same(ids(read).sort(), acknowledged)
  t.ok(read.every(({ revision }, index) => revision === index))
  t.same(ids((await followed).events), ids(read), 'in order, no gap')
  for (const { said } of processes) {
    const lines = said()
    const places = lines.map((id) => ids(read).indexOf(id))
    t.same(
      places,
      places.toSorted((a, b) => a - b),
      'each in its own order',
    )
  }
})

t.test('eight processes open a new file at the same time', async (t) => {
  const path = join(await temporaryFolder(t), 'new/folder/events.db')
  const processes = await startProcesses(t, 8, path, 'open')
  for (const { go } of processes) go()
  await Promise.all(processes.map(({ ended }) => ended))
  t.same(
    processes.flatMap((each) => each.said()),
    Array(8).fill('open'),
  )
})

t.test('two stores on one file in this process, and another process that comes and goes', async (t) => {
  const { path, store } = await openStore(t)
  await store.append('s', someEvents(1), { expected: 'any' })
  const { store: second } = await openStore(t, path)
  if (process.platform === 'linux') {
    const { ino } = await stat(path)
    const locks = (await readFile('/proc/locks', 'utf8')).split('\n')
    t.ok(
      locks.some((line) => line.includes(` ${process.pid} `) && line.includes(`:${ino} `)),
      'opening it again does not end the locks that this process holds',
    )
  }
  for (const revision of [1, 4]) {
    const [visitor] = await startProcesses(t, 1, path, 'once', 's', revision - 1)
    visitor?.go()
    await visitor?.ended
    t.same(visitor?.said(), ['won'])
    await store.append('s', someEvents(1), { expected: revision })
    await second.append('s', someEvents(1), { expected: revision + 1 })
  }
  t.equal((await all(second.readStream('s'))).length, 7)
})

t.test('a writer killed in mid-stream loses nothing that it acknowledged', async (t) => {
  const { path, store } = await openStore(t)
  const subscription = store.subscribeToStream('s', { from: 'start' })
  const acknowledged: string[] = []
  for (const count of [1, 40, 150]) {
    const writer = await startProcess(t, path, 'any', 's', 1_000_000)
    writer.go()
    await writer.untilSaid(count)
    await writer.kill()
    acknowledged.push(...writer.said())
    await store.append('s', [anEvent()], { expected: 'any' }) // the others go on
  }
  const read = await all(store.readStream('s'))
  const there = new Set(ids(read))
  t.same(
    acknowledged.filter((id) => !there.has(id)),
    [],
  )
  t.ok(read.every(({ revision }, index) => revision === index))
  t.ok(read.length - acknowledged.length <= 3 + 3, 'beside our own, at most the append under way')
  t.same(ids((await pull(subscription, having(read.length))).events), ids(read))

  const alone = join(await temporaryFolder(t), 'events.db')
  const writer = await startProcess(t, alone, 'any', 's', 1_000_000)
  writer.go()
  await writer.untilSaid(20)
  await writer.kill()
  const { store: opened } = await openStore(t, alone)
  const found = ids(await all(opened.readStream('s')))
  t.same(found.slice(0, writer.said().length), writer.said(), 'the last one on the file too')
})

t.test('an append waits for the write lock of another process, and the event loop turns', async (t) => {
  const { path, store } = await openStore(t)
  const before = anEvent()
  await store.append('s', [before], { expected: 'any' })
  const holder = await startProcess(t, path, 'lock')
  holder.go()
  await holder.untilSaid(1)
  let ticks = 0
  const ticking = setInterval(() => ticks++, 5)
  t.teardown(() => clearInterval(ticking))
  let done = false
  const appended = store.append('s', someEvents(1), { expected: 'any' }).then((result) => {
    done = true
    return result
  })
  await delay(400)
  t.notOk(done)
  t.ok(ticks > 20, `${ticks} turns while it waited`)
  t.same(ids(await all(store.readStream('s'))), [before.id], 'reads do not wait')
  holder.go()
  t.match(await appended, { revision: 1 })
})

t.test('an append that waits too long for the lock says so, and the next one succeeds', async (t) => {
  const { path, store } = await openStore(t)
  const holder = new DatabaseSync(path)
  holder.exec('BEGIN IMMEDIATE')
  const event = anEvent()
  const outcomes = await Promise.allSettled([
    store.append('s', [event], { expected: 'no_stream' }),
    store.append('s', someEvents(1), { expected: 'any' }),
  ])
  t.match(outcomes, [{ reason: EventStoreUnavailable }, { reason: EventStoreUnavailable }])
  holder.exec('ROLLBACK')
  holder.close()
  t.match(await store.append('s', [event], { expected: 'no_stream' }), { revision: 0 })
  t.equal((await all(store.readStream('s'))).length, 1)
})

t.test('a read that meets a lock waits for it; one that fails otherwise says so', async (t) => {
  const { store } = await openStore(t)
  const events = someEvents(3)
  await store.append('s', events, { expected: 'any' })
  const subscription = store.subscribeToAll({ from: 'start' })
  const { get } = StatementSync.prototype
  t.teardown(() => Object.assign(StatementSync.prototype, { get }))
  /** Reads fail that many times, as while another process repairs the file. It can't be had at will from SQLite. */
  const failing = (times: number, errcode: number) => {
    let left = times
    StatementSync.prototype.get = function (this: StatementSync, ...parameters: Parameters<typeof get>) {
      if (left-- > 0) throw Object.assign(new Error('failed'), { code: 'ERR_SQLITE_ERROR', errcode })
      return get.apply(this, parameters)
    } as typeof get
  }
  const BUSY_RECOVERY = 261
  const IO_ERROR = 10
  const reads: Record<string, () => Promise<unknown>> = {
    readStream: async () => ids(await all(store.readStream('s'))),
    readAll: async () => ids(await all(store.readAll())),
    subscribeToAll: async () => ids((await pull(subscription, caughtUp)).events),
  }
  for (const [name, read] of Object.entries(reads)) {
    failing(4, BUSY_RECOVERY)
    t.same(await read(), ids(events), name)
  }
  const others: (() => Promise<unknown>)[] = [
    store.ping,
    () => store.getStreamMetadata('s'),
    () => all(store.readAll()),
  ]
  for (const read of others) {
    failing(4, BUSY_RECOVERY)
    await read()
    failing(1, IO_ERROR)
    await t.rejects(() => read(), EventStoreUnavailable)
  }

  const waiting = store.subscribeToAll({ from: 'start' })
  failing(4, BUSY_RECOVERY)
  const next = waiting[Symbol.asyncIterator]().next()
  await waiting.unsubscribe()
  t.same(await next, { value: undefined, done: true }, 'nothing comes after unsubscribe, however long the read took')
})

t.test('a subscription whose consumer has gone does not keep close waiting', async (t) => {
  const { store } = await openStore(t)
  await store.append('s', someEvents(1), { expected: 'any' })
  for await (const _ of store.subscribeToAll({ from: 'start' })) break
  store.subscribeToAll({ from: 'start' }) // never iterated
  await store.close()
})

t.test('a disk that is full: the append says so, and nothing that was acknowledged is lost', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  // Blocks of 512 or 1024 bytes, by the shell. NODE_OPTIONS: what tap preloads would end the process at the signal.
  const limit = 'trap "" XFSZ; unset NODE_OPTIONS; ulimit -f 2000;'
  const writer = await startProcess(t, path, 'any', 's', 1000, limit)
  writer.go()
  await writer.ended
  const acknowledged = writer.said().filter((line) => !line.includes(' '))
  const refusals = writer.said().filter((line) => line.includes(' '))
  t.ok(acknowledged.length > 10, `${acknowledged.length} written`)
  t.equal(acknowledged.length + refusals.length, 1000)
  t.ok(refusals.length > 0, `${refusals.length} refused`)
  for (const line of new Set(refusals))
    t.match(line, /^EventStoreUnavailable: The event store can't be written: /, line)
  const { store } = await openStore(t, path)
  const there = new Set(ids(await all(store.readStream('s'))))
  t.same(
    acknowledged.filter((id) => !there.has(id)),
    [],
  )
  await store.append('s', someEvents(1), { expected: 'any' })
})

t.test('a path is a file name, whatever SQLite makes of it', async (t) => {
  const folder = await temporaryFolder(t)
  const here = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(here))
  for (const path of [':memory:', 'file:x?mode=memory']) {
    const store = openEventStore(`sqlite:${path}`)
    await store.append('s', someEvents(2), { expected: 'any' })
    await store.close()
    const again = openEventStore(`sqlite:${path}`)
    t.equal((await all(again.readStream('s'))).length, 2, path)
    await again.close()
  }
  t.throws(() => openEventStore('sqlite:'), { name: 'ConfigurationError', message: /accepted: sqlite:PATH/ })
})

t.test('files that can not be used: one clear line each', async (t) => {
  const folder = await temporaryFolder(t)
  const file = (name: string) => join(folder, name)
  const refused = (path: string, message: RegExp, name: string) => {
    try {
      openSqliteEventStore({ path }).close()
      t.fail(`${name} was opened`)
    } catch (error) {
      t.type(error, SqliteFileError, name)
      const text = (error as Error).message
      t.match(text, message, name)
      t.match(text, path, `${name}: names the file`)
      t.notMatch(text, /\n/, `${name}: one line`)
    }
  }

  await writeFile(file('text'), 'This is not a database. '.repeat(500))
  refused(file('text'), /is not an event store file/, 'a text file')
  await writeFile(file('short'), 'short')
  refused(file('short'), /is not an event store file/, 'a short text file')

  const foreign = new DatabaseSync(file('foreign'))
  foreign.exec('CREATE TABLE things (id INTEGER)')
  foreign.close()
  refused(file('foreign'), /is not an event store file: another program's database/, 'a foreign database')
  const untouched = new DatabaseSync(file('foreign'))
  t.match(untouched.prepare('SELECT group_concat(name) AS names FROM sqlite_schema').get(), { names: 'things' })
  t.match(untouched.prepare('PRAGMA journal_mode').get(), { journal_mode: 'delete' }, 'and it is left as it was')
  untouched.close()
  const marked = new DatabaseSync(file('marked'))
  marked.exec('PRAGMA application_id = 77')
  marked.close()
  refused(file('marked'), /another program's database/, "another program's database without tables")

  await openSqliteEventStore({ path: file('newer') }).close()
  const newer = new DatabaseSync(file('newer'))
  newer.exec('PRAGMA user_version = 99')
  newer.close()
  refused(file('newer'), /written by a newer release.*up to version 1/, 'a newer version')

  for (const name of ['scratched', 'cut', 'headless']) {
    const store = openSqliteEventStore({ path: file(name) })
    for (let n = 0; n < 20; n++) await store.append(`s-${n}`, someEvents(50), { expected: 'any' })
    await store.close()
  }
  const { size } = await stat(file('scratched'))
  const scratched = await open(file('scratched'), 'r+')
  for (let at = 4096; at < size; at += 4096) await scratched.write(Buffer.alloc(64, 0xa5), 0, 64, at)
  await scratched.close()
  refused(file('scratched'), /damaged/, 'overwritten pages')
  await truncate(file('cut'), Math.floor(size / 2))
  refused(file('cut'), /damaged/, 'half a file')
  const headless = await open(file('headless'), 'r+')
  await headless.write(Buffer.alloc(100, 0), 0, 100, 0)
  await headless.close()
  refused(file('headless'), /is not an event store file, or is damaged/, 'no header')

  refused(join(file('text'), 'below/events.db'), /can't be opened/, 'a folder that can not be made')
  refused(join(file('text'), 'events.db'), /can't be opened/, 'a path below a file')
  await mkdir(file('folder'))
  refused(file('folder'), /can't be opened/, 'a folder')

  await writeFile(file('empty'), '')
  await openSqliteEventStore({ path: file('empty') }).close()
  t.pass('an empty file becomes a store')
})

t.test('other schemes are refused', async (t) => {
  t.throws(() => openEventStore('postgres://localhost/x'), {
    name: 'ConfigurationError',
    message: /accepted: sqlite:PATH, kurrentdb:/,
  })
})

t.test('a torn end of the write-ahead log does not hurt', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  const writer = await startProcess(t, path, 'any', 's', 1_000_000)
  writer.go()
  await writer.untilSaid(10)
  await writer.kill()
  await appendFile(`${path}-wal`, Buffer.alloc(5000, 0x5a))
  const { store } = await openStore(t, path)
  t.same(ids(await all(store.readStream('s'))).slice(0, writer.said().length), writer.said())
  t.same(datas(await all(store.readStream('s', { from: 'end' }))), [])
})
