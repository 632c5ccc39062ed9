/** The persistent subscriptions of the test event store, by the official client. */
import { setTimeout as delay } from 'node:timers/promises'
import {
  END,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  PersistentSubscriptionMaximumSubscribersReachedError,
  type Position,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  START,
  streamNameFilter,
} from '@kurrent/kurrentdb-client'
import t from 'tap'
import { answers, collect, confirmed, failed, type Joined, refused, some, start } from './eventstore-server-client.ts'
import { until } from './until.ts'

t.test('persistent subscriptions: made, found, changed, deleted', async (t) => {
  const { client } = await start(t)
  const settings = persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START, maxSubscriberCount: 1 })
  await client.createPersistentSubscriptionToAll('g', settings)
  await refused(t, client.createPersistentSubscriptionToAll('g', settings), PersistentSubscriptionExistsError)
  await refused(t, client.getPersistentSubscriptionToAllInfo('other'), PersistentSubscriptionDoesNotExistError)
  await refused(t, client.listPersistentSubscriptionsToStream('a'), PersistentSubscriptionDoesNotExistError)
  t.same((await client.getPersistentSubscriptionToAllInfo('g')).settings, settings, 'as they were given')
  t.equal((await client.listAllPersistentSubscriptions()).length, 1)
  const unknown = client.subscribeToPersistentSubscriptionToAll('other')
  await refused(t, confirmed(unknown), PersistentSubscriptionDoesNotExistError)

  const joined = client.subscribeToPersistentSubscriptionToAll('g')
  await confirmed(joined)
  const second = client.subscribeToPersistentSubscriptionToAll('g')
  await refused(t, confirmed(second), PersistentSubscriptionMaximumSubscribersReachedError)
  const dropped = failed(t, joined, PersistentSubscriptionDroppedError)
  await client.updatePersistentSubscriptionToAll('g', { ...settings, maxRetryCount: 3 })
  await dropped
  t.equal((await client.getPersistentSubscriptionToAllInfo('g')).settings.maxRetryCount, 3)

  const again = client.subscribeToPersistentSubscriptionToAll('g')
  await confirmed(again)
  const ended = failed(t, again, PersistentSubscriptionDroppedError)
  await client.deletePersistentSubscriptionToAll('g')
  t.match(await ended, { streamName: '$all', groupName: 'g' })
  t.same(await client.listAllPersistentSubscriptions(), [])
})

t.test(
  'persistent subscriptions begin at a position or a revision, inclusive; at a wrong position never',
  async (t) => {
    const { client } = await start(t)
    await client.appendToStream('a', some(3))
    const { position } = await client.appendToStream('a', some(1, 3))
    await client.appendToStream('a', some(2, 4))
    const wrong = { commit: (position?.commit ?? 0n) + 1n, prepare: (position?.prepare ?? 0n) + 1n }
    for (const [name, startFrom, expected] of [
      ['start', START, [0, 1, 2, 3, 4, 5]],
      ['position', position as Position, [3, 4, 5]],
      ['end', END, [6]],
    ] as const) {
      await client.createPersistentSubscriptionToAll(
        name,
        persistentSubscriptionToAllSettingsFromDefaults({ startFrom }),
        { filter: streamNameFilter({ prefixes: ['a'] }) },
      )
      const revision = startFrom === position ? 3n : (startFrom as typeof START)
      const settings = persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: revision })
      await client.createPersistentSubscriptionToStream('a', name, settings)
      const groups = [
        client.subscribeToPersistentSubscriptionToAll(name),
        client.subscribeToPersistentSubscriptionToStream('a', name),
      ]
      if (name === 'end') await client.appendToStream('a', some(1, 6))
      for (const group of groups) {
        const taken = collect(group)
        await until(`${name}: all have come`, () => taken.length === expected.length)
        t.same(
          taken.map(({ number }) => number),
          expected,
          name,
        )
      }
    }
    await client.createPersistentSubscriptionToAll(
      'wrong',
      persistentSubscriptionToAllSettingsFromDefaults({ startFrom: wrong }),
    )
    const failed = new Promise((_, reject) =>
      client.subscribeToPersistentSubscriptionToAll('wrong').once('error', reject),
    )
    await refused(t, failed, PersistentSubscriptionDroppedError)
  },
)

t.test('persistent subscriptions: acknowledged, tried again, skipped, parked, replayed, timed out', async (t) => {
  const { client } = await start(t)
  const settings = persistentSubscriptionToAllSettingsFromDefaults({
    startFrom: START,
    messageTimeout: 2_000,
    maxRetryCount: 1,
  })
  const filter = streamNameFilter({ prefixes: ['a'] })
  await client.createPersistentSubscriptionToAll('g', settings, { filter })
  const joined = client.subscribeToPersistentSubscriptionToAll('g', { bufferSize: 4 })
  const taken = collect(joined)
  await client.appendToStream('a', some(6))
  await until('four are under way', () => taken.length === 4)
  await delay(50)
  t.equal(taken.length, 4, 'no more than the buffer')
  const info = () => client.getPersistentSubscriptionToAllInfo('g')
  t.match(await info(), {
    stats: { totalInFlightMessages: 4 },
    connections: [{ availableSlots: 0, inFlightMessages: 4 }],
  })
  await joined.ack(...taken.slice(0, 1).map(({ answer }) => answer))
  await joined.nack('retry', 'not now', ...taken.slice(1, 2).map(({ answer }) => answer))
  await joined.nack('skip', 'never', ...taken.slice(2, 3).map(({ answer }) => answer))
  await joined.nack('park', 'broken', ...taken.slice(3, 4).map(({ answer }) => answer))
  await until('the others have come', () => taken.length === 7)
  t.match(
    taken
      .slice(4)
      .map(({ number, retryCount }) => [number, retryCount])
      .sort(),
    [
      [1, 1],
      [4, 0],
      [5, 0],
    ],
  )
  await joined.ack(
    ...taken
      .slice(4)
      .filter(({ number }) => number !== 5)
      .map(({ answer }) => answer),
  )
  await until('what was not answered comes again', () => taken.length === 8)
  t.match(taken[7], { number: 5, retryCount: 1 })
  await until('and is parked', async () => (await info()).stats.parkedMessageCount === 2n)
  await client.replayParkedMessagesToAll('g', { stopAt: 1 })
  await until('the first is replayed', () => taken.length === 9)
  t.match(taken[8], { number: 3, retryCount: 0 })
  await joined.ack(...taken.slice(8).map(({ answer }) => answer))
  await client.replayParkedMessagesToAll('g')
  await until('the second is replayed', () => taken.length === 10)
  await joined.ack(...taken.slice(9).map(({ answer }) => answer))
  await until('nothing is left', async () => {
    const { stats } = await info()
    return stats.totalInFlightMessages === 0 && stats.parkedMessageCount === 0n
  })
})

