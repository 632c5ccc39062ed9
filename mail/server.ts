/** The mail worker's HTTP side: `/healthz`, `/readyz` and `/metrics`. */
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Registry } from 'prom-client'
import type { EventStore } from '../eventstore/port.ts'
import { probed } from '../runtime/time-limits.ts'
import type { MailStatus } from './worker.ts'

export function buildMailServer(options: {
  readonly eventStore: EventStore
  readonly status: () => MailStatus
  readonly registry: Registry
  readonly logger?: FastifyServerOptions['logger']
}): FastifyInstance {
  const { eventStore, status, registry } = options
  const app = Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
  })

  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_, reply) => {
    const [events] = await Promise.allSettled([probed(eventStore.ping())])
    const checks = { eventStore: events.status === 'fulfilled', mailServer: status().isServerThere }
    const ready = checks.eventStore && checks.mailServer
    return reply.code(ready ? 200 : 503).send({ ready, ...checks, lagSeconds: status().lagSeconds })
  })
  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  return app
}
