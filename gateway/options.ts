/** From the environment's variables to the gateway's options: `npm start` and `npm run gateway` have the same. */
import { readFileSync } from 'node:fs'
import { type Configuration, ConfigurationError, loadLimits } from '../runtime/configuration.ts'
import type { GatewayConfiguration } from './configuration.ts'
import { loadSupergraph } from './planning/supergraph.ts'
import type { GatewayOptions } from './server.ts'

/** In production, where no other number is configured. */
const RATES = { perMinute: 1_200, signInPerMinute: 60 }

/** @throws ConfigurationError for a manifest that can't be read */
export function gatewayOptions(configuration: Configuration, gateway: GatewayConfiguration): GatewayOptions {
  const isProduction = configuration.NODE_ENV === 'production'
  const supergraph = configuration.SUPERGRAPH ?? 'schema/supergraph.graphql'
  const customers = customersUrl(supergraph, gateway.subgraphUrls)
  const jwksUrl = gateway.TOKEN_JWKS_URL ?? (customers && new URL('/.well-known/jwks.json', customers).href)
  // Tokens that another one signs are not the customer subgraph's to know of.
  const isOwn = gateway.TOKEN_JWKS_URL === undefined && customers !== undefined
  const statusUrl = gateway.TOKEN_INTROSPECTION_URL ?? (isOwn ? new URL('/introspect', customers).href : undefined)
  const redis = configuration.READMODEL_URL
  return {
    supergraph,
    executor: gateway.EXECUTOR,
    subgraphUrls: gateway.subgraphUrls,
    subgraphSecret: configuration.SUBGRAPH_SECRET,
    subgraphSecretFor: gateway.SUBGRAPH_SECRET_FOR,
    subgraphTimeoutMs: gateway.SUBGRAPH_TIMEOUT_MS,
    subgraphConnections: gateway.SUBGRAPH_CONNECTIONS,
    subgraphPipelining: gateway.SUBGRAPH_PIPELINING,
    subgraphAnswerLimit: gateway.SUBGRAPH_ANSWER_LIMIT_BYTES,
    answerLimit: gateway.ANSWER_LIMIT_BYTES,
    loadLimits: loadLimits(configuration),
    forwardHeaders: gateway.FORWARD_HEADERS,
    returnHeaders: gateway.RETURN_HEADERS,
    ...(jwksUrl !== undefined && jwksUrl !== 'off' && { tokenKeys: { jwksUrl } }),
    ...(statusUrl !== undefined &&
      statusUrl !== 'off' && { tokenStatus: { url: statusUrl, secret: configuration.SUBGRAPH_SECRET } }),
    publicMetrics: !isProduction && gateway.GATEWAY_METRICS_PORT === undefined,
    corsOrigins: gateway.CORS_ORIGINS,
    overrideLabels: gateway.OVERRIDE_LABELS,
    introspection: !isProduction,
    editor: !isProduction,
    showPlans: !isProduction,
    errorStatus: gateway.GRAPHQL_ERROR_STATUS,
    bodyLimit: gateway.BODY_LIMIT_BYTES,
    batchLimit: gateway.BATCH_LIMIT,
    limits: {
      depth: gateway.LIMIT_DEPTH,
      fields: gateway.LIMIT_FIELDS,
      aliases: gateway.LIMIT_ALIASES,
      rootFields: gateway.LIMIT_ROOT_FIELDS,
      tokens: gateway.LIMIT_TOKENS,
      directives: gateway.LIMIT_DIRECTIVES,
      cost: gateway.LIMIT_COST,
    },
    rateLimits: {
      perMinute: gateway.RATE_LIMIT_PER_MINUTE ?? (isProduction ? RATES.perMinute : 0),
      signInPerMinute: gateway.RATE_LIMIT_SIGN_IN_PER_MINUTE ?? (isProduction ? RATES.signInPerMinute : 0),
      redisUrl: gateway.RATE_LIMIT_REDIS_URL ?? (/^rediss?(-cluster)?:/.test(redis) ? redis : undefined),
    },
    persistedQueries: { mode: gateway.PERSISTED_QUERIES, manifest: manifest(gateway.PERSISTED_QUERIES_MANIFEST) },
    logger: { level: configuration.LOG_LEVEL },
    ...(gateway.TRUST_PROXY.length > 0 && { trustProxy: [...gateway.TRUST_PROXY] }),
  }
}

function manifest(path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigurationError(`PERSISTED_QUERIES_MANIFEST: ${JSON.stringify(path)} can't be read (${code}).`)
  }
}

/** Where the customer subgraph is, if the graph has one: it signs the tokens, and knows which of them are still active. */
function customersUrl(supergraph: string, urls: Readonly<Record<string, string>>): string | undefined {
  return urls.CUSTOMERS ?? urls.customers ?? urlIn(supergraph)
}

function urlIn(supergraph: string): string | undefined {
  try {
    return loadSupergraph(readFileSync(supergraph, 'utf8')).subgraphs.find(({ name }) => name === 'customers')?.url
  } catch {
    return undefined // the gateway says what is wrong with it
  }
}
