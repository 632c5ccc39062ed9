/** Persistent subscriptions of the KurrentDB adapter over real gRPC: the contract, and lost and slow connections. */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../../eventstore/kurrentdb/event-store.ts'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import { someEvents } from '../../contract/event-store.ts'
import { persistentSubscriptionContract } from '../../contract/persistent-subscriptions.ts'
import { startProxy } from '../../history/proxy.ts'
import { startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { until } from '../../support/until.ts'

async function aServer(t: Test) {
  const server = await startEventStoreServer(t)
  const store = openKurrentEventStore(server.url)
  t.teardown(() => store.close())
  return { server, store }
}

t.test('persistent subscriptions: the test server', async (t) => {
  const server = await startEventStoreServer(t)
  await persistentSubscriptionContract(t, { open: () => openEventStore(server.url) })
})

t.test('53: deliveries in hand when the connection drops come again', async (t) => {
  const { server, store } = await aServer(t)
  const groups = store.persistentSubscriptions
  if (!groups) return t.fail('a server has groups')
  await groups.create('g', { filter: { streamPrefixes: ['a'] }, from: 'start' })
  const subscription = groups.subscribe('g', { bufferSize: 10 })
  const iterator = subscription[Symbol.asyncIterator]()
  await store.append('a', someEvents(1), { expected: 'any' })
  const { value: first } = await iterator.next()
  // More than the connection takes before it is lost: who waits to have answered may ask for nothing more until then.
  const many = Array.from({ length: 1_000 }, () => first?.[0]).filter((each) => each !== undefined)
  const answers = Promise.all(Array.from({ length: 40 }, () => subscription.ack(many)))
  server.cutConnections()
  t.equal(await Promise.race([answers.then(() => 'answered'), delay(60_000, 'waits', { ref: false })]), 'answered')
  const { value: again } = await iterator.next()
  t.equal(again?.[0]?.event.id, first?.[0]?.event.id)
  await subscription.ack(first ?? [])
  await subscription.ack(again ?? [])
  await until('nothing is in flight', async () => (await groups.info('g')).inFlight === 0)
  await subscription.unsubscribe()
})

t.test('59: a server that is slow to accept a consumer is given more time', async (t) => {
  const { server } = await aServer(t)
  const { port, lag } = await startProxy(t, Number(new URL(server.url).port))
  const store = await openEventStore(`esdb://127.0.0.1:${port}?tls=false`)
  t.teardown(() => store.close())
  const groups = store.persistentSubscriptions
  if (!groups) return t.fail('a server has groups')
  await store.append('a', someEvents(1), { expected: 'any' })
  await groups.create('slow', { filter: { streamPrefixes: ['a'] }, from: 'start' })
  lag(1_800)
  const subscription = groups.subscribe('slow', { bufferSize: 1 })
  const { value: deliveries } = await subscription[Symbol.asyncIterator]().next()
  t.equal(deliveries?.length, 1)
  await subscription.unsubscribe()
})
