/** The customer subgraph as a Fastify instance: Mercurius with JIT, the schema by @apollo/subgraph. */
import { readFileSync } from 'node:fs'
import { buildSubgraphSchema } from '@apollo/subgraph'
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import { parse } from 'graphql'
import type { EventStore } from '../eventstore/port.ts'
import type { ReadModel } from '../projections/read-model.ts'
import { type LoadLimits, NO_LOAD_LIMITS } from '../runtime/configuration.ts'
import { endingConnections } from '../runtime/ending-connections.ts'
import { shedLoad } from '../runtime/load-shedding.ts'
import { logOutages } from '../runtime/outages.ts'
import { REQUEST_TIMEOUTS } from '../runtime/request-timeouts.ts'
import { probed } from '../runtime/time-limits.ts'
import type { TokenNames } from '../runtime/token-names.ts'
import { store as defaultStore, type Store } from '../schema/store.ts'
import { serviceUnavailable } from './errors.ts'
import { schemaRules } from './http/closed-schema.ts'
import { serveGraphql } from './http/graphql-endpoint.ts'
import { serveProbes } from './http/probes.ts'
import { createRequestReader, isGone } from './http/request-reader.ts'
import { serveTokenIntrospection } from './http/token-introspection.ts'
import type { Keys } from './identity/subgraph-keys.ts'
import { createTokenGate } from './identity/token-gate.ts'
import { createMetrics, type SubgraphMetrics } from './metrics.ts'
import { createParts, type Parts } from './parts.ts'
import { answerFaults, limitTime, stopForNobody } from './resolvers/around-resolvers.ts'
import { separateEntities } from './resolvers/entities.ts'
import { tidyEmails } from './resolvers/normalise-emails.ts'
import { limitTexts } from './resolvers/text-limits.ts'

export interface SubgraphOptions {
  readonly eventStore: EventStore
  /** A handle of its own, which follows a switch to another generation. */
  readonly readModel: ReadModel
  readonly keys: Keys
  /** The store's settings; default: Magento's. */
  readonly store?: Store
  /** If set, GraphQL requests must carry it in `x-subgraph-secret`. */
  readonly secret?: string | undefined
  /** The CAPTCHA provider's secret; required where the store demands a CAPTCHA. */
  readonly captchaSecret?: string | undefined
  /** Whom tokens name. Default: {@link DEFAULT_TOKEN_NAMES}. */
  readonly tokenNames?: TokenNames
  /** How many verified tokens are kept in memory. Default 10,000. */
  readonly cachedTokens?: number
  /**
   * Whether introspection is allowed. Default true; off in production, where `_service` is answered only if there is a
   * secret.
   */
  readonly introspection?: boolean
  /**
   * Above these limits the subgraph answers 503. Default: no limits; the processes set them (MAX_EVENT_LOOP_DELAY_MS,
   * MAX_HEAP_PERCENT).
   */
  readonly loadLimits?: LoadLimits
  /** The metrics, to export them elsewhere, too. Default: an object of the subgraph's own. */
  readonly metrics?: SubgraphMetrics
  /** Fastify's logger option; default: no log. */
  readonly logger?: FastifyServerOptions['logger']
  /** The time; default: the clock. Tests set it. */
  readonly now?: () => Date
}

/** How often the subgraph checks which generation of the read model is live. */
const FOLLOW_MS = 500

const typeDefs = readFileSync(new URL('../schema/customer.graphql', import.meta.url), 'utf8')

/** The answer to a request while the process is overloaded. */
const OVERLOADED = JSON.stringify({ errors: [serviceUnavailable()] })

/**
 * Builds the subgraph: `/graphql`, `/introspect`, `/.well-known/jwks.json`, `/healthz`, `/readyz`, `/metrics`. The
 * caller closes the stores, after the instance.
 * @throws ConfigurationError for a token signing key that is not an Ed25519 private key
 */
