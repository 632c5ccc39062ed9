/** How far behind a projection says that it is. */
import { Registry } from 'prom-client'
import t from 'tap'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import type { PersistentSubscriptions } from '../../eventstore/port.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import { buildProjectionsServer } from '../../projections/worker/health.ts'
import { createProjectionMetrics } from '../../projections/worker/metrics.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { appendHistories, openStores, someHistories } from './support.ts'

t.test('the lag is what lies after the checkpoint', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const measure = () => createProjectionMetrics(new Registry(), { eventStore, readModel }).lag()
  t.same(await measure(), { events: 0, seconds: 0 }, 'nothing has happened')
  const histories = someHistories(5)
  const count = histories.reduce((sum, { events }) => sum + events.length, 0)
  await appendHistories(eventStore, histories)
  const before = await measure()
  t.equal(before.events, count)
  t.ok(before.seconds >= 0 && before.seconds < 60)
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  await projection.stop()
  t.same(await measure(), { events: 0, seconds: 0 })
  await appendHistories(eventStore, [{ ...someHistories(6)[5], id: 6 } as ReturnType<typeof someHistories>[0]])
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  const after = await measure()
  t.ok(after.events > 0)
  t.ok(after.seconds > 1)

  const registry = new Registry()
  const metrics = createProjectionMetrics(registry, { eventStore, readModel })
  for (const [maxLagSeconds, status] of [
    [1, 503],
    [60, 200],
  ] as const) {
    const app = buildProjectionsServer({ eventStore, readModel, metrics, registry, maxLagSeconds })
    const response = await app.inject('/readyz')
    t.equal(response.statusCode, status)
    t.match(response.json(), { ready: status === 200, eventStore: true, readModel: true, maxLagSeconds })
    await app.close()
  }
})

t.test('of a group the lag is what the documents lack, whoever has it in hand', async (t) => {
  const server = await startEventStoreServer(t)
  const eventStore = openKurrentEventStore(server.url)
  const { readModel } = await openStores(t)
  t.teardown(() => eventStore.close())
  const groups = eventStore.persistentSubscriptions as PersistentSubscriptions
  const measure = () => createProjectionMetrics(new Registry(), { eventStore, readModel, group: 'g' }).lag()
  const histories = someHistories(6)
  await appendHistories(eventStore, histories.slice(0, 5))
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  await projection.stop()
  await groups.create('g', { filter: { streamPrefixes: ['customer-'] }, from: 'end' })
  t.same(await measure(), { events: 0, seconds: 0 })

  const late = histories.slice(5)
  const count = late[0]?.events.length
  await appendHistories(eventStore, late)
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  const waiting = await measure()
  t.equal(waiting.events, count, 'they wait at the server')
  t.ok(waiting.seconds > 1)
  const consumer = groups.subscribe('g', { bufferSize: 100 })
  const applier = createApplier({ eventStore, readModel, onFailure: () => {} })
  let left = count ?? 0
  for await (const deliveries of consumer) {
    const inHand = await measure()
    t.equal(inHand.events, left, 'they are in hand')
    t.ok(inHand.seconds > 1)
    await applier.apply(deliveries.map(({ event }) => event))
    await consumer.ack(deliveries)
    left -= deliveries.length
    if (left === 0) break
  }
  t.same(await measure(), { events: 0, seconds: 0 })
  await consumer.unsubscribe()

  // A customer that is stuck is told by projection_parked_events, and makes the projection no less ready.
  const parked = { customerId: 7, stream: 'customer-7', revision: 0, type: 'Unheard', reason: 'unknown', at: '' }
  await readModel.park(parked)
  await eventStore.append('customer-7', [{ id: crypto.randomUUID(), type: 'Unheard', data: {} }], { expected: 'any' })
  t.same(await measure(), { events: 0, seconds: 0 })
})

t.test('what fills a read model is no delay; what comes later is', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const histories = someHistories(6)
  await appendHistories(eventStore, histories.slice(0, 5))
  const registry = new Registry()
  const { observer } = createProjectionMetrics(registry, { eventStore, readModel })
  const counted = async () => {
    const metric = await registry.getSingleMetric('projection_event_to_document_seconds')?.get()
    return metric?.values.find((value) => 'metricName' in value && `${value.metricName}`.endsWith('_count'))?.value ?? 0
  }
  const projection = startProjection({ eventStore, readModel, observer })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  t.equal(await counted(), 0)
  const late = histories.slice(5)
  await appendHistories(eventStore, late)
  await projection.caughtUp()
  for (let i = 0; i < 200 && (await counted()) === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
  t.equal(await counted(), late[0]?.events.length)
})
