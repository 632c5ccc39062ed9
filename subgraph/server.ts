/** The customer subgraph as a Fastify instance: Mercurius with JIT, the schema by @apollo/subgraph. */
import { randomUUID, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { buildSubgraphSchema } from '@apollo/subgraph'
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import { type ExecutionResult, GraphQLError, parse } from 'graphql'
import mercurius from 'mercurius'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { chained, countAsChained } from '../eventstore/chain.ts'
import { observed } from '../eventstore/observed.ts'
import { type EventStore, EventStoreUnavailable } from '../eventstore/port.ts'
import { type ReadModel, ReadModelUnavailable } from '../projections/read-model.ts'
import { type LoadLimits, NO_LOAD_LIMITS } from '../runtime/configuration.ts'
import { createDocumentBudget, MAX_DOCUMENT_TOKENS } from '../runtime/document-budget.ts'
import { shedLoad } from '../runtime/load-shedding.ts'
import { answersProbe } from '../runtime/time-limits.ts'
import { isTracing, parseTraceparent, startSpan, type TracedSpan } from '../runtime/tracing.ts'
import { createMailTokens } from '../schema/mail-tokens.ts'
import { store as defaultStore, type Store, viewOf } from '../schema/store.ts'
import { type TokenFault, tokenChallenge } from '../schema/token-faults.ts'
import { createAccessLog } from './access-log.ts'
import { countOutcomes, limitTime, stopForNobody } from './around-resolvers.ts'
import { createCaptcha } from './captcha.ts'
import { schemaRules, withoutSuggestion } from './closed-schema.ts'
import { createCommandIds } from './command.ts'
import { createCommands } from './customer-commands.ts'
import { createCustomers } from './customers.ts'
import { createEmailClaims } from './email-claims.ts'
import { separateEntities } from './entities.ts'
import { CustomerError, invalidInput, serviceUnavailable, TokenRefused } from './errors.ts'
import { createTracedExecution, type TracedRequest } from './ftv1.ts'
import { createCredentials } from './identity/credentials.ts'
import { createHashKinds, createPasswordChecks } from './identity/password-checks.ts'
import { createSignIn } from './identity/sign-in.ts'
import type { Keys } from './identity/subgraph-keys.ts'
import { type Admission, createTokenGate, GUEST } from './identity/token-gate.ts'
import { createTokens } from './identity/tokens.ts'
import { createIds } from './ids.ts'
import { createLinkCommands } from './link-commands.ts'
import { guardLog } from './log-guard.ts'
import { createResolvers, type RequestContext } from './resolvers.ts'
import { createSubscribers } from './subscribers.ts'
import { limitTexts } from './text-limits.ts'
import { tidyEmails } from './tidy-emails.ts'
import { serveTokenIntrospection } from './token-introspection.ts'

export interface SubgraphOptions {
  readonly eventStore: EventStore
  /** A handle of its own: it goes over to another generation by itself. */
  readonly readModel: ReadModel
  readonly keys: Keys
  /** The store's settings; default: Magento's. */
  readonly store?: Store
  /** When set, GraphQL requests must carry it in `x-subgraph-secret`. */
  readonly secret?: string | undefined
  /** The CAPTCHA provider's secret; required where the store demands a CAPTCHA. */
  readonly captchaSecret?: string | undefined
  /**
   * Whether the schema may be asked for. Default true; off in production, where `_service` too is answered only if there is a
   * secret.
   */
  readonly introspection?: boolean
  /** Above these the subgraph answers 503. Default: any load is taken; the processes have limits (MAX_EVENT_LOOP_DELAY_MS, MAX_HEAP_PERCENT). */
  readonly loadLimits?: LoadLimits
  /** Fastify's logger option; default: no log. */
  readonly logger?: FastifyServerOptions['logger']
  /** The time; default: the clock. Tests set it. */
  readonly now?: () => Date
}

/** How often it looks which generation of the read model is live. */
const FOLLOW_MS = 500

const MAX_USER_AGENT = 256
/** As gateways and proxies make them: UUIDs, ULIDs, counters behind a name. */
const CORRELATION_ID = /^[\w.:-]{1,128}$/

const typeDefs = readFileSync(new URL('../schema/customer.graphql', import.meta.url), 'utf8')

/**
 * Builds the subgraph: `/graphql`, `/introspect`, `/.well-known/jwks.json`, `/healthz`, `/readyz`, `/metrics`. The stores stay the
 * caller's to close, after the instance.
 * @throws ConfigurationError for a token signing key that is not an Ed25519 private key
 */
export async function buildSubgraph(options: SubgraphOptions): Promise<FastifyInstance> {
  const { readModel, keys, secret, introspection = true, store = defaultStore() } = options
  const app = Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
  })
  // A kept-alive connection that is busy when the server closes would otherwise stay open, and hold the close up.
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close')
    done()
  })
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const reads = new Counter({
    name: 'customer_reads_total',
    help: 'Customer queries by what answered them: the read model, or the folded stream where the read model was behind or away.',
    labelNames: ['source'],
    registers: [registry],
  })
  const appends = new Histogram({
    name: 'eventstore_append_seconds',
    help: 'How long appends took, by what came of them.',
    labelNames: ['outcome'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers: [registry],
  })
  const conflicts = new Counter({
    name: 'eventstore_append_conflicts_total',
    help: 'Appends that met another writer; the command decides again.',
    registers: [registry],
  })
  const errorsByCode = new Counter({
    name: 'graphql_errors_total',
    help: 'Errors answered, by extensions.code.',
    labelNames: ['code'],
    registers: [registry],
  })

  const unrecorded = new Counter({
    name: 'access_records_failed_total',
    help: 'Sign-ins and the like whose record could not be written.',
    registers: [registry],
  })
  const hashes = new Counter({
    name: 'password_hashes_total',
    help: 'Hashes made to check passwords at sign-in, by kind: a wrong password costs one of each kind that the store holds.',
    labelNames: ['kind'],
    registers: [registry],
  })
  const operations = new Counter({
    name: 'customer_operations_total',
    help: 'Root fields answered, by name and by whether with an error.',
    labelNames: ['operation', 'outcome'],
    registers: [registry],
  })

  const guard = guardLog({
    eventStore: observed(chained(options.eventStore), (outcome, seconds) => {
      appends.observe({ outcome }, seconds)
      if (outcome === 'conflict') conflicts.inc()
    }),
    readModel,
    log: app.log,
    anchor: () => customers.newestAppended(),
    onReplaced: () => customers.forget(),
  })
  const eventStore = countAsChained(guard.eventStore)
  // A rebuild switches to another generation of the documents: noticed within a second. While the read model is away
  // queries fold the streams.
  const following = setInterval(() => readModel.follow().catch(() => {}), FOLLOW_MS).unref()
  app.addHook('onClose', async () => clearInterval(following))

  const { mayReadDocuments } = guard
  const onRead = (source: string) => reads.inc({ source })
  const customers = createCustomers({ eventStore, readModel, log: app.log, mayReadDocuments, onRead })
  registry.registerMetric(gauge('read_model_writable', READ_MODEL_WRITABLE, () => answersProbe(readModel.probe())))
  registry.registerMetric(gauge('read_model_fenced', READ_MODEL_FENCED, () => customers.isFenced()))
  const claims = createEmailClaims(eventStore, customers, keys.emailHashKey)
  const credentials = createCredentials(eventStore, customers)
  const access = createAccessLog({
    eventStore,
    settings: store.audit,
    log: app.log,
    onFailure: () => unrecorded.inc(),
  })
  const passwords = createPasswordChecks(createHashKinds(eventStore), (kind) => hashes.inc({ kind }))
  const signIn = createSignIn({ eventStore, customers, claims, credentials, passwords, access, store })
  const tokens = createTokens(keys.tokenSigningKey, store.token.lifetimeMinutes)
  const subscribers = createSubscribers(eventStore, claims.keysOf)
  const accounts = { eventStore, customers, claims, credentials, signIn, subscribers, access, store }
  const commands = createCommands({ ...accounts, ids: createIds(eventStore) })
  const links = createLinkCommands({ ...accounts, tokens: createMailTokens(keys.emailHashKey) })
  const now = options.now ?? (() => new Date())
  const commandIds = createCommandIds(keys.emailHashKey)
  const captcha = createCaptcha(store, options.captchaSecret, app.log)
  const resolvers = createResolvers({
    eventStore,
    commands,
    links,
    customers,
    claims,
    tokens,
    commandIds,
    store,
    captcha,
    now,
  })
  captcha.protect(resolvers.Mutation)

  limitTime(resolvers.Mutation)
  stopForNobody(resolvers.Query)
  for (const root of [resolvers.Query, resolvers.Mutation]) {
    countOutcomes(root, (operation, outcome) => operations.inc({ operation, outcome }))
  }
  const gate = createTokenGate(tokens, customers)
  const admissions = new WeakMap<FastifyRequest, Admission>()
  const modules = [{ typeDefs: parse(typeDefs), resolvers }]
  const buildSchema = () => gate.refuseRevoked(limitTexts(tidyEmails(separateEntities(buildSubgraphSchema(modules)))))
  const validationRules = schemaRules(introspection, secret !== undefined)
  const executeTraced = createTracedExecution(buildSchema(), validationRules)
  const schema = buildSchema()
  const countDocument = createDocumentBudget(() => app.graphql.replaceSchema(schema))
  const shed = new Counter({
    name: 'load_shed_total',
    help: 'Requests answered 503 because the event loop or the heap was too full.',
    registers: [registry],
  })
  const isOverloaded = await shedLoad(app, options.loadLimits ?? NO_LOAD_LIMITS, OVERLOADED, () => shed.inc())
  await app.register(mercurius, {
    schema,
    jit: 1,
    validationRules,
    graphql: { parseOptions: { maxTokens: MAX_DOCUMENT_TOKENS } },
    context: requestContext,
    errorFormatter: (execution, context) => formatErrors(execution, context as unknown as RequestContext),
    additionalRouteOptions: {
      // Fastify's own serializer for the route writes list indices in error paths as strings.
      serializerCompiler: () => JSON.stringify,
      preValidation: (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
        withoutNulls(request.body)
        done()
      },
      preHandler: (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => {
        if (!isAllowed(request)) {
          return done(
            new GraphQLError('This subgraph answers its gateway only.', { extensions: { code: 'FORBIDDEN' } }),
          )
        }
        if (viewOf(store, request.headers.store) === undefined) return refuse(reply, 200, STORE_NOT_FOUND)
        const admission = admit(request)
        if (!(admission instanceof Promise)) return goOn(admission, request, reply, done)
        admission.then((admission) => goOn(admission, request, reply, done), done)
      },
    },
  })

  function goOn(
    admission: Admission | TokenFault,
    request: FastifyRequest,
    reply: FastifyReply,
    done: (error?: Error) => void,
  ): void {
    if (typeof admission === 'string') {
      refuse(reply, 401, new TokenRefused(admission))
      return
    }
    admissions.set(request, admission)
    const traced = request.headers['apollo-federation-include-trace'] === 'ftv1' && tracedRequest(request)
    if (traced) {
      answerTraced(traced, reply).catch(done)
      return
    }
    const document = keyByOperation(request)
    if (document !== undefined) countDocument(document)
    done()
  }

  function admit(request: FastifyRequest) {
    const { query, operationName } = (request.body ?? request.query ?? {}) as Partial<TracedRequest>
    const { authorization } = request.headers
    return gate.admit({ authorization, query, operationName, traceparent: () => traceparentOf(request) })
  }

  /** Answers with one error, and executes nothing. */
  function refuse(reply: FastifyReply, statusCode: number, error: CustomerError): void {
    errorsByCode.inc({ code: String(error.extensions.code) })
    if (error instanceof TokenRefused) reply.header('www-authenticate', tokenChallenge(error.message))
    reply.code(statusCode).send({ errors: [{ message: error.message, extensions: error.extensions }] })
  }

  /** Whether the request carries the secret, where there is one. */
  function isAllowed(request: FastifyRequest): boolean {
    return secret === undefined || carries(request, secret)
  }

  async function answerTraced(traced: TracedRequest, reply: FastifyReply): Promise<void> {
    Object.assign(traced.context, { reply })
    const result = await executeTraced(traced)
    const { statusCode, response } = result.errors
      ? formatErrors(result, traced.context as RequestContext)
      : { statusCode: 200, response: result }
    await reply.code(statusCode).send({ ...response, ...(result.extensions && { extensions: result.extensions }) })
  }

  function tracedRequest(request: FastifyRequest): TracedRequest | undefined {
    const { query, operationName, variables } = (request.body ?? {}) as Partial<TracedRequest>
    if (request.method !== 'POST' || typeof query !== 'string') return undefined
    return { query, operationName, variables, context: requestContext(request) }
  }

  const spans = new WeakMap<FastifyRequest, TracedSpan>()
  if (isTracing()) {
    app.addHook('onResponse', async (request, { statusCode }) => spans.get(request)?.end(statusCode >= 500))
  }

  /** The parent of what the request leads to: its own span, or the caller's where nothing is traced here. */
  function traceparentOf(request: FastifyRequest): string | undefined {
    const parent = parseTraceparent(request.headers.traceparent)
    if (!isTracing()) return parent
    const begun = spans.get(request)
    if (begun) return begun.traceparent
    const span = startSpan('graphql', { kind: 'server', parent })
    spans.set(request, span)
    return span.traceparent
  }

  function requestContext(request: FastifyRequest): RequestContext {
    const { headers } = request
    const { caller, service, customer } = admissions.get(request) ?? GUEST
    return {
      caller,
      service,
      ...(customer && { document: customer }),
      view: viewOf(store, headers.store) ?? store.view,
      client: { address: clientAddress(request), userAgent: text(headers['user-agent'])?.slice(0, MAX_USER_AGENT) },
      correlationId: correlationIdOf(headers['x-correlation-id']),
      traceparent: traceparentOf(request),
      idempotencyKey: text(headers['idempotency-key']),
      captcha: text(headers['x-recaptcha']) ?? text(headers['x-captcha']),
      isGone: () => request.raw.destroyed && request.raw.socket?.destroyed === true,
    }
  }

  /**
   * The address that the gateway says the client has, where it is sure that the gateway says it: by the secret (without it
   * there is no answer at all), or because the request comes from this process. Else that of who is at the other end.
   */
  function clientAddress({ headers, ip, raw }: FastifyRequest): string {
    const isTrusted = secret !== undefined || !(raw.socket instanceof Socket)
    const [forwarded] = isTrusted ? (text(headers['x-forwarded-for'])?.split(',') ?? []) : []
    return forwarded ?? ip
  }

  /** Expected errors as they are; anything else logged whole and shown masked. */
  function formatErrors(execution: ExecutionResult, context: RequestContext) {
    const errors = (execution.errors ?? [])
      .flatMap((error) => validationErrors(error) ?? [present(error, context)])
      .map((error) => (introspection ? error : withoutSuggestion(error)))
    for (const error of errors)
      errorsByCode.inc({ code: String(error.extensions?.code ?? 'GRAPHQL_VALIDATION_FAILED') })
    if (isRefusedToken(execution)) {
      const [{ message, extensions }] = errors as [GraphQLError]
      context.reply?.header('www-authenticate', tokenChallenge(message))
      return { statusCode: 401, response: { errors: [{ message, extensions }] } as never }
    }
    const refused = execution.data == null && errors.some(({ path }) => path === undefined)
    const statusCode = refused
      ? ((execution.errors?.[0]?.originalError as { statusCode?: number })?.statusCode ?? 400)
      : 200
    // `data` is absent where nothing was executed.
    return { statusCode, response: { ...(refused ? {} : { data: execution.data ?? null }), errors } as never }
  }

  function present(error: GraphQLError, { correlationId }: RequestContext): GraphQLError {
    const cause = error.originalError ?? error
    if (cause instanceof CustomerError) return error
    if (cause instanceof EventStoreUnavailable || cause instanceof ReadModelUnavailable) {
      app.log.warn({ err: cause, correlationId, path: error.path }, 'a store is away')
      return relocate(error, serviceUnavailable())
    }
    // Raised by GraphQL itself (a bad value for the schema, an unknown operation), or by Fastify before it (a bad body).
    if (cause === error || (cause as { statusCode?: number }).statusCode !== undefined) return error
    app.log.error({ err: cause, correlationId, path: error.path }, 'unexpected error')
    const masked = new GraphQLError('Internal server error', {
      extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId },
    })
    return relocate(error, masked)
  }

  app.get('/.well-known/jwks.json', async (_, reply) =>
    reply.header('cache-control', 'public, max-age=300').send(tokens.jwks),
  )
  serveTokenIntrospection(app, { tokens, customers, isAllowed })
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_, reply) => {
    const [reached, readable, writable] = await Promise.all(
      [eventStore.ping(), readModel.ping(), readModel.probe()].map(answersProbe),
    )
    // Without the read model, or without its documents, queries are answered from the streams: that is no reason to take all
    // instances out of service. One that is cut off alone is better left out: its fence has all the others fold.
    // Without the event store nothing can be changed.
    const [isAlone, overloaded] = [customers.isAlone(), isOverloaded()]
    const ready = reached && !isAlone && !overloaded
    return reply.code(ready ? 200 : 503).send({
      ready,
      eventStore: reached,
      readModel: readable,
      readModelWrites: writable,
      degraded: !(readable && writable) || customers.isFenced(),
      cutOff: isAlone,
      overloaded,
    })
  })
  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  app.addHook('onClose', async () => {
    await access.close()
    await customers.close()
    guard.close()
  })
  return app
}

