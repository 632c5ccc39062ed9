/**
 * The built-in test server, with the official client as it comes: what the client tells must be what the real server would.
 * server-answers.test.ts compares the two call by call.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { status } from '@grpc/grpc-js'
import {
  AccessDeniedError,
  binaryEvent,
  DeadlineExceededError,
  END,
  eventTypeFilter,
  excludeSystemEvents,
  jsonEvent,
  KurrentDBClient,
  MaxAppendSizeExceededError,
  NotLeaderError,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  PersistentSubscriptionMaximumSubscribersReachedError,
  type PersistentSubscriptionToAll,
  type PersistentSubscriptionToStream,
  type Position,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  START,
  StreamDeletedError,
  StreamNotFoundError,
  streamNameFilter,
  UnavailableError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client'
import t, { type Test } from 'tap'
import { certificate } from './certificate.ts'
import { openEventStoreServer, type ServerOptions } from './eventstore-server/server.ts'

async function start(t: Test, options: ServerOptions = {}) {
  const server = await openEventStoreServer(options)
  t.teardown(server.stop)
  const client = connect(t, server.url)
  return { server, client }
}

function connect(t: Test, url: string): KurrentDBClient {
  const client = KurrentDBClient.connectionString([url] as unknown as TemplateStringsArray)
  t.teardown(() => client.dispose())
  return client
}

const some = (count: number, first = 0, type = 'Counted') =>
  Array.from({ length: count }, (_, index) => jsonEvent({ type, data: { number: first + index } }))

interface Counted {
  readonly event?: { readonly data: unknown }
}
const numberOf = (event: Counted['event']) => (event?.data as { readonly number: number } | undefined)?.number

async function numbers(read: AsyncIterable<Counted>): Promise<(number | undefined)[]> {
  const found: (number | undefined)[] = []
  for await (const { event } of read) found.push(numberOf(event))
  return found
}

async function until(t: Test, what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await isSo()) return
    await delay(10)
  }
  t.fail(`not within 5 s: ${what}`)
}

for (const batchAppend of [true, false]) {
  const name = batchAppend ? 'appends in batches' : 'appends one by one'
  t.test(name, async (t) => {
    const { server, client } = await start(t, { batchAppend })
    const events = some(3)
    const first = await client.appendToStream('a', events, { streamState: 'no_stream' })
    t.match(first, { success: true, nextExpectedRevision: 2n })
    await client.appendToStream('a', some(1, 3), { streamState: 2n })
    t.same(await client.appendToStream('a', events, { streamState: 'no_stream' }), first, 'a repetition: the original')
    t.equal(server.calls.batchAppend ?? 0, batchAppend ? 1 : 0)

    const wrong = await refused(t, client.appendToStream('a', some(1), { streamState: 9n }), WrongExpectedVersionError)
    t.match(wrong, { streamName: 'a', expectedState: 9n, actualState: 3n })
    const missing = await client.appendToStream('b', some(1), { streamState: 0n }).catch((error) => error)
    t.match(missing, { streamName: 'b', expectedState: 0n, actualState: 'no_stream' })
    const partly = client.appendToStream('a', [events[0] ?? [], some(1)].flat(), { streamState: 'no_stream' })
    await refused(t, partly, WrongExpectedVersionError)

    const large = (size: number) => binaryEvent({ type: 'L', data: new Uint8Array(size) })
    const tooLarge = await refused(
      t,
      client.appendToStream('a', [large(524_288), large(524_289)]),
      MaxAppendSizeExceededError,
    )
    t.equal(tooLarge.maxAppendSize, 1_048_576)
    await client.appendToStream('large', large(1_048_576))
    t.same(await numbers(client.readStream('a')), [0, 1, 2, 3], 'nothing was written')
  })

  t.test(`deletions, ${batchAppend ? 'in batches' : 'one by one'}`, async (t) => {
    const { client } = await start(t, { batchAppend })
    await client.appendToStream('soft', some(3))
    await client.deleteStream('soft')
    await refused(t, numbers(client.readStream('soft')), StreamNotFoundError)
    await refused(t, client.appendToStream('soft', some(1), { streamState: 'stream_exists' }), StreamDeletedError)
    const again = await client.appendToStream('soft', some(1, 3), { streamState: 'no_stream' })
    t.equal(again.nextExpectedRevision, 3n)
    t.same(await numbers(client.readStream('soft')), [3])

    await client.appendToStream('hard', some(1))
    await refused(t, client.tombstoneStream('hard', { expectedRevision: 5n }), WrongExpectedVersionError)
    await client.tombstoneStream('hard')
    const deleted = await refused(t, client.appendToStream('hard', some(1)), StreamDeletedError)
    t.equal(deleted.streamName, 'hard')
    await refused(t, numbers(client.readStream('hard')), StreamDeletedError)
    const subscribed = new Promise((_, reject) => client.subscribeToStream('hard').on('error', reject))
    await refused(t, subscribed, StreamDeletedError)
  })
}

t.test('ids are forgotten by a restart, exact revisions are not', async (t) => {
  const { server, client } = await start(t)
  const events = some(2)
  for (let time = 0; time < 2; time++) {
    t.equal((await client.appendToStream('a', events, { streamState: 'any' })).nextExpectedRevision, 1n)
  }
  await server.stop()
  await server.start()
  await until(t, 'the server is back', () => answers(client))
  t.equal((await client.appendToStream('a', events, { streamState: 'no_stream' })).nextExpectedRevision, 1n)
  t.equal((await client.appendToStream('a', events, { streamState: 'any' })).nextExpectedRevision, 3n)
})

/** tap compares an error's name, which the client's errors don't have. */
async function refused<E extends Error>(
  t: Test,
  work: Promise<unknown>,
  kind: abstract new (...values: never[]) => E,
): Promise<E> {
  const error: unknown = await work.catch((error) => error)
  t.type(error, kind)
  return error as E
}

