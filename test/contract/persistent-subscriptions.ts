/** What the groups of an event store do (cases 52 to 56 of the contract); the numbers lead the names. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import {
  type Delivery,
  type EventStore,
  EventStoreUnavailable,
  GroupExists,
  type GroupInfo,
  GroupNotFound,
  type GroupOptions,
  type GroupSubscription,
  type PersistentSubscriptions,
  type Position,
} from '../../eventstore/port.ts'
import { until } from '../support/until.ts'
import { datas, someEvents } from './event-store.ts'

const eventsOf = (deliveries: readonly Delivery[]) => deliveries.map(({ event }) => event)

/** Takes deliveries until there are so many. */
async function take(subscription: GroupSubscription, count: number): Promise<Delivery[]> {
  const iterator = subscription[Symbol.asyncIterator]()
  const taken: Delivery[] = []
  while (taken.length < count) {
    const { value, done } = await iterator.next()
    if (done) throw new Error('The subscription has ended.')
    taken.push(...value)
  }
  return taken
}

export async function persistentSubscriptionContract(
  t: Test,
  { open }: { readonly open: () => EventStore | Promise<EventStore> },
): Promise<void> {
  const store = await open()
  const groups = store.persistentSubscriptions as PersistentSubscriptions
  const run = `groups${crypto.randomUUID().replaceAll('-', '').slice(0, 12)}`
  let names = 0
  const fresh = () => `${run}-${++names}`
  const append = (stream: string, count: number, first = 0) =>
    store.append(stream, someEvents(count, first), { expected: 'any' })

  /**
   * A group of its own over the streams of its own name; gone with the test. It begins at an event of now and not at the
   * end: a server takes a moment until it has the end, and what is appended in that moment is not the group's.
   */
  async function aGroup(t: Test, options: Partial<GroupOptions> = {}): Promise<string> {
    const name = fresh()
    const from = (await append(fresh(), 1)).position as Position
    await groups.create(name, { filter: { streamPrefixes: [`${name}.`] }, from, ...options })
    t.teardown(() => groups.delete(name).catch(() => {}))
    return name
  }
  async function join(t: Test, group: string, bufferSize = 100): Promise<GroupSubscription> {
    const before = (await groups.info(group)).consumers
    const subscription = groups.subscribe(group, { bufferSize })
    t.teardown(() => subscription.unsubscribe())
    const first = subscription[Symbol.asyncIterator]().next() // joined at the first pull
    await untilInfo(group, ({ consumers }) => consumers > before)
    // The first pull is under way: what it gives comes first.
    let pending: typeof first | undefined = first
    const iterator: AsyncIterator<readonly Delivery[]> = {
      next: () => {
        const next = pending ?? subscription[Symbol.asyncIterator]().next()
        pending = undefined
        return next
      },
    }
    return { ...subscription, [Symbol.asyncIterator]: () => iterator as never }
  }
  const untilInfo = (group: string, isSo: (info: GroupInfo) => boolean) =>
    until(`${isSo}`, async () => {
      const info = await groups.info(group)
      return isSo(info) && info
    })

  await t.test('52: a group is created once, and is gone when it is deleted', async (t) => {
    const group = await aGroup(t)
    await t.rejects(groups.create(group, { filter: { streamPrefixes: ['x'] }, from: 'start' }), GroupExists)
    t.match(await groups.info(group), { consumers: 0, inFlight: 0, parked: 0 })
    const missing = fresh()
    await t.rejects(groups.info(missing), GroupNotFound)
    await t.rejects(groups.delete(missing), GroupNotFound)
    await t.rejects(take(groups.subscribe(missing, { bufferSize: 1 }), 1), GroupNotFound)
    const subscription = await join(t, group)
    const dropped = t.rejects(take(subscription, 1), GroupNotFound, 'its consumers are let go')
    await groups.delete(group)
    await dropped
  })

  await t.test('52: a group begins at a position, at the start, or at the end, and heeds its filter', async (t) => {
    const prefix = `${fresh()}.`
    const filter = { streamPrefixes: [prefix] }
    const { position } = await append(`${prefix}a`, 2)
    await append(fresh(), 3)
    await append(`${prefix}b`, 2, 2)
    const expected = new Map<GroupOptions['from'], number[]>([
      ['start', [0, 1, 2, 3, 4]],
      [position as Position, [1, 2, 3, 4]],
      ['end', [4]],
    ])
    const all: { group: string; numbers: number[] }[] = []
    for (const [from, numbers] of expected) {
      const group = await aGroup(t, { filter, from })
      all.push({ group, numbers })
    }
    await delay(1_000) // see aGroup
    await append(`${prefix}a`, 1, 4)
    for (const { group, numbers } of all) {
      const subscription = await join(t, group)
      const deliveries = await take(subscription, numbers.length)
      t.same((datas(eventsOf(deliveries)) as number[]).sort(), numbers)
      t.ok(deliveries.every(({ event, retryCount }) => event.stream.startsWith(prefix) && retryCount === 0))
      await subscription.ack(deliveries)
      await untilInfo(group, ({ inFlight }) => inFlight === 0)
      await subscription.unsubscribe()
    }
  })

  await t.test('53: what is acknowledged does not come again, what is to be retried does', async (t) => {
    const group = await aGroup(t)
    const subscription = await join(t, group)
    await append(`${group}.a`, 3)
    const first = await take(subscription, 3)
    await subscription.ack(first.slice(0, 1))
    await subscription.nack(first.slice(1, 2), 'retry', 'not now')
    await subscription.nack(first.slice(2), 'skip', 'never')
    const [again] = await take(subscription, 1)
    t.match(again, { event: { data: 1 }, retryCount: 1 })
    await subscription.ack([again as Delivery])
    await untilInfo(group, ({ inFlight }) => inFlight === 0)
    await append(`${group}.a`, 1, 3)
    const [next] = await take(subscription, 1)
    t.match(next, { event: { data: 3 }, retryCount: 0 })
    await subscription.ack([next as Delivery])
  })

  await t.test('53: what is not acknowledged in time comes again, and is parked in the end', async (t) => {
    const group = await aGroup(t, { messageTimeout: 500, maxRetryCount: 1 })
    const subscription = await join(t, group)
    await append(`${group}.a`, 1)
    t.equal((await take(subscription, 1))[0]?.retryCount, 0)
    t.equal((await take(subscription, 1))[0]?.retryCount, 1)
    await untilInfo(group, ({ parked }) => parked === 1)
  })

  await t.test('53: what a consumer leaves behind goes to the others', async (t) => {
    const group = await aGroup(t)
    const leaving = await join(t, group)
    await append(`${group}.a`, 5)
    await take(leaving, 5)
    const other = await join(t, group)
    await leaving.unsubscribe()
    const deliveries = await take(other, 5)
    t.same((datas(eventsOf(deliveries)) as number[]).sort(), [0, 1, 2, 3, 4])
    await other.ack(deliveries)
    await untilInfo(group, ({ inFlight, consumers }) => inFlight === 0 && consumers === 1)
  })

  await t.test('54: what is parked is counted, and comes back when it is replayed', async (t) => {
    const group = await aGroup(t)
    const subscription = await join(t, group)
    await groups.replayParked(group, 1)
    for (let number = 0; number < 5; number++) {
      await append(`${group}.a`, 1, number)
      await subscription.nack(await take(subscription, 1), 'park', 'broken')
      await untilInfo(group, ({ parked }) => parked === number + 1) // one by one: a server parks several in any order
    }
    for (const [count, numbers, left] of [
      [2, [0, 1], 3],
      [1, [2], 2],
      [undefined, [3, 4], 0],
    ] as const) {
      await groups.replayParked(group, count)
      const some = await take(subscription, numbers.length)
      t.same((datas(eventsOf(some)) as number[]).sort(), numbers)
      await subscription.ack(some)
      await untilInfo(group, ({ parked }) => parked === left) // a server does not begin another replay before
    }
    await t.rejects(groups.replayParked(fresh(), 1), GroupNotFound)
    await untilInfo(group, ({ parked, inFlight }) => parked === 0 && inFlight === 0)
  })

  await t.test('54: the group keeps its place', async (t) => {
    const group = await aGroup(t)
    const subscription = await join(t, group)
    await append(`${group}.a`, 50)
    const deliveries = await take(subscription, 50)
    await subscription.ack(deliveries)
    const last = deliveries.map(({ event }) => event.position.commit).reduce((a, b) => (a > b ? a : b))
    const info = await untilInfo(group, ({ lastKnown }) => (lastKnown?.commit ?? 0n) >= last)
    t.equal(info.consumers, 1)
  })

  await t.test('55: one consumer more than are allowed waits until there is room', async (t) => {
    const group = await aGroup(t, { maxConsumers: 1 })
    const first = await join(t, group)
    const second = groups.subscribe(group, { bufferSize: 10 })
    t.teardown(() => second.unsubscribe())
    const delivered = take(second, 1)
    await delay(200)
    t.equal((await groups.info(group)).consumers, 1)
    await first.unsubscribe()
    await untilInfo(group, ({ consumers }) => consumers === 1)
    await append(`${group}.a`, 1)
    t.same(datas(eventsOf(await delivered)), [0])
  })

  await t.test('56: consumers share the events; a stream stays with one of them', async (t) => {
    const group = await aGroup(t)
    const subscriptions = [await join(t, group), await join(t, group), await join(t, group)]
    const streams = Array.from({ length: 30 }, (_, index) => `${group}.${index}`)
    const seen = subscriptions.map(() => [] as Delivery[])
    let total = 0
    const consumers = subscriptions.map(async (subscription, index) => {
      for await (const deliveries of subscription) {
        seen[index]?.push(...deliveries)
        total += deliveries.length
        await subscription.ack(deliveries)
      }
    })
    for (let round = 0; round < 5; round++) await Promise.all(streams.map((stream) => append(stream, 1, round)))
    await until('all have come', () => total >= 150)
    t.equal(total, 150)
    for (const subscription of subscriptions) await subscription.unsubscribe()
    await Promise.all(consumers)
    const holders = new Map<string, Set<number>>()
    for (const [index, deliveries] of seen.entries()) {
      for (const { event } of deliveries) {
        holders.set(event.stream, (holders.get(event.stream) ?? new Set()).add(index))
      }
    }
    t.ok(
      [...holders.values()].every(({ size }) => size === 1),
      'each stream with one consumer',
    )
    t.ok(new Set([...holders.values()].flatMap((set) => [...set])).size > 1, 'and not all with the same')
    t.same(
      streams.map((stream) => datas(eventsOf(seen.flat()).filter((event) => event.stream === stream))),
      streams.map(() => [0, 1, 2, 3, 4]),
      'in order',
    )
  })

  const last = fresh()
  await groups.create(last, { filter: { streamPrefixes: [last] }, from: 'start' })
  const consuming = take(groups.subscribe(last, { bufferSize: 1 }), 1)
  consuming.catch(() => {}) // awaited below
  await untilInfo(last, ({ consumers }) => consumers === 1)
  await store.close()
  await t.rejects(consuming, { message: 'The subscription has ended.' }, 'the store ends its consumers')
  t.throws(() => groups.subscribe(last, { bufferSize: 1 }), EventStoreUnavailable, 'and takes no others')
  const another = await open()
  await another.persistentSubscriptions?.delete(last)
  await another.close()
  t.throws(() => groups.subscribe(fresh(), { bufferSize: 0 }), { name: 'InvalidArgument' })
}
