/**
 * What every event-store adapter does, one subtest per case of the contract; the number leads the name. Streams have names
 * of their own in each run and nothing is assumed of the rest of the log, so it also runs against a server in use.
 *
 * Left to the tests of each adapter, because port.ts can't say them: 7 and 23 (ways of the gRPC client), 29 (the server's
 * call is cancelled), 31 (links are not resolved), 43 (the server ends the stream), 52-56 (persistent subscriptions),
 * 57-60 (connections). Of 21 only the repetition is said here, of 32 and 34 only what an append can produce.
 */
import type { Test } from 'tap'
import {
  AppendTooLarge,
  comparePositions,
  type EventStore,
  EventStoreUnavailable,
  InvalidArgument,
  type Json,
  MAX_APPEND_SIZE,
  type NewEvent,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  StreamNotFound,
  type Subscription,
  type SubscriptionBatch,
  WrongExpectedRevision,
} from '../../eventstore/port.ts'

export const anEvent = (data: Json | Uint8Array = {}, type = 'Happened'): NewEvent => ({
  id: crypto.randomUUID(),
  type,
  data,
})
/** Events whose data are `first`, `first + 1`, … */
export const someEvents = (count: number, first = 0): NewEvent[] =>
  Array.from({ length: count }, (_, index) => anEvent(first + index))

export async function all(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const collected: RecordedEvent[] = []
  for await (const event of events) collected.push(event)
  return collected
}

/** Pulls batches until one passes (its batches so far are given too), and gives all of them. The subscription goes on. */
export async function pull(
  subscription: Subscription,
  last: (batch: SubscriptionBatch, events: readonly RecordedEvent[]) => boolean,
): Promise<{ readonly batches: SubscriptionBatch[]; readonly events: RecordedEvent[] }> {
  const iterator = subscription[Symbol.asyncIterator]()
  const batches: SubscriptionBatch[] = []
  const events: RecordedEvent[] = []
  for (;;) {
    const { value, done } = await iterator.next()
    if (done) throw new Error('The subscription has ended.')
    batches.push(value)
    events.push(...value.events)
    if (last(value, events)) return { batches, events }
  }
}

export const caughtUp = (batch: SubscriptionBatch) => batch.caughtUp
export const having = (count: number) => (_: SubscriptionBatch, events: readonly RecordedEvent[]) =>
  events.length >= count
export const ids = (events: readonly { readonly id: string }[]) => events.map(({ id }) => id)
export const datas = (events: readonly RecordedEvent[]) => events.map(({ data }) => data)
const revisions = (events: readonly RecordedEvent[]) => events.map(({ revision }) => revision)
const before = (a: Position | undefined, b: Position | undefined) =>
  a !== undefined && b !== undefined && comparePositions(a, b) === -1

