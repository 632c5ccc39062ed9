/** Cases of the event-store contract: appends. */
import type { Test } from 'tap'
import {
  AppendTooLarge,
  InvalidArgument,
  type Json,
  MAX_APPEND_SIZE,
  type NewEvent,
  StreamNotFound,
  WrongExpectedRevision,
} from '../../../eventstore/port.ts'
import { all, anEvent, before, type Contract, datas, ids, revisions, someEvents } from './support.ts'

export async function appendCases(t: Test, { store, open, flood, fresh, append, wrong }: Contract): Promise<void> {
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
      Array.from({ length: flood }, (_, index) => append(`${stream}-${index}`, (index % 3) + 1, index)),
    )
    t.ok(results.every(({ revision }, index) => revision === index % 3))
    t.equal(new Set(results.map(({ position }) => `${position?.commit}/${position?.prepare}`)).size, flood)
    for (const index of [0, Math.floor(flood / 2), flood - 1]) {
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
    // Whether metadata and types count differs from server to server: in EventStoreDB 24.6 they do not, in KurrentDB 26.1 they do.
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
}

/** Bytes as an array, so that two are compared by content, whatever their class. */
function plain(content: Json | Uint8Array | undefined) {
  return content instanceof Uint8Array ? { bytes: [...content] } : { json: content }
}
