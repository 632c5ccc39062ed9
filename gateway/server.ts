/** The gateway: GraphQL over HTTP in front of the subgraphs. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { prettyFormatQueryPlan, type QueryPlan } from '@apollo/query-planner'
import cors from '@fastify/cors'
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import { GraphQLError, type GraphQLFormattedError, isObjectType } from 'graphql'
import { clientKey } from '../runtime/client-address.ts'
import { type LoadLimits, NO_LOAD_LIMITS } from '../runtime/configuration.ts'
import { RETRY_AFTER_SECONDS, shedLoad } from '../runtime/load-shedding.ts'
import { isTracing, startSpan } from '../runtime/tracing.ts'
import { tokenChallenge } from '../schema/token-faults.ts'
import { Cancellation, Cancelled } from './cancellation.ts'
import { RequestError, requestError, TokenRefused, throwRefusedToken } from './errors.ts'
import { createApolloExecutor } from './execution/apollo-executor.ts'
import { createCompiledExecutor } from './execution/compiled-executor.ts'
import { answerTooLarge } from './execution/executor.ts'
import { createAdmission, DEFAULT_ADMISSION } from './http/admission.ts'
import { type CheckOutcome, createAuthentication, GUEST, type Verdict } from './http/authentication.ts'
import { exampleQueries, serveEditor } from './http/editor.ts'
import {
  checkCrossSite,
  contentTypes,
  type ErrorStatus,
  executedStatus,
  isOrigin,
  negotiate,
  SECURITY_HEADERS,
  statusOf,
} from './http/negotiation.ts'
import { createPersistedQueries } from './http/persisted-queries.ts'
import { createRateLimiter, type RateLimiter } from './http/rate-limits.ts'
import { type GraphQLRequest, parseBody, readBody, readParameters } from './http/request.ts'
import { createTokenStatus, type TokenStatusSource } from './http/token-status.ts'
import type { KeySource } from './http/tokens.ts'
import { createMetrics, type Metrics, type Outcome } from './metrics.ts'
import { serveMetrics } from './metrics-server.ts'
import { DEFAULT_LIMITS, type DocumentLimits } from './planning/document-limits.ts'
import { createOperations, type Operation, type Operations } from './planning/operations.ts'
import { type LoadedSupergraph, loadSupergraph } from './planning/supergraph.ts'
import { createSubgraphClients, isLongerThan, type RawAnswer, type Transport } from './subgraphs/client.ts'
import { createReturnedHeaders, createSubgraphHeaders } from './subgraphs/headers.ts'
import { watchText } from './watch-file.ts'

export type GatewayOptions = {
  /** The supergraph file; it is watched, and a changed one is swapped in. */
  readonly supergraph: string
  /** `apollo` executes with @apollo/gateway, some ten times slower: to compare with. Default `compiled`. */
  readonly executor?: 'compiled' | 'apollo'
  /** Subgraph URLs in place of those in the supergraph: by the subgraph's name, or by the name in capitals with _ for - . */
  readonly subgraphUrls?: Readonly<Record<string, string>>
  /** Subgraphs that run in this process, by name: they are called without a socket. */
  readonly transports?: Readonly<Record<string, Transport>>
  /** Sent as `x-subgraph-secret` to the subgraphs that `subgraphSecretFor` names. */
  readonly subgraphSecret?: string | undefined
  /** Default: `customers` alone. */
  readonly subgraphSecretFor?: readonly string[]
  /** How long a subgraph may take for one answer, in milliseconds. Default 10,000. */
  readonly subgraphTimeoutMs?: number
  /** How many connections are kept to one subgraph at most. Default 64. */
  readonly subgraphConnections?: number
  /** How many queries may be under way on one connection. Default 1: a slow answer then delays no other. */
  readonly subgraphPipelining?: number
  /** Of a subgraph's answer, in bytes. Default 8 MiB. */
  readonly subgraphAnswerLimit?: number
  /** Of an answer to a client, in bytes. Default 8 MiB. */
  readonly answerLimit?: number
  /** Above these the gateway answers 503. Default: any load is taken; the processes have limits (MAX_EVENT_LOOP_DELAY_MS, MAX_HEAP_PERCENT). */
  readonly loadLimits?: LoadLimits
  /** The client's headers that go down. Default: authorization, idempotency-key, store, user-agent; traceparent always. */
  readonly forwardHeaders?: readonly string[]
  /** The subgraphs' headers that come back. Default: none. */
  readonly returnHeaders?: readonly string[]
  /** Verifies bearer tokens, so that a forged one costs no subgraph call. Default: they go down as they are. */
  readonly tokenKeys?: KeySource
  /** Where is asked whether a token that is verified still counts. Default: nowhere, it does until it expires. */
  readonly tokenStatus?: TokenStatusSource
  /** The origins whose pages may read answers, with credentials: each by its name. Default: none. */
  readonly corsOrigins?: readonly string[]
  /** Where the metrics are kept, for who serves them elsewhere. Default: in an object of its own. */
  readonly metrics?: Metrics
  /** Whether `/metrics` is served beside `/graphql`. Default true; off in production. */
  readonly publicMetrics?: boolean
  /** Whether clients may ask for the schema. Default true; off in production. */
  readonly introspection?: boolean
  /** Whether `/` is the query editor. Default true; off in production. */
  readonly editor?: boolean
  /** What the editor shows at first, in place of our examples. */
  readonly editorQuery?: string
  /** Whether an answer shows its plan to a request with the header `x-query-plan`. Default false. */
  readonly showPlans?: boolean
  /** Labels of `@override(label:)` whose fields have moved; percent(5) holds for five requests of a hundred by itself. */
  readonly overrideLabels?: readonly string[]
  /** How many documents are kept parsed and planned. Default 1,000. */
  readonly cachedDocuments?: number
  /** What a document may be. Default: {@link DEFAULT_LIMITS} for what is not given. */
  readonly limits?: Partial<DocumentLimits>
  /** How long a client may take to send its request, in milliseconds. Default 30,000, of which 10,000 for its headers. */
  readonly requestTimeoutMs?: number
  /** The status of answers with errors: see {@link executedStatus}. Default: by what the client asks for. */
  readonly errorStatus?: ErrorStatus | undefined
  /** Of a request's body, in bytes. Default 1 MiB. */
  readonly bodyLimit?: number
  /** Requests in one batch; 0, the default: batches are refused. */
  readonly batchLimit?: number
  /** Default: none. */
  readonly rateLimits?: RateLimits
  /** Default: automatic persisted queries. */
  readonly persistedQueries?: { readonly mode: 'apq' | 'safelist' | 'off'; readonly manifest?: string | undefined }
  /** How often the supergraph file is looked at, in milliseconds. Default 1,000. */
  readonly watchIntervalMs?: number
  /** Fastify's logger option; nothing is logged without it. */
  readonly logger?: NonNullable<FastifyServerOptions['logger']>
  /** Fastify's trustProxy option: whose X-Forwarded-For is believed. */
  readonly trustProxy?: NonNullable<FastifyServerOptions['trustProxy']>
}

