/** Load shedding: GraphQL requests are answered 503 while the event loop is too slow or the heap too full. */
import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance } from 'fastify'
import type { LoadLimits } from './configuration.ts'

/** The `Retry-After` of a refused request. */
export const RETRY_AFTER_SECONDS = 2

/**
 * Answers requests to `/graphql` with 503 and Retry-After while the process is overloaded. Other routes, such as probes
 * and metrics, are still served.
 * @param body the body of the 503
 * @param onShed called for each such request
 * @returns whether the process is overloaded, for `/readyz`
 */
export async function shedLoad(
  app: FastifyInstance,
  limits: LoadLimits,
  body: string,
  onShed: () => void = () => {},
): Promise<() => boolean> {
  await app.register(underPressure, {
    maxEventLoopDelay: limits.maxEventLoopDelayMs,
    maxHeapUsedBytes: (getHeapStatistics().heap_size_limit * limits.maxHeapPercent) / 100,
    // Over a shorter period, one long task (such as loading a supergraph) would dominate the mean.
    sampleInterval: limits.sampleMs ?? 3_000,
    pressureHandler: (request, reply) => {
      if (!request.url.startsWith('/graphql')) return
      onShed()
      reply
        .code(503)
        .header('retry-after', String(RETRY_AFTER_SECONDS))
        .header('content-type', 'application/json; charset=utf-8')
        .send(body)
    },
  })
  return () => app.isUnderPressure()
}
