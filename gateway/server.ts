/** The gateway: GraphQL over HTTP in front of the subgraphs. */
import { randomBytes } from 'node:crypto'
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import { type LoadLimits, NO_LOAD_LIMITS } from '../runtime/configuration.ts'
import { endingConnections } from '../runtime/ending-connections.ts'
import { shedLoad } from '../runtime/load-shedding.ts'
import {
  DEFAULT_LIMITS,
  type DocumentLimits,
  ENCODINGS,
  type Encoding,
  isOrigin,
  type TagHeader,
} from './accepted-values.ts'
import { authenticate, type TokenOptions } from './authentication/options.ts'
import { requestError } from './errors.ts'
import { createAnswerCaching } from './http/answer-caching.ts'
import { errorBody } from './http/answers.ts'
import { createCompression } from './http/compression.ts'
import { createDrain, type Drain } from './http/drain.ts'
import { editorContent, serveEditor } from './http/editor.ts'
import { handleErrors } from './http/error-handler.ts'
import { tidyForwardedFor } from './http/forwarded-for.ts'
import type { Pipeline } from './http/graphql-call.ts'
import { graphqlRoutes } from './http/graphql-routes.ts'
import { acceptJson } from './http/json-parser.ts'
import { MAX_JSON_VALUES } from './http/json-size.ts'
import type { ErrorStatus } from './http/negotiation.ts'
import { createPersistedQueries, watchManifest } from './http/persisted-queries.ts'
import { createAdmission, DEFAULT_ADMISSION } from './limits/admission.ts'
import { CONNECTIONS_PER_CLIENT, limitConnections } from './limits/client-connections.ts'
import { createRequestLimits, type RateLimits } from './limits/rate-limiting.ts'
import { createUnreadAnswers } from './limits/unread-answers.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { serveMetrics } from './metrics-server.ts'
import type { Plugins } from './plugins/hooks.ts'
import { loadPlugins, type PluginSource } from './plugins/load.ts'
import { type CreateExecutor, type ServedGraph, serveGraph } from './served-supergraph.ts'
import { createSubgraphClients, RETRIES, type Transport } from './subgraphs/client.ts'
import { createReturnedHeaders, createSubgraphHeaders } from './subgraphs/headers.ts'
import { effectiveSettings, type SubgraphSettings } from './subgraphs/settings.ts'
import type { Sharing } from './subgraphs/shared-calls.ts'
import { createSubscriptions, type SubscriptionOptions } from './subscriptions/subscriptions.ts'

