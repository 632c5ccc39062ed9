/** Admission of request bodies: only a few large ones are read at once, for each client and in total. */
import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { clientKey } from '../../runtime/client-address.ts'
import { Cancellation } from '../cancellation.ts'
import { codedError, RequestError } from '../errors.ts'
import { onceOver } from '../http/disconnects.ts'
import type { Pipeline } from '../http/graphql-call.ts'
import { createAdmission, DEFAULT_ADMISSION } from './admission.ts'

/**
 * The total bytes of request bodies that are read or processed at once. Each takes about ten times as much memory until
 * it is answered (its text, the document, its literals, the subgraph calls) and blocks the event loop for some
 * milliseconds.
 */
const BODIES_AT_ONCE = {
  costPerClient: 2 * 1024 * 1024,
  costInAll: 4 * 1024 * 1024,
  cheap: 32 * 1024,
  maxWaitMs: 10_000,
} as const

declare module 'fastify' {
  interface FastifyRequest {
    /** Whether the rate limit has counted the request. */
    isCounted: boolean
  }
}

/**
 * An `onRequest` hook: a compressed body is refused, because its length would say nothing of the work that it makes. Before a large body is read, the request is counted by the rate limit, and waits until enough
 * earlier ones of the client, and of all clients, have been answered.
 * @param bodyLimit the largest body, in bytes; a larger one is refused without reading it
 */
export function createBodyAdmission(
  app: FastifyInstance,
  bodyLimit: number,
  { limits, countUnknown }: Pick<Pipeline, 'limits' | 'countUnknown'>,
): (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void {
  // Not in a WeakSet, where a young request would survive with its body until a full collection.
  app.decorateRequest('isCounted', false)
  const bodies = createAdmission({ ...DEFAULT_ADMISSION, ...BODIES_AT_ONCE })

  async function admit(request: FastifyRequest, reply: FastifyReply, bytes: number): Promise<void> {
    request.isCounted = true
    const cancellation = new Cancellation()
    // Before anything is awaited: a client that leaves meanwhile would otherwise hold its place for ever.
    onceOver(reply.raw, request.raw.socket, () => cancellation.cancel())
    await limits?.count('default', request, reply)
    const client = clientKey(request.ip)
    await bodies.enter(client, bytes, cancellation)
    cancellation.onCancel({ abort: () => bodies.leave(client, bytes) })
  }

  return (request, reply, done) => {
    const encoding = request.headers['content-encoding']
    if (encoding !== undefined && encoding !== 'identity') {
      countUnknown('rejected', 0)
      reply.header('accept-encoding', 'identity')
      return done(unsupportedEncoding(encoding))
    }
    const length = request.headers['content-length']
    const bytes = length === undefined ? bodyLimit : Number(length)
    if (bytes <= BODIES_AT_ONCE.cheap || bytes > bodyLimit) return done()
    admit(request, reply, bytes).then(
      () => done(),
      (error) => {
        countUnknown('rejected', 0)
        done(error)
      },
    )
  }
}

function unsupportedEncoding(encoding: string): RequestError {
  const message = `Send the body uncompressed: its encoding is ${JSON.stringify(encoding.slice(0, 40))}.`
  return new RequestError([codedError(message, 'BAD_REQUEST')], 415)
}
