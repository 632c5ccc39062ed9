/** Cases of the event-store contract: reads of a stream and of the log. */
import type { Test } from 'tap'
import {
  type EventStore,
  InvalidArgument,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  StreamNotFound,
} from '../../../eventstore/port.ts'
import { all, anEvent, before, type Contract, caughtUp, datas, having, pull } from './support.ts'

export async function readCases(t: Test, { run, store, fresh, append, marker }: Contract): Promise<void> {
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
    t.same(await read({ to: positions[3] as Position }), [0, 1, 2, 3], 'inclusive')
    t.same(await read({ from: positions[2] as Position, to: positions[2] as Position }), [2])
    t.same(await read({ from: positions[2] as Position, to: positions[1] as Position }), [])
    await t.rejects(read({ direction: 'backwards', to: positions[1] as Position }), InvalidArgument)
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
}
