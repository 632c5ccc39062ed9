/** A projection's HTTP side: `/healthz`, `/readyz` and `/metrics`. */
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Registry } from 'prom-client'
import type { EventStore } from '../eventstore/port.ts'
import { probed } from '../runtime/time-limits.ts'
import type { ProjectionMetrics } from './metrics.ts'
import type { ReadModel } from './read-model.ts'

/**
 * @param options.maxLagSeconds how far the projection may be behind and still be called ready
 */
export function buildProjectionsServer(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly metrics: Pick<ProjectionMetrics, 'lag'>
  readonly registry: Registry
  readonly maxLagSeconds: number
  readonly logger?: FastifyServerOptions['logger']
}): FastifyInstance {
  const { eventStore, readModel, metrics, registry, maxLagSeconds } = options
  const app = Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
  })

  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_, reply) => {
    const [events, documents, lag] = await Promise.allSettled([
      probed(eventStore.ping()),
      probed(readModel.ping()),
      probed(metrics.lag()),
    ])
    const checks = { eventStore: events.status === 'fulfilled', readModel: documents.status === 'fulfilled' }
    const lagSeconds = lag.status === 'fulfilled' ? lag.value.seconds : null
    const ready = checks.eventStore && checks.readModel && lagSeconds !== null && lagSeconds <= maxLagSeconds
    return reply.code(ready ? 200 : 503).send({ ready, ...checks, lagSeconds, maxLagSeconds })
  })
  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  return app
}