export async function eventStoreContract(
  t: Test,
  { open }: { readonly open: () => EventStore | Promise<EventStore> },
): Promise<void> {
  const store = await open()
  const run = `contract${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`
  let names = 0
  const fresh = () => `${run}-${++names}`
  const append = (stream: string, count: number, first = 0) =>
    store.append(stream, someEvents(count, first), { expected: 'any' })
  /** The end of the log, more or less: the position of an event of ours. */
  const marker = async () => (await append(fresh(), 1)).position as Position
  const wrong = (stream: string, expected: unknown, actual: unknown) => ({
    name: 'WrongExpectedRevision',
    stream,
    expected,
    actual,
  })

  await t.test('1: an append to a new stream with no_stream', async (t) => {
    const stream = fresh()
    const result = await store.append(stream, someEvents(3), { expected: 'no_stream' })
    t.equal(result.revision, 2)
    t.type(result.position?.commit, 'bigint')
    t.type(result.position?.prepare, 'bigint')
    const next = await append(fresh(), 1)
    t.ok(before(result.position, next.position), 'positions rise from append to append')
  })

  await t.test('2: any takes a new and an existing stream', async (t) => {
    const stream = fresh()
    t.equal((await append(stream, 2)).revision, 1)
    t.equal((await append(stream, 2)).revision, 3)
    t.same(revisions(await all(store.readStream(stream))), [0, 1, 2, 3])
  })

  await t.test('3: stream_exists takes an existing stream only', async (t) => {
    const stream = fresh()
    await t.rejects(
      store.append(stream, someEvents(1), { expected: 'stream_exists' }),
      wrong(stream, 'stream_exists', 'no_stream'),
    )
    await append(stream, 1)
    t.equal((await store.append(stream, someEvents(1), { expected: 'stream_exists' })).revision, 1)
  })

  await t.test('4: no_stream refuses an existing stream', async (t) => {
    const stream = fresh()
    await append(stream, 3)
    const refused = store.append(stream, someEvents(1), { expected: 'no_stream' })
    await t.rejects(refused, WrongExpectedRevision)
    await t.rejects(refused, wrong(stream, 'no_stream', 2))
  })

  await t.test('5, 6: an exact revision; a refusal carries both numbers and changes nothing', async (t) => {
    const stream = fresh()
    await t.rejects(store.append(stream, someEvents(1), { expected: 0 }), wrong(stream, 0, 'no_stream'))
    await t.rejects(all(store.readStream(stream)), StreamNotFound)
    await append(stream, 2)
    t.equal((await store.append(stream, someEvents(1), { expected: 1 })).revision, 2)
    const there = ids(await all(store.readStream(stream)))
    await t.rejects(store.append(stream, someEvents(2), { expected: 1 }), wrong(stream, 1, 2))
    await t.rejects(store.append(stream, someEvents(2), { expected: 3 }), wrong(stream, 3, 2))
    t.same(ids(await all(store.readStream(stream))), there)
    for (const expected of [-1, 0.5, Number.NaN]) {
      await t.rejects(store.append(stream, someEvents(1), { expected }), InvalidArgument, `${expected}`)
    }
  })

  await t.test('8: the events of one append are written all or none', async (t) => {
    const stream = fresh()
    t.equal((await append(stream, 5)).revision, 4)
    t.same(revisions(await all(store.readStream(stream))), [0, 1, 2, 3, 4])
    const events = [anEvent(), anEvent('x'.repeat(MAX_APPEND_SIZE)), anEvent()]
    await t.rejects(store.append(stream, events, { expected: 'any' }), AppendTooLarge)
    t.equal((await all(store.readStream(stream))).length, 5)
  })

  await t.test('9: an append of no events writes nothing', async (t) => {
    const stream = fresh()
    t.same(await store.append(stream, [], { expected: 'any' }), { revision: -1 })
    await append(stream, 2)
    t.same(await store.append(stream, [], { expected: 'any' }), { revision: 1 })
    t.equal((await all(store.readStream(stream))).length, 2)
  })

  await t.test('10: of concurrent appends with one expected revision one wins', async (t) => {
    const stream = fresh()
    await append(stream, 1)
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => store.append(stream, someEvents(1), { expected: 0 })),
    )
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') t.match(outcome.reason, wrong(stream, 0, 1))
    }
    t.same(revisions(await all(store.readStream(stream))), [0, 1])
  })

  await t.test('11: a flood of appends, each with its own result', async (t) => {
    const stream = fresh()
    const results = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => append(`${stream}-${index}`, (index % 3) + 1, index)),
    )
    t.ok(results.every(({ revision }, index) => revision === index % 3))
    t.equal(new Set(results.map(({ position }) => `${position?.commit}/${position?.prepare}`)).size, 1000)
    for (const index of [0, 499, 998]) {
      const [first] = await all(store.readStream(`${stream}-${index}`))
      t.equal(first?.data, index)
    }
  })

  await t.test('12: appends that are not awaited keep their order', async (t) => {
    const stream = fresh()
    await Promise.all(Array.from({ length: 100 }, (_, index) => append(stream, 1, index)))
    for (let index = 100; index < 105; index++) await append(stream, 1, index)
    const another = await open() // its first appends too
    const other = `${stream}-first`
    const first = Array.from({ length: 20 }, (_, index) =>
      another.append(other, someEvents(1, index), { expected: index === 0 ? 'no_stream' : index - 1 }),
    )
    await t.resolves(Promise.all(first))
    await another.close()
    t.same(
      datas(await all(store.readStream(stream))),
      Array.from({ length: 105 }, (_, index) => index),
    )
  })

  await t.test('13, 14, 30: an event comes back as it was written', async (t) => {
    const stream = `${fresh()}-Zoë 客户 🛒`
    const bytes = Uint8Array.from([0, 255, 128, 10, 0, 195])
    const json = { text: 'naïve "quoted" \u0000\u2028 🛒', list: [1, 0.1, null, true, { a: [] }], empty: {} }
    const events: NewEvent[] = [
      { ...anEvent(json, 'Größe客🛒'), metadata: { $correlationId: 'ü', nested: { n: 1 } } },
      anEvent(json),
      { ...anEvent(bytes, 'Binary'), metadata: bytes },
      anEvent(bytes, 'Binary'),
      anEvent(new Uint8Array(0), 'Binary'),
      ...['', '{not json', 'null', null, 0, false, [], {}].map((data) => anEvent(data as Json)),
    ]
    const { position } = await store.append(stream, events, { expected: 'no_stream' })
    const read = await all(store.readStream(stream))
    t.equal(read.length, events.length)
    for (const [index, { id, type, data, metadata }] of events.entries()) {
      const found = read[index]
      t.match(found, { stream, revision: index, id, type, isJson: !(data instanceof Uint8Array) })
      t.same(plain(found?.data), plain(data), `data ${index}`)
      t.same(plain(found?.metadata), plain(metadata), `metadata ${index}`)
      if (index > 0) t.ok(before(read[index - 1]?.position, found?.position), 'positions rise')
    }
    t.same(read.at(-1)?.position, position)
    const upper = { ...anEvent(), id: crypto.randomUUID().toUpperCase() }
    await store.append(stream, [upper], { expected: 'any' })
    const [last] = await all(store.readStream(stream, { direction: 'backwards', maxCount: 1 }))
    t.equal(last?.id.toLowerCase(), upper.id.toLowerCase())
    for (const id of ['', 'x', `${upper.id}0`]) {
      await t.rejects(store.append(stream, [{ ...anEvent(), id }], { expected: 'any' }), InvalidArgument, `id "${id}"`)
    }
    await t.rejects(store.append(stream, [anEvent({}, '')], { expected: 'any' }), InvalidArgument, 'no type')
    await t.rejects(store.append('', [anEvent()], { expected: 'any' }), InvalidArgument, 'no stream name')
  })

  await t.test('15: created is the time of the write', async (t) => {
    const stream = fresh()
    await append(stream, 1)
    const [event] = await all(store.readStream(stream))
    t.type(event?.created, Date)
    t.ok(Math.abs(Date.now() - Number(event?.created)) < 60_000, `${event?.created.toISOString()} is about now`)
  })

  await t.test(
    '16, 17, 21: a repeated append gives the original result, also when the stream has moved on',
    async (t) => {
      const stream = fresh()
      const first = someEvents(2)
      const second = someEvents(3)
      const firstResult = await store.append(stream, first, { expected: 'no_stream' })
      t.same(await store.append(stream, first, { expected: 'no_stream' }), firstResult)
      const secondResult = await store.append(stream, second, { expected: 1 })
      t.same(await store.append(stream, second, { expected: 1 }), secondResult)
      await append(stream, 2)
      t.same(await store.append(stream, first, { expected: 'no_stream' }), firstResult)
      t.same(await store.append(stream, second, { expected: 1 }), secondResult)
      const third = someEvents(1)
      const results = await Promise.all([1, 2, 3].map(() => store.append(stream, third, { expected: 6 })))
      t.same(new Set(results.map(({ revision }) => revision)), new Set([7]), 'also at the same time')
      t.equal((await all(store.readStream(stream))).length, 8)
    },
  )

  await t.test('18: a repeated append with any or stream_exists, soon after', async (t) => {
    const stream = fresh()
    const events = someEvents(2)
    const result = await store.append(stream, events, { expected: 'any' })
    t.same(await store.append(stream, events, { expected: 'any' }), result)
    t.same(await store.append(stream, events, { expected: 'stream_exists' }), result)
    t.equal((await all(store.readStream(stream))).length, 2)
  })

  await t.test('19: a repetition that is not the same is refused', async (t) => {
    const stream = fresh()
    const [a, b] = [anEvent(), anEvent()]
    await store.append(stream, [a, b], { expected: 'no_stream' })
    await t.rejects(store.append(stream, [a, anEvent()], { expected: 'no_stream' }), WrongExpectedRevision)
    await t.rejects(store.append(stream, [a, b, anEvent()], { expected: 'no_stream' }), WrongExpectedRevision)
    await t.rejects(store.append(stream, [a, anEvent()], { expected: 'any' }), WrongExpectedRevision)
    t.same(ids(await all(store.readStream(stream))), ids([a, b]))
  })

  await t.test('20: the same id in another stream is another event', async (t) => {
    const events = someEvents(1)
    const streams = [fresh(), fresh()]
    for (const stream of streams) {
      await store.append(stream, events, { expected: 'any' })
      t.same(ids(await all(store.readStream(stream))), ids(events))
    }
  })

  await t.test('22: the size limit holds for the whole append, and the store goes on', async (t) => {
    const stream = fresh()
    const half = () => anEvent('x'.repeat(MAX_APPEND_SIZE / 2))
    await t.rejects(store.append(stream, [half(), half()], { expected: 'any' }), {
      name: 'AppendTooLarge',
      maxAppendSize: MAX_APPEND_SIZE,
    })
    // Whether metadata and types count differs from server to server: up to EventStoreDB 24.6 they do not.
    const other = fresh()
    const metadata = { ...half(), metadata: 'x'.repeat(MAX_APPEND_SIZE / 2) }
    const written = await store.append(other, [metadata], { expected: 'any' }).catch((error: unknown) => error)
    if (written instanceof AppendTooLarge) await t.rejects(all(store.readStream(other)), StreamNotFound)
    else t.match(written, { revision: 0 })
    await t.rejects(all(store.readStream(stream)), StreamNotFound)
    t.equal((await store.append(stream, [half(), anEvent()], { expected: 'any' })).revision, 1)
  })

  await t.test('24: the largest event can be read', async (t) => {
    const stream = fresh()
    const data = 'é'.repeat(500_000)
    await store.append(stream, [anEvent(data)], { expected: 'any' })
    const [event] = await all(store.readStream(stream))
    t.ok(event?.data === data)
  })

  await t.test('25: a stream read forwards', async (t) => {
    const stream = fresh()
    await append(stream, 7)
    const read = async (options: Parameters<EventStore['readStream']>[1]) =>
      datas(await all(store.readStream(stream, options)))
    t.same(await read({}), [0, 1, 2, 3, 4, 5, 6])
    t.same(await read({ from: 'start', maxCount: 2 }), [0, 1])
    t.same(await read({ from: 4 }), [4, 5, 6])
    t.same(await read({ from: 4, maxCount: 2 }), [4, 5])
    t.same(await read({ from: 7 }), [])
    t.same(await read({ from: 1000 }), [])
    t.same(await read({ from: 'end' }), [])
    await t.rejects(all(store.readStream(fresh(), { from: 'end' })), StreamNotFound)
    await store.tombstoneStream(stream, { expected: 'any' })
    await t.rejects(all(store.readStream(stream, { from: 'end' })), StreamDeleted)
  })

  await t.test('26: a stream read backwards', async (t) => {
    const stream = fresh()
    await append(stream, 5)
    const read = async (options: Parameters<EventStore['readStream']>[1]) =>
      datas(await all(store.readStream(stream, { direction: 'backwards', ...options })))
    t.same(await read({}), [4, 3, 2, 1, 0])
    t.same(await read({ maxCount: 1 }), [4])
    t.same(await read({ from: 'end', maxCount: 2 }), [4, 3])
    t.same(await read({ from: 2 }), [2, 1, 0])
    t.same(await read({ from: 2, maxCount: 2 }), [2, 1])
    t.same(await read({ from: 'start' }), [0])
  })

  await t.test('25, 26: a long stream is read whole', async (t) => {
    const stream = fresh()
    await append(stream, 1000)
    await append(stream, 203, 1000)
    const numbers = Array.from({ length: 1203 }, (_, index) => index)
    t.same(datas(await all(store.readStream(stream))), numbers)
    t.same(datas(await all(store.readStream(stream, { maxCount: 1001 }))), numbers.slice(0, 1001))
    t.same(datas(await all(store.readStream(stream, { direction: 'backwards' }))), numbers.toReversed())
  })

  await t.test('27: a missing stream is told at the first pull', async (t) => {
    const stream = fresh()
    const events = store.readStream(stream)
    const first = events[Symbol.asyncIterator]().next()
    await t.rejects(first, { name: 'StreamNotFound', stream })
    await t.rejects(all(store.readStream(stream, { direction: 'backwards', maxCount: 1 })), StreamNotFound)
  })

  await t.test('28: a revision that can not be', async (t) => {
    const stream = fresh()
    await append(stream, 1)
    for (const from of [-1, 1.5, Number.NaN, 2 ** 64]) {
      await t.rejects(
        (async () => all(store.readStream(stream, { from })))(),
        InvalidArgument,
        `read from revision ${from}`,
      )
      await t.rejects(
        (async () => pull(store.subscribeToStream(stream, { from }), caughtUp))(),
        InvalidArgument,
        `subscribe from revision ${from}`,
      )
    }
  })

  await t.test('32: data that only looks like JSON stays the text it is', async (t) => {
    const stream = fresh()
    const texts = ['{"a":', '{"a":1}', '[1', '\\u00', '"']
    await store.append(
      stream,
      texts.map((text) => anEvent(text)),
      { expected: 'any' },
    )
    t.same(datas(await all(store.readStream(stream))), texts)
    const malformed = { ...anEvent(new TextEncoder().encode('{"a":')), metadata: new TextEncoder().encode('{"b":') }
    await store.append(stream, [malformed], { expected: 'any' })
    t.equal((await all(store.readStream(stream))).length, texts.length + 1, 'bytes that are no JSON do not end a read')
  })

  await t.test('33: the log of all streams, both ways', async (t) => {
    const streams = [fresh(), fresh()] as const
    const filter = { streamPrefixes: streams }
    const positions: Position[] = []
    for (let index = 0; index < 6; index++) {
      positions.push((await append(streams[index % 2] as string, 1, index)).position as Position)
    }
    const read = async (options: Parameters<EventStore['readAll']>[0]) =>
      datas(await all(store.readAll({ filter, ...options })))
    t.same(await read({ from: positions[0] as Position }), [0, 1, 2, 3, 4, 5], 'inclusive')
    t.same(await read({ from: positions[2] as Position, maxCount: 2 }), [2, 3])
    t.same(await read({ from: 'start' }), [0, 1, 2, 3, 4, 5])
    t.same(await read({ from: 'end' }), [])
    t.same(await read({ direction: 'backwards' }), [5, 4, 3, 2, 1, 0])
    t.same(await read({ direction: 'backwards', maxCount: 2 }), [5, 4])
    t.same(await read({ direction: 'backwards', from: positions[3] as Position, maxCount: 3 }), [3, 2, 1], 'inclusive')
    const some = await all(store.readAll({ maxCount: 50 }))
    t.ok(some.length > 0 && some.length <= 50)
    t.ok(
      some.every(({ position }, index) => index === 0 || before(some[index - 1]?.position, position)),
      'positions rise',
    )
    const [last] = await all(store.readAll({ from: positions[5] as Position, maxCount: 1 }))
    t.match(last, { stream: streams[1], revision: 2, data: 5, position: positions[5] })
  })

  await t.test('34: system events come only to who asks', async (t) => {
    const stream = fresh()
    const from = await marker()
    await store.setStreamMetadata(stream, { $maxCount: 10 })
    await append(stream, 1)
    const isSystem = (event: RecordedEvent) => event.stream.startsWith('$')
    t.notOk((await all(store.readAll({ from }))).some(isSystem))
    t.ok((await all(store.readAll({ from, systemEvents: true }))).some((event) => event.stream === `$$${stream}`))
    const subscription = store.subscribeToAll({ from })
    t.notOk((await pull(subscription, caughtUp)).events.some(isSystem))
    await subscription.unsubscribe()
    const named = await all(store.readAll({ from, filter: { streamPrefixes: [`$$${run}`] } }))
    t.same(
      named.map((event) => event.stream),
      [`$$${stream}`],
    )
  })

  await t.test('35: filters by stream prefix', async (t) => {
    const [cat, dog, bird] = ['Cat', 'dog', 'bird'].map((name) => `${fresh()}${name}`) as [string, string, string]
    const from = (await append(cat, 1, 1)).position as Position
    await append(dog, 1, 2)
    await append(bird, 1, 3)
    await append(cat, 1, 4)
    const read = async (...streamPrefixes: string[]) =>
      datas(await all(store.readAll({ from, filter: { streamPrefixes } })))
    t.same(await read(cat), [1, 4])
    t.same(await read(cat, bird), [1, 3, 4])
    t.same(await read(cat.toLowerCase()), [], 'case matters')
    t.same(await read(`${dog}x`), [])
    t.same(await read(`${run}.`), [], 'a prefix is no pattern')
    const subscription = store.subscribeToAll({ from, filter: { streamPrefixes: [cat, dog] } })
    t.same(datas((await pull(subscription, having(2))).events), [2, 4])
    await subscription.unsubscribe()
    await t.rejects((async () => read())(), InvalidArgument, 'no prefix')
  })

  await t.test('36: a position that is not of the log', async (t) => {
    const inside = await marker()
    const { commit, prepare } = await marker()
    const broken: Position[] = [
      // Where positions are places in a file, and not numbers one after the other.
      ...(inside.commit + 1n < commit ? [{ commit: inside.commit + 1n, prepare: inside.prepare + 1n }] : []),
      { commit: commit + 1n, prepare: prepare + 1n },
      { commit: 2n ** 64n - 1n, prepare: 2n ** 64n - 1n },
      { commit, prepare: commit + 1n },
      { commit: commit + 1_000_000_000_000n, prepare: commit + 1_000_000_000_000n },
    ]
    for (const from of broken) {
      const name = `${from.commit}/${from.prepare}`
      for (const direction of ['forwards', 'backwards'] as const) {
        const read = async () => all(store.readAll({ from, direction, maxCount: 1 }))
        await t.rejects(read(), InvalidArgument, `read ${direction} ${name}`)
      }
      await t.rejects(
        (async () => pull(store.subscribeToAll({ from }), caughtUp))(),
        InvalidArgument,
        `subscribe ${name}`,
      )
    }
  })

  await t.test('37: catching up and going live lose and repeat nothing', async (t) => {
    const stream = fresh()
    const filter = { streamPrefixes: [stream] }
    const from = await marker()
    await append(stream, 150)
    const fromStart = store.subscribeToAll({ from: 'start', filter })
    const fromPosition = store.subscribeToAll({ from, filter, batchSize: 10 })
    const ofStream = store.subscribeToStream(stream, { from: 'start', batchSize: 7 })
    const followed = [fromStart, fromPosition, ofStream].map((subscription) => pull(subscription, having(400)))
    for (let next = 150; next < 400; next += 25) {
      await Promise.all([append(stream, 10, next), append(stream, 15, next + 10), append(fresh(), 2)])
    }
    const numbers = Array.from({ length: 400 }, (_, index) => index)
    for (const { events } of await Promise.all(followed)) {
      t.same(datas(events), numbers)
      t.ok(events.every(({ position }, index) => index === 0 || before(events[index - 1]?.position, position)))
    }
    for (const subscription of [fromStart, fromPosition, ofStream]) await subscription.unsubscribe()
  })

  await t.test('38: from a position or revision is exclusive, from the end is what comes later', async (t) => {
    const stream = fresh()
    const filter = { streamPrefixes: [stream] }
    const { position } = await append(stream, 3)
    const subscriptions = [
      store.subscribeToAll({ from: position as Position, filter }),
      store.subscribeToStream(stream, { from: 2 }),
      store.subscribeToAll({ from: 'end', filter }),
      store.subscribeToStream(stream, { from: 'end' }),
    ]
    for (const subscription of subscriptions) t.same((await pull(subscription, caughtUp)).events, [])
    await append(stream, 2, 3)
    for (const subscription of subscriptions) {
      t.same(datas((await pull(subscription, having(2))).events), [3, 4])
      await subscription.unsubscribe()
    }
    const later = store.subscribeToStream(stream, { from: 1 })
    t.same(datas((await pull(later, caughtUp)).events), [2, 3, 4])
    await later.unsubscribe()
  })

  await t.test('39: caughtUp tells the end of the backlog, whatever the batch size', async (t) => {
    const stream = fresh()
    await append(stream, 12)
    for (const batchSize of [1, 4, 5, 12, 500]) {
      const subscription = store.subscribeToStream(stream, { from: 'start', batchSize })
      const { batches, events } = await pull(subscription, caughtUp)
      t.equal(events.length, 12, `batches of ${batchSize}`)
      t.ok(batches.every((batch) => batch.events.length <= batchSize))
      await subscription.unsubscribe()
    }
    const live = fresh()
    const subscription = store.subscribeToStream(live, { from: 'start' })
    await pull(subscription, caughtUp)
    await append(live, 1)
    await pull(subscription, having(1))
    await subscription.unsubscribe()
  })

  await t.test('40: checkpoints rise, also where the filter lets nothing through', async (t) => {
    const from = await marker()
    const stream = fresh()
    for (let index = 0; index < 5; index++) await append(fresh(), 20)
    const filter = { streamPrefixes: [stream] }
    const subscription = store.subscribeToAll({ from, filter, batchSize: 10 })
    const { batches, events } = await pull(
      subscription,
      (batch) => batch.caughtUp && comparePositions(batch.checkpoint, from) === 1,
    )
    t.same(events, [])
    t.ok(batches.every(({ checkpoint }, index) => index === 0 || !before(checkpoint, batches[index - 1]?.checkpoint)))
    const checkpoint = batches.at(-1)?.checkpoint as Position
    await append(stream, 1)
    t.equal((await pull(subscription, having(1))).events.length, 1)
    await subscription.unsubscribe()
    const resumed = store.subscribeToAll({ from: checkpoint, filter })
    t.equal((await pull(resumed, having(1))).events.length, 1, 'a checkpoint is a place to go on from')
    await resumed.unsubscribe()
    for (const batchSize of [0, -1, 1.5]) {
      await t.rejects((async () => pull(store.subscribeToAll({ from, batchSize }), caughtUp))(), InvalidArgument)
    }
  })

  await t.test('40: from the start, where the filter lets nothing through, the checkpoint is in the log', async (t) => {
    const stream = fresh()
    const filter = { streamPrefixes: [stream] }
    const subscription = store.subscribeToAll({ from: 'start', filter })
    const { batches, events } = await pull(subscription, caughtUp)
    t.same(events, [])
    await subscription.unsubscribe()
    const { position } = await append(stream, 1)
    for (const { checkpoint } of batches) t.ok(before(checkpoint, position))
    const resumed = store.subscribeToAll({ from: batches.at(-1)?.checkpoint as Position, filter })
    t.equal((await pull(resumed, having(1))).events.length, 1)
    await resumed.unsubscribe()
  })

  await t.test('40: every batch can be the last that was handled', async (t) => {
    const stream = fresh()
    const filter = { streamPrefixes: [stream] }
    let from = await marker()
    for (let index = 0; index < 10; index++) {
      await append(stream, 2, index * 2)
      await append(fresh(), 1)
    }
    const seen: unknown[] = []
    while (seen.length < 20) {
      const subscription = store.subscribeToAll({ from, filter, batchSize: 3 })
      const { batches, events } = await pull(subscription, () => true)
      await subscription.unsubscribe()
      seen.push(...datas(events))
      from = batches[0]?.checkpoint as Position
    }
    t.same(
      seen,
      Array.from({ length: 20 }, (_, index) => index),
    )
  })

  await t.test(
    '41, 42, 46: a consumer that is slow holds back and loses nothing, and is never called twice at once',
    async (t) => {
      const stream = fresh()
      const subscription = store.subscribeToStream(stream, { from: 'start', batchSize: 50 })
      await pull(subscription, () => true)
      for (let next = 0; next < 1500; next += 500) await append(stream, 500, next)
      const seen: unknown[] = []
      let handling = 0
      for await (const { events } of subscription) {
        t.equal(++handling, 1)
        await new Promise((resolve) => setTimeout(resolve, 1))
        seen.push(...datas(events))
        handling--
        if (seen.length >= 1500) break
      }
      t.same(
        seen,
        Array.from({ length: 1500 }, (_, index) => index),
      )
      await subscription.unsubscribe()
    },
  )

  await t.test('44: nothing comes after unsubscribe', async (t) => {
    const stream = fresh()
    await append(stream, 20)
    const busy = store.subscribeToStream(stream, { from: 'start', batchSize: 5 })
    await pull(busy, having(5))
    await busy.unsubscribe()
    await busy.unsubscribe()
    t.same(await busy[Symbol.asyncIterator]().next(), { value: undefined, done: true })

    const waiting = store.subscribeToStream(stream, { from: 'end' })
    await pull(waiting, caughtUp)
    const next = waiting[Symbol.asyncIterator]().next()
    await waiting.unsubscribe()
    await append(stream, 1)
    t.same(await next, { value: undefined, done: true }, 'a waiting consumer is let go, without an error')

    const unused = store.subscribeToAll({ from: 'end' })
    await unused.unsubscribe()
    t.same(await unused[Symbol.asyncIterator]().next(), { value: undefined, done: true })

    const racing = store.subscribeToStream(stream, { from: 'end' })
    let over = false
    let late = 0
    const consumer = (async () => {
      for await (const _ of racing) if (over) late++
    })()
    const appends = Promise.all(Array.from({ length: 50 }, () => append(stream, 1)))
    await append(stream, 1)
    await racing.unsubscribe()
    over = true
    await Promise.all([appends, consumer])
    t.equal(late, 0)
  })

  await t.test('45: a subscription waits for a missing stream, and refuses a closed one', async (t) => {
    const stream = fresh()
    const subscription = store.subscribeToStream(stream, { from: 'start' })
    t.same((await pull(subscription, caughtUp)).events, [])
    const followed = pull(subscription, having(2))
    await append(stream, 2)
    t.same(datas((await followed).events), [0, 1])
    await subscription.unsubscribe()
    await store.tombstoneStream(stream, { expected: 'any' })
    const closed = store.subscribeToStream(stream, { from: 'start' })
    await t.rejects(pull(closed, caughtUp), StreamDeleted)
    await closed.unsubscribe()
  })

  await t.test('46: close finishes appends, ends subscriptions and refuses the rest', async (t) => {
    const stream = fresh()
    const own = await open()
    const subscriptions = [own.subscribeToAll({ from: 'end' }), own.subscribeToStream(stream, { from: 'start' })]
    for (const subscription of subscriptions) await pull(subscription, caughtUp)
    const ends = subscriptions.map(async (subscription) => {
      for await (const _ of subscription); // until it ends
    })
    const appends = Array.from({ length: 10 }, () => own.append(stream, someEvents(1), { expected: 'any' }))
    await Promise.all([own.close(), own.close()])
    await Promise.all([...ends, ...appends])
    await own.close()
    t.equal((await all(store.readStream(stream))).length, 10)
    const uses: Record<string, () => unknown> = {
      append: () => own.append(stream, someEvents(1), { expected: 'any' }),
      'empty append': () => own.append(stream, [], { expected: 'any' }),
      readStream: () => all(own.readStream(stream)),
      readAll: () => all(own.readAll({ maxCount: 1 })),
      'readAll from a position': () => all(own.readAll({ from: { commit: 1n, prepare: 1n }, maxCount: 1 })),
      deleteStream: () => own.deleteStream(stream, { expected: 'any' }),
      setStreamMetadata: () => own.setStreamMetadata(stream, {}),
      getStreamMetadata: () => own.getStreamMetadata(stream),
      ping: () => own.ping(),
    }
    for (const [name, use] of Object.entries(uses)) {
      await t.rejects((async () => use())(), EventStoreUnavailable, `${name} after close`)
    }
  })

  await t.test('47: a deleted stream is missing, and goes on with its numbers', async (t) => {
    const stream = fresh()
    await append(stream, 3)
    await store.deleteStream(stream, { expected: 2 })
    await t.rejects(all(store.readStream(stream)), StreamNotFound)
    await t.rejects(all(store.readStream(stream, { direction: 'backwards' })), StreamNotFound)
    await t.rejects(store.append(stream, someEvents(1), { expected: 'stream_exists' }), StreamDeleted)
    t.equal((await store.append(stream, someEvents(2, 3), { expected: 'no_stream' })).revision, 4)
    t.same(revisions(await all(store.readStream(stream))), [3, 4])
    t.same(datas(await all(store.readStream(stream, { direction: 'backwards' }))), [4, 3])
    t.equal((await store.append(stream, someEvents(1, 5), { expected: 4 })).revision, 5)
    await store.deleteStream(stream, { expected: 'any' })
    t.equal((await append(stream, 1, 6)).revision, 6)
    t.same(revisions(await all(store.readStream(stream))), [6])
    await store.deleteStream(stream, { expected: 'stream_exists' })
    await store.setStreamMetadata(stream, { $maxCount: 5 })
    t.notOk(
      await all(store.readStream(stream)).then(
        (events) => events.length > 0,
        () => false,
      ),
      'metadata does not bring back what was deleted',
    )
    t.equal((await append(stream, 1, 7)).revision, 7)
    t.same(datas(await all(store.readStream(stream))), [7])
  })

  await t.test('48: deletes with an expected revision', async (t) => {
    const stream = fresh()
    await t.rejects(store.deleteStream(stream, { expected: 'no_stream' }), WrongExpectedRevision, 'nothing to delete')
    await t.rejects(store.deleteStream(stream, { expected: 0 }), WrongExpectedRevision)
    await append(stream, 2)
    for (const expected of [0, 2, 'no_stream'] as const) {
      await t.rejects(store.deleteStream(stream, { expected }), WrongExpectedRevision, `delete at ${expected}`)
      await t.rejects(store.tombstoneStream(stream, { expected }), WrongExpectedRevision, `tombstone at ${expected}`)
    }
    t.equal((await all(store.readStream(stream))).length, 2)
    await store.tombstoneStream(stream, { expected: 1 })
    const missing = fresh()
    await store.tombstoneStream(missing, { expected: 'no_stream' })
    await t.rejects(append(missing, 1), StreamDeleted)
  })

  await t.test('49: a tombstoned stream is closed for ever', async (t) => {
    const stream = fresh()
    await append(stream, 2)
    await store.tombstoneStream(stream, { expected: 'any' })
    await t.rejects(all(store.readStream(stream)), StreamDeleted)
    for (const expected of ['any', 'no_stream', 'stream_exists', 1, 2] as const) {
      await t.rejects(
        store.append(stream, someEvents(1), { expected }),
        { name: 'StreamDeleted', stream },
        `append at ${expected}`,
      )
    }
    await t.rejects(store.deleteStream(stream, { expected: 'any' }), StreamDeleted)
    await t.rejects(store.tombstoneStream(stream, { expected: 'any' }), StreamDeleted)
    await t.rejects(store.setStreamMetadata(stream, { $maxCount: 1 }), StreamDeleted)
    await t.rejects(store.getStreamMetadata(stream), StreamDeleted)
  })

  await t.test('50: metadata takes effect on the next read', async (t) => {
    const stream = fresh()
    t.same(await store.getStreamMetadata(stream), {})
    await append(stream, 6)
    const read = async () => datas(await all(store.readStream(stream)))
    await store.setStreamMetadata(stream, { $maxCount: 4, owner: 'ünï', nested: { list: [1, null] } })
    t.same(await store.getStreamMetadata(stream), { $maxCount: 4, owner: 'ünï', nested: { list: [1, null] } })
    t.same(await read(), [2, 3, 4, 5])
    t.same(datas(await all(store.readStream(stream, { direction: 'backwards', from: 3 }))), [3, 2])
    await append(stream, 1, 6)
    t.same(await read(), [3, 4, 5, 6])
    await store.setStreamMetadata(stream, { $tb: 5 })
    t.same(await store.getStreamMetadata(stream), { $tb: 5 }, 'metadata is replaced')
    t.same(await read(), [5, 6])
    await store.setStreamMetadata(stream, { $tb: 100 })
    t.same(await read(), [], 'truncated, but there')
    await store.setStreamMetadata(stream, { $tb: 7, $maxAge: 3600 })
    await append(stream, 1, 7)
    t.same(await read(), [7])
    for (const metadata of [{ $maxCount: 1.5 }, { $maxCount: 0 }, { $maxAge: -1 }, { $maxAge: 0.1 }, { $tb: -1 }]) {
      await t.rejects(store.setStreamMetadata(stream, metadata), InvalidArgument, JSON.stringify(metadata))
    }
    const text = { $maxCount: '1' } as unknown as { $maxCount: number }
    await t.rejects(store.setStreamMetadata(stream, text), InvalidArgument)
    t.same(await store.getStreamMetadata(stream), { $tb: 7, $maxAge: 3600 })
    const aging = fresh()
    await append(aging, 1)
    await store.setStreamMetadata(aging, { $maxAge: 1 })
    await new Promise((resolve) => setTimeout(resolve, 1100))
    t.same(await all(store.readStream(aging)), [], 'too old')
    await append(aging, 1, 1)
    t.same(datas(await all(store.readStream(aging))), [1])
  })

  await t.test('51: a stream with metadata alone exists for stream_exists', async (t) => {
    const stream = fresh()
    await store.setStreamMetadata(stream, { $maxCount: 10 })
    await t.rejects(all(store.readStream(stream)), StreamNotFound)
    t.equal((await store.append(stream, someEvents(1), { expected: 'stream_exists' })).revision, 0)
  })

  await t.test('the store answers a ping', async () => {
    await store.ping()
  })

  await store.close()
}

/** Bytes as an array, so that two are compared by content, whatever their class. */
function plain(content: Json | Uint8Array | undefined) {
  return content instanceof Uint8Array ? { bytes: [...content] } : { json: content }
}
