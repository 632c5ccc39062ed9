/**
 * The KurrentDB adapter over real gRPC: the contract against the test server in both ways of appending, and against a real
 * server where TEST_EVENTSTORE_URL names one; then what only an adapter of a server has to do (the case's number leads).
 */

import { once } from 'node:events'
import { createServer, type ServerHttp2Session, type Settings } from 'node:http2'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../../eventstore/kurrentdb/event-store.ts'
import type { SubscriptionObserver } from '../../../eventstore/kurrentdb/subscription.ts'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import {
  AppendTooLarge,
  type EventStore,
  EventStoreUnavailable,
  GroupNotFound,
  StreamNotFound,
  WrongExpectedRevision,
} from '../../../eventstore/port.ts'
import {
  all,
  anEvent,
  caughtUp,
  datas,
  eventStoreContract,
  having,
  ids,
  pull,
  someEvents,
} from '../../contract/event-store.ts'
import { persistentSubscriptionContract } from '../../contract/persistent-subscriptions.ts'
import { certificate } from '../../support/certificate.ts'
import { startClock } from '../../support/clock.ts'
import { builtIn, startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { until, untilDone } from '../../support/until.ts'

const realServer = process.env.TEST_EVENTSTORE_URL

if (realServer) {
  t.test('contract: the server of TEST_EVENTSTORE_URL', async (t) => {
    await eventStoreContract(t, { open: () => openEventStore(realServer) })
    await persistentSubscriptionContract(t, { open: () => openEventStore(realServer) })
  })
}

t.test('contract: the test server', async (t) => {
  const server = await startEventStoreServer(t)
  await eventStoreContract(t, { open: () => openEventStore(server.url) })
})

// What a server lacks changes the cases of one kind: the others run against the whole one.
t.test('contract: the test server without BatchAppend', async (t) => {
  const server = await startEventStoreServer(t, { batchAppend: false })
  const open = () => openEventStore(server.url)
  await eventStoreContract(t, { open, flood: 250, only: ['appends', 'streams'] }) // each append is a call
  t.notOk(server.calls.batchAppend)
})

t.test('contract: a server before 23.10, which does not say that a subscription has caught up', async (t) => {
  const server = await startEventStoreServer(t, { caughtUp: false })
  await eventStoreContract(t, { open: () => openEventStore(server.url), only: ['subscriptions'] })
})

async function aServer(t: Test, observer: SubscriptionObserver = {}, options = {}) {
  const server = await startEventStoreServer(t, options)
  const store = openKurrentEventStore(server.url, observer)
  t.teardown(() => store.close())
  return { server, store }
}

const append = (store: EventStore, stream: string, count: number, first = 0) =>
  store.append(stream, someEvents(count, first), { expected: 'any' })

t.test('7: a conflict tells the true revision, in both ways of appending', async (t) => {
  for (const batchAppend of [true, false]) {
    const { store } = await aServer(t, {}, { batchAppend })
    await append(store, 'a', 6)
    const refused = store.append('a', someEvents(1), { expected: 2 })
    await t.rejects(refused, WrongExpectedRevision)
    await t.rejects(refused, { expected: 2, actual: 5, message: 'Stream "a" was expected at 2 but is at 5.' })
  }
})

t.test('11: appends of an instance are pipelined on 4 calls', builtIn("it counts the server's calls"), async (t) => {
  const { server, store } = await aServer(t)
  await Promise.all(Array.from({ length: 200 }, (_, index) => append(store, `s${index}`, 1)))
  t.equal(server.calls.batchAppend, 4)
})

t.test(
  '22, 23: an append goes in several frames where it is large, and one that is too large breaks no other',
  async (t) => {
    const { store } = await aServer(t)
    await append(store, 'a', 1)
    const wide = (length: number) => anEvent('x'.repeat(length))
    const megabyte = 1024 * 1024
    const others: Promise<unknown>[] = []
    for (const events of [
      Array.from({ length: 20 }, () => wide(megabyte)),
      [anEvent(), wide(20 * megabyte), anEvent()],
    ]) {
      const refused = store.append('a', events, { expected: 0 })
      for (let index = 0; index < 10; index++) others.push(append(store, `other-${others.length}`, 1))
      await t.rejects(refused, AppendTooLarge)
    }
    await Promise.all(others)
    t.equal((await append(store, 'a', 1)).revision, 1)
  },
)

t.test('18, 21: an append whose answer is lost is repeated if that is safe, and else not', async (t) => {
  for (const batchAppend of [true, false]) {
    const { server, store } = await aServer(t, {}, { batchAppend })
    await append(store, 'a', 1)
    server.dropNextAppendResponses(1)
    t.equal((await store.append('a', someEvents(2, 1), { expected: 0 })).revision, 2, 'an exact revision')
    server.dropNextAppendResponses(1)
    t.equal((await store.append('b', someEvents(1), { expected: 'no_stream' })).revision, 0, 'no_stream')
    server.dropNextAppendResponses(1)
    const events = someEvents(1, 3)
    await t.rejects(store.append('a', events, { expected: 'any' }), EventStoreUnavailable, 'any')
    t.same(datas(await all(store.readStream('a'))), [0, 1, 2, 3], 'once each')
    t.equal((await store.append('a', events, { expected: 2 })).revision, 3, 'repeated by its owner')
    t.equal((await all(store.readStream('b'))).length, 1)
  }
})

/** The server's clock differs from that of its client, whose process this is. */
function setServerAhead(t: Test, ms: number): void {
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() - ms, configurable: true })
}

