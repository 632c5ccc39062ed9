/** `/graphql`: GraphQL over HTTP, by GET and by POST. */
import type { Readable } from 'node:stream'
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify'
import { endOfTurn } from '../../runtime/end-of-turn.ts'
import { traceIds } from '../../runtime/tracing.ts'
import { Cancellation } from '../cancellation.ts'
import { RequestError, requestError } from '../errors.ts'
import { answerTooLarge } from '../execution/executor.ts'
import { createBodyAdmission } from '../limits/body-admission.ts'
import type { RequestHooks } from '../plugins/hooks.ts'
import { isLongerThan } from '../subgraphs/client.ts'
import { isUpgrade, type Subscriptions } from '../subscriptions/subscriptions.ts'
import { type Answer, errorBody, type RestOfAnswer, SECURITY_HEADERS } from './answers.ts'
import type { Compress } from './compression.ts'
import { checkCrossSite } from './cross-site.ts'
import { cancelOnClose, settle } from './disconnects.ts'
import type { Drain } from './drain.ts'
import { wantsPage } from './editor.ts'
import { countUnread, GraphQLCall, type Pipeline } from './graphql-call.ts'
import { shownCode } from './masking.ts'
import { contentTypeOf, incrementalFormat, multipartBody } from './multipart.ts'
import { contentTypes, type ErrorStatus, executedStatus, negotiate, statusOf } from './negotiation.ts'
import { type GraphQLRequest, readBody, readParameters } from './request.ts'