const STORE_NOT_FOUND = invalidInput('Requested store is not found')

/**
 * Whether nothing came of an operation because its token was revoked: then the whole request is refused, as Magento does. Where
 * an earlier field was answered, as when it ended the token itself, the error stays at its field.
 */
function isRefusedToken({ data, errors = [] }: ExecutionResult): boolean {
  const isAnswered = data != null && Object.values(data).some((value) => value !== null)
  return (
    errors.length > 0 && !isAnswered && errors.every((error) => (error.originalError ?? error) instanceof TokenRefused)
  )
}

/** What is answered to a request while the process is overloaded. */
const OVERLOADED = JSON.stringify({ errors: [serviceUnavailable()] })

/**
 * Mercurius caches compiled operations by the document's text alone: of a document with two operations it would go on
 * answering the first one asked for. A comment with the operation's name makes two texts of them.
 * @returns the document's text, if there is one
 */
function keyByOperation(request: FastifyRequest): string | undefined {
  const parameters = (request.body ?? request.query) as { query?: unknown; operationName?: unknown }
  const { query, operationName } = parameters
  if (typeof query !== 'string') return undefined
  if (typeof operationName !== 'string' || !/^\w+$/.test(operationName)) return query
  const document = `${query}\n#${operationName}`
  parameters.query = document
  return document
}

