import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import { type Json, type Position, StreamDeleted, WrongExpectedRevision } from '../../../eventstore/port.ts'
import { all, anEvent, caughtUp, eventStoreContract, ids, pull, someEvents } from '../../contract/event-store.ts'
import { commits, isOnDisk, openStore, temporaryFolder } from './support.ts'

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

t.test('a damaged number in the file keeps nobody from the other events', async (t) => {
  const { path, store } = await openStore(t)
  for (const stream of ['a', 'b']) await store.append(stream, someEvents(2), { expected: 'no_stream' })
  const file = new DatabaseSync(path)
  t.teardown(() => file.close())
  for (const column of ['created', 'revision']) {
    for (const value of ['9223372036854775807', '-9223372036854775808', '9007199254740993', '8640000000000001']) {
      file.exec(`UPDATE events SET ${column} = ${value} WHERE position = 1`)
      const log = await all(store.readAll())
      t.equal(log.length, 4, `${column} = ${value}`)
      t.ok(log[0]?.created.toISOString(), 'a moment that can be written')
      t.same((await all(store.readStream('b'))).length, 2)
      await all(store.readStream('a'))
    }
    file.exec(`UPDATE events SET ${column} = 0 WHERE position = 1`)
  }
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