export interface GatewayOptions extends TokenOptions {
  /** The supergraph file. It is watched, and changes are applied. */
  readonly supergraph: string
  /** `apollo` executes with @apollo/gateway, about ten times slower, for comparison. Default `compiled`. */
  readonly executor?: 'compiled' | 'apollo'
  /**
   * Whether clients may use `@defer`. Their answers then come in parts, except from the executor `apollo`, which answers in
   * one piece. Default true.
   */
  readonly defer?: boolean
  /**
   * Subgraph URLs that override those in the supergraph: by the subgraph's name, or by the name in capitals with _ for
   * - .
   */
  readonly subgraphUrls?: Readonly<Record<string, string>>
  /** Subgraphs that run in this process, by name: they are called without a socket. */
  readonly transports?: Readonly<Record<string, Transport>>
  /** Sent as `x-subgraph-secret` to the subgraphs that `subgraphSecretFor` names. */
  readonly subgraphSecret?: string | undefined
  /** Default: `customers` alone. */
  readonly subgraphSecretFor?: readonly string[]
  /** How long a subgraph may take for one answer, in milliseconds. Default 10,000. */
  readonly subgraphTimeoutMs?: number
  /** What differs from the options above and below by subgraph. */
  readonly subgraphSettings?: SubgraphSettings | undefined
  /** Code of the operator's own, in this order: files, or the plugins themselves. Default: none. */
  readonly plugins?: readonly PluginSource[]
  /** How many connections are kept to one subgraph at most. Default 64. */
  readonly subgraphConnections?: number
  /** How many queries may be under way on one connection. Default 1: a slow answer then delays no other. */
  readonly subgraphPipelining?: number
  /** The largest answer of a subgraph, in bytes. Default 8 MiB. */
  readonly subgraphAnswerLimit?: number
  /** The largest answer to a client, in bytes. Default 8 MiB. */
  readonly answerLimit?: number
  /**
   * Above these limits the gateway answers 503. Default: no limits; the processes set them (MAX_EVENT_LOOP_DELAY_MS,
   * MAX_HEAP_PERCENT).
   */
  readonly loadLimits?: LoadLimits
  /**
   * The client's headers that are passed on to subgraphs. Default: authorization, idempotency-key, store, user-agent;
   * traceparent always.
   */
  readonly forwardHeaders?: readonly string[]
  /** The subgraphs' headers that are returned to clients. Default: none. */
  readonly returnHeaders?: readonly string[]
  /** Whether answers may be stored as the subgraphs' `Cache-Control` headers say. Default true. */
  readonly answerCaching?: boolean
  /** The header with the tags of an answer that may be stored. Default `cache-tag`. */
  readonly cacheTagHeader?: TagHeader
  /** The encodings of answers, in the order of preference. Default: zstd, br, gzip. */
  readonly answerEncodings?: readonly Encoding[]
  /** The encodings that subgraphs are asked for. Default: none; an answer in one is understood all the same. */
  readonly subgraphEncodings?: readonly string[]
  /** The origins whose pages may read answers, with credentials. Default: none. */
  readonly corsOrigins?: readonly string[]
  /** Further origins, as a pattern. Default: none. */
  readonly corsPattern?: RegExp
  /** The metrics, to serve them elsewhere. Default: an object of the gateway's own. */
  readonly metrics?: Metrics
  /** Whether `/metrics` is served beside `/graphql`. Default true; off in production. */
  readonly publicMetrics?: boolean
  /** Whether clients may ask for the schema. Default true; off in production. */
  readonly introspection?: boolean
  /** Whether `/` is the query editor. Default true; off in production. */
  readonly editor?: boolean
  /** The initial content of the editor, in place of our examples. */
  readonly editorQuery?: string
  /** Whether an answer shows its plan to a request with the header `x-query-plan`. Default false. */
  readonly showPlans?: boolean
  /** Active labels of `@override(label:)`; percent(5) applies to five requests of a hundred by itself. */
  readonly overrideLabels?: readonly string[]
  /** How many parsed and planned documents are cached. Default 1,000. */
  readonly cachedDocuments?: number
  /** The limits for documents. Default: {@link DEFAULT_LIMITS} for those not given. */
  readonly limits?: Partial<DocumentLimits>
  /**
   * How long a client may take to send its request, in milliseconds. Default 30,000, of which 10,000 for its headers.
   */
  readonly requestTimeoutMs?: number
  /** The status of answers with errors: see {@link executedStatus}. Default: by what the client asks for. */
  readonly errorStatus?: ErrorStatus | undefined
  /**
   * Which queries of guests that are in flight at the same moment share one subgraph call. Default `same`; `off` if the
   * subgraphs' cookies are returned.
   */
  readonly sharedCalls?: Sharing
  /** The largest request body, in bytes. Default 1 MiB. */
  readonly bodyLimit?: number
  /** The most connections of one client address; those of trusted proxies do not count. Default 1,000. */
  readonly connectionsPerClient?: number
  /** The most JSON values in a request body: lists, objects, and what is in them. Default 25,000. */
  readonly bodyValueLimit?: number
  /** The most requests in one batch; 0, the default: batches are refused. */
  readonly batchLimit?: number
  /** Default: none. */
  readonly rateLimits?: RateLimits
  /** Default: automatic persisted queries. */
  readonly persistedQueries?: {
    readonly mode: 'apq' | 'safelist' | 'off'
    readonly manifest?: string | undefined
    /** The file that the manifest was read from. It is watched, and changes are applied. Default: none. */
    readonly manifestFile?: string | undefined
  }
  /** Limits of subscriptions, and where they come from. */
  readonly subscriptions?: {
    /** The most subscriptions of one client address, and the most WebSockets. Default 100. */
    readonly perClient?: number
    /** The most of all clients. Default 10,000. */
    readonly inAll?: number
    /** The most events that wait for one client. Default 100. */
    readonly bufferedEvents?: number
    /** How long a subgraph's stream may be silent, in milliseconds. Default 60,000. */
    readonly silenceMs?: number
    /** Where subgraphs offer their streams, by name, if not where they answer queries; `ws:` and `wss:` are WebSockets. */
    readonly urls?: Readonly<Record<string, string>>
  }
  /** How often the supergraph file is checked for changes, in milliseconds. Default 1,000. */
  readonly watchIntervalMs?: number
  /** Fastify's logger option; nothing is logged without it. */
  readonly logger?: NonNullable<FastifyServerOptions['logger']>
  /** Fastify's trustProxy option: whose X-Forwarded-For is believed. */
  readonly trustProxy?: NonNullable<FastifyServerOptions['trustProxy']>
}