/** Clients send null for what they leave out; Mercurius refuses that of `extensions` and of `persisted`. */
function withoutNulls(body: unknown): void {
  if (typeof body !== 'object' || body === null) return
  const members = body as Record<string, unknown>
  for (const name of ['extensions', 'persisted']) if (members[name] === null) delete members[name]
}

function carries(request: FastifyRequest, secret: string): boolean {
  const given = Buffer.from(text(request.headers['x-subgraph-secret']) ?? '')
  const expected = Buffer.from(secret)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

const READ_MODEL_WRITABLE = 'Whether the read model takes writes (1) or refuses them, or is away (0).'
const READ_MODEL_FENCED =
  'Whether queries fold the streams because documents may not be believed (1): a fence, or no lease. See docs/read-your-writes.md.'

/** A gauge that looks when it is asked. */
function gauge(name: string, help: string, look: () => boolean | Promise<boolean>): Gauge {
  return new Gauge({
    name,
    help,
    registers: [],
    async collect() {
      this.set((await look()) ? 1 : 0)
    },
  })
}

/** Mercurius wraps the errors of parsing and validation into one; the caller is to see each. */
function validationErrors(error: GraphQLError): readonly GraphQLError[] | undefined {
  const { errors } = (error.originalError ?? {}) as { errors?: readonly Error[] }
  return errors?.map((each) => (each instanceof GraphQLError ? each : new GraphQLError(each.message)))
}

function relocate(from: GraphQLError, to: GraphQLError): GraphQLError {
  return new GraphQLError(to.message, { nodes: from.nodes ?? null, path: from.path ?? null, extensions: to.extensions })
}

/** The caller's, if it is one: it goes into every event in clear, so it must be short, and no text of somebody's. */
function correlationIdOf(header: string | string[] | undefined): string {
  return typeof header === 'string' && CORRELATION_ID.test(header) ? header : randomUUID()
}

function text(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && header !== '' ? header : undefined
}
