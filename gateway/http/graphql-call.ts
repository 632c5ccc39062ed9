/** One GraphQL request, from its text to the text of its answer. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { clientKey } from '../../runtime/client-address.ts'
import { isTracing, startSpan, type TracedSpan, traceIds } from '../../runtime/tracing.ts'
import { tokenChallenge } from '../../schema/token-faults.ts'
import { type Authentication, GUEST } from '../authentication/authentication.ts'
import { type Cancellation, Cancelled } from '../cancellation.ts'
import { isFault, RequestError, requestError, TokenRefused, throwRefusedToken, tokenRefusal } from '../errors.ts'
import { answerTooLarge, type ExecutionRequest, type IncrementalAnswer, type LaterPart } from '../execution/executor.ts'
import type { IncrementalFormat } from '../execution/incremental-formats.ts'
import type { Admission } from '../limits/admission.ts'
import type { RequestLimits } from '../limits/rate-limiting.ts'
import type { UnreadAnswers } from '../limits/unread-answers.ts'
import type { CountRequest, Metrics, Outcome } from '../metrics.ts'
import type { FoundOperation, Operation, Operations } from '../planning/operations.ts'
import type { OperationHooks, Plugins, RequestHooks } from '../plugins/hooks.ts'
import type { ServedGraph } from '../served-supergraph.ts'
import { isLongerThan, type RawAnswer, type SubgraphUnavailable } from '../subgraphs/client.ts'
import type { createReturnedHeaders, createSubgraphHeaders } from '../subgraphs/headers.ts'
import type { AnswerCaching } from './answer-caching.ts'
import { type Answer, errorBody, noteOverload, type RestOfAnswer, withPlan } from './answers.ts'
import type { CachePolicy } from './cache-policy.ts'
import { onceOver } from './disconnects.ts'
import { mask, reasonOf, shownCode } from './masking.ts'
import { incrementalFormat } from './multipart.ts'
import type { createPersistedQueries } from './persisted-queries.ts'
import { type GraphQLRequest, readBody } from './request.ts'

/** The options that all calls share. */
export interface Pipeline {
  readonly served: ServedGraph
  readonly persisted: ReturnType<typeof createPersistedQueries>
  /** undefined: there are none. */
  readonly plugins: Plugins | undefined
  readonly admission: Admission
  readonly unread: UnreadAnswers
  /** undefined: tokens are passed on to the subgraphs unverified. */
  readonly authentication: Authentication | undefined
  /** undefined: nothing is limited. */
  readonly limits: RequestLimits | undefined
  /** The limits of one operation. */
  readonly maxCost: number
  /** The largest answer, in bytes. */
  readonly answerLimit: number
  readonly showPlans: boolean
  /** undefined: no answer may be stored. */
  readonly caching: AnswerCaching | undefined
  /** Whether each request is logged. */
  readonly logsRequests: boolean
  readonly subgraphHeaders: ReturnType<typeof createSubgraphHeaders>
  /** The passed headers that a subgraph does not get; undefined: it gets all. */
  readonly droppedFor: (subgraph: string) => ReadonlySet<string> | undefined
  /** Whether any subgraph gets the clients' cookies. */
  readonly passesCookies: boolean
  readonly returnHeaders: ReturnType<typeof createReturnedHeaders>
  readonly metrics: Metrics
  /** Counts requests without a known operation. */
  readonly countUnknown: CountRequest
}

export const NO_VALUES: Readonly<Record<string, unknown>> = Object.freeze({})
/**
 * What a mutation counts in admission at least, as a share of what one client may have under way: so 40 of them run at once.
 * Its objects say nothing of its work, which waits for a disk: the mutations of one client would take all connections to
 * a subgraph.
 */
const MUTATION_SHARE = 1 / 40
const NO_HEADERS: readonly string[] = Object.freeze([])
/** A client that takes nothing of a large answer for so long, or twice as long, is disconnected. Milliseconds. */
const TAKES_NOTHING_MS = 30_000

/**
 * It implements the execution request itself, so that the executor's callbacks are methods and not closures for each
 * request.
 */
