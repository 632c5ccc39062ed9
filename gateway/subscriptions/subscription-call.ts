/** One subscription, from its request to the stream of its results. Other operations are answered by one result. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { clientKey } from '../../runtime/client-address.ts'
import { single } from '../../runtime/event-stream.ts'
import { traceIds } from '../../runtime/tracing.ts'
import { GUEST } from '../authentication/authentication.ts'
import { Cancellation, Cancelled } from '../cancellation.ts'
import { codedError, RequestError, requestError, TokenRefused, throwRefusedToken, tokenRefusal } from '../errors.ts'
import {
  answerTooLarge,
  type EventSource,
  type Execute,
  type ExecutionRequest,
  headersFor,
} from '../execution/executor.ts'
import { errorBody } from '../http/answers.ts'
import type { Drain } from '../http/drain.ts'
import { GraphQLCall, NO_VALUES, type Pipeline, tooCostly } from '../http/graphql-call.ts'
import { mask, reasonOf } from '../http/masking.ts'
import type { GraphQLRequest } from '../http/request.ts'
import type { Operation } from '../planning/operations.ts'
import { type OperationHooks, type RequestHooks, refusing } from '../plugins/hooks.ts'
import type { Graph } from '../served-supergraph.ts'
import {
  isLongerThan,
  keptHeaders,
  type RawAnswer,
  type SubgraphRequest,
  type SubgraphUnavailable,
} from '../subgraphs/client.ts'
import { clientError } from '../subgraphs/errors.ts'
import type { ActiveSubscriptions } from './active-subscriptions.ts'
import { type EndReason, ResultStream } from './result-stream.ts'
import type { SubgraphStreams } from './subgraph-streams.ts'

/** What all subscriptions share. */
export interface SubscriptionParts {
  readonly pipeline: Pipeline
  readonly active: ActiveSubscriptions
  /** Counts a client's subscription. @returns what to call when it is gone. @throws RequestError at a limit */
  readonly enter: (client: string) => () => void
  readonly streams: SubgraphStreams
  /** Waits for queries and mutations under way, as for those by plain HTTP. */
  readonly drain: Drain
  /** The most events that wait for one client. */
  readonly bufferedEvents: number
}

/** Who subscribes. */
export interface Subscriber {
  /** The client's request: of a WebSocket that of its handshake, with the headers of `connection_init`. */
  readonly request: FastifyRequest
  /** Takes the headers of a refusal. */
  readonly reply: FastifyReply
  readonly transport: 'sse' | 'websocket'
  /** Whether mutations are refused (GET). */
  readonly isRead: boolean
  /** Cancelled when the client goes away. */
  readonly departure: Cancellation
}

/** The most bytes of events that wait for one client. */
const BUFFERED_BYTES = 1024 * 1024
const TOO_SLOW = errorBody([codedError('The events come faster than they can be delivered.', 'SUBSCRIPTION_TOO_SLOW')])
const SCHEMA_RELOAD = codedError('The graph has changed: subscribe again.', 'SUBSCRIPTION_SCHEMA_RELOAD')

export const schemaReload = (): GraphQLError => SCHEMA_RELOAD

/** It implements the execution request of its events, which are executed one after the other. */
export class SubscriptionCall implements ExecutionRequest {
  variables = NO_VALUES
  values = NO_VALUES
  headers: readonly string[] = []
  identity: ExecutionRequest['identity']
  event: RawAnswer | undefined
  /** Ends calls for entities when the subscription ends. */
  readonly cancellation = new Cancellation()
  /** Of the plugins. onResponse is called for a refusal alone: results are written as they come. */
  hooks: OperationHooks | undefined
  readonly #parts: SubscriptionParts
  readonly #subscriber: Subscriber
  readonly #client: string
  readonly #started = performance.now()
  #refusal: string | undefined
  #hasClaims = false
  /** Whether it is a query or mutation, for which onResponse has been called. */
  #isAnswered = false
  #events = 0

  constructor(parts: SubscriptionParts, subscriber: Subscriber) {
    this.#parts = parts
    this.#subscriber = subscriber
    this.#client = clientKey(subscriber.request.ip)
  }