/** Requests in a minute from one client, by its address. */
export type RateLimits = {
  readonly perMinute?: number | undefined
  /** Sign-ins, sign-ups, password operations, and what sends mail. */
  readonly signInPerMinute?: number | undefined
  /** Where several gateways count together. */
  readonly redisUrl?: string | undefined
}

/** A supergraph file that can't be served; the message names it. */
export class SupergraphError extends Error {
  override readonly name = 'SupergraphError'
  readonly code = 'SUPERGRAPH_INVALID'
}

/** What one supergraph brings; a request holds on to the one that it began with. */
type Graph = { readonly supergraph: LoadedSupergraph; readonly operations: Operations }

const contentTypeError = 'Request content type must be application/json'

/**
 * Builds the gateway. The caller listens and closes; closing lets requests under way finish.
 * @throws SupergraphError when the supergraph file is missing or can't be served; TypeError for options that can't be used
 */
export async function buildGateway(options: GatewayOptions): Promise<FastifyInstance> {
  const { introspection = true, editor = true, cachedDocuments = 1000, batchLimit = 0, showPlans = false } = options
  const { requestTimeoutMs = 30_000, bodyLimit = 1024 * 1024 } = options
  const { subgraphAnswerLimit = MAX_ANSWER_BYTES, answerLimit = MAX_ANSWER_BYTES } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const instance = randomBytes(6).toString('base64url')
  let requests = 0
  const app = Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => `${instance}-${(++requests).toString(36)}`,
    bodyLimit,
    routerOptions: { ignoreTrailingSlash: true },
    // A client that sends its request byte by byte holds a connection for so long.
    requestTimeout: requestTimeoutMs,
    http: { headersTimeout: Math.min(requestTimeoutMs, 10_000), connectionsCheckingInterval: 1_000 },
    ...(options.trustProxy !== undefined && { trustProxy: options.trustProxy }),
  })
  const wrongOrigin = options.corsOrigins?.find((origin) => !isOrigin(origin))
  if (wrongOrigin !== undefined) throw new TypeError(`${JSON.stringify(wrongOrigin)} is not an origin.`)
  const metrics = options.metrics ?? createMetrics()
  const rejected = metrics.operation('', 'unknown')
  const subgraphHeaders = createSubgraphHeaders(
    options.forwardHeaders ?? ['authorization', 'idempotency-key', 'store', 'user-agent', 'x-captcha', 'x-recaptcha'],
  )
  const returnHeaders = createReturnedHeaders(options.returnHeaders ?? [])
  const tokenStatus = options.tokenStatus && createTokenStatus(options.tokenStatus)
  let isStatusAway = false
  const authentication =
    options.tokenKeys &&
    createAuthentication(options.tokenKeys, { isActive: tokenStatus?.isActive, onCheck: noteCheck })
  const persisted = createPersistedQueries({
    ...(options.persistedQueries ?? { mode: 'apq' }),
    maxEntries: cachedDocuments,
  })
  const limiter = createLimiter(options.rateLimits, (reason) =>
    app.log.warn({ reason }, 'Rate limits are counted by this process alone'),
  )
  const clients = createSubgraphClients({
    timeoutMs: options.subgraphTimeoutMs ?? 10_000,
    connections: options.subgraphConnections ?? 64,
    pipelining: options.subgraphPipelining ?? 1,
    maxAnswerBytes: subgraphAnswerLimit,
    transports: options.transports ?? {},
    observe: metrics.subgraphCall,
  })

  const admission = createAdmission({
    ...DEFAULT_ADMISSION,
    costPerClient: limits.cost,
    costInAll: 2 * limits.cost,
  })
  const bodies = createAdmission({ ...DEFAULT_ADMISSION, ...BODIES_AT_ONCE })
  const overloaded = requestError('The gateway is overloaded. Try again later.', 'OVERLOADED')
  const isOverloaded = await shedLoad(
    app,
    options.loadLimits ?? NO_LOAD_LIMITS,
    errorBody(overloaded.errors),
    metrics.shed,
  )

  const { subgraphUrls = {}, subgraphSecret, subgraphSecretFor = ['customers'] } = options
  const overriddenUrl = (name: string) => subgraphUrls[name] ?? subgraphUrls[name.toUpperCase().replaceAll('-', '_')]
  const secretFor = (name: string) =>
    subgraphSecret !== undefined && subgraphSecretFor.includes(name) ? ['x-subgraph-secret', subgraphSecret] : []

  function load(sdl: string): Graph {
    const supergraph = loadSupergraph(sdl)
    const subgraphs = Object.fromEntries(
      supergraph.subgraphs.map(({ name, url }) => [
        name,
        clients.client(name, overriddenUrl(name) ?? url, secretFor(name)),
      ]),
    )
    const compileRestricted = createCompiledExecutor(supergraph, subgraphs, answerLimit)
    const compile = options.executor === 'apollo' ? createApolloExecutor(supergraph, subgraphs) : compileRestricted
    const countOf = metrics.operation
    const operations = createOperations(supergraph, {
      introspection,
      cachedDocuments,
      limits,
      activeLabels: options.overrideLabels ?? [],
      compile,
      compileRestricted,
      countOf,
    })
    return { supergraph, operations }
  }

  let graph: Graph
  try {
    graph = load(readFileSync(options.supergraph, 'utf8'))
  } catch (error) {
    throw new SupergraphError(`${options.supergraph} can't be served: ${(error as Error).message}`, { cause: error })
  }
  metrics.supergraph(graph.supergraph.hash)

  function swap(sdl: string) {
    try {
      const next = load(sdl)
      if (next.supergraph.hash === graph.supergraph.hash) return
      graph = next
      metrics.supergraph(next.supergraph.hash)
      app.log.info({ supergraph: next.supergraph.hash }, 'Supergraph changed')
    } catch (error) {
      keepOld(error as Error)
    }
  }
  function keepOld(error: Error) {
    metrics.supergraphFailure()
    app.log.error(
      { reason: error.message, supergraph: graph.supergraph.hash },
      'The changed supergraph can not be served; the one before it stays',
    )
  }
  const unwatch = watchText(options.supergraph, options.watchIntervalMs ?? 1000, swap, keepOld)
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onClose', async () => {
    unwatch()
    await limiter?.close()
    await tokenStatus?.close()
    await clients.close()
  })
  // pino's own; without a logger there is none
  const logsRequests = (app.log as { isLevelEnabled?: (level: string) => boolean }).isLevelEnabled?.('info') === true

  /** One GraphQL request, from its text to its answer's. Everything that can go wrong with it is in the answer. */
  async function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    read: () => GraphQLRequest,
    readOnly: boolean,
    cancellation: Cancellation,
  ): Promise<Answer> {
    const started = performance.now()
    let outcome: Outcome = 'rejected'
    let operation: Operation | undefined
    let planned = started
    let subgraphMs = 0
    let leave: (() => void) | undefined
    const client = clientKey(request.ip)
    const parent = request.headers.traceparent
    const span = startSpan('graphql', { kind: 'server', parent: typeof parent === 'string' ? parent : undefined })
    try {
      const sent = read()
      const { operations } = graph
      const source = persisted.resolve(sent)
      if (!operations.isKnown(source, sent.operationName)) {
        const turn = admission.turn(client, cancellation)
        if (turn) await turn
      }
      const planning = isTracing() ? startSpan('graphql.plan', { parent: span.traceparent }) : undefined
      let found: ReturnType<Operations['find']>
      try {
        found = operations.find(source, sent.operationName)
        operation = found.operation
      } finally {
        planning?.end(operation === undefined)
      }
      planned = performance.now()
      if (readOnly && operation.type !== 'query') {
        reply.header('allow', 'POST')
        throw requestError('Mutation requests allowed only for POST requests', 'METHOD_NOT_ALLOWED')
      }
      const { variables, values } = operations.coerceVariables(found, sent.variables, sent.hasRawNumbers)
      if (limiter) {
        for (let left = operation.sensitiveFields(values); left > 0; left--) await limit('strict', request, reply)
      }
      const cost = operation.cost?.(values) ?? 0
      if (!(cost <= limits.cost)) throw tooCostly(cost, limits.cost)
      const { claims, settled, isAllowed } = await authenticated(request, operation)
      const { execute, plan } = operation.restricted?.(claims) ?? operation
      const entrance = admission.enter(client, cost, cancellation)
      if (entrance) await entrance
      leave = () => admission.leave(client, cost)
      let answers = 0
      let refusal: string | undefined
      const received = (raw: RawAnswer) => {
        answers++
        if (raw.status === 401) refusal ??= raw.text
        subgraphMs += raw.milliseconds
        returnHeaders?.(reply, raw.headers)
      }
      const result = await execute({
        variables,
        values,
        headers: subgraphHeaders(request, span.traceparent, !isAllowed),
        cancellation: operation.type === 'query' ? cancellation : undefined,
        mask: (error) => mask(error, request),
        received,
        unavailable: ({ service, message, cause }) => {
          metrics.subgraphFailure(service)
          request.log.warn({ service, reason: cause instanceof Error ? reasonOf(cause) : undefined }, message)
        },
      })
      const looked = await settled
      if (looked && !looked.isAllowed) throw new TokenRefused(looked.fault)
      // The customer subgraph knew better. Of a mutation with more parts others may have been carried out: those are told.
      if (refusal !== undefined && (operation.type === 'query' || answers === 1)) throwRefusedToken(refusal)
      if (isLongerThan(result.text, answerLimit)) throw answerTooLarge(answerLimit)
      outcome = result.hasErrors ? 'errors' : 'success'
      const text = showPlans && request.headers['x-query-plan'] ? withPlan(result.text, plan(values)) : result.text
      return { text, error: undefined, category: result.category }
    } catch (error) {
      if (error instanceof TokenRefused) {
        reply.header('www-authenticate', tokenChallenge(error.message))
        authentication?.doubt(request.headers.authorization)
      }
      if (error instanceof RequestError) {
        if (error.statusCode === 503) reply.header('retry-after', String(RETRY_AFTER_SECONDS))
        if (error.statusCode === 503) metrics.shed()
        return { text: errorBody(error.errors), error }
      }
      if (error instanceof Cancelled) return { text: '', error: undefined }
      outcome = 'failed'
      const masked = new RequestError([new GraphQLError('')], 500)
      return { text: errorBody([mask(error, request)]), error: masked }
    } finally {
      if (operation?.mayEndToken) authentication?.doubt(request.headers.authorization)
      leave?.()
      if (cancellation.isCancelled && operation?.type !== 'mutation') outcome = 'cancelled'
      const ms = performance.now() - started
      ;(operation?.count ?? rejected)(outcome, ms / 1000)
      span.end(outcome === 'failed')
      if (logsRequests) {
        const { name } = operation?.node ?? {}
        request.log.info(
          {
            operation: name?.value,
            type: operation?.type,
            outcome,
            ms: rounded(ms),
            planMs: rounded(planned - started),
            subgraphMs: rounded(subgraphMs),
          },
          'request',
        )
      }
    }
  }

  /**
   * What the request's token says. Where it has to be asked whether it still counts, what only reads begins meanwhile, and
   * its answer is thrown away if the token is found to be revoked.
   * @returns of a token that does not count, for an operation to which it does not matter, that it may not go on
   * @throws TokenRefused for one to which it does
   */
  async function authenticated(
    { headers }: FastifyRequest,
    { type, restricted, ignoresToken }: Operation,
  ): Promise<Verdict> {
    let verdict = (await authentication?.(headers.authorization)) ?? GUEST
    if (verdict.settled && (type !== 'query' || restricted)) verdict = await verdict.settled
    if (!verdict.isAllowed && !ignoresToken) throw new TokenRefused(verdict.fault)
    return verdict
  }

  function noteCheck(outcome: CheckOutcome, error?: unknown): void {
    metrics.tokenCheck(outcome)
    const isAway = outcome === 'failed'
    if (isAway === isStatusAway) return
    isStatusAway = isAway
    const reason = error instanceof Error ? reasonOf(error) : undefined
    if (isAway)
      app.log.warn({ reason }, 'It can not be asked whether tokens still count: their claims are not believed')
    else app.log.info('It can be asked again whether tokens still count')
  }

  /** @throws RequestError 429 */
  async function limit(bucket: 'default' | 'strict', request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const taken = limiter?.take(bucket, request.ip)
    const allowance = taken instanceof Promise ? await taken : taken
    if (!allowance || allowance.allowed) return
    metrics.limited(bucket)
    reply.header('retry-after', String(allowance.retryAfterSeconds))
    throw requestError(`Too many requests: try again in ${allowance.retryAfterSeconds} s.`, 'RATE_LIMITED')
  }

  async function respond(
    request: FastifyRequest,
    reply: FastifyReply,
    read: () => GraphQLRequest | readonly unknown[],
    readOnly: boolean,
  ): Promise<FastifyReply> {
    const media = negotiate(request.headers.accept)
    const cancellation = new Cancellation()
    reply.raw.once('close', () => {
      if (!reply.raw.writableEnded) cancellation.cancel()
    })
    reply.headers(SECURITY_HEADERS).header('x-correlation-id', request.id)
    const send = (text: string, status: number) => {
      // A connection that is busy while the server closes would otherwise stay open until its client ends it.
      if (closing) reply.header('connection', 'close')
      return reply
        .code(status)
        .header('content-type', contentTypes[media ?? 'any'])
        .send(text)
    }
    try {
      if (media === undefined) {
        const accepted = 'application/graphql-response+json or application/json'
        throw requestError(`Answers can be had as ${accepted} only.`, 'NOT_ACCEPTABLE')
      }
      if (readOnly) checkCrossSite(request.headers)
      if (limiter) await limit('default', request, reply)
      const asked = read()
      if (Array.isArray(asked)) {
        if (limiter) for (let others = asked.length - 1; others > 0; others--) await limit('default', request, reply)
        const answers = await Promise.all(
          asked.map((each) =>
            answer(request, reply, () => readBody(each, 0) as GraphQLRequest, readOnly, cancellation),
          ),
        )
        const text = `[${answers.map(({ text }) => text).join(',')}]`
        if (isLongerThan(text, answerLimit)) throw answerTooLarge(answerLimit)
        return send(text, 200)
      }
      const single = () => asked as GraphQLRequest
      const { text, error, category } = await answer(request, reply, single, readOnly, cancellation)
      return send(text, error ? statusOf(error, media) : executedStatus(category, media, options.errorStatus))
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      rejected('rejected', 0)
      return send(errorBody(error.errors), statusOf(error, media ?? 'any'))
    }
  }

  /** Before a body is read: what is large waits until those of the same client, and of all, have been answered. */
  async function admitBody(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const length = request.headers['content-length']
    const bytes = length === undefined ? bodyLimit : Number(length)
    // What is larger than allowed is refused unread.
    if (bytes <= BODIES_AT_ONCE.cheap || bytes > bodyLimit) return
    const client = clientKey(request.ip)
    const cancellation = new Cancellation()
    reply.raw.once('close', () => cancellation.cancel())
    await bodies.enter(client, bytes, cancellation)
    cancellation.onCancel(() => bodies.leave(client, bytes))
  }

  app.removeAllContentTypeParsers()
  // Any name may be a member of a JSON scalar's value, and none is ever assigned from one object to another.
  const parseJson = app.getDefaultJsonParser('ignore', 'ignore')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    try {
      const exact = parseBody(body)
      if (exact === undefined) parseJson(request, body, done)
      else done(null, exact)
    } catch (error) {
      done(error as RequestError)
    }
  })
  app.setErrorHandler((error: Error & { statusCode?: number; code?: string }, request, reply) => {
    const { statusCode = 500 } = error
    reply.headers(SECURITY_HEADERS).type(contentTypes[negotiate(request.headers.accept) ?? 'any'])
    if (error instanceof Cancelled) return reply.code(408).send('')
    if (error instanceof RequestError) {
      if (error.statusCode === 503) reply.header('retry-after', String(RETRY_AFTER_SECONDS))
      if (error.statusCode === 503) metrics.shed()
      return reply.code(error.statusCode).send(errorBody(error.errors))
    }
    if (statusCode >= 500) return reply.code(500).send(errorBody([mask(error, request)]))
    const message = statusCode === 415 ? contentTypeError : error.message
    return reply.code(statusCode).send(errorBody(requestError(message, 'BAD_REQUEST').errors))
  })
  if (options.corsOrigins?.length) {
    await app.register(cors, {
      origin: [...options.corsOrigins],
      methods: ['GET', 'POST'],
      credentials: true,
      exposedHeaders: ['retry-after', 'www-authenticate', 'x-correlation-id'],
      maxAge: 600,
    })
  }

  app.post('/graphql', { onRequest: admitBody }, (request, reply) =>
    respond(request, reply, () => readBody(request.body, batchLimit), false),
  )
  app.get('/graphql', (request, reply) =>
    respond(request, reply, () => readParameters(request.query as Record<string, unknown>), true),
  )
  app.route({
    method: ['PUT', 'PATCH', 'DELETE'],
    url: '/graphql',
    // Whatever its body is: it is not read.
    onRequest: async (_request, reply) =>
      reply
        .code(405)
        .headers({ ...SECURITY_HEADERS, allow: 'GET, POST' })
        .type(contentTypes.any)
        .send(errorBody(requestError('GraphQL is asked by GET or POST.', 'METHOD_NOT_ALLOWED').errors)),
    handler: () => {},
  })
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', (_request, reply) => {
    const supergraph = graph.supergraph.hash
    if (!isOverloaded()) return { status: 'ok', supergraph }
    return reply.code(503).send({ status: 'overloaded', supergraph })
  })
  if (options.publicMetrics ?? true) serveMetrics(app, metrics)
  if (editor) serveEditor(app, () => options.editorQuery ?? exampleQueries(hasOrders(graph.supergraph)))
  return app
}

