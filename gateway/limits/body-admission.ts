/** Admission of request bodies: only a few large ones are read at once, for each client and in total. */
import type { IncomingMessage } from 'node:http'
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

/** While another body waits for it, one that is being read has this long, in milliseconds, to begin to arrive ... */
const GRACE_MS = 1_000
/** ... and then arrives at this rate at least, in bytes a millisecond; otherwise its connection is closed. */
const SLOWEST = 64
const LOOK_MS = 250

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
  const arriving = createArrivals(bodies.isFull)

  async function admit(request: FastifyRequest, reply: FastifyReply, bytes: number): Promise<void> {
    request.isCounted = true
    const before = request.raw.socket.bytesRead
    const cancellation = new Cancellation()
    // Before anything is awaited: a client that leaves meanwhile would otherwise hold its place for ever.
    onceOver(reply.raw, request.raw.socket, () => cancellation.cancel())
    await limits?.count('default', request, reply)
    const client = clientKey(request.ip)
    const entering = bodies.enter(client, bytes, cancellation)
    if (entering) await arriving.hurried(client, entering)
    const forget = arriving.began(client, request.raw, before)
    cancellation.onCancel({
      abort() {
        forget()
        bodies.leave(client, bytes)
      },
    })
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

interface Arriving {
  readonly client: string
  readonly raw: IncomingMessage
  readonly before: number
  readonly since: number
}

/**
 * The bodies that are being read: who announces one and does not send it would keep its place from the others.
 * @param isFull whether one waits for all clients together
 */
function createArrivals(isFull: () => boolean) {
  const arriving = new Set<Arriving>()
  /** The clients of those that wait. */
  const waiting: string[] = []
  let looking: NodeJS.Timeout | undefined

  function look(): void {
    for (const { client, raw, before, since } of arriving) {
      if (!(isFull() || waiting.includes(client))) continue // it is in nobody's way
      const late = performance.now() - since - GRACE_MS
      if (raw.complete || late < 0 || raw.socket.bytesRead - before > late * SLOWEST) continue
      // As Node answers requests that take too long.
      raw.socket.write('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')
      raw.socket.destroySoon()
    }
  }

  return {
    /** @param before the bytes that had arrived on the connection before the body @returns call it once it is over */
    began(client: string, raw: IncomingMessage, before: number): () => void {
      const own = { client, raw, before, since: performance.now() }
      arriving.add(own)
      return () => arriving.delete(own)
    },

    /** Waits, and closes the connections of those that are in the way and too slow meanwhile. */
    async hurried(client: string, entering: Promise<void>): Promise<void> {
      if (waiting.push(client) === 1) looking = setInterval(look, LOOK_MS)
      try {
        await entering
      } finally {
        waiting.splice(waiting.indexOf(client), 1)
        if (waiting.length === 0) clearInterval(looking)
      }
    },
  }
}

function unsupportedEncoding(encoding: string): RequestError {
  const message = `Send the body uncompressed: its encoding is ${JSON.stringify(encoding.slice(0, 40))}.`
  return new RequestError([codedError(message, 'BAD_REQUEST')], 415)
}