const answers = (client: KurrentDBClient) =>
  client.getStreamMetadata('x').then(
    () => true,
    () => false,
  )

t.test('reads of a stream and its metadata', async (t) => {
  const { server, client } = await start(t)
  await client.appendToStream('a', some(10))
  t.same(await numbers(client.readStream('a', { fromRevision: 4n, maxCount: 3 })), [4, 5, 6])
  t.same(await numbers(client.readStream('a', { fromRevision: 10n })), [])
  t.same(await numbers(client.readStream('a', { direction: 'backwards', fromRevision: END, maxCount: 2 })), [9, 8])
  await client.setStreamMetadata('a', { maxCount: 4, own: 'kept' })
  t.same(await numbers(client.readStream('a')), [6, 7, 8, 9])
  t.match((await client.getStreamMetadata('a')).metadata, { maxCount: 4, own: 'kept' })
  await client.setStreamMetadata('a', { truncateBefore: 9 })
  t.same(await numbers(client.readStream('a')), [9])
  for await (const { event } of client.readStream('a')) {
    t.match(event, { streamId: 'a', revision: 9n, type: 'Counted', isJson: true })
    t.ok(Math.abs((event?.created.getTime() ?? 0) - Date.now()) < 60_000)
  }
  server.appendRaw('broken', [{ type: 'Broken', data: '{' }])
  for await (const { event } of client.readStream('broken')) t.equal(event?.data as unknown, '{')
  const link = (data: string) => ({ type: '$>', data, contentType: 'application/octet-stream' })
  server.appendRaw('links', [link('9@a'), link('1@a'), link('0@nowhere')])
  const resolved: unknown[] = []
  for await (const { event, link } of client.readStream('links', { resolveLinkTos: true })) {
    resolved.push([event?.revision, link?.revision])
  }
  t.same(resolved, [
    [9n, 0n],
    [undefined, 1n],
    [undefined, 2n],
  ])
})

t.test('reads of $all', async (t) => {
  const { client } = await start(t)
  await client.appendToStream('a-1', some(3, 0, 'A'))
  await client.appendToStream('b-1', some(3, 3, 'B'))
  await client.setStreamMetadata('a-1', { maxCount: 100 })
  const positions: Position[] = []
  for await (const { event } of client.readAll()) if (event) positions.push(event.position)
  t.equal(positions.length, 7)
  t.ok(positions.every(({ commit }, index) => index === 0 || commit > (positions[index - 1]?.commit ?? 0n) + 1n))
  const from = positions[2] as Position
  const users = excludeSystemEvents()
  t.same(await numbers(client.readAll({ fromPosition: from, filter: users })), [2, 3, 4, 5])
  t.same(await numbers(client.readAll({ filter: streamNameFilter({ prefixes: ['b-'] }) })), [3, 4, 5])
  t.same(await numbers(client.readAll({ filter: streamNameFilter({ regex: '^[ab]-1$' }) })), [0, 1, 2, 3, 4, 5])
  t.same(await numbers(client.readAll({ filter: eventTypeFilter({ prefixes: ['A'] }), maxCount: 2 })), [0, 1])
  t.same(await numbers(client.readAll({ filter: eventTypeFilter({ regex: '^B$' }) })), [3, 4, 5])
  t.same(
    await numbers(client.readAll({ direction: 'backwards', fromPosition: END, filter: users, maxCount: 2 })),
    [5, 4],
  )
  const between = { commit: from.commit + 1n, prepare: from.prepare + 1n }
  // The client tells an error without a name so: see server-answers.test.ts for what the server says.
  await refused(t, numbers(client.readAll({ fromPosition: between })), UnavailableError)
})