/** Of an answer, where nothing else is configured. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024

/**
 * Bytes of request bodies that are read or worked on at once. Each takes some ten times as much memory until it is answered
 * (its text, the document, its literals, what goes to subgraphs) and blocks the event loop for some milliseconds.
 */
const BODIES_AT_ONCE = {
  costPerClient: 2 * 1024 * 1024,
  costInAll: 8 * 1024 * 1024,
  cheap: 32 * 1024,
  patienceMs: 10_000,
} as const

/** An answer's text, and why there is no other. */
type Answer = {
  readonly text: string
  readonly error: RequestError | undefined
  readonly category?: string | undefined
}

function createLimiter(rates: RateLimits | undefined, onFallback: (reason: string) => void): RateLimiter | undefined {
  const { perMinute, signInPerMinute, redisUrl } = rates ?? {}
  if (!perMinute && !signInPerMinute) return undefined
  // A bucket holds what comes in a few seconds at once; one that is not limited holds more than anybody sends.
  const bucket = (rate = 1e9) => ({ capacity: Math.max(1, Math.ceil(rate / 6)), perMinute: rate })
  const buckets = { default: bucket(perMinute || undefined), strict: bucket(signInPerMinute || undefined) }
  return createRateLimiter({ buckets, onFallback, ...(redisUrl !== undefined && { redisUrl }) })
}

