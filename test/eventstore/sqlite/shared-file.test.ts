/** One file that several stores and processes share: who wakes whom, who waits for whom, and what a killed writer leaves. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { EventStoreUnavailable } from '../../../eventstore/port.ts'
import { all, anEvent, caughtUp, having, ids, pull, someEvents } from '../../contract/event-store.ts'
import { openStore, startProcess, startProcesses, temporaryFolder } from './support.ts'

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
  const ended = await Promise.race([once(child, 'close'), delay(60_000, ['still there'], { ref: false })])
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
  const outcome = await Promise.race([next, delay(60_000, undefined, { ref: false })])
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