/** The default limit of an answer. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024
/** The default limit of a request body. */
const MAX_BODY_BYTES = 1024 * 1024
const FORWARDED = ['authorization', 'idempotency-key', 'store', 'user-agent', 'x-captcha', 'x-recaptcha']

/**
 * Builds the gateway. The caller listens and closes; closing lets requests under way finish.
 * @throws SupergraphError if the supergraph file is missing or can't be served; TypeError for options that can't be
 * used
 */
export async function buildGateway(options: GatewayOptions): Promise<FastifyInstance> {
  const { bodyLimit = MAX_BODY_BYTES, batchLimit = 0, editor = true, publicMetrics = true } = options
  const wrongOrigin = options.corsOrigins?.find((origin) => !isOrigin(origin))
  if (wrongOrigin !== undefined) throw new TypeError(`${JSON.stringify(wrongOrigin)} is not an origin.`)
  const app = createApp(options)
  if (options.trustProxy !== undefined) tidyForwardedFor(app)
  limitConnections(app, options.connectionsPerClient ?? CONNECTIONS_PER_CLIENT, options.trustProxy)
  const metrics = options.metrics ?? createMetrics()
  const overloaded = requestError('The gateway is overloaded. Try again later.', 'OVERLOADED')
  const loadLimits = options.loadLimits ?? NO_LOAD_LIMITS
  const isOverloaded = await shedLoad(app, loadLimits, errorBody(overloaded.errors), metrics.shed)
  const pipeline = await createPipeline(app, options, metrics)
  acceptJson(app, options.bodyValueLimit ?? MAX_JSON_VALUES)
  handleErrors(app, metrics)
  const allowedOrigins = [...(options.corsOrigins ?? []), ...(options.corsPattern ? [options.corsPattern] : [])]
  if (allowedOrigins.length > 0) {
    await app.register(cors, {
      origin: allowedOrigins,
      methods: ['GET', 'POST'],
      credentials: true,
      exposedHeaders: ['retry-after', 'www-authenticate', 'x-correlation-id'],
      maxAge: 600,
    })
  }
  const drain = createDrain()
  app.addHook('preClose', () => drain.begin())
  const sendEditor = editor
    ? serveEditor(app, () => editorContent(pipeline.served.current.supergraph.schema, options.editorQuery))
    : undefined
  const { errorStatus } = options
  const compress = createCompression(encodingsOf(options), pipeline.passesCookies || pipeline.plugins !== undefined)
  const subscriptions = createSubscriptions(app, pipeline, drain, subscriptionOptions(options, bodyLimit))
  const endConnections = endingConnections(app.server)
  app.addHook('preClose', async () => endConnections()) // the last
  const routes = { pipeline, bodyLimit, batchLimit, errorStatus, compress, drain, subscriptions, sendEditor }
  await app.register(graphqlRoutes, routes)
  serveHealth(app, pipeline.served, isOverloaded, drain)
  if (publicMetrics) serveMetrics(app, metrics)
  return app
}

