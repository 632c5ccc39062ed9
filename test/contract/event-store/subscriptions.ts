/** Cases of the event-store contract: subscriptions, and the end of a store. */
import type { Test } from 'tap'
import {
  comparePositions,
  EventStoreUnavailable,
  InvalidArgument,
  type Position,
  StreamDeleted,
  type SubscriptionBatch,
} from '../../../eventstore/port.ts'
import { all, before, type Contract, caughtUp, datas, having, pull, someEvents } from './support.ts'

export async function subscriptionCases(t: Test, { store, open, fresh, append, marker }: Contract): Promise<void> {
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
      const { checkpoint } = batches[0] as SubscriptionBatch
      if (!before(from, checkpoint)) return t.fail('a batch without news')
      from = checkpoint
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
}
