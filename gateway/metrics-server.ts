/** The gateway's metrics on a port of their own, away from the public. */
import Fastify, { type FastifyInstance } from 'fastify'
import { listen, type Running } from '../runtime/process.ts'
import { REQUEST_TIMEOUTS } from '../runtime/request-timeouts.ts'
import type { Metrics } from './metrics.ts'

/** Adds `/metrics`. */
export function serveMetrics(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()))
}

/**
 * Serves `/metrics` alone.
 * @param port 0: any free one; undefined: nothing is served
 * @throws StartupError if the port is not available
 */
export async function startMetrics(
  metrics: Metrics,
  { port, host }: { readonly port: number | undefined; readonly host: string },
): Promise<Running> {
  if (port === undefined) return { close: async () => {} }
  const app = Fastify({ forceCloseConnections: true, ...REQUEST_TIMEOUTS })
  serveMetrics(app, metrics)
  await listen(app, { port, host }, 'GATEWAY_METRICS_PORT')
  return app
}