t.test('23: an append is written by a server whose clock is ahead', async (t) => {
  setServerAhead(t, 3_600_000)
  const { store } = await aServer(t)
  t.equal((await append(store, 'a', 1)).revision, 0)
})

t.test(
  '24, 32: events larger than an append can be, and malformed JSON, are read',
  builtIn("it writes past the server's limits"),
  async (t) => {
    const { server, store } = await aServer(t)
    server.appendRaw('large', [{ type: 'Large', data: JSON.stringify('x'.repeat(15 * 1024 * 1024)) }])
    const [large] = await all(store.readStream('large'))
    t.equal(String(large?.data).length, 15 * 1024 * 1024)
    server.appendRaw('broken', [
      { type: 'Broken', data: '{"a":', metadata: '{"b"' },
      { type: 'Fine', data: '{"a":1}' },
    ])
    const broken = await all(store.readStream('broken'))
    t.match(broken, [{ data: '{"a":', metadata: '{"b"', isJson: true }, { data: { a: 1 } }])
    t.same(ids(await all(store.readAll({ filter: { streamPrefixes: ['broken'] } }))), ids(broken))
  },
)

t.test('a server may send a megabyte of events ahead of their reader, and compresses none', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const store = openKurrentEventStore(`kurrentdb://127.0.0.1:${(server.address() as AddressInfo).port}?tls=false`)
  const sessions: ServerHttp2Session[] = []
  server.on('session', (session) => sessions.push(session))
  t.teardown(async () => {
    await store.close()
    for (const session of sessions) session.destroy()
    server.close()
  })
  const windows = new Promise<Settings>((resolve) => server.on('session', (s) => s.once('remoteSettings', resolve)))
  const asked = once(server, 'stream')
  store.ping().catch(() => {}) // this server says nothing
  t.equal((await windows).initialWindowSize, 1024 * 1024)
  const [, headers] = await asked
  t.equal(headers['grpc-accept-encoding'], 'identity')
})

t.test(
  '29: a read that is left early is ended at the server',
  builtIn('it counts the calls that are open'),
  async (t) => {
    const { server, store } = await aServer(t)
    for (let index = 0; index < 5; index++) await append(store, 'a', 1000, index * 1000)
    const idle = server.openCalls()
    for (let round = 0; round < 20; round++) {
      for await (const _ of store.readStream('a')) break
      for await (const _ of store.readAll()) break
    }
    await t.rejects(all(store.readStream('missing')), StreamNotFound)
    await until('no call is left', () => server.openCalls() <= idle)
  },
)

t.test('31: a link is read as the event that it is', async (t) => {
  const { store } = await aServer(t)
  await append(store, 'a', 1)
  const link = { ...anEvent(new TextEncoder().encode('0@a'), '$>') }
  const gone = { ...anEvent(new TextEncoder().encode('7@gone'), '$>') }
  await store.append('links', [link, gone], { expected: 'any' })
  t.same(
    (await all(store.readStream('links'))).map(({ type, stream }) => `${type} ${stream}`),
    ['$> links', '$> links'],
  )
})

