/** The projection as a process of its own: `npm run projections`. */
import Fastify, { LogController } from 'fastify'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { openEventStore } from '../eventstore/open.ts'
import { listen, runProcess } from '../schema/process.ts'
import { openReadModel } from './open.ts'
import { startProjection } from './worker.ts'

await runProcess(async ({ EVENTSTORE_URL, READMODEL_URL, PROJECTIONS_PORT, HOST, LOG_LEVEL }) => {
  const eventStore = openEventStore(EVENTSTORE_URL)
  const readModel = openReadModel(READMODEL_URL)
  const app = Fastify({
    logger: { level: LOG_LEVEL },
    logController: new LogController({ disableRequestLogging: true }),
  })
  const projection = startProjection({ eventStore, readModel, log: app.log })
  const metrics = new Registry()
  collectDefaultMetrics({ register: metrics })

  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_, reply) => {
    const [events, documents] = await Promise.allSettled([eventStore.ping(), readModel.ping()])
    const checks = { eventStore: events.status === 'fulfilled', readModel: documents.status === 'fulfilled' }
    const ready = checks.eventStore && checks.readModel
    return reply.code(ready ? 200 : 503).send({ ready, ...checks })
  })
  app.get('/metrics', async (_, reply) => reply.type(metrics.contentType).send(await metrics.metrics()))
  await listen(app, { port: PROJECTIONS_PORT, host: HOST }, 'PROJECTIONS_PORT')
  return {
    async close() {
      await app.close()
      await projection.stop()
      await readModel.close()
      await eventStore.close()
    },
  }
})
