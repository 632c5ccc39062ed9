/** EXAMPLE: how a subgraph checks the signature of hmac-signing.ts. It runs in the subgraph, not in the gateway. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'

/** How old a signature may be, in seconds. Until then a recorded call can be sent again. */
const TOLERANCE = 60

/**
 * Whether a call is the gateway's.
 * @param body the bytes as they were received, before they are parsed
 * @param header `x-signature`
 * @param subgraph the subgraph's own name in the supergraph
 * @param key the gateway's SIGNING_KEY
 */
function isSigned(body: Buffer, header: unknown, subgraph: string, key: string): boolean {
  const [, time, signature] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(String(header)) ?? []
  if (signature === undefined || Math.abs(Date.now() / 1000 - Number(time)) > TOLERANCE) return false
  const expected = createHmac('sha256', key).update(`${time}.${subgraph}.`).update(body).digest()
  return timingSafeEqual(expected, Buffer.from(signature, 'hex'))
}

/** Refuses every JSON body that is not signed. Call it before the routes are added. */
export function requireSignature(app: FastifyInstance, subgraph: string, key: string): void {
  const parser = async (request: FastifyRequest, body: Buffer): Promise<unknown> => {
    if (isSigned(body, request.headers['x-signature'], subgraph, key)) return JSON.parse(body.toString())
    throw Object.assign(new Error('The signature is missing or wrong.'), { statusCode: 401 })
  }
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, parser)
}
