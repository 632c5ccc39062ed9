/** Subscriptions as server-sent events: GraphQL over SSE, "distinct connections", by GET and by POST. */
import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { single, writeEvents } from '../../runtime/event-stream.ts'
import { Cancellation, Cancelled } from '../cancellation.ts'
import { RequestError } from '../errors.ts'
import { errorBody, noteOverload, SECURITY_HEADERS } from '../http/answers.ts'
import { checkCrossSite } from '../http/cross-site.ts'
import { onceOver } from '../http/disconnects.ts'
import { contentTypes } from '../http/negotiation.ts'
import { type GraphQLRequest, readBody, readParameters } from '../http/request.ts'
import { SubscriptionCall, type SubscriptionParts } from './subscription-call.ts'

/**
 * Answers with a stream. Errors of the operation are its only result, because an EventSource can't read the body of a
 * refusal; the others (a bad request, a limit, too much load) have their HTTP status.
 * @param isRead whether it is a GET
 */
export async function answerWithEvents(
  parts: SubscriptionParts,
  request: FastifyRequest,
  reply: FastifyReply,
  isRead: boolean,
): Promise<FastifyReply> {
  const { limits, metrics, countUnknown } = parts.pipeline
  const departure = new Cancellation()
  onceOver(reply.raw, request.raw.socket, () => departure.cancel())
  reply.headers(SECURITY_HEADERS).header('x-correlation-id', request.id)
  let results: AsyncGenerator<string, unknown, undefined>
  try {
    if (isRead) checkCrossSite(request.headers)
    if (!request.isCounted) await limits?.count('default', request, reply)
    const sent = isRead ? readParameters(request.query as Record<string, unknown>) : readBody(request.body, 0)
    const call = new SubscriptionCall(parts, { request, reply, transport: 'sse', isRead, departure })
    results = await call.open(sent as GraphQLRequest)
  } catch (error) {
    if (error instanceof Cancelled) return reply.hijack()
    if (!(error instanceof RequestError)) throw error
    countUnknown('rejected', 0)
    if (!isOfOperation(error)) {
      noteOverload(error, reply, metrics)
      return reply.code(error.statusCode).type(contentTypes.events).send(errorBody(error.errors))
    }
    results = single(errorBody(error.errors))
  }
  reply.hijack()
  await writeEvents(reply.raw, results, reply.getHeaders() as OutgoingHttpHeaders)
  return reply
}

const OF_REQUEST = new Set<unknown>(['BAD_REQUEST', 'CSRF_PREVENTED', 'METHOD_NOT_ALLOWED'])

const isOfOperation = ({ statusCode, errors }: RequestError) =>
  statusCode !== 429 && statusCode < 500 && !OF_REQUEST.has(errors[0]?.extensions.code)
