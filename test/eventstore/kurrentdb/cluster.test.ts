/**
 * A cluster that loses its leader, its quorum, its patience: the adapter recovers within seconds of it, loses nothing that
 * was acknowledged, and writes nothing for who was told that it was refused. On the test server's three nodes, and on three
 * of the program that TEST_EVENTSTORE_SERVER names.
 */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../../eventstore/kurrentdb/event-store.ts'
import {
  type EventStore,
  EventStoreUnavailable,
  InvalidArgument,
  LogReplaced,
  type NewEvent,
  StreamNotFound,
} from '../../../eventstore/port.ts'
import { all, anEvent, datas, someEvents } from '../../contract/event-store.ts'
import { startClock } from '../../support/clock.ts'
import {
  type ClusterNode,
  type EventStoreCluster,
  startEventStoreCluster,
} from '../../support/eventstore-server/cluster.ts'
import { builtIn, startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { until, untilDone } from '../../support/until.ts'

// Most of it is waiting; three real nodes have enough to do.
t.jobs = process.env.TEST_EVENTSTORE_SERVER ? 1 : 4

const CLIENTS = 4
/** Within seconds, where the machine has the time: the adapter that it is about did not recover at all. */
const RECOVERED_MS = 40_000
const unhandled: unknown[] = []
process.on('unhandledRejection', (reason) => unhandled.push(reason))

interface Load {
  /** Milliseconds from now to the next append that is acknowledged, in each client. */
  recovered(): Promise<number>
  /** Ends it and compares the log with what each client was told. */
  check(t: Test): Promise<void>
}

/** Clients that append to a stream each, at exact revisions, as a command handler does. */
function load(t: Test, store: EventStore): Load {
  const run = crypto.randomUUID()
  const ending = new AbortController()
  const listeners = new Set<(client: number) => void>()
  const acknowledged = Array.from({ length: CLIENTS }, () => [] as string[])
  const refused = Array.from({ length: CLIENTS }, () => new Set<string>())
  t.teardown(() => ending.abort())

  async function client(index: number): Promise<void> {
    const stream = `load-${run}-${index}`
    let expected: number | 'no_stream' = 'no_stream'
    let [event] = someEvents(1) as [NewEvent]
    while (!ending.signal.aborted) {
      try {
        expected = (await store.append(stream, [event], { expected })).revision
        acknowledged[index]?.push(event.id)
        for (const listener of listeners) listener(index)
        event = anEvent()
      } catch (error) {
        if (!(error instanceof EventStoreUnavailable)) throw error
        refused[index]?.add(event.id) // the outcome is unknown: the same again
      }
      await delay(20)
    }
  }
  const clients = Array.from({ length: CLIENTS }, (_, index) => client(index))

  return {
    async recovered() {
      const began = Date.now()
      const missing = new Set(clients.keys())
      await new Promise<void>((resolve) => {
        const listener = (index: number) => {
          missing.delete(index)
          if (missing.size > 0) return
          listeners.delete(listener)
          resolve()
        }
        listeners.add(listener)
      })
      return Date.now() - began
    },
    async check(t) {
      t.same(unhandled, [], 'no rejection was left unhandled')
      ending.abort()
      await Promise.all(clients)
      for (const [index, ids] of acknowledged.entries()) {
        t.ok(ids.length > 0)
        const written = (await all(store.readStream(`load-${run}-${index}`))).map(({ id }) => id)
        // The last one may have been refused, and written all the same: the client has ended before it asked again.
        const last = written.at(-1) ?? ''
        if (written.length === ids.length + 1 && refused[index]?.has(last)) written.pop()
        t.same(written, ids, `client ${index}: all that was acknowledged, once each, in order`)
      }
    },
  }
}

async function aCluster(t: Test): Promise<{ readonly cluster: EventStoreCluster; readonly store: EventStore }> {
  const cluster = await startEventStoreCluster(t)
  const store = openKurrentEventStore(cluster.url)
  t.teardown(() => store.close())
  return { cluster, store }
}

const others = (cluster: EventStoreCluster, node: ClusterNode) => cluster.nodes.filter((each) => each !== node)

t.test('the leader is killed, nine times, under load', async (t) => {
  const { cluster, store } = await aCluster(t)
  const running = load(t, store)
  await running.recovered()
  for (let kill = 1; kill <= 9; kill++) {
    const leader = await cluster.leader()
    await leader.stop()
    await cluster.leader()
    const took = await running.recovered()
    t.ok(took < RECOVERED_MS, `${took} ms after there is a new leader`)
    t.comment(`recovered ${took} ms after the election`)
    await leader.start()
    await cluster.whole()
  }
  await running.check(t)
})

t.test('no quorum for 15 s', async (t) => {
  const { cluster, store } = await aCluster(t)
  const running = load(t, store)
  await running.recovered()
  const leader = await cluster.leader()
  for (const node of others(cluster, leader)) await node.stop()
  await delay(15_000)
  for (const node of others(cluster, leader)) await node.start()
  await cluster.leader()
  const took = await running.recovered()
  t.comment(`recovered ${took} ms after the election`)
  t.ok(took < RECOVERED_MS, `${took} ms after there is a leader`)
  await running.check(t)
})

t.test('a leader that hangs is left, and harmless when it goes on', async (t) => {
  const { cluster, store } = await aCluster(t)
  const running = load(t, store)
  await running.recovered()
  const leader = await cluster.leader()
  leader.hang(true)
  await cluster.leader()
  const took = await running.recovered()
  t.comment(`recovered ${took} ms after the election`)
  t.ok(took < RECOVERED_MS, `${took} ms after there is a new leader`)
  await delay(2_000)
  leader.hang(false)
  await delay(2_000)
  t.ok((await running.recovered()) < RECOVERED_MS)
  await running.check(t)
})

t.test('whoever follows the log goes on: at a new leader, after an outage', async (t) => {
  const { cluster, store } = await aCluster(t)
  const prefix = `followed-${crypto.randomUUID()}`
  const filter = { streamPrefixes: [prefix] }
  const groups = store.persistentSubscriptions
  if (!groups) return t.fail('a server has groups')
  await groups.create(prefix, { filter, from: 'start' })
  const subscription = store.subscribeToAll({ from: 'start', filter })
  const stream = store.subscribeToStream(prefix, { from: 'start' })
  const group = groups.subscribe(prefix, { bufferSize: 10 })
  const seen = { all: [] as number[], stream: [] as number[], group: new Set<number>() }
  const consumers = [
    (async () => {
      for await (const { events } of subscription) seen.all.push(...(datas(events) as number[]))
    })(),
    (async () => {
      for await (const { events } of stream) seen.stream.push(...(datas(events) as number[]))
    })(),
    (async () => {
      for await (const deliveries of group) {
        for (const { event } of deliveries) seen.group.add(event.data as number)
        await group.ack(deliveries)
      }
    })(),
  ]
  let count = 0
  async function appended(after: string): Promise<void> {
    const event = someEvents(1, count)
    await untilDone(`an append ${after}`, () =>
      store.append(prefix, event, { expected: count === 0 ? 'no_stream' : count - 1 }),
    )
    count++
    await until(`everyone has it ${after}`, () =>
      [seen.all.length, seen.stream.length, seen.group.size].every((length) => length >= count),
    )
  }
  await appended('at first')
  const first = await cluster.leader()
  await first.stop()
  await appended('after the death of the leader')
  await first.start()
  await cluster.whole()
  const second = await cluster.leader()
  second.hang(true)
  await cluster.leader()
  await appended('while the leader hangs')
  second.hang(false)
  await cluster.whole()
  const [third] = others(cluster, await cluster.leader())
  for (const node of others(cluster, third as ClusterNode)) await node.stop()
  await delay(2_000)
  for (const node of others(cluster, third as ClusterNode)) await node.start()
  await cluster.leader()
  await appended('after a time without quorum')
  const expected = Array.from({ length: count }, (_, index) => index)
  t.same(seen.all, expected)
  t.same(seen.stream, expected)
  t.same([...seen.group].sort(), expected)
  for (const each of [subscription, stream, group]) await each.unsubscribe()
  await Promise.all(consumers)
})

t.test('whoever follows the log waits for a node that is behind', builtIn('it is behind'), async (t) => {
  const server = await startEventStoreServer(t)
  for (const url of [server.url.replace('://', '+discover://'), `${server.url}&nodePreference=follower`]) {
    const store = openKurrentEventStore(url)
    t.teardown(() => store.close())
    const stream = `behind-${crypto.randomUUID()}`
    const subscription = store.subscribeToAll({ from: 'start', filter: { streamPrefixes: [stream] } })
    const seen: unknown[] = []
    const following = (async () => {
      for await (const { events } of subscription) seen.push(...datas(events))
    })()
    await store.append(stream, someEvents(3), { expected: 'no_stream' })
    await until('they are seen', () => seen.length === 3)
    server.fallBehind(2)
    const reads = () => server.calls.read ?? 0
    const before = reads()
    server.cutConnections()
    await Promise.race([following, until('it has looked several times', () => reads() > before + 5)])
    server.fallBehind(0)
    await store.append(stream, someEvents(1, 3), { expected: 2 })
    await Promise.race([following, until('it goes on', () => seen.length === 4)])
    t.same(seen, [0, 1, 2, 3])
    await subscription.unsubscribe()
    await following
  }
})

t.test('a read that is cut off fails where it has begun: nothing comes twice', async (t) => {
  const { cluster, store } = await aCluster(t)
  const stream = `cut-${crypto.randomUUID()}`
  const padding = 'x'.repeat(10_000)
  // More than a server sends ahead.
  for (let revision = -1; revision < 299; revision += 75) {
    const events = Array.from({ length: 75 }, () => ({ ...anEvent(), data: { padding } }))
    await store.append(stream, events, { expected: revision === -1 ? 'no_stream' : revision })
  }
  const seen: number[] = []
  await t.rejects(async () => {
    for await (const { revision } of store.readStream(stream)) {
      seen.push(revision)
      if (revision === 0) await (await cluster.leader()).stop()
    }
  }, EventStoreUnavailable)
  t.same(seen, [...seen.keys()])
})

t.test(
  'whoever follows a log that is another one after an outage is told',
  builtIn('its log is replaced'),
  async (t) => {
    const server = await startEventStoreServer(t)
    const store = openKurrentEventStore(server.url)
    t.teardown(() => store.close())
    await store.append('a', someEvents(3), { expected: 'no_stream' })
    const records = [...server.log.records]
    const [, , newest] = await all(store.readAll())
    for (const [what, replaced] of Object.entries({
      'an older state': records.slice(0, 2),
      'other events': records.map((record) => ({ ...record, id: crypto.randomUUID() })),
    })) {
      server.log.rewrite(records)
      const subscription = store.subscribeToAll({ from: 'start' })
      const following = (async () => {
        let seen = 0
        for await (const { events } of subscription) {
          seen += events.length
          if (seen < 3) continue
          await server.stop()
          server.log.rewrite(replaced)
          await server.start()
        }
      })()
      await t.rejects(following, LogReplaced, what)
    }
    server.log.rewrite(records)
    server.fallBehind(2)
    const from = newest?.position ?? 'end'
    await t.rejects(all(store.readAll({ from })), InvalidArgument, 'a leader knows where the log ends')
    const follower = openKurrentEventStore(`${server.url}&nodePreference=follower`)
    t.teardown(() => follower.close())
    t.same(await all(follower.readAll({ from })), [], 'a follower may not have that much yet')
    let reads = server.calls.read ?? 0
    Object.defineProperty(server.calls, 'read', {
      get: () => reads,
      set(count: number) {
        reads = count
        setImmediate(() => server.fallBehind(0))
      },
    })
    t.equal((await all(follower.readAll({ from }))).length, 1, 'it catches up after the first look')
  },
)

t.test('begun with no node, the adapter is there when a node is; what it refused is never written', async (t) => {
  const cluster = await startEventStoreCluster(t)
  for (const node of cluster.nodes) await node.stop()
  const stream = `begun-${crypto.randomUUID()}`
  const [{ port }] = cluster.nodes as [ClusterNode]
  const urls = [
    cluster.url,
    cluster.url.replace('://', '+discover://'),
    `${cluster.url}&maxDiscoverAttempts=1&discoveryInterval=50&gossipTimeout=1`,
    `kurrentdb://127.0.0.1:${port}?tls=false`,
  ]
  const stores = urls.map((url) => openKurrentEventStore(url))
  t.teardown(() => Promise.all(stores.map((store) => store.close())))
  for (let round = 0; round < 2; round++) {
    await Promise.all(
      stores.map(async (store) => {
        await t.rejects(store.append(stream, someEvents(1), { expected: 'any' }), EventStoreUnavailable)
        await t.rejects(store.ping(), EventStoreUnavailable)
      }),
    )
  }
  for (const node of cluster.nodes) await node.start()
  await cluster.whole()
  for (const [index, store] of stores.entries()) {
    await untilDone(`an append by ${urls[index]}`, () =>
      store.append(`${stream}-${index}`, someEvents(1), { expected: 'any' }),
    )
    await t.rejects(all(store.readStream(stream)), StreamNotFound, 'nothing went out later')
  }
})

t.test('what was refused because the node hung is not written when it goes on', async (t) => {
  const { cluster, store } = await aCluster(t)
  const stream = `hung-${crypto.randomUUID()}`
  await store.append(stream, someEvents(1), { expected: 'no_stream' })
  for (const node of cluster.nodes) node.hang(true)
  await t.rejects(store.append(stream, someEvents(1, 1), { expected: 'any' }), EventStoreUnavailable)
  await t.rejects(store.append(stream, someEvents(1, 2), { expected: 0 }), EventStoreUnavailable)
  for (const node of cluster.nodes) node.hang(false)
  await cluster.leader()
  await untilDone('an append', () => store.append(stream, someEvents(1, 3), { expected: 0 }))
  t.same(datas(await all(store.readStream(stream))), [0, 3])
})

t.test('nor by a node that was slow, and whose connection holds', async (t) => {
  const server = await startEventStoreServer(t)
  const store = openKurrentEventStore(`${server.url}&defaultDeadline=500`)
  t.teardown(() => store.close())
  const stream = `slow-${crypto.randomUUID()}`
  const [first, last] = [someEvents(1), someEvents(1, 2)]
  await untilDone('an append', () => store.append(stream, first, { expected: 'no_stream' }))
  let disconnects = 0
  store.onDisconnect?.(() => disconnects++)
  server.hang(true)
  await t.rejects(store.append(stream, someEvents(1, 1), { expected: 'any' }), EventStoreUnavailable)
  server.hang(false)
  await untilDone('an append', () => store.append(stream, last, { expected: 0 }))
  t.same(datas(await all(store.readStream(stream))), [0, 2])
  t.equal(disconnects, 0)
})

t.test('nor by a node that goes on just before it is refused', async (t) => {
  const server = await startEventStoreServer(t)
  const store = openKurrentEventStore(`${server.url}&defaultDeadline=1000`)
  t.teardown(() => store.close())
  const stream = `just-${crypto.randomUUID()}`
  const events = someEvents(3)
  const append = (number: number) => store.append(stream, [events[number] as NewEvent], { expected: 'any' })
  await untilDone('an append', () => append(0))
  server.hang(true)
  const refused = t.rejects(append(1), EventStoreUnavailable)
  await delay(970)
  server.hang(false)
  await refused
  await untilDone('an append', () => append(2))
  t.same(datas(await all(store.readStream(stream))), [0, 2])
})

t.test('a node that hangs does not hold up who looks for the leader', async (t) => {
  const cluster = await startEventStoreCluster(t)
  await cluster.whole()
  const [follower] = others(cluster, await cluster.leader()) as [ClusterNode]
  follower.hang(true)
  for (let round = 0; round < 5; round++) {
    const store = openKurrentEventStore(cluster.url)
    const elapsed = startClock(t)
    await store.append(`looked-${crypto.randomUUID()}`, someEvents(1), { expected: 'no_stream' })
    t.ok(elapsed() < 2_000)
    await store.close()
  }
})

t.test('by a follower alone: what needs the leader goes there', async (t) => {
  const cluster = await startEventStoreCluster(t)
  const [{ port }] = others(cluster, await cluster.leader()) as [ClusterNode]
  const stream = `alone-${crypto.randomUUID()}`
  for (const more of ['', '&nodePreference=follower', '&nodePreference=random']) {
    const store = openKurrentEventStore(`kurrentdb://127.0.0.1:${port}?tls=false${more}`)
    const group = `${stream}${more}`
    await store.append(group, someEvents(2), { expected: 'no_stream' })
    await until('it is read', async () => {
      try {
        return (await all(store.readStream(group))).length === 2
      } catch (error) {
        if (error instanceof StreamNotFound) return false // the follower has not heard of it yet
        throw error
      }
    })
    await store.persistentSubscriptions?.create(group, { filter: { streamPrefixes: [group] }, from: 'start' })
    const joined = store.persistentSubscriptions?.subscribe(group, { bufferSize: 5 })
    if (joined)
      for await (const deliveries of joined) {
        t.ok(deliveries.length > 0)
        break
      }
    await store.close()
  }
})

t.test('a cluster whose nodes are others than those that were named', async (t) => {
  const { cluster, store } = await aCluster(t)
  await cluster.whole()
  const one = await cluster.leader()
  const named = openKurrentEventStore(cluster.url.replace(/:\/\/[^?]*/, `://127.0.0.1:${one.port},127.0.0.1:1`))
  t.teardown(() => named.close())
  const stream = `named-${crypto.randomUUID()}`
  await named.append(stream, someEvents(1), { expected: 'no_stream' })
  await one.stop()
  await cluster.leader()
  await untilDone('an append', () => named.append(stream, someEvents(1, 1), { expected: 0 }))
  t.equal((await all(store.readStream(stream))).length, 2)
})

t.test('the one that was named goes before there is a leader: those that it has named are asked', async (t) => {
  const cluster = await startEventStoreCluster(t, { electionMs: 5_000 })
  await cluster.whole()
  const leader = await cluster.leader()
  const [one] = others(cluster, leader) as [ClusterNode]
  await leader.stop()
  await delay(300)
  const named = openKurrentEventStore(cluster.url.replace(/:\/\/[^?]*/, `://127.0.0.1:${one.port},127.0.0.1:1`))
  t.teardown(() => named.close())
  named.ping().catch(() => {}) // it begins to look for the leader
  await delay(2_500)
  await one.stop()
  await leader.start()
  await cluster.leader()
  await untilDone('an append', () =>
    named.append(`asked-${crypto.randomUUID()}`, someEvents(1), { expected: 'no_stream' }),
  )
})

t.test('the preferred kind of node is used before others are tried', builtIn('hang, and it follows'), async (t) => {
  const [leader, follower] = [await startEventStoreServer(t), await startEventStoreServer(t)]
  follower.asFollower({ host: '127.0.0.1', port: leader.port })
  leader.hang(true)
  // Who tried the leader first would wait for it.
  const url = `${follower.url.replace('://', '+discover://')}&nodePreference=follower&gossipTimeout=60`
  for (let round = 0; round < 8; round++) {
    const store = openKurrentEventStore(url)
    t.teardown(() => store.close())
    const facts = await store.describe?.()
    t.match(
      facts?.find(({ name }) => name === 'Node'),
      { value: `127.0.0.1:${follower.port}` },
    )
  }
})

t.test(
  'a leader that leads no longer is left, also where nobody asks it for anything',
  builtIn('it follows'),
  async (t) => {
    const [one, two] = [await startEventStoreServer(t), await startEventStoreServer(t)]
    const store = openKurrentEventStore(one.url.replace('://', '+discover://'))
    t.teardown(() => store.close())
    let losses = 0
    store.onDisconnect?.(() => losses++)
    await store.append('a', someEvents(1), { expected: 'no_stream' })
    one.asFollower({ host: '127.0.0.1', port: two.port })
    await until('it is left', () => losses > 0)
    await untilDone('an append', () => store.append('b', someEvents(1), { expected: 'no_stream' }))
    t.equal(two.log.records.at(-1)?.stream, 'b', 'the leader has it')
  },
)
