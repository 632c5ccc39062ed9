/** Errors outside of a GraphQL request: an unreadable body, a refusal by a hook, a fault of the gateway. */
import type { FastifyInstance } from 'fastify'
import { Cancelled } from '../cancellation.ts'
import { RequestError, requestError } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { errorBody, noteOverload, SECURITY_HEADERS } from './answers.ts'
import { mask } from './masking.ts'
import { contentTypes, negotiate } from './negotiation.ts'

const UNSUPPORTED_TYPE = 'Request content type must be application/json'

/** Answers every error in GraphQL's form. */
export function handleErrors(app: FastifyInstance, metrics: Metrics): void {
  app.setErrorHandler((error: Error & { statusCode?: number; code?: string }, request, reply) => {
    const { statusCode = 500 } = error
    reply.headers(SECURITY_HEADERS).type(contentTypes[negotiate(request.headers.accept) ?? 'any'])
    // An answer in parts whose client was gone before the first.
    const isUnsent = error.code === 'ERR_STREAM_PREMATURE_CLOSE' && request.raw.socket.destroyed
    if (error instanceof Cancelled || isUnsent) return reply.code(408).send('')
    if (error instanceof RequestError) {
      noteOverload(error, reply, metrics)
      return reply.code(error.statusCode).send(errorBody(error.errors))
    }
    if (statusCode >= 500) return reply.code(500).send(errorBody([mask(error, request)]))
    const message = statusCode === 415 ? UNSUPPORTED_TYPE : error.message
    return reply.code(statusCode).send(errorBody(requestError(message, 'BAD_REQUEST').errors))
  })
}
