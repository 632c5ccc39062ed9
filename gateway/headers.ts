/** Which of a client's headers go down to the subgraphs. */
import type { FastifyRequest } from 'fastify'

const forwarded = ['authorization', 'idempotency-key', 'traceparent', 'store', 'user-agent'] as const

/** Returns a function that makes the headers of a request's subgraph calls: names and values in turn, as undici takes them. */
export function createSubgraphHeaders(secret: string | undefined): (request: FastifyRequest) => readonly string[] {
  const fixed = ['content-type', 'application/json', 'accept', 'application/json']
  if (secret !== undefined) fixed.push('x-subgraph-secret', secret)
  return ({ headers, ip, id }) => {
    const result = [...fixed, 'x-forwarded-for', ip, 'x-correlation-id', id]
    for (const name of forwarded) {
      const value = headers[name]
      if (typeof value === 'string') result.push(name, value)
    }
    return result
  }
}
