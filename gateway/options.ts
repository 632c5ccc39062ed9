/** Converts environment variables to the gateway's options, for `npm start` and `npm run gateway`. */
import { readFileSync } from 'node:fs'
import { Kind, parse } from 'graphql'
import { type Configuration, loadLimits } from '../runtime/configuration.ts'
import { ConfigurationError } from '../runtime/errors.ts'
import { loggerOptions } from '../runtime/log.ts'
import { parseRedisUrl } from '../runtime/redis/url.ts'
import { tokenNames } from '../runtime/token-names.ts'
import type { Encoding } from './accepted-values.ts'
import type { TokenOptions } from './authentication/options.ts'
import { loadTrustedIssuers } from './authentication/trusted-issuers.ts'
import type { GatewayConfiguration } from './configuration.ts'
import { checkPluginFile } from './plugins/load.ts'
import type { GatewayOptions } from './server.ts'
import { forwardedHeaders, loadSubgraphSettings, type SubgraphSettings } from './subgraphs/settings.ts'

/** The default in production. */
const RATES = { perMinute: 1_200, signInPerMinute: 60 }

/** Origins of storefronts in development on this machine. Browsers resolve all of `.localhost` to it. */
const LOCAL_PAGES = /^https?:\/\/((?:[\w-]+\.)*localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/

/**
 * @param ownUrls the URLs of subgraphs in this process, by name; those of the environment have precedence
 * @throws ConfigurationError for a manifest or settings that can't be read, for a plugin that
 * is not there, and for the URL of an unknown subgraph
 */
export function gatewayOptions(
  configuration: Configuration,
  gateway: GatewayConfiguration,
  ownUrls: Readonly<Record<string, string>> = {},
): GatewayOptions {
  const isProduction = configuration.NODE_ENV === 'production'
  const supergraph = configuration.SUPERGRAPH ?? 'schema/supergraph.graphql'
  const inGraph = subgraphsOf(supergraph)
  if (inGraph !== undefined) checkUrls(supergraph, inGraph, gateway.subgraphUrls)
  for (const path of gateway.GATEWAY_PLUGIN) checkPluginFile(path)
  const subgraphUrls = { ...ownUrls, ...gateway.subgraphUrls }
  const customers = subgraphUrls.CUSTOMERS ?? subgraphUrls.customers ?? inGraph?.get('customers')
  const settings = subgraphSettings(gateway, inGraph)
  return {
    supergraph,
    executor: gateway.EXECUTOR,
    defer: gateway.DEFER === 'on',
    subgraphUrls,
    subgraphSecret: configuration.SUBGRAPH_SECRET,
    subgraphSecretFor: gateway.SUBGRAPH_SECRET_FOR,
    plugins: gateway.GATEWAY_PLUGIN,
    subgraphSettings: settings,
    subgraphTimeoutMs: gateway.SUBGRAPH_TIMEOUT_MS,
    subgraphConnections: gateway.SUBGRAPH_CONNECTIONS,
    subgraphPipelining: gateway.SUBGRAPH_PIPELINING,
    sharedCalls: gateway.SUBGRAPH_SHARED_CALLS,
    subgraphAnswerLimit: gateway.SUBGRAPH_ANSWER_LIMIT_BYTES,
    answerLimit: gateway.ANSWER_LIMIT_BYTES,
    subscriptions: {
      perClient: gateway.SUBSCRIPTIONS_PER_CLIENT,
      inAll: gateway.SUBSCRIPTIONS,
      bufferedEvents: gateway.SUBSCRIPTION_BUFFER,
      silenceMs: gateway.SUBSCRIPTION_SILENCE_MS,
      urls: subscriptionUrls(gateway.SUBSCRIPTION_URLS, supergraph, inGraph),
    },
    loadLimits: loadLimits(configuration),
    forwardHeaders: gateway.FORWARD_HEADERS,
    returnHeaders: gateway.RETURN_HEADERS,
    ...tokenOptions(configuration, gateway, customers, inGraph, settings),
    answerCaching: gateway.ANSWER_CACHING === 'subgraphs',
    cacheTagHeader: gateway.CACHE_TAG_HEADER,
    answerEncodings: gateway.ANSWER_ENCODINGS as readonly Encoding[],
    subgraphEncodings: gateway.SUBGRAPH_ENCODINGS,
    publicMetrics: !isProduction && gateway.GATEWAY_METRICS_PORT === undefined,
    corsOrigins: gateway.CORS_ORIGINS,
    ...(!isProduction && { corsPattern: LOCAL_PAGES }),
    overrideLabels: gateway.OVERRIDE_LABELS,
    introspection: !isProduction,
    editor: !isProduction,
    showPlans: !isProduction,
    errorStatus: gateway.GRAPHQL_ERROR_STATUS,
    bodyLimit: gateway.BODY_LIMIT_BYTES,
    bodyValueLimit: gateway.BODY_LIMIT_VALUES,
    connectionsPerClient: gateway.CONNECTIONS_PER_CLIENT,
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
      redisUrl: sharedRedis(configuration, gateway),
    },
    persistedQueries: {
      mode: gateway.PERSISTED_QUERIES,
      manifest: manifest(gateway.PERSISTED_QUERIES_MANIFEST),
      manifestFile: gateway.PERSISTED_QUERIES_MANIFEST,
    },
    logger: loggerOptions(configuration, 'gateway'),
    ...(gateway.TRUST_PROXY.length > 0 && { trustProxy: [...gateway.TRUST_PROXY] }),
  }
}