t.test('43: a subscription that drops goes on where it was, and says so', async (t) => {
  const told: string[] = []
  const { server, store } = await aServer(t, {
    onDrop: (reason) => told.push(`drop: ${reason}`),
    onResume: () => told.push('resume'),
  })
  const subscriptions = [
    store.subscribeToAll({ from: 'start', filter: { streamPrefixes: ['a'] } }),
    store.subscribeToAll({ from: 'end' }),
    store.subscribeToStream('a', { from: 'start' }),
  ]
  for (const subscription of subscriptions) await pull(subscription, caughtUp)
  const seen = subscriptions.map(() => [] as unknown[])
  const consumers = subscriptions.map(async (subscription, index) => {
    for await (const { events } of subscription) seen[index]?.push(...datas(events))
  })
  const expected: number[] = []
  for (let round = 0; round < 6; round++) {
    await append(store, 'a', 10, round * 10).catch(async () => {
      const { length } = await all(store.readStream('a')).catch(() => [])
      if (length < (round + 1) * 10) await append(store, 'a', 10, round * 10)
    })
    for (let index = 0; index < 10; index++) expected.push(round * 10 + index)
    if (round === 2) {
      await server.stop()
      await delay(100)
      await server.start()
      await delay(300)
    } else server.cutConnections()
    await delay(20)
  }
  await until('everything has come', () => seen.every(({ length }) => length >= expected.length))
  for (const numbers of seen) t.same(numbers, expected, 'each once, in order')
  t.ok(told.some((line) => line.startsWith('drop: The event store')))
  t.ok(told.includes('resume'))
  for (const subscription of subscriptions) await subscription.unsubscribe()
  await Promise.all(consumers)
})

t.test('43: a subscription begun while the server is away starts when it comes', async (t) => {
  const { server, store } = await aServer(t)
  await append(store, 'a', 3)
  await server.stop()
  const subscription = store.subscribeToAll({ from: 'start' })
  const pulled = pull(subscription, having(3))
  await delay(300)
  await server.start()
  t.same(datas((await pulled).events), [0, 1, 2])
  await subscription.unsubscribe()
})

t.test('43: leaving a subscription while the server is away does not wait for it', async (t) => {
  const { server, store } = await aServer(t)
  const subscription = store.subscribeToAll({ from: 'start' })
  await pull(subscription, caughtUp)
  const next = subscription[Symbol.asyncIterator]().next()
  await server.stop()
  await delay(100)
  await subscription.unsubscribe()
  t.same(await next, { value: undefined, done: true })
})

t.test('57: connection strings', async (t) => {
  const { server } = await aServer(t)
  for (const scheme of ['esdb', 'kurrentdb', 'kurrent', 'kdb', 'esdb+discover', 'kurrentdb+discover']) {
    const store = await openEventStore(server.url.replace(/^\w+/, scheme))
    await append(store, scheme, 1)
    t.equal((await all(store.readStream(scheme))).length, 1, scheme)
    await store.close()
  }
  const gossiping = await openEventStore(`esdb://127.0.0.1:1,127.0.0.1:${server.port}?tls=false`)
  await append(gossiping, 'gossip', 1)
  await gossiping.close()
  const refused: Record<string, RegExp> = {
    'esdb://': /host 1 is not HOST or HOST:PORT/,
    'kurrentdb://host:port': /host 1 is not/,
    'kurrentdb://host:99999': /is not HOST or HOST:PORT/,
    'kurrentdb://host?tls=no': /option tls is "no"; accepted: true or false/,
    'kurrentdb://host?colour=red': /option "colour" is unknown; there are tls,/,
    'kurrentdb://user:hunter2:x@host': /not username:password/,
    'kurrentdb://user:hunter2@host,ho st': /host 2 is not/,
    'kurrentdb://user:hunter2?tail@host': /host 1 is not/,
    'kurrentdb://user:1?hunter2@host': /option after the \? is unknown/,
    'kurrentdb://user:hunter2%@host': /a % stands without two hexadecimal digits/,
    'kurrentdb://host?tlsCaFile=/none.pem': /option tlsCAFile: \/none\.pem can't be read \(ENOENT\)/,
    'kurrentdb://host?userCertFile=/dev/null': /userCertFile and userKeyFile go together/,
    'http://host': /accepted: sqlite:PATH, kurrentdb:/,
    'sqlite:': /accepted: sqlite:PATH, kurrentdb:/,
  }
  for (const [url, message] of Object.entries(refused)) {
    await t.rejects(openEventStore(url), { name: 'ConfigurationError', message }, url)
    await t.rejects(openEventStore(url), { message: /^EVENTSTORE_URL: (?!.*hunter2)/ }, 'without the password')
  }
})