function tooCostly(cost: number, maximum: number): RequestError {
  return requestError(`The operation may cost ${cost}; at most ${maximum} is allowed.`, 'OPERATION_TOO_COMPLEX')
}

function withPlan(text: string, plan: QueryPlan): string {
  return `${text.slice(0, -1)},"extensions":{"queryPlan":${JSON.stringify(prettyFormatQueryPlan(plan))}}}`
}

const rounded = (milliseconds: number) => Math.round(milliseconds * 100) / 100

function errorBody(errors: readonly (GraphQLError | GraphQLFormattedError)[]): string {
  return JSON.stringify({ errors })
}

/** Logs an unexpected error whole and returns what the client sees of it: the id to find it by. */
function mask(error: unknown, { log, id }: FastifyRequest): GraphQLFormattedError {
  log.error({ err: withoutValues(error) }, 'Unexpected error')
  return {
    message: 'Internal server error',
    ...(error instanceof GraphQLError && error.path && { path: error.path }),
    extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: id },
  }
}

/** Apollo quotes a subgraph's value in the errors about it: it may be anybody's data, and stays out of the log. */
function withoutValues(error: unknown): unknown {
  if (!(error instanceof Error)) return new Error('Something that is not an error was thrown')
  const hide = (text: string) => text.replace(/\bvalue [\s\S]*? (returned by|for __typename)/g, 'value (hidden) $1')
  const shown = new Error(hide(error.message))
  shown.name = error.name
  if (error.stack !== undefined) shown.stack = hide(error.stack)
  return shown
}

/** Why a connection failed; of several addresses that were tried, each. */
function reasonOf(cause: Error): string {
  const { code } = cause as NodeJS.ErrnoException
  return cause.message || code || cause.name
}

function hasOrders({ schema }: LoadedSupergraph): boolean {
  const customer = schema.getType('Customer')
  return isObjectType(customer) && 'orders' in customer.getFields()
}