t.test(
  'persistent subscriptions: the checkpoint is behind what is acknowledged, and a restart goes back to it',
  async (t) => {
    const { server, client } = await start(t)
    const settings = persistentSubscriptionToAllSettingsFromDefaults({
      startFrom: START,
      checkPointLowerBound: 10,
      checkPointUpperBound: 20,
    })
    const filter = streamNameFilter({ prefixes: ['a'] })
    await client.createPersistentSubscriptionToAll('g', settings, { filter })
    const joined = client.subscribeToPersistentSubscriptionToAll('g', { bufferSize: 100 })
    joined.on('error', () => {}) // the restart below
    const taken = collect(joined)
    const { position } = await client.appendToStream('a', some(20))
    await client.appendToStream('a', some(5, 20))
    await until('all have come', () => taken.length === 25)
    t.equal((await client.getPersistentSubscriptionToAllInfo('g')).stats.lastCheckpointedEventPosition, undefined)
    for (const { answer } of taken) await joined.ack(answer)
    await until('there is a checkpoint', async () => {
      const { stats } = await client.getPersistentSubscriptionToAllInfo('g')
      return stats.lastCheckpointedEventPosition?.commit === position?.commit
    })
    await server.stop()
    await server.start()
    await until('it answers', () => answers(client))
    const again = collect(client.subscribeToPersistentSubscriptionToAll('g'))
    await until('what came after it comes again', () => again.length === 5)
    t.same(
      again.map(({ number }) => number),
      [20, 21, 22, 23, 24],
    )
  },
)

t.test('persistent subscriptions: who leaves gives to the others', async (t) => {
  const { client } = await start(t)
  await client.createPersistentSubscriptionToStream(
    'a',
    'g',
    persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START }),
  )
  const leaving = client.subscribeToPersistentSubscriptionToStream('a', 'g')
  const left = collect(leaving)
  await client.appendToStream('a', some(5))
  await until('it has them', () => left.length === 5)
  const other = collect(client.subscribeToPersistentSubscriptionToStream('a', 'g'))
  await leaving.unsubscribe()
  await until('the other has them', () => other.length === 5)
  t.same(
    other.map(({ number, retryCount }) => [number, retryCount]),
    [0, 1, 2, 3, 4].map((number) => [number, 1]),
  )
})

t.test('persistent subscriptions: strategies', async (t) => {
  const { client } = await start(t)
  const streams = Array.from({ length: 40 }, (_, index) => `a-${index}`)
  const filter = streamNameFilter({ prefixes: ['a-'] })
  const strategies = ['RoundRobin', 'DispatchToSingle', 'Pinned', 'PinnedByCorrelation'] as const
  const shares: Record<string, ReturnType<typeof collect>[]> = {}
  const joins: Joined[] = []
  for (const consumerStrategyName of strategies) {
    const settings = persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START, consumerStrategyName })
    await client.createPersistentSubscriptionToAll(consumerStrategyName, settings, { filter })
    shares[consumerStrategyName] = []
    for (let count = 0; count < 2; count++) {
      const joined = client.subscribeToPersistentSubscriptionToAll(consumerStrategyName, { bufferSize: 1_000 })
      await confirmed(joined)
      joins.push(joined)
      shares[consumerStrategyName].push(collect(joined))
    }
  }
  const append = (first: number) =>
    Promise.all(
      streams.map((stream) => {
        const metadata = { $correlationId: 'one' }
        return client.appendToStream(stream, some(2, first).map((event) => ({ ...event, metadata })) as never)
      }),
    )
  await append(0)
  const total = (name: string) => (shares[name] ?? []).reduce((sum, { length }) => sum + length, 0)
  await until('all have come', () => strategies.every((name) => total(name) === 80))
  const counts = (name: string) => (shares[name] ?? []).map(({ length }) => length)
  t.same(counts('RoundRobin'), [40, 40])
  t.same(counts('DispatchToSingle'), [80, 0])
  t.same(counts('PinnedByCorrelation').sort(), [0, 80])
  t.ok(counts('Pinned').every((count) => count > 20))
  const [one, two] = (shares.Pinned ?? []).map((taken) => new Set(taken.map(({ stream }) => stream)))
  t.notOk(
    [...(one ?? [])].some((stream) => two?.has(stream)),
    'each stream with one',
  )

  const third = client.subscribeToPersistentSubscriptionToAll('Pinned', { bufferSize: 1_000 })
  await confirmed(third)
  const late = collect(third)
  await append(2)
  await until('all have come', () => total('Pinned') + late.length === 160)
  t.ok(late.length >= 20, 'one who joins is given a share of the streams')
})