export interface GraphQLRoutesOptions {
  readonly pipeline: Pipeline
  /** The largest body, in bytes. */
  readonly bodyLimit: number
  /** The most requests in one batch; 0: batches are refused. */
  readonly batchLimit: number
  /** The status of answers with errors: see {@link executedStatus}. */
  readonly errorStatus: ErrorStatus | undefined
  /** undefined: answers are not compressed. */
  readonly compress: Compress | undefined
  readonly drain: Drain
  readonly subscriptions: Subscriptions
  /** Answers a browser that opens `/graphql` with the query editor; undefined: there is none. */
  readonly sendEditor: ((request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>) | undefined
}

/** The Fastify plugin. */
export const graphqlRoutes: FastifyPluginCallback<GraphQLRoutesOptions> = (app, options, done) => {
  const { pipeline, bodyLimit, batchLimit, errorStatus, compress, drain, subscriptions, sendEditor } = options
  const { limits, caching, countUnknown, plugins } = pipeline
  const admitBody = createBodyAdmission(app, bodyLimit, pipeline)

  /** @param isRead whether it is a GET, for queries alone */
  async function respond(
    request: FastifyRequest,
    reply: FastifyReply,
    isRead: boolean,
  ): Promise<string | Buffer | Readable | FastifyReply | null> {
    const media = negotiate(request.headers.accept)
    // A HEAD would hold a stream open that it never sees.
    if (media === 'events' && request.method !== 'HEAD' && subscriptions.isOffered())
      return subscriptions.answerWithEvents(request, reply, isRead)
    const whole = media === undefined || media === 'events' ? 'any' : media
    const group = drain.enter()
    const { socket } = request.raw
    const departure = new Cancellation()
    cancelOnClose(socket, departure)
    // Requests of one turn are executed one after the other, and not each between the reading of two others.
    await endOfTurn()
    reply.headers(SECURITY_HEADERS).header('x-correlation-id', request.id)
    if (isRead) caching?.vary(reply)
    const hooks = plugins?.begin(request, reply)
    let status: number
    let body: string | Buffer | undefined
    let rest: RestOfAnswer | undefined
    try {
      if (whole !== media && !incrementalFormat(request.headers.accept)) throw notAcceptable()
      if (isRead) checkCrossSite(request.headers)
      const counted = request.isCounted ? undefined : limits?.count('default', request, reply)
      if (counted) await counted
      if (hooks) await hooks.onRequest()
      const sent = isRead
        ? readParameters(request.query as Record<string, unknown>)
        : readBody(request.body, batchLimit)
      const answer = Array.isArray(sent)
        ? await answerBatch(sent, request, reply, departure, isRead, hooks)
        : await new GraphQLCall(pipeline, request, reply, departure, isRead, hooks).answer(sent as GraphQLRequest, true)
      rest = answer.rest
      status = answer.error ? statusOf(answer.error, whole) : executedStatus(answer.category, whole, errorStatus)
      if (answer.policy && caching?.describe(request, reply, answer, isRead ? whole : undefined)) {
        status = 304
      } else if (!rest) {
        const packed = compress ? compress(answer, request, reply) : answer.text
        body = packed instanceof Promise ? await packed : packed
      }
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      countUnknown('rejected', 0)
      // A plugin may have set another, for an entry of a batch.
      if (plugins) reply.header('cache-control', SECURITY_HEADERS['cache-control'])
      const answer = hooks?.isBegun ? await hooks.refused(error) : { text: errorBody(error.errors), error }
      const refusal = answer.error ?? error
      body = answer.text
      status = statusOf(refusal, whole)
      if (pipeline.logsRequests) logRejected(request, refusal)
    } finally {
      if (!rest) {
        settle(socket, departure)
        drain.leave(group)
      }
    }
    if (rest) return inParts(rest, reply, { departure, drain, group })
    // Otherwise a connection that is busy while the server closes would stay open until its client closes it.
    if (drain.isDraining()) reply.header('connection', 'close')
    reply.code(status)
    // Status 304 has no body, and no headers that describe one.
    if (body === undefined) return reply.send()
    reply.header('content-type', contentTypes[whole])
    return body
  }

  /** Its answers as one. */
  async function answerBatch(
    entries: readonly unknown[],
    request: FastifyRequest,
    reply: FastifyReply,
    departure: Cancellation,
    isRead: boolean,
    hooks: RequestHooks | undefined,
  ): Promise<Answer> {
    if (limits)
      for (let others = entries.length - 1; others > 0; others--) await limits.count('default', request, reply)
    const answers = await Promise.all(
      entries.map((entry) => new GraphQLCall(pipeline, request, reply, departure, isRead, hooks).answerEntry(entry)),
    )
    const text = `[${answers.map(({ text }) => text).join(',')}]`
    if (isLongerThan(text, pipeline.answerLimit)) throw answerTooLarge(pipeline.answerLimit)
    countUnread(pipeline, request, reply, text)
    const holdsSecret = () => answers.some(({ traits }) => traits?.holdsSecret() === true)
    return { text, error: undefined, traits: { holdsSecret, typeTags: () => [] } }
  }

  app.post('/graphql', { onRequest: admitBody }, (request, reply) => respond(request, reply, false))
  app.get('/graphql', (request, reply) => {
    if (isUpgrade(request.raw)) return subscriptions.answerWithWebSocket(request, reply)
    const { query } = request.query as Record<string, unknown>
    if (sendEditor && query === undefined && wantsPage(request)) return sendEditor(request, reply)
    return respond(request, reply, true)
  })
  app.route({
    method: ['PUT', 'PATCH', 'DELETE'],
    url: '/graphql',
    // Its body is not read.
    onRequest: refuseMethod,
    handler: () => {},
  })
  done()
}

async function refuseMethod(_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { errors } = requestError('Send GraphQL requests by GET or POST.', 'METHOD_NOT_ALLOWED')
  return reply
    .code(405)
    .headers({ ...SECURITY_HEADERS, allow: 'GET, POST' })
    .type(contentTypes.any)
    .send(errorBody(errors))
}

function logRejected(request: FastifyRequest, { errors }: RequestError): void {
  const details = { outcome: 'rejected', code: shownCode(errors[0]), ...traceIds(request.headers.traceparent) }
  request.log.info(details, 'request')
}

function notAcceptable(): RequestError {
  const accepted = 'application/graphql-response+json or application/json'
  return requestError(`Answers are available as ${accepted} only.`, 'NOT_ACCEPTABLE')
}

/** What is under way until the last part of an answer. */
interface UnderWay {
  readonly departure: Cancellation
  readonly drain: Drain
  readonly group: ReturnType<Drain['enter']>
}

/** Sends an answer in parts. @returns its body */
function inParts({ first, format, parts }: RestOfAnswer, reply: FastifyReply, underWay: UnderWay): Readable {
  const { departure, drain, group } = underWay
  const { raw } = reply
  const { socket } = reply.request.raw
  reply.code(200).header('content-type', contentTypeOf(format))
  return multipartBody(first, parts, () => {
    settle(socket, departure)
    drain.leave(group)
    // Its connection would stay open while the server closes: see respond.
    if (drain.isDraining()) raw.once('finish', () => socket.end())
  })
}
