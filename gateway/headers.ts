/** Which of a client's headers go down to the subgraphs. */
import type { FastifyRequest } from 'fastify'

const forwarded = ['authorization', 'idempotency-key', 'traceparent', 'store', 'user-agent'] as const

/**
 * Returns a function that makes the headers of a request's subgraph calls: names and values in turn, as undici takes them.
 * Its second argument: the traceparent of the gateway's own span, in place of the client's.
 */
export function createSubgraphHeaders(
  secret: string | undefined,
): (request: FastifyRequest, traceparent?: string) => readonly string[] {
  const fixed = ['content-type', 'application/json', 'accept', 'application/json']
  if (secret !== undefined) fixed.push('x-subgraph-secret', secret)
  return ({ headers, ip, id }, traceparent) => {
    const result = [...fixed, 'x-forwarded-for', ip, 'x-correlation-id', id]
    for (const name of forwarded) {
      const value = (name === 'traceparent' && traceparent) || headers[name]
      if (typeof value === 'string') result.push(name, value)
    }
    return result
  }
}