t.test('a filtered subscription to $all: checkpoints, caught up, exclusive start', async (t) => {
  const { client } = await start(t)
  await client.appendToStream('noise', some(70))
  await client.appendToStream('a', some(2))
  const told: string[] = []
  const checkpoints: bigint[] = []
  const subscription = client.subscribeToAll({
    fromPosition: START,
    filter: streamNameFilter({
      prefixes: ['a'],
      checkpointInterval: 1,
      maxSearchWindow: 32,
      checkpointReached: async (_, position) => {
        checkpoints.push(position.commit)
        told.push('checkpoint')
      },
    }),
  })
  let first: Position | undefined
  subscription
    .on('confirmation', () => told.push('confirmation'))
    .on('caughtUp', () => told.push('caughtUp'))
    .on('data', ({ event }) => {
      first ??= event?.position
      told.push(`event ${numberOf(event)}`)
    })
  await until(t, 'it has caught up', () => told.includes('caughtUp'))
  t.same(told, ['confirmation', 'checkpoint', 'checkpoint', 'event 0', 'event 1', 'checkpoint', 'caughtUp'])
  t.ok(
    checkpoints.every((commit, index) => index === 0 || commit > (checkpoints[index - 1] ?? 0n)),
    'rising',
  )
  await client.appendToStream('noise', some(32))
  await until(t, 'what matches nothing moves the checkpoint', () => checkpoints.length === 4)
  await subscription.unsubscribe()

  const next = client.subscribeToAll({ fromPosition: first as Position, filter: streamNameFilter({ prefixes: ['a'] }) })
  const [one] = await new Promise<(number | undefined)[]>((resolve) => {
    next.once('data', ({ event }) => resolve([numberOf(event)]))
  })
  t.equal(one, 1, 'after the position')
  await next.unsubscribe()
  const broken = { commit: (first?.commit ?? 0n) + 1n, prepare: (first?.prepare ?? 0n) + 1n }
  const invalid = new Promise((_, reject) => client.subscribeToAll({ fromPosition: broken }).on('error', reject))
  await t.rejects(invalid, /Trying to read from an invalid position/)
})

t.test('a subscription that does not take its events falls behind, and catches up without loss', async (t) => {
  const { client } = await start(t)
  const told: string[] = []
  const seen: (number | undefined)[] = []
  const subscription = client.subscribeToStream('a', { fromRevision: START })
  subscription.on('caughtUp', () => told.push('caughtUp')).on('fellBehind', () => told.push('fellBehind'))
  subscription.on('data', ({ event }) => seen.push(numberOf(event)))
  await until(t, 'it has caught up', () => told.length === 1)
  subscription.pause()
  const wide = 'x'.repeat(2_000)
  for (let first = 0; first < 4_000; first += 400) {
    const events = some(400, first).map((event) => ({ ...event, data: { ...event.data, wide } }))
    await client.appendToStream('a', events as never)
  }
  await delay(100)
  t.ok(seen.length < 4_000, 'it was held back')
  subscription.resume()
  await until(t, 'all have come', () => seen.length === 4_000)
  t.same(
    seen,
    Array.from({ length: 4_000 }, (_, index) => index),
  )
  await until(t, 'it has caught up again', () => told.at(-1) === 'caughtUp')
  t.ok(told.includes('fellBehind'))
  await subscription.unsubscribe()
})

t.test('calls that are left are open no longer', async (t) => {
  const { server, client } = await start(t)
  const subscription = client.subscribeToAll({ fromPosition: START })
  await new Promise((resolve) => subscription.once('confirmation', resolve))
  t.equal(server.openCalls(), 1)
  await subscription.unsubscribe()
  await until(t, 'none is open', () => server.openCalls() === 0)
})

t.test('faults: lost answers, cut connections, hanging, a follower', async (t) => {
  const { server, client } = await start(t)
  const events = some(1)
  server.dropNextAppendResponses(1)
  await refused(t, client.appendToStream('a', events, { streamState: 'no_stream' }), UnavailableError)
  await until(t, 'it answers', () => answers(client))
  t.equal((await client.appendToStream('a', events, { streamState: 'no_stream' })).nextExpectedRevision, 0n)
  const failed = new Promise((_, reject) => {
    const subscription = client.subscribeToAll({ fromPosition: START })
    subscription.on('error', reject).once('confirmation', () => server.cutConnections())
  })
  await refused(t, failed, UnavailableError)
  await until(t, 'it answers', () => answers(client))
  server.hang(true)
  await refused(t, client.deleteStream('a', { deadline: 100 }), DeadlineExceededError)
  server.hang(false)
  server.asFollower({ host: '127.0.0.1', port: 2113 })
  const { leader } = await refused(t, client.deleteStream('a'), NotLeaderError)
  t.same(leader, { address: '127.0.0.1', port: 2113 })
  const group = persistentSubscriptionToAllSettingsFromDefaults()
  await refused(t, connect(t, server.url).createPersistentSubscriptionToAll('g', group), NotLeaderError)
})