/** The bare Fastify instance. */
function createApp(options: GatewayOptions): FastifyInstance {
  const { requestTimeoutMs = 30_000, bodyLimit = MAX_BODY_BYTES } = options
  const instance = randomBytes(6).toString('base64url')
  let requests = 0
  return Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => `${instance}-${(++requests).toString(36)}`,
    bodyLimit,
    // Requests during the drain are answered, too: see drain.ts.
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: true },
    // Limits how long a client that sends its request byte by byte can hold a connection.
    requestTimeout: requestTimeoutMs,
    http: { headersTimeout: Math.min(requestTimeoutMs, 10_000), connectionsCheckingInterval: 1_000 },
    ...(options.trustProxy !== undefined && { trustProxy: options.trustProxy }),
  })
}

/** The executor that replaces the compiled one. @apollo/gateway takes a third of a second to load, so only on request. */
async function executorOf({ executor }: GatewayOptions): Promise<CreateExecutor | undefined> {
  if (executor !== 'apollo') return undefined
  const { createApolloExecutor } = await import('./execution/apollo-executor.ts')
  return createApolloExecutor
}

/** The handlers of a request. They are closed with the app. */
async function createPipeline(app: FastifyInstance, options: GatewayOptions, metrics: Metrics): Promise<Pipeline> {
  const { cachedDocuments = 1000, showPlans = false, answerLimit = MAX_ANSWER_BYTES } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const authentication = authenticate(options, metrics, app.log)
  const createExecutor = await executorOf(options)
  const requestLimits = await createRequestLimits(options.rateLimits ?? {}, metrics, app.log)
  const { subgraphEncodings = [], answerCaching = true } = options
  const plugins = await createGatewayPlugins(app, options.plugins ?? [], metrics)
  const settings = effectiveSettings(options.subgraphSettings, {
    timeoutMs: options.subgraphTimeoutMs ?? 10_000,
    retries: RETRIES,
    connections: options.subgraphConnections ?? 64,
    headers: options.forwardHeaders ?? FORWARDED,
  })
  const subgraphHeaders = createSubgraphHeaders(settings.forwarded, subgraphEncodings)
  const returnHeaders = createReturnedHeaders(options.returnHeaders ?? [])
  const persisted = createPersistedQueries({
    ...(options.persistedQueries ?? { mode: 'apq' }),
    maxEntries: cachedDocuments,
    maxTokens: limits.tokens,
  })
  const { manifestFile, manifest } = options.persistedQueries ?? {}
  if (manifestFile !== undefined) watchManifest(app, manifestFile, options.watchIntervalMs ?? 1000, manifest, persisted)
  const clients = createSubgraphClients({
    settings: settings.of,
    droppedFor: settings.droppedFor,
    hasHooks: plugins?.hasSubgraphHooks === true,
    pipelining: options.subgraphPipelining ?? 1,
    maxAnswerBytes: options.subgraphAnswerLimit ?? MAX_ANSWER_BYTES,
    transports: options.transports ?? {},
    observe: metrics.subgraphCall,
    sharing: sharingOf(options),
    onShared: metrics.sharedCall,
  })
  const { subgraphUrls = {}, subgraphSecret, subgraphSecretFor = ['customers'] } = options
  const graphOptions = {
    createExecutor,
    defers: options.defer ?? true,
    clients,
    urlOf: (name: string) => subgraphUrls[name] ?? subgraphUrls[name.toUpperCase().replaceAll('-', '_')],
    headersFor: (name: string) =>
      subgraphSecret !== undefined && subgraphSecretFor.includes(name) ? ['x-subgraph-secret', subgraphSecret] : [],
    answerLimit,
    metrics,
    introspection: options.introspection ?? true,
    cachedDocuments,
    limits,
    activeLabels: options.overrideLabels ?? [],
  }
  const served = serveGraph(options.supergraph, options.watchIntervalMs ?? 1000, graphOptions, app.log)
  app.addHook('onClose', async () => {
    served.close()
    await requestLimits?.close()
    await authentication?.close()
    await clients.close()
  })
  return {
    served,
    persisted,
    plugins,
    admission: createAdmission({ ...DEFAULT_ADMISSION, costPerClient: limits.cost, costInAll: 2 * limits.cost }),
    unread: createUnreadAnswers(answerLimit),
    authentication: authentication?.check,
    limits: requestLimits,
    maxCost: limits.cost,
    answerLimit,
    showPlans,
    // An answer may depend on anything that a plugin reads of the request.
    caching:
      answerCaching && !plugins
        ? createAnswerCaching({
            forwardHeaders: settings.forwarded,
            verifiesTokens: authentication !== undefined,
            compresses: encodingsOf(options).length > 0,
            tagHeader: options.cacheTagHeader ?? 'cache-tag',
          })
        : undefined,
    // pino's own; without a logger there is none
    logsRequests: (app.log as { isLevelEnabled?: (level: string) => boolean }).isLevelEnabled?.('info') === true,
    subgraphHeaders,
    droppedFor: settings.droppedFor,
    passesCookies: settings.forwarded.includes('cookie'),
    returnHeaders,
    metrics,
    countUnknown: metrics.operation('', 'unknown'),
  }
}

