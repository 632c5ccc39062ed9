/** Admission of request bodies: large ones are read a few at a time, for each client and for all. */
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { clientKey } from '../../runtime/client-address.ts'
import { Cancellation } from '../cancellation.ts'
import { createAdmission, DEFAULT_ADMISSION } from './admission.ts'
import type { RequestLimits } from './request-limits.ts'

/**
 * Bytes of request bodies that are read or worked on at once. Each takes some ten times as much memory until it is answered
 * (its text, the document, its literals, what goes to subgraphs) and blocks the event loop for some milliseconds.
 */
const BODIES_AT_ONCE = {
  costPerClient: 2 * 1024 * 1024,
  costInAll: 4 * 1024 * 1024,
  cheap: 32 * 1024,
  maxWaitMs: 10_000,
} as const

export interface BodyAdmission {
  /**
   * An `onRequest` hook: before a large body is read, the request is counted by the rate limit, and waits until those of the
   * same client, and of all, have been answered.
   */
  readonly admit: (request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => void
  /** Whether the request has been counted already. */
  readonly isCounted: (request: FastifyRequest) => boolean
}

/** @param bodyLimit of one body, in bytes; a larger one is refused unread */
export function createBodyAdmission(bodyLimit: number, limits: RequestLimits | undefined): BodyAdmission {
  const counted = new WeakSet<FastifyRequest>()
  const bodies = createAdmission({ ...DEFAULT_ADMISSION, ...BODIES_AT_ONCE })

  async function admit(request: FastifyRequest, reply: FastifyReply, bytes: number): Promise<void> {
    counted.add(request)
    await limits?.count('default', request, reply)
    const client = clientKey(request.ip)
    const cancellation = new Cancellation()
    reply.raw.once('close', () => cancellation.cancel())
    await bodies.enter(client, bytes, cancellation)
    cancellation.onCancel({ abort: () => bodies.leave(client, bytes) })
  }

  return {
    admit(request, reply, done) {
      const length = request.headers['content-length']
      const bytes = length === undefined ? bodyLimit : Number(length)
      if (bytes <= BODIES_AT_ONCE.cheap || bytes > bodyLimit) done()
      else admit(request, reply, bytes).then(() => done(), done)
    },
    isCounted: (request) => counted.has(request),
  }
}