export class GraphQLCall implements ExecutionRequest {
  variables = NO_VALUES
  values = NO_VALUES
  headers = NO_HEADERS
  identity: ExecutionRequest['identity']
  cancellation: Cancellation | undefined
  readonly hooks: OperationHooks | undefined
  readonly #pipeline: Pipeline
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  readonly #departure: Cancellation
  readonly #isRead: boolean
  readonly #client: string
  readonly #started = performance.now()
  readonly #span: TracedSpan
  #planned = this.#started
  #subgraphMs = 0
  #subgraphAnswers = 0
  /** The first answer of a subgraph that refused the token. */
  #refusal: string | undefined
  #outcome: Outcome = 'rejected'
  /** Whether the answer has an error that is the service's own fault. */
  #isFaulty = false
  #operation: Operation | undefined
  /** Whether deferred parts follow. */
  #isFollowed = false
  /** Of a query of a guest; undefined: the answer may not be stored. */
  #policy: CachePolicy | undefined
  /** The first error of the answer. */
  #failure: Pick<GraphQLError | GraphQLFormattedError, 'extensions'> | undefined
  /** The cost that admission has accounted for. */
  #admittedCost: number | undefined
  /** Whether it is a part of a batch. */
  #isEntry = false
  /** Whether it has waited for its client. */
  #hasYielded = false

  /**
   * @param departure cancelled when the client goes away
   * @param isRead whether only queries are allowed (GET)
   * @param hooks of the plugins for the HTTP request
   */
  constructor(
    pipeline: Pipeline,
    request: FastifyRequest,
    reply: FastifyReply,
    departure: Cancellation,
    isRead: boolean,
    hooks?: RequestHooks,
  ) {
    this.hooks = hooks?.forOperation()
    this.#pipeline = pipeline
    this.#request = request
    this.#reply = reply
    this.#departure = departure
    this.#isRead = isRead
    this.#client = clientKey(request.ip)
    const parent = request.headers.traceparent
    this.#span = startSpan('graphql', { kind: 'server', parent: typeof parent === 'string' ? parent : undefined })
  }

  /**
   * @param mayDefer whether deferred fragments may follow in parts of their own, if the client takes them
   * @returns the answer, which also contains every failure of the request
   */
  answer(sent: GraphQLRequest, mayDefer: boolean): Promise<Answer> {
    return this.hooks ? this.#answerWithHooks(this.#answer(sent, mayDefer), this.hooks) : this.#answer(sent, mayDefer)
  }