/**
 * @param customers the URL of the customer subgraph
 * @throws ConfigurationError
 */
function tokenOptions(
  configuration: Configuration,
  gateway: GatewayConfiguration,
  customers: string | undefined,
  inGraph: ReadonlyMap<string, string> | undefined,
  settings: SubgraphSettings | undefined,
): TokenOptions {
  const { TOKEN_JWKS_URL, TOKEN_INTROSPECTION_URL, TRUSTED_ISSUERS } = gateway
  const jwksUrl = TOKEN_JWKS_URL ?? (customers && new URL('/.well-known/jwks.json', customers).href)
  // The customer subgraph does not know tokens that somebody else signs.
  const isOwn = TOKEN_JWKS_URL === undefined && customers !== undefined
  const statusUrl = TOKEN_INTROSPECTION_URL ?? (isOwn ? new URL('/introspect', customers).href : undefined)
  const names = tokenNames(configuration)
  if (TRUSTED_ISSUERS !== undefined && TOKEN_JWKS_URL === 'off') {
    throw new ConfigurationError(
      'TRUSTED_ISSUERS: it is set and TOKEN_JWKS_URL is off, so other tokens would pass unverified; accepted: one of them.',
    )
  }
  return {
    ...(jwksUrl !== undefined && jwksUrl !== 'off' && { tokenKeys: { jwksUrl } }),
    ...(statusUrl !== undefined &&
      statusUrl !== 'off' && { tokenStatus: { url: statusUrl, secret: configuration.SUBGRAPH_SECRET } }),
    tokenNames: names,
    cachedTokens: configuration.TOKEN_CACHE_SIZE,
    uncheckedTokens: gateway.TOKEN_UNCHECKED,
    tokenGraceMs: gateway.TOKEN_GRACE_SECONDS * 1_000,
    ...(TRUSTED_ISSUERS !== undefined && {
      trustedIssuers: loadTrustedIssuers(TRUSTED_ISSUERS, {
        ownIssuer: names.issuer,
        subgraphs: inGraph && [...inGraph.keys()],
        forwarded: forwardedHeaders(settings, gateway.FORWARD_HEADERS),
      }),
    }),
  }
}

/** @throws ConfigurationError */
function subgraphSettings(
  { SUBGRAPH_SETTINGS }: GatewayConfiguration,
  inGraph: ReadonlyMap<string, string> | undefined,
): SubgraphSettings | undefined {
  if (SUBGRAPH_SETTINGS === undefined) return undefined
  return loadSubgraphSettings(SUBGRAPH_SETTINGS, inGraph && [...inGraph.keys()])
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

/**
 * The subgraphs of a supergraph file with their URLs; undefined for an unreadable file: the gateway reports the error.
 */
export function subgraphsOf(path: string): ReadonlyMap<string, string> | undefined {
  try {
    const { definitions } = parse(readFileSync(path, 'utf8'), { noLocation: true })
    const graphs = definitions.find(
      (each) => each.kind === Kind.ENUM_TYPE_DEFINITION && each.name.value === 'join__Graph',
    )
    const values = graphs?.kind === Kind.ENUM_TYPE_DEFINITION ? (graphs.values ?? []) : []
    return new Map(
      values.map(({ directives = [] }) => {
        const given = directives.find(({ name }) => name.value === 'join__graph')?.arguments ?? []
        const text = (wanted: string) => {
          const value = given.find(({ name }) => name.value === wanted)?.value
          return value?.kind === Kind.STRING ? value.value : ''
        }
        return [text('name'), text('url')]
      }),
    )
  } catch {
    return undefined
  }
}

/** @throws ConfigurationError for a subgraph that the supergraph does not have */
function subscriptionUrls(
  pairs: readonly string[],
  path: string,
  inGraph: ReadonlyMap<string, string> | undefined,
): Record<string, string> {
  const urls = Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      return [pair.slice(0, at), pair.slice(at + 1)]
    }),
  )
  const unknown = Object.keys(urls).find((name) => inGraph?.has(name) === false)
  if (unknown === undefined) return urls
  const accepted = [...(inGraph?.keys() ?? [])].join(', ')
  throw new ConfigurationError(`SUBSCRIPTION_URLS: ${path} has no subgraph "${unknown}"; accepted: ${accepted}.`)
}

/** @throws ConfigurationError */
function checkUrls(path: string, inGraph: ReadonlyMap<string, string>, urls: Readonly<Record<string, string>>): void {
  const accepted = [...inGraph.keys()].map((name) => name.toUpperCase().replaceAll('-', '_'))
  for (const name of Object.keys(urls)) {
    if (inGraph.has(name) || accepted.includes(name)) continue
    throw new ConfigurationError(
      `SUBGRAPH_URL_${name}: ${path} has no such subgraph; accepted: ${accepted.map((each) => `SUBGRAPH_URL_${each}`).join(', ')}.`,
    )
  }
}

/** Where several gateways count together; undefined: each counts alone. @throws ConfigurationError */
function sharedRedis(
  { READMODEL_URL }: Configuration,
  { RATE_LIMIT_REDIS_URL }: GatewayConfiguration,
): string | undefined {
  if (RATE_LIMIT_REDIS_URL !== undefined) parseRedisUrl(RATE_LIMIT_REDIS_URL, 'RATE_LIMIT_REDIS_URL')
  else if (!READMODEL_URL.startsWith('redis')) return undefined
  else parseRedisUrl(READMODEL_URL)
  return RATE_LIMIT_REDIS_URL ?? READMODEL_URL
}
