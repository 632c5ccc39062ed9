/** How far behind a projection says that it is. */
import { Registry } from 'prom-client'
import t from 'tap'
import { createProjectionMetrics } from '../../projections/metrics.ts'
import { buildProjectionsServer } from '../../projections/server.ts'
import { startProjection } from '../../projections/worker.ts'
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