t.test('57: by IPv6', async (t) => {
  const { server } = await aServer(t)
  const proxy = createTcpServer((socket) => {
    const upstream = connect(server.port, '127.0.0.1')
    socket.pipe(upstream).pipe(socket)
    for (const each of [socket, upstream]) each.on('error', () => {})
  })
  const listens = await new Promise<boolean>((resolve) => {
    proxy.once('error', () => resolve(false)).listen(0, '::1', () => resolve(true))
  })
  t.teardown(() => proxy.close())
  if (!listens) return t.comment('no IPv6 here')
  const store = await openEventStore(`kurrentdb://[::1]:${(proxy.address() as AddressInfo).port}?tls=false`)
  await append(store, 'a', 1)
  t.equal((await all(store.readStream('a'))).length, 1)
  await store.close()
})

t.test('58: from a follower to the leader', builtIn('it makes one server the follower of another'), async (t) => {
  const leader = await startEventStoreServer(t)
  const follower = await startEventStoreServer(t)
  follower.asFollower({ host: '127.0.0.1', port: leader.port })
  const store = await openEventStore(follower.url)
  t.teardown(() => store.close())
  t.equal((await store.append('a', someEvents(2), { expected: 'no_stream' })).revision, 1)
  t.equal((await all(store.readStream('a'))).length, 2)
  const direct = await openEventStore(leader.url)
  t.equal((await all(direct.readStream('a'))).length, 2, 'it is the leader who has them')
  await direct.close()
})

t.test('58: a server that comes back is used again', async (t) => {
  const { server, store } = await aServer(t)
  await append(store, 'a', 1)
  await server.stop()
  const elapsed = startClock(t)
  const uses: Record<string, () => Promise<unknown>> = {
    append: () => store.append('a', someEvents(1, 1), { expected: 0 }),
    readStream: () => all(store.readStream('a')),
    readAll: () => all(store.readAll()),
    ping: () => store.ping(),
    getStreamMetadata: () => store.getStreamMetadata('a'),
    deleteStream: () => store.deleteStream('a', { expected: 'any' }),
  }
  for (const [name, use] of Object.entries(uses)) await t.rejects(use(), EventStoreUnavailable, name)
  t.ok(elapsed() < 20_000)
  await server.start()
  await untilDone('it answers', () => store.ping())
  t.equal((await store.append('a', someEvents(1, 1), { expected: 0 })).revision, 1)
})

t.test('58: a server that is away at first is used when it comes', async (t) => {
  for (const batchAppend of [true, false]) {
    const { server, store } = await aServer(t, {}, { batchAppend })
    await server.stop()
    await t.rejects(append(store, 'a', 1), EventStoreUnavailable)
    await t.rejects(store.persistentSubscriptions?.info('g') as Promise<unknown>, EventStoreUnavailable)
    await server.start()
    await untilDone('it answers', () => store.ping())
    t.equal((await append(store, 'a', 2)).revision, 1)
    await t.rejects(store.persistentSubscriptions?.info('g') as Promise<unknown>, GroupNotFound)
  }
})

t.test('59: a server that hangs, its clock behind, is given up within 5 s and writes nothing later', async (t) => {
  setServerAhead(t, -3_600_000)
  const { server, store } = await aServer(t)
  await append(store, 'a', 1)
  server.hang(true)
  const elapsed = startClock(t)
  const event = someEvents(1, 1)
  await Promise.all(
    [
      store.append('a', event, { expected: 0 }),
      all(store.readStream('a')),
      all(store.readAll()),
      store.ping(),
      store.getStreamMetadata('a'),
      store.tombstoneStream('b', { expected: 'any' }),
      store.persistentSubscriptions?.info('g'),
    ].map((use) => t.rejects(use as Promise<unknown>, EventStoreUnavailable)),
  )
  t.ok(elapsed() < 5_000)
  server.hang(false)
  t.equal((await all(store.readStream('a'))).length, 1)
  t.equal((await store.append('a', event, { expected: 0 })).revision, 1)
})

