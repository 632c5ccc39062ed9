/**
 * A cluster that loses its leader, its quorum, its patience: the adapter recovers within seconds of it, loses nothing that
 * was acknowledged, and writes nothing for who was told that it was refused. On the test server's three nodes, and on three
 * of the program that TEST_EVENTSTORE_SERVER names.
 */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../eventstore/kurrentdb.ts'
import { type EventStore, EventStoreUnavailable, type NewEvent } from '../../eventstore/port.ts'
import { all, anEvent, someEvents } from '../contract/event-store.ts'
import {
  type ClusterNode,
  type EventStoreCluster,
  startEventStoreCluster,
} from '../support/eventstore-server/cluster.ts'

const CLIENTS = 4
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
    t.ok(took < 5_000, `${took} ms after there is a new leader`)
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
  t.ok(took < 5_000, `${took} ms after there is a leader`)
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
  t.ok(took < 5_000, `${took} ms after there is a new leader`)
  await delay(2_000)
  leader.hang(false)
  await delay(2_000)
  t.ok((await running.recovered()) < 5_000)
  await running.check(t)
})

t.test('no rejection was left unhandled', async (t) => t.same(unhandled, []))