const encodingsOf = ({ answerEncodings = ENCODINGS }: GatewayOptions): readonly Encoding[] => answerEncodings

/** undefined: there are none. They are closed with the app. */
async function createGatewayPlugins(
  app: FastifyInstance,
  sources: readonly PluginSource[],
  metrics: Metrics,
): Promise<Plugins | undefined> {
  if (sources.length === 0) return undefined
  const { createPlugins } = await import('./plugins/hooks.ts')
  const plugins = createPlugins(await loadPlugins(sources, { registry: metrics.registry, log: app.log }), metrics)
  app.addHook('onClose', () => plugins.close())
  return plugins
}

function subscriptionOptions(options: GatewayOptions, maxMessageBytes: number): SubscriptionOptions {
  const { subscriptions: given = {}, corsOrigins = [], corsPattern } = options
  return {
    limits: { perClient: given.perClient ?? 100, inAll: given.inAll ?? 10_000 },
    bufferedEvents: given.bufferedEvents ?? 100,
    urls: given.urls ?? {},
    timeoutMs: options.subgraphTimeoutMs ?? 10_000,
    silenceMs: given.silenceMs ?? 60_000,
    maxEventBytes: options.subgraphAnswerLimit ?? MAX_ANSWER_BYTES,
    maxMessageBytes,
    maxMessageValues: options.bodyValueLimit ?? MAX_JSON_VALUES,
    isOriginAllowed: (origin) => corsOrigins.includes(origin) || corsPattern?.test(origin) === true,
  }
}

/** Cookies that a subgraph sets are meant for one client. */
function sharingOf({ sharedCalls = 'same', returnHeaders = [] }: GatewayOptions): Sharing {
  return returnHeaders.some((name) => name.toLowerCase() === 'set-cookie') ? 'off' : sharedCalls
}

/** `/healthz` and `/readyz`. */
function serveHealth(app: FastifyInstance, served: ServedGraph, isOverloaded: () => boolean, drain: Drain): void {
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', (_request, reply) => {
    const supergraph = served.current.supergraph.hash
    if (drain.isDraining())
      return reply.code(503).header('connection', 'close').send({ status: 'draining', supergraph })
    if (!isOverloaded()) return { status: 'ok', supergraph }
    return reply.code(503).send({ status: 'overloaded', supergraph })
  })
}