export async function buildSubgraph(options: SubgraphOptions): Promise<FastifyInstance> {
  const { readModel, secret, introspection = true, store = defaultStore() } = options
  const app = Fastify({
    logger: options.logger ?? false,
    // The only schemas are those of Mercurius: to check them, Ajv would compile JSON Schema's own, which takes 25 ms.
    ajv: { customOptions: { validateSchema: false } },
    logController: new LogController({ disableRequestLogging: true }),
    ...REQUEST_TIMEOUTS,
  })
  closeConnections(app)
  followGenerations(app, readModel)
  const metrics = options.metrics ?? createMetrics()
  countCancelled(app, () => metrics.cancelled.inc())
  const parts = createParts({ ...options, store, log: app.log, metrics })
  const { tokens, customers, endedTokens } = parts
  limitResolvers(parts, (operation, outcome) => metrics.operations.inc({ operation, outcome }))

  const gate = createTokenGate(tokens, customers, endedTokens)
  const modules = [{ typeDefs: parse(typeDefs), resolvers: parts.resolvers }]
  const requests = createRequestReader(app, store, secret)
  const isOverloaded = await shedLoad(app, options.loadLimits ?? NO_LOAD_LIMITS, OVERLOADED, () => metrics.shed.inc())
  await serveGraphql(app, {
    buildSchema: () => gate.refuseRevoked(limitTexts(tidyEmails(separateEntities(buildSubgraphSchema(modules))))),
    validationRules: schemaRules(introspection, secret !== undefined),
    gate,
    requests,
    store,
    introspection,
    isExpired: (authorization) => tokens.read(authorization) === 'expired',
    onError: (code) => metrics.errors.inc({ code }),
  })
  app.get('/.well-known/jwks.json', async (_, reply) =>
    reply.header('cache-control', 'public, max-age=300').send(tokens.jwks),
  )
  serveTokenIntrospection(app, { tokens, customers, endedTokens, isAllowed: requests.isAllowed })
  const { eventStore, isFenced } = parts
  serveProbes(app, { eventStore, readModel, customers, isFenced, isOverloaded, registry: metrics.registry })
  app.addHook('preClose', parts.changes.close)
  const stopLogging = logOutages(eventStore, app.log, {
    away: 'the event store is unavailable; mutations fail until it is back',
    back: 'the event store is available again',
  })
  app.addHook('onClose', async () => {
    stopLogging()
    await parts.close()
  })
  return app
}

/** Otherwise a keep-alive connection that is busy when the server closes would stay open and delay the close. */
function closeConnections(app: FastifyInstance): void {
  let isClosing = false
  const endConnections = endingConnections(app.server)
  app.addHook('preClose', async () => {
    isClosing = true
    endConnections()
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (isClosing) reply.header('connection', 'close')
    done()
  })
}

/** A subscription is not answered, so its end does not count: clients end them by leaving. */
function countCancelled(app: FastifyInstance, onCancelled: () => void): void {
  app.addHook('onSend', (request, _reply, _payload, done) => {
    if (isGone(request)) onCancelled()
    done()
  })
}

/**
 * Follows a rebuild's switch to another generation within a second. While the read model is unavailable, queries fold
 * the streams, and the log says so once.
 */
function followGenerations(app: FastifyInstance, readModel: ReadModel): void {
  let isAway = false
  let isAsking = false
  const isThere = () => {
    if (isAway) app.log.info({}, 'the read model is available again')
    isAway = false
  }
  // It may refuse one call and answer the next.
  const mayBeAway = async () => {
    if (isAway || isAsking) return
    isAsking = true
    const failure = await probed(readModel.ping()).then(
      () => undefined,
      (error: Error) => error,
    )
    isAsking = false
    isAway = failure !== undefined
    if (failure)
      app.log.warn(
        { reason: failure.message },
        'the read model is unavailable; queries fold the streams until it is back',
      )
  }
  const follow = () => void readModel.follow().then(isThere, mayBeAway)
  const following = setInterval(follow, FOLLOW_MS).unref()
  app.addHook('onClose', async () => clearInterval(following))
}

function limitResolvers(
  { resolvers, captcha }: Parts,
  onOutcome: (operation: string, outcome: 'answered' | 'failed') => void,
): void {
  captcha.protect(resolvers.Mutation)
  limitTime(resolvers.Mutation)
  stopForNobody(resolvers.Query)
  for (const root of [resolvers.Query, resolvers.Mutation]) answerFaults(root, onOutcome)
}