  /**
   * @returns the results as JSON texts
   * @throws RequestError for a refused request; Cancelled
   */
  async open(sent: GraphQLRequest): Promise<AsyncGenerator<string, undefined, undefined>> {
    const { authentication, plugins } = this.#parts.pipeline
    const { request, reply } = this.#subscriber
    const hooks = plugins?.begin(request, reply)
    try {
      return await this.#open(sent, hooks)
    } catch (error) {
      if (error instanceof TokenRefused) authentication?.doubt(request.headers.authorization)
      if (error instanceof Cancelled) throw error
      const refusal = error instanceof RequestError ? error : this.#masked(error)
      if (!hooks?.isBegun || this.#isAnswered) throw refusal
      const answer = await hooks.refused(refusal, this.hooks)
      throw withErrorsOf(answer.text, answer.error ?? refusal)
    }
  }

  #masked(error: unknown): RequestError {
    const { message, extensions } = this.mask(error)
    return new RequestError([new GraphQLError(message, { extensions: extensions ?? null })], 500)
  }

  async #open(
    sent: GraphQLRequest,
    requestHooks: RequestHooks | undefined,
  ): Promise<AsyncGenerator<string, undefined, undefined>> {
    const { admission, authentication, maxCost, persisted, served } = this.#parts.pipeline
    const { request, departure } = this.#subscriber
    await requestHooks?.onRequest()
    const graph = served.current
    const { operations } = graph
    const source = persisted.resolve(sent)
    if (!operations.isKnown(source, sent.operationName)) await admission.turn(this.#client, departure)
    if (departure.isCancelled) throw new Cancelled()
    const found = operations.find(source, sent.operationName)
    const { operation } = found
    if (operation.type !== 'subscription') return this.#answerOnce(sent, requestHooks)
    this.hooks = requestHooks?.forOperation()
    this.hooks?.found(operation)
    const { variables, values } = operations.coerceVariables(found, sent.variables, sent.hasRawNumbers)
    const cost = operation.cost?.(values) ?? 0
    if (!(cost <= maxCost)) throw tooCostly(cost, maxCost)
    const { authorization } = request.headers
    const known = (await authentication?.(authorization)) ?? GUEST
    const verdict = known.settled ? await known.settled : known
    if (!verdict.isAllowed) throw tokenRefusal(verdict.fault)
    await this.hooks?.onOperation(verdict.claims)
    if (departure.isCancelled) throw new Cancelled()
    const { execute } = operation.restricted?.(verdict.claims) ?? operation
    this.#hasClaims = verdict.claims !== undefined
    this.variables = variables
    this.values = values
    // A subgraph that does not know the token's issuer might take its bearer for a customer.
    this.identity = verdict.identity
    this.headers = this.#parts.pipeline.subgraphHeaders(request, undefined, verdict.identity !== undefined)
    const events = execute.source?.(this)
    // The client may not see the field, or a condition leaves it out.
    if (!events) return single((await execute(this)).text)
    const kept = keptHeaders(this.#parts.pipeline.droppedFor(events.service), headersFor(this, events.service))
    const call = { body: events.body, headers: kept, mutation: false }
    const headers = this.hooks ? await refusing(signedHeaders(this.hooks, events.service, call)) : kept
    if (departure.isCancelled) throw new Cancelled()
    return this.#follow(graph, operation, execute, { ...events, headers }, cost)
  }

  /** A query or mutation. */
  async #answerOnce(
    sent: GraphQLRequest,
    hooks: RequestHooks | undefined,
  ): Promise<AsyncGenerator<string, undefined, undefined>> {
    const { request, reply, departure, isRead } = this.#subscriber
    const { pipeline, drain } = this.#parts
    const call = new GraphQLCall(pipeline, request, reply, departure, isRead, hooks)
    const group = drain.enter()
    try {
      const { text, error } = await call.answer(sent, false)
      this.#isAnswered = true
      if (departure.isCancelled) throw new Cancelled()
      if (error && error.statusCode !== 500) throw hooks ? withErrorsOf(text, error) : error
      return single(text)
    } finally {
      drain.leave(group)
    }
  }

  #follow(
    graph: Graph,
    operation: Operation,
    execute: Execute,
    source: EventSource & Pick<SubgraphRequest, 'headers'>,
    cost: number,
  ): ResultStream {
    const { active, enter, streams, bufferedEvents, pipeline } = this.#parts
    const { request, transport, departure } = this.#subscriber
    const { metrics, served } = pipeline
    const leave = enter(this.#client)
    let close = () => {}
    const stream = new ResultStream({
      answer: (event) => this.#answer(event, execute, cost),
      maxEvents: bufferedEvents,
      maxBytes: BUFFERED_BYTES,
      tooSlow: TOO_SLOW,
      failed: (error) => this.#failed(error),
      onEnd: (reason) => {
        leave()
        departure.off(departed)
        active.delete(entry)
        close()
        this.cancellation.cancel()
        metrics.subscriptionEnded(transport, reason)
        this.#log(operation, reason)
      },
    })
    const entry = {
      authorization: request.headers.authorization,
      needsClaims: this.#hasClaims && operation.restricted !== undefined,
      end: (reason: EndReason, errors: readonly GraphQLError[]) => stream.end(reason, errorBody(errors)),
    }
    // Whatever its transport knows of it, a subscription does not outlive its connection.
    const departed = { abort: () => void stream.return() }
    departure.onCancel(departed)
    active.add(entry)
    metrics.subscriptionBegan(transport)
    operation.count('success', (performance.now() - this.#started) / 1000)
    const endpoint = graph.endpoints[source.service] ?? { url: '', headers: [] }
    close = streams.open(
      source.service,
      endpoint,
      { body: source.body, headers: source.headers },
      {
        next: (event) => stream.push(event),
        complete: () => stream.finish('complete'),
        fail: (error) => stream.finish('subgraph', this.#broken(error, source)),
      },
    )
    // It was swapped meanwhile.
    if (served.current !== graph) entry.end('schema', [SCHEMA_RELOAD])
    if (stream.isEnded) close()
    return stream
  }

  /** Executes an event. @throws what ends the subscription */
  async #answer(event: RawAnswer, execute: Execute, cost: number): Promise<string> {
    const { admission, answerLimit, metrics } = this.#parts.pipeline
    await admission.enter(this.#client, cost, this.cancellation)
    try {
      this.event = event
      const { text } = await execute(this)
      if (this.#refusal !== undefined) throwRefusedToken(this.#refusal)
      metrics.subscriptionEvent()
      this.#events++
      return isLongerThan(text, answerLimit) ? errorBody(answerTooLarge(answerLimit).errors) : text
    } catch (error) {
      if (error instanceof RequestError && error.errors[0]?.extensions.code === 'ANSWER_TOO_LARGE') {
        return errorBody(error.errors)
      }
      throw error
    } finally {
      this.event = undefined
      admission.leave(this.#client, cost)
    }
  }

  #failed(error: unknown): { readonly reason: EndReason; readonly text: string } {
    if (error instanceof TokenRefused) {
      this.#parts.pipeline.authentication?.doubt(this.#subscriber.request.headers.authorization)
      return { reason: 'token', text: errorBody(error.errors) }
    }
    if (error instanceof Cancelled) return { reason: 'client', text: '' }
    if (error instanceof RequestError) return { reason: 'failed', text: errorBody(error.errors) }
    return { reason: 'failed', text: errorBody([this.mask(error)]) }
  }

  /** The last result of a stream that broke. */
  #broken(error: SubgraphUnavailable, { field }: EventSource): string {
    this.unavailable(error)
    return errorBody([clientError(error.toJSON(), [field])])
  }

  mask(error: unknown): GraphQLFormattedError {
    return mask(error, this.#subscriber.request)
  }

  received({ status, text }: RawAnswer): void {
    if (status === 401) this.#refusal ??= text
  }

  unavailable({ service, message, cause }: SubgraphUnavailable): void {
    this.#parts.pipeline.metrics.subgraphFailure(service)
    const { headers, log } = this.#subscriber.request
    log.warn({ service, reason: reasonOf(cause), ...traceIds(headers.traceparent) }, message)
  }

  #log({ node, type, hash }: Operation, outcome: EndReason): void {
    if (!this.#parts.pipeline.logsRequests) return
    const { transport, request } = this.#subscriber
    const ms = Math.round(performance.now() - this.#started)
    const entry = { operation: node.name?.value, type, hash, transport, outcome, ms, events: this.#events }
    request.log.info({ ...entry, ...traceIds(request.headers.traceparent) }, 'subscription')
  }
}

/** A refusal with the errors that plugins made of its own: those in the text of the answer. */
function withErrorsOf(text: string, { statusCode }: RequestError): RequestError {
  const { errors } = JSON.parse(text) as { readonly errors: readonly GraphQLFormattedError[] }
  const shown = errors.map((error) => {
    const { message, extensions = null } = error
    return Object.assign(new GraphQLError(message, { extensions }), { toJSON: () => error })
  })
  return new RequestError(shown, statusCode)
}

/** The headers of the call for the events, with what plugins add. @throws PluginError */
async function signedHeaders(
  hooks: OperationHooks,
  service: string,
  call: SubgraphRequest,
): Promise<readonly string[]> {
  const hooked = await hooks.onSubgraphRequest(service, call)
  return (await hooked.sign?.(hooked.headers, 1)) ?? hooked.headers
}

/** The answer to who comes while the gateway shuts down, and the last result of who is there. */
export const serverClosing = (): RequestError =>
  requestError('The gateway shuts down: subscribe again.', 'SUBSCRIPTION_SERVER_CLOSING')