t.test('with TLS calls need credentials', async (t) => {
  const { tls, caFile } = await certificate(t)
  const { server } = await start(t, { tls })
  const url = (user: string) => `kurrentdb://${user}localhost:${server.port}?tls=true&tlsCaFile=${caFile}`
  const known = connect(t, url('admin:changeit@'))
  await known.appendToStream('a', some(1))
  t.same(await numbers(known.readStream('a')), [0])
  await t.rejects(connect(t, url('admin:wrong@')).deleteStream('a'), { code: status.UNAUTHENTICATED })
  await refused(t, connect(t, url('')).deleteStream('a'), AccessDeniedError)
})

type Joined = PersistentSubscriptionToAll | PersistentSubscriptionToStream

/** Takes what comes, to be answered by the test. */
function collect(subscription: Joined) {
  const taken: { number: number | undefined; retryCount: number; stream: string; answer: never }[] = []
  subscription.on('data', (resolved) => {
    const { event, retryCount } = resolved
    taken.push({ number: numberOf(event), retryCount, stream: event?.streamId ?? '', answer: resolved as never })
  })
  return taken
}

/** To be begun before the failure. */
const failed = <E extends Error>(t: Test, subscription: Joined, kind: abstract new (...values: never[]) => E) =>
  refused(t, new Promise((_, reject) => subscription.once('error', reject)), kind)

const confirmed = (subscription: Joined) =>
  new Promise((resolve, reject) => subscription.once('confirmation', resolve).once('error', reject))

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
        await until(t, `${name}: all have come`, () => taken.length === expected.length)
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
    messageTimeout: 300,
    maxRetryCount: 1,
  })
  const filter = streamNameFilter({ prefixes: ['a'] })
  await client.createPersistentSubscriptionToAll('g', settings, { filter })
  const joined = client.subscribeToPersistentSubscriptionToAll('g', { bufferSize: 4 })
  const taken = collect(joined)
  await client.appendToStream('a', some(6))
  await until(t, 'four are under way', () => taken.length === 4)
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
  await until(t, 'the others have come', () => taken.length === 7)
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
  await until(t, 'what was not answered comes again', () => taken.length === 8)
  t.match(taken[7], { number: 5, retryCount: 1 })
  await until(t, 'and is parked', async () => (await info()).stats.parkedMessageCount === 2n)
  await client.replayParkedMessagesToAll('g', { stopAt: 1 })
  await until(t, 'the first is replayed', () => taken.length === 9)
  t.match(taken[8], { number: 3, retryCount: 0 })
  await joined.ack(...taken.slice(8).map(({ answer }) => answer))
  await client.replayParkedMessagesToAll('g')
  await until(t, 'the second is replayed', () => taken.length === 10)
  await joined.ack(...taken.slice(9).map(({ answer }) => answer))
  await until(t, 'nothing is left', async () => {
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
    await until(t, 'all have come', () => taken.length === 25)
    t.equal((await client.getPersistentSubscriptionToAllInfo('g')).stats.lastCheckpointedEventPosition, undefined)
    for (const { answer } of taken) await joined.ack(answer)
    await until(t, 'there is a checkpoint', async () => {
      const { stats } = await client.getPersistentSubscriptionToAllInfo('g')
      return stats.lastCheckpointedEventPosition?.commit === position?.commit
    })
    await server.stop()
    await server.start()
    await until(t, 'it answers', () => answers(client))
    const again = collect(client.subscribeToPersistentSubscriptionToAll('g'))
    await until(t, 'what came after it comes again', () => again.length === 5)
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
  await until(t, 'it has them', () => left.length === 5)
  const other = collect(client.subscribeToPersistentSubscriptionToStream('a', 'g'))
  await leaving.unsubscribe()
  await until(t, 'the other has them', () => other.length === 5)
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
  await until(t, 'all have come', () => strategies.every((name) => total(name) === 80))
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
  await until(t, 'all have come', () => total('Pinned') + late.length === 160)
  t.ok(late.length >= 20, 'one who joins is given a share of the streams')
})
