/** The HTTP server of a background process: `/healthz`, `/readyz` and `/metrics`. */
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Registry } from 'prom-client'
import { REQUEST_TIMEOUTS } from './request-timeouts.ts'

/** The answer of `/readyz`: 200 if the process is ready, otherwise 503, with the state of what it depends on. */
export interface Readiness {
  readonly ready: boolean
  readonly [detail: string]: unknown
}

/**
 * @param options.readiness called for each `/readyz`; must not throw
 * @param options.logger Fastify's logger option; nothing is logged without it
 * @returns the server; the caller listens and closes
 */
export function buildHealthServer(options: {
  readonly readiness: () => Promise<Readiness>
  readonly registry: Registry
  readonly logger?: FastifyServerOptions['logger']
}): FastifyInstance {
  const { readiness, registry } = options
  const app = Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    ...REQUEST_TIMEOUTS,
  })
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_, reply) => {
    const answer = await readiness()
    return reply.code(answer.ready ? 200 : 503).send(answer)
  })
  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  return app
}