t.test('57, 60: over TLS with the credentials of the connection string, and not with others', async (t) => {
  const { tls, caFile } = await certificate(t)
  const server = await startEventStoreServer(t, { tls })
  const open = (user: string, more = '') =>
    openEventStore(`kurrentdb${more}://${user}localhost:${server.port}?tls=true&tlsCaFile=${caFile}`)
  for (const known of [await open('admin:changeit@'), await open('admin:changeit@', '+discover')]) {
    t.teardown(() => known.close())
    const subscription = known.subscribeToAll({ from: 'end' })
    await pull(subscription, caughtUp)
    const events = someEvents(1)
    await known.append('a', events, { expected: 'any' })
    t.same(ids((await pull(subscription, having(1))).events), ids(events))
    t.same(ids(await all(known.readStream('a', { direction: 'backwards', maxCount: 1 }))), ids(events))
    await subscription.unsubscribe()
    await known.setStreamMetadata('a', { $maxCount: 1 })
    const group = crypto.randomUUID()
    await known.persistentSubscriptions?.create(group, { filter: { streamPrefixes: ['a'] }, from: 'start' })
    const joined = known.persistentSubscriptions?.subscribe(group, { bufferSize: 1 })
    if (joined) for await (const _ of joined) break
    await joined?.unsubscribe()
    await known.deleteStream('a', { expected: 'any' })
  }
  for (const user of ['admin:wrong@', '']) {
    const other = await open(user)
    t.teardown(() => other.close())
    const uses: Promise<unknown>[] = [append(other, 'a', 1), all(other.readStream('a')), other.ping()]
    for (const use of uses) {
      await t.rejects(
        use as Promise<void>,
        { name: 'EventStoreUnavailable', message: /refuses these credentials/ },
        user,
      )
    }
  }
})

t.test('a server that can not be reached: the reason, the address, and what to check', async (t) => {
  const [{ tls, caFile }, { caFile: otherCa }] = await Promise.all([certificate(t), certificate(t)])
  const { server: plain } = await aServer(t)
  const secure = await startEventStoreServer(t, { tls })
  const listening = async (onConnection: (socket: Socket) => void, host = '127.0.0.1') => {
    const server = createTcpServer(onConnection).listen(0, host)
    await once(server, 'listening')
    t.teardown(() => void server.close())
    return (server.address() as AddressInfo).port
  }
  const closing = await listening((socket) => socket.destroy())
  const web = await listening((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const elsewhere = await listening((socket) => {
    const onward = connect(secure.port, '127.0.0.1').on('error', () => socket.destroy())
    socket
      .on('error', () => onward.destroy())
      .pipe(onward)
      .pipe(socket)
  }, '::1')
  const reasons: readonly (readonly [string, RegExp])[] = [
    [`localhost:${plain.port}`, /localhost:\d+ does not speak TLS; check the port, or say tls=false/],
    [`localhost:${secure.port}?tls=false`, /closes the connection; check the port, and remove tls=false/],
    [`localhost:${secure.port}`, /is not signed by a known authority; name it by tlsCAFile/],
    [`localhost:${secure.port}?tlsCAFile=${otherCa}`, /is not signed by a known authority/],
    [`[::1]:${elsewhere}?tlsCAFile=${caFile}`, /the certificate of \[::1\]:\d+ is for other names/],
    [`localhost:1?tls=false`, /nothing listens at localhost:1; check host and port/],
    [`name.invalid?tls=false`, /the name of name\.invalid:2113 does not resolve; check the host/],
    [`127.0.0.1:${closing}?tls=false`, /closes the connection/],
    [`127.0.0.1:${closing}`, /closes the connection/],
    [`127.0.0.1:${web}?tls=false`, /does not speak gRPC; check the port/],
    [`localhost:1,localhost:2?tls=false`, /(nothing listens at localhost:[12]; check host and port(; |\.)){2}/],
  ]
  await Promise.all(
    reasons.map(async ([url, message]) => {
      const store = await openEventStore(`kurrentdb://admin:hunter2@${url}`)
      const reason = () => store.ping().catch((error: Error) => error)
      let error = (await reason()) as Error
      for (let i = 0; i < 3 && !message.test(error.message); i++) error = (await reason()) as Error // on a busy machine
      t.equal(error.name, 'EventStoreUnavailable', url)
      t.match(error.message, message, url)
      t.notMatch(error.message, /hunter2/, url)
      await store.close()
    }),
  )
})

t.test('60: without TLS credentials are of no account', async (t) => {
  const { server } = await aServer(t)
  const store = await openEventStore(server.url.replace('://', '://admin:changeit@'))
  await append(store, 'a', 1)
  await store.close()
})
