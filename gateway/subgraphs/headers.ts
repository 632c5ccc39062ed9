/** Passes headers of clients on to subgraphs, and headers of subgraphs back to clients. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { parseTraceparent } from '../../runtime/tracing.ts'
import type { Returned } from './client.ts'

/** Headers of answers that the gateway writes out of those of all subgraphs. */
const OF_WHOLE_ANSWER = ['age', 'cache-control', 'cache-tag', 'etag', 'expires', 'surrogate-key', 'vary']
/** Those by which a cache would store what `Cache-Control` forbids, or answer without asking, and orders to a proxy. */
const OF_CACHES =
  /^(([\w-]+-)?cdn-cache-control|surrogate-control|edge-control|pragma|last-modified|content-location|x-accel-[\w-]+|x-sendfile)$/
/** Headers that the gateway always writes itself, on either side. */
const RESERVED = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'accept',
  'accept-encoding',
  'host',
  'keep-alive',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-forwarded-for',
  'x-correlation-id',
  'x-subgraph-secret',
])

/** Whether only the gateway may set a header, given in lower case. */
export const isReservedHeader = (name: string): boolean => RESERVED.has(name) || name === 'traceparent'

/**
 * Returns a function that makes the headers of a request's subgraph calls: names and values in turn, as undici takes
 * them. Its further arguments: the traceparent of the gateway's own span, in place of the client's; whether to leave
 * out the client's token.
 * @param names of the client's headers that are passed on, besides traceparent
 * @param encodings that the subgraphs may answer in
 * @throws TypeError for a header that can't
 */
export function createSubgraphHeaders(
  names: readonly string[],
  encodings: readonly string[] = [],
): (request: FastifyRequest, traceparent?: string, withoutToken?: boolean) => readonly string[] {
  const forwarded = checked(names)
  const acceptEncoding = encodings.join(', ')
  return ({ headers, ip, id }, traceparent, withoutToken) => {
    const result = ['content-type', 'application/json', 'accept', 'application/json', 'x-forwarded-for', ip]
    result.push('x-correlation-id', id)
    if (acceptEncoding !== '') result.push('accept-encoding', acceptEncoding)
    const trace = traceparent || parseTraceparent(headers.traceparent)
    if (trace !== undefined) result.push('traceparent', trace)
    for (const name of forwarded) {
      const value = headers[name]
      if (withoutToken && name === 'authorization') continue
      if (typeof value === 'string') result.push(name, value)
    }
    return result
  }
}

/**
 * Returns a function that puts a subgraph's headers into the client's answer: if several subgraphs send one, the first
 * counts, but all cookies are set.
 * @param names of the headers that are returned
 * @throws TypeError for a header that can't
 */
export function createReturnedHeaders(
  names: readonly string[],
): ((reply: FastifyReply, headers: Returned) => void) | undefined {
  const returned = checked(names, (name) => OF_WHOLE_ANSWER.includes(name) || OF_CACHES.test(name))
  if (returned.length === 0) return undefined
  return (reply, headers) => {
    for (const name of returned) {
      const value = headers[name]
      if (value !== undefined && (name === 'set-cookie' || !reply.hasHeader(name))) reply.header(name, value)
    }
  }
}

function checked(names: readonly string[], isForbidden?: (name: string) => boolean): string[] {
  const lower = names.map((name) => name.toLowerCase()).filter((name) => name !== 'traceparent')
  for (const name of lower) {
    if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name) || RESERVED.has(name) || isForbidden?.(name)) {
      throw new TypeError(
        `The header ${JSON.stringify(name)} can't be passed on; accepted: any but those of the connection, of encodings and of caches.`,
      )
    }
  }
  return lower
}