  async #answerWithHooks(answering: Promise<Answer>, hooks: OperationHooks): Promise<Answer> {
    const answer = await answering
    const [ms, planMs] = [performance.now() - this.#started, this.#planned - this.#started]
    const metrics = { ms, planMs, subgraphMs: this.#subgraphMs, subgraphAnswers: this.#subgraphAnswers }
    return hooks.onResponse(answer, this.#outcome, metrics)
  }

  async #answer(sent: GraphQLRequest, mayDefer: boolean): Promise<Answer> {
    const { admission, answerLimit, authentication, limits, maxCost, persisted, served, showPlans } = this.#pipeline
    try {
      const { operations } = served.current
      const source = persisted.resolve(sent)
      if (!operations.isKnown(source, sent.operationName)) {
        const turn = admission.turn(this.#client, this.#departure)
        if (turn) await turn
        if (this.#departure.isCancelled) throw new Cancelled()
      }
      const found = this.#find(operations, source, sent.operationName)
      const { operation } = found
      const { variables, values } = operations.coerceVariables(found, sent.variables, sent.hasRawNumbers)
      if (limits) {
        for (let left = operation.sensitiveFields(values); left > 0; left--) {
          const counted = limits.count('strict', this.#request, this.#reply)
          if (counted) await counted
        }
      }
      const cost = operation.cost?.(values) ?? 0
      if (!(cost <= maxCost)) throw tooCostly(cost, maxCost)
      const known = authentication?.(this.#request.headers.authorization) ?? GUEST
      let verdict = known instanceof Promise ? await known : known
      // A query begins while the token's status is being checked, and its answer is dropped if the token was revoked.
      if (verdict.settled && (operation.type !== 'query' || operation.restricted)) verdict = await verdict.settled
      // Some operations ignore the token; then it is not passed on to the subgraphs.
      if (!verdict.isAllowed && !operation.ignoresToken) throw tokenRefusal(verdict.fault)
      if (this.hooks) await this.hooks.onOperation(verdict.claims)
      const { execute, deferred, plan } = operation.restricted?.(verdict.claims) ?? operation
      const load = operation.type === 'mutation' ? Math.max(cost, maxCost * MUTATION_SHARE) : cost
      const entrance = admission.enter(this.#client, load, this.#departure)
      if (entrance) await entrance
      this.#admittedCost = load
      this.variables = variables
      this.values = values
      // A subgraph that does not know the token's issuer might take its bearer for a customer.
      this.identity = verdict.identity
      const withoutToken = !verdict.isAllowed || verdict.identity !== undefined
      this.headers = this.#pipeline.subgraphHeaders(this.#request, this.#span.traceparent, withoutToken)
      if (operation.type === 'query') {
        this.cancellation = this.#departure
        this.#policy = this.#pipeline.caching?.policyFor(this.#request.headers)
      }
      // A plugin that may change errors has to see all of them.
      const format =
        deferred && mayDefer && !this.hooks?.changesAnswers
          ? incrementalFormat(this.#request.headers.accept)
          : undefined
      const result: IncrementalAnswer = await (deferred && format ? deferred(this, format) : execute(this))
      if (verdict.settled) {
        const final = await verdict.settled
        if (!final.isAllowed) throw tokenRefusal(final.fault)
      }
      // The customer subgraph refused the token. Other parts of a mutation may have been executed, so their answers are
      // kept.
      if (this.#refusal !== undefined && (operation.type === 'query' || this.#subgraphAnswers === 1)) {
        throwRefusedToken(this.#refusal)
      }
      if (isLongerThan(result.text, answerLimit)) throw answerTooLarge(answerLimit)
      this.#outcome = result.hasErrors ? 'errors' : 'success'
      this.#failure = result.errors?.[0]
      if (result.errors?.some(isFault)) this.#isFaulty = true
      const isPlanShown = showPlans && this.#request.headers['x-query-plan']
      const text = isPlanShown ? withPlan(result.text, plan(values)) : result.text
      return {
        text,
        error: undefined,
        errors: result.errors,
        category: result.category,
        rest: format && result.rest && this.#follow(format, text, result.rest),
        traits: operation,
        policy: isPlanShown || result.hasErrors || result.rest ? undefined : this.#policy,
      }
    } catch (error) {
      return this.#refuse(error)
    } finally {
      if (!this.#isFollowed) this.#finish()
    }
  }

  /** The parts that follow the first: the request ends with the last of them. */
  #follow(format: IncrementalFormat, first: string, rest: AsyncIterable<LaterPart>): RestOfAnswer {
    this.#isFollowed = true
    return { first, format, parts: this.#parts(rest) }
  }

  async *#parts(rest: AsyncIterable<LaterPart>): AsyncGenerator<LaterPart, void> {
    try {
      for await (const part of rest) {
        if (part.errors.length > 0) this.#outcome = 'errors'
        if (part.errors.some(isFault)) this.#isFaulty = true
        yield part
      }
    } finally {
      this.#finish()
    }
  }

  /** The same for an entry of a batch, which has not been read yet. */
  async answerEntry(entry: unknown): Promise<Answer> {
    this.#isEntry = true
    let sent: GraphQLRequest
    try {
      sent = readBody(entry, 0) as GraphQLRequest
    } catch (error) {
      const answer = this.#refuse(error)
      this.#finish()
      return this.hooks ? this.#answerWithHooks(Promise.resolve(answer), this.hooks) : answer
    }
    return this.answer(sent, false)
  }

  room(): Promise<void> | undefined {
    const { admission, unread } = this.#pipeline
    const room = unread.room(this.#client, this.#departure)
    if (room && this.#admittedCost !== undefined) {
      this.#hasYielded = true
      admission.yieldToOthers(this.#admittedCost)
    }
    return room
  }

  /** Over a WebSocket answers are counted where they are sent, and of a batch together: its entries do not wait for each other. */
  made(text: string): void {
    if (this.#reply.raw && !this.#isEntry) countUnread(this.#pipeline, this.#request, this.#reply, text)
  }

  mask(error: unknown): GraphQLFormattedError {
    return mask(error, this.#request, this.#traceparent())
  }

  received({ status, text, milliseconds, headers }: RawAnswer, service: string): void {
    this.#subgraphAnswers++
    if (status === 401) this.#refusal ??= text
    this.#subgraphMs += milliseconds
    if (!this.#isFollowed) this.#pipeline.returnHeaders?.(this.#reply, headers)
    this.#policy?.add(service, status, headers)
  }

  unavailable({ service, message, cause }: SubgraphUnavailable): void {
    this.#pipeline.metrics.subgraphFailure(service)
    this.#request.log.warn({ service, reason: reasonOf(cause), ...traceIds(this.#traceparent()) }, message)
  }

  /** Of the request's own span; the client's where nothing is traced here. */
  #traceparent(): unknown {
    return this.#span.traceparent || this.#request.headers.traceparent
  }

  /** @throws RequestError, also for an operation that may not be sent by GET */
  #find(operations: Operations, source: string, name: string | undefined): FoundOperation {
    const planning = isTracing() ? startSpan('graphql.plan', { parent: this.#span.traceparent }) : undefined
    let found: FoundOperation
    try {
      found = operations.find(source, name)
      this.#operation = found.operation
      this.hooks?.found(found.operation)
    } finally {
      planning?.end(this.#operation === undefined)
    }
    this.#planned = performance.now()
    const { type } = found.operation
    if (type === 'subscription') {
      const how = 'with the header "Accept: text/event-stream", or over a WebSocket (graphql-transport-ws)'
      throw requestError(`Send subscriptions ${how}.`, 'OPERATION_RESOLUTION_FAILURE')
    }
    if (this.#isRead && type !== 'query') {
      this.#reply.header('allow', 'POST')
      throw requestError('Mutation requests allowed only for POST requests', 'METHOD_NOT_ALLOWED')
    }
    return found
  }

  #refuse(error: unknown): Answer {
    if (error instanceof TokenRefused) {
      this.#reply.header('www-authenticate', tokenChallenge(error.message))
      this.#pipeline.authentication?.doubt(this.#request.headers.authorization)
    }
    if (error instanceof RequestError) {
      this.#failure = error.errors[0]
      if (error.statusCode === 500) this.#outcome = 'failed'
      if (error.errors.some(isFault)) this.#isFaulty = true
      noteOverload(error, this.#reply, this.#pipeline.metrics)
      return { text: errorBody(error.errors), error }
    }
    if (error instanceof Cancelled) return { text: '', error: undefined }
    this.#outcome = 'failed'
    this.#isFaulty = true
    const masked = new RequestError([new GraphQLError('')], 500)
    const shown = this.mask(error)
    this.#failure = shown
    return { text: errorBody([shown]), error: masked }
  }

  #finish(): void {
    const { admission, authentication, countUnknown, logsRequests, metrics } = this.#pipeline
    const operation = this.#operation
    if (operation?.mayEndToken) authentication?.doubt(this.#request.headers.authorization)
    if (this.#admittedCost !== undefined) admission.leave(this.#client, this.#admittedCost, this.#hasYielded)
    if (this.#departure.isCancelled && operation?.type !== 'mutation') this.#outcome = 'cancelled'
    const ms = performance.now() - this.#started
    const count = operation?.count ?? countUnknown
    count(this.#outcome, ms / 1000)
    if (this.#isFaulty && this.#outcome !== 'cancelled') metrics.fault(operation?.type ?? 'unknown')
    this.#span.end(this.#outcome === 'failed')
    if (logsRequests) this.#log(ms)
  }

  /** Never the document or its variables: they may have personal data. */
  #log(ms: number): void {
    const { node, type, hash } = this.#operation ?? {}
    this.#request.log.info(
      {
        operation: node?.name?.value,
        type,
        hash,
        outcome: this.#outcome,
        code: shownCode(this.#failure),
        ms: rounded(ms),
        planMs: rounded(this.#planned - this.#started),
        subgraphMs: rounded(this.#subgraphMs),
        ...traceIds(this.#traceparent()),
      },
      'request',
    )
  }
}

/** Counts an answer as unread until its response is done, or the client is gone. */
export function countUnread({ unread }: Pipeline, request: FastifyRequest, reply: FastifyReply, text: string): void {
  const taken = unread.count(clientKey(request.ip), text.length)
  if (!taken) return
  const { socket } = request.raw
  onceOver(reply.raw, socket, taken)
  // Node disconnects a client that takes nothing for so long. The next request of the connection ends that.
  socket.setTimeout(TAKES_NOTHING_MS)
}

export function tooCostly(cost: number, maximum: number): RequestError {
  return requestError(`The operation may cost ${cost}; at most ${maximum} is allowed.`, 'OPERATION_TOO_COMPLEX')
}

const rounded = (milliseconds: number) => Math.round(milliseconds * 100) / 100
