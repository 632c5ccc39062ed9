/** How far behind a projection says that it is. */
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { addAuditMetrics } from '../../audit/metrics.ts'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { recordVerification } from '../../audit/proof/verifications.ts'
import { verifyLog } from '../../audit/proof/verify.ts'
import { receiveRequest } from '../../audit/requests/register.ts'
import { recordReveal } from '../../audit/reveals.ts'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import type { EventStore, PersistentSubscriptions } from '../../eventstore/port.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import { buildProjectionsServer } from '../../projections/worker/health.ts'
import { createLag } from '../../projections/worker/lag.ts'
import { createProjectionMetrics } from '../../projections/worker/metrics.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { createRegistry } from '../../runtime/metrics.ts'
import { aKey } from '../audit/proof/support.ts'
import { startClock } from '../support/clock.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { until } from '../support/until.ts'
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
  const { lag } = createProjectionMetrics(new Registry(), { eventStore, readModel })
  t.same(await lag(), { events: 0, seconds: 0 })
  await appendHistories(eventStore, [{ ...someHistories(6)[5], id: 6 } as ReturnType<typeof someHistories>[0]])
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  const after = await measure()
  t.ok(after.events > 0)
  t.ok(after.seconds > 1)
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + 300_000, configurable: true })
  t.ok((await measure()).seconds > 300, 'the clock of the event store is behind, or it was a long time ago')
  const known = await lag()
  t.ok(known.seconds > 1 && known.seconds < 100, 'who has seen all of it in the documents knows which')
  t.intercept(Date, 'now', { value: now, configurable: true })

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
  await until('they are counted', async () => (await counted()) > 0)
  t.equal(await counted(), late[0]?.events.length)
})

/** Appends events of customers between those of others, as a log has them. @returns how many there are of customers */
async function appendMany(eventStore: EventStore, streams: number, from = 0): Promise<number> {
  const events = (size: number) =>
    Array.from({ length: 50 }, () => ({ id: crypto.randomUUID(), type: 'A', data: { text: 'x'.repeat(size) } }))
  for (let stream = from; stream < from + streams; stream++) {
    await eventStore.append(`customer-${stream + 1}`, events(10 + (stream % 3)), { expected: 'no_stream' })
    await eventStore.append(`customerSignIns-${stream + 1}`, events(10).slice(0, 25), { expected: 'no_stream' })
  }
  return streams * 50
}

async function lagOfMany(t: Test, eventStore: EventStore): Promise<void> {
  const { readModel } = await openStores(t)
  const measure = () => createLag({ eventStore, readModel, mostRead: 1_000 })()
  let appended = await appendMany(eventStore, 20)
  t.equal((await measure()).events, 1_000, 'exact up to here')
  let before = 1_000
  for (const [from, streams] of [
    [20, 1],
    [21, 3],
    [24, 16],
  ] as const) {
    appended += await appendMany(eventStore, streams, from)
    const { events } = await measure()
    t.ok(events > before, `${events} are more than ${before}`)
    t.ok(events > 0.9 * appended && events < 1.1 * appended, `${events} are about ${appended}`)
    before = events
  }
}

t.test('a lag of any size is told, so that a scaler sees how large it is', async (t) => {
  await lagOfMany(t, (await openStores(t)).eventStore)
})

t.test('the same on a server, where positions are bytes', async (t) => {
  const eventStore = openKurrentEventStore((await startEventStoreServer(t)).url)
  t.teardown(() => eventStore.close())
  await lagOfMany(t, eventStore)
})

const metricIn = (text: string, name: string): number | undefined => {
  const found = new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1]
  return found === undefined ? undefined : Number(found === 'Nan' ? 'NaN' : found)
}

