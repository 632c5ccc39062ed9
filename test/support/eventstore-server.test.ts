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
  MaxAppendSizeExceededError,
  NotLeaderError,
  type Position,
  persistentSubscriptionToAllSettingsFromDefaults,
  START,
  StreamDeletedError,
  StreamNotFoundError,
  streamNameFilter,
  UnavailableError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client'
import t from 'tap'
import { certificate } from './certificate.ts'
import { answers, connect, numberOf, numbers, refused, some, start } from './eventstore-server-client.ts'
import { until } from './until.ts'

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
  await until('the server is back', () => answers(client))
  t.equal((await client.appendToStream('a', events, { streamState: 'no_stream' })).nextExpectedRevision, 1n)
  t.equal((await client.appendToStream('a', events, { streamState: 'any' })).nextExpectedRevision, 3n)
})

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
  await until('it has caught up', () => told.includes('caughtUp'))
  t.same(told, ['confirmation', 'checkpoint', 'checkpoint', 'event 0', 'event 1', 'checkpoint', 'caughtUp'])
  t.ok(
    checkpoints.every((commit, index) => index === 0 || commit > (checkpoints[index - 1] ?? 0n)),
    'rising',
  )
  await client.appendToStream('noise', some(32))
  await until('what matches nothing moves the checkpoint', () => checkpoints.length === 4)
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
  await until('it has caught up', () => told.length === 1)
  subscription.pause()
  const wide = 'x'.repeat(2_000)
  for (let first = 0; first < 4_000; first += 400) {
    const events = some(400, first).map((event) => ({ ...event, data: { ...event.data, wide } }))
    await client.appendToStream('a', events as never)
  }
  await delay(100)
  t.ok(seen.length < 4_000, 'it was held back')
  subscription.resume()
  await until('all have come', () => seen.length === 4_000)
  t.same(
    seen,
    Array.from({ length: 4_000 }, (_, index) => index),
  )
  await until('it has caught up again', () => told.at(-1) === 'caughtUp')
  t.ok(told.includes('fellBehind'))
  await subscription.unsubscribe()
})

t.test('calls that are left are open no longer', async (t) => {
  const { server, client } = await start(t)
  const subscription = client.subscribeToAll({ fromPosition: START })
  await new Promise((resolve) => subscription.once('confirmation', resolve))
  t.equal(server.openCalls(), 1)
  await subscription.unsubscribe()
  await until('none is open', () => server.openCalls() === 0)
})

t.test('faults: lost answers, cut connections, hanging, a follower', async (t) => {
  const { server, client } = await start(t)
  const events = some(1)
  server.dropNextAppendResponses(1)
  await refused(t, client.appendToStream('a', events, { streamState: 'no_stream' }), UnavailableError)
  await until('it answers', () => answers(client))
  t.equal((await client.appendToStream('a', events, { streamState: 'no_stream' })).nextExpectedRevision, 0n)
  const failed = new Promise((_, reject) => {
    const subscription = client.subscribeToAll({ fromPosition: START })
    subscription.on('error', reject).once('confirmation', () => server.cutConnections())
  })
  await refused(t, failed, UnavailableError)
  await until('it answers', () => answers(client))
  server.hang(true)
  await refused(t, client.deleteStream('a', { deadline: 100 }), DeadlineExceededError)
  server.hang(false)
  server.asFollower({ host: '127.0.0.1', port: 2113 })
  const { leader } = await refused(t, client.deleteStream('a'), NotLeaderError)
  t.same(leader, { address: '127.0.0.1', port: 2113 })
  const group = persistentSubscriptionToAllSettingsFromDefaults()
  await refused(t, connect(t, server.url).createPersistentSubscriptionToAll('g', group), NotLeaderError)
})

t.test('a node that is behind reads without what is newest', async (t) => {
  const { server, client } = await start(t)
  await client.appendToStream('a', some(2))
  const newest = await client.appendToStream('b', some(1))
  const position = newest.position as Position
  const seen: unknown[] = []
  server.fallBehind(2)
  t.same(await numbers(client.readStream('a')), [0])
  t.same(await numbers(client.readAll({ direction: 'backwards', fromPosition: END, maxCount: 1 })), [0])
  t.same(await numbers(client.readAll({ fromPosition: position })), [], 'past its end')
  await refused(t, numbers(client.readStream('b')), StreamNotFoundError)
  await refused(t, client.appendToStream('b', some(1), { streamState: 'no_stream' }), WrongExpectedVersionError)
  for (const fromPosition of [START, position] as const) {
    client.subscribeToAll({ fromPosition }).on('data', ({ event }) => seen.push(event?.streamId))
  }
  await until('the first', () => seen.length === 1)
  server.fallBehind(0)
  await until('all', () => seen.length === 3)
  await client.appendToStream('c', some(1))
  await until('the last', () => seen.length === 5)
  t.same(seen.toSorted(), ['a', 'a', 'b', 'c', 'c'], 'who began past the end is not sent what was before')
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
