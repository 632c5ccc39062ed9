/** Cases of the event-store contract: deleted streams and metadata. */
import type { Test } from 'tap'
import { InvalidArgument, StreamDeleted, StreamNotFound, WrongExpectedRevision } from '../../../eventstore/port.ts'
import { all, type Contract, datas, revisions, someEvents } from './support.ts'

export async function streamCases(t: Test, { store, fresh, append }: Contract): Promise<void> {
  await t.test('it says what it is', async (t) => {
    const facts = (await store.describe?.()) ?? []
    t.ok(facts.some(({ name }) => name === 'Kind'))
    t.ok(
      facts.some(({ name, value }) => / version$/i.test(name) && /^\d+\.\d+/.test(value)),
      JSON.stringify(facts),
    )
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
    const [record] = await all(
      store.readAll({ direction: 'backwards', maxCount: 1, filter: { streamPrefixes: [stream] } }),
    )
    t.ok(Number.isSafeInteger(record?.revision), `${record?.type} has a revision that a store can keep`)
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
}