t.test(
  'what the log says about checkpoints, verifications and reveals; a store that hangs holds up no scrape',
  builtIn('hang'),
  async (t) => {
    const server = await startEventStoreServer(t)
    const eventStore = openKurrentEventStore(server.url)
    t.teardown(() => eventStore.close())
    const { readModel } = await openStores(t)
    const key = aKey()
    const scrape = async () => {
      const registry = createRegistry('projections')
      addAuditMetrics(registry, eventStore)
      return { text: await registry.metrics(), registry }
    }
    const empty = (await scrape()).text
    for (const name of ['log_checkpoint_age_seconds', 'log_verification_age_seconds', 'log_verification_faults']) {
      t.ok(Number.isNaN(metricIn(empty, name)), `${name} of an empty log`)
    }
    t.equal(metricIn(empty, 'log_uncovered_seconds'), 0)
    t.equal(metricIn(empty, 'audit_reveals_total'), 0)
    t.match(empty, /^customers_build_info\{version="\d.*",node="\d.*",process="projections"\} 1$/m)

    await appendHistories(eventStore, someHistories(2))
    const reveal = { customerId: null, command: 'find', reason: 'a test', actor: 'operator:a' }
    await writeCheckpoint(eventStore, key, { now: new Date(Date.now() - 90_000) })
    t.equal(metricIn((await scrape()).text, 'log_uncovered_seconds'), 0, 'the checkpoint covers everything')
    await recordReveal(eventStore, reveal)
    await recordReveal(eventStore, reveal)
    t.ok(Number.isNaN(metricIn(empty, 'privacy_request_oldest_due_seconds')), 'no request is open')
    const receive = {
      type: 'receive',
      kind: 'access',
      subject: { customerId: 1 },
      channel: 'letter',
      receivedOn: '2026-01-31',
    } as const
    await receiveRequest(eventStore, receive, {
      actor: 'operator:a',
      commandId: crypto.randomUUID(),
      now: new Date(),
      rules: { secondPerson: true, approvalDays: 14 },
    })
    await new Promise((resolve) => setTimeout(resolve, 20))
    const verification = await verifyLog(eventStore, { keys: [key] })
    t.equal(await recordVerification(eventStore, { ...verification, faultCount: 3 }, 'operator:a'), undefined)
    const { text, registry } = await until('the log has answered in time', async () => {
      const scraped = await scrape()
      return (metricIn(scraped.text, 'log_uncovered_seconds') ?? 0) > 0 && scraped
    })
    const age = metricIn(text, 'log_checkpoint_age_seconds') ?? 0
    t.ok(age >= 90 && age < 150, `a checkpoint ${age} s old`)
    const uncovered = metricIn(text, 'log_uncovered_seconds') ?? 0
    t.ok(uncovered < 60, 'the reveals are in no checkpoint yet')
    t.ok((metricIn(text, 'log_verification_age_seconds') ?? 99) < 60)
    t.equal(metricIn(text, 'log_verification_faults'), 3)
    t.equal(metricIn(text, 'audit_reveals_total'), 2)
    t.equal(metricIn(text, 'privacy_requests_open'), 1)
    t.ok((metricIn(text, 'privacy_request_oldest_due_seconds') ?? 0) < 0, 'overdue')

    createProjectionMetrics(registry, { eventStore, readModel, group: 'g' })
    server.hang(true)
    const elapsed = startClock(t)
    const hanging = await registry.metrics()
    t.ok(elapsed() < 8_000, 'answers within the time limit of Prometheus')
    t.ok((metricIn(hanging, 'log_checkpoint_age_seconds') ?? 0) >= age, 'what is known goes on')
    t.equal(metricIn(hanging, 'audit_reveals_total'), 2)
    t.equal(metricIn(hanging, 'projection_events_total'), 0)
    const later = createRegistry('projections')
    addAuditMetrics(later, eventStore)
    const unknown = await later.metrics()
    t.equal(metricIn(unknown, 'audit_reveals_total'), undefined, 'a count that is not known is not 0')
    t.ok(Number.isNaN(metricIn(unknown, 'log_checkpoint_age_seconds')))
    server.hang(false)
  },
)

t.test('deletions are counted, except those that fill a read model', async (t) => {
  const registry = createRegistry('projections')
  const { observer } = createProjectionMetrics(registry, await openStores(t))
  const deletion = { type: 'CustomerDeleted', created: new Date() } as Parameters<typeof observer.applied>[0][number]
  observer.applied([deletion, { ...deletion, type: 'CustomerDetailsChanged' }], true, false)
  observer.applied([deletion], true, true)
  t.equal(metricIn(await registry.metrics(), 'customer_erasures_total'), 1)
})
