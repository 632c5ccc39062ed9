/** The environment variables of the gateway, beside those that all processes share. */
import { z } from 'zod'
import { isNetwork } from '../runtime/client-address.ts'
import { readVariables, type Values, type Variable } from '../runtime/configuration.ts'
import { ConfigurationError } from '../runtime/errors.ts'
import { DEFAULT_LIMITS, ENCODINGS, isOrigin, TAG_HEADERS, UNCHECKED_TOKENS } from './accepted-values.ts'
import { MAX_JSON_VALUES } from './http/json-size.ts'
import { ERROR_STATUSES } from './http/negotiation.ts'
import { CONNECTIONS_PER_CLIENT } from './limits/client-connections.ts'
import { isDecompressable, SUBGRAPH_ENCODINGS } from './subgraphs/decompression.ts'
import { SHARING } from './subgraphs/shared-calls.ts'

const count = (defaultValue: number) => ({
  schema: z.coerce.number().int().positive(),
  default: defaultValue,
  accepted: 'a whole number, 1 or more',
})
/** A list with commas. `none`, which is an empty one, stands alone. */
const names = (defaultValue: readonly string[], accepted: string, isAccepted: (name: string) => boolean) => ({
  schema: z
    .string()
    .transform((text) => (text.trim() === 'none' ? [] : text.split(',').map((name) => name.trim())))
    .transform((given) => given.filter((name) => name !== ''))
    .refine((given) => given.every((name) => name !== 'none' && isAccepted(name))),
  default: defaultValue,
  accepted,
})
const headerNames = (defaultValue: readonly string[]) =>
  names(defaultValue, 'header names with commas between them, or none', (name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name))
/** Labels of @override(label:), as in the federation specification, and percentages. */
const isLabel = (text: string) =>
  /^[a-z][\w:./-]*$/i.test(text) || Number(/^percent\((\d{1,3}(?:\.\d{1,8})?)\)$/.exec(text)?.[1] ?? 101) <= 100
/** An address, a network, or a name that proxy-addr knows. */
const isProxy = (text: string) => ['loopback', 'linklocal', 'uniquelocal'].includes(text) || isNetwork(text)
const subgraphOf = (pair: string) => pair.slice(0, pair.indexOf('='))
const subscriptionUrls = names(
  [],
  'one pair for each subgraph, of its name and a URL (orders=ws://orders:4010/graphql), with commas between them: ws and wss for WebSockets, http and https for server-sent events; or none',
  (pair) => /^[\w-]+=(wss?|https?):\/\/./.test(pair) && URL.canParse(pair.slice(pair.indexOf('=') + 1)),
)

const variables = {
  EXECUTOR: {
    description: '`apollo` executes with @apollo/gateway, to compare with.',
    schema: z.enum(['compiled', 'apollo']),
    default: 'compiled' as const,
    accepted: 'compiled or apollo',
  },
  TOKEN_JWKS_URL: {
    description:
      'Where the keys are that verify bearer tokens. Not set: `/.well-known/jwks.json` of the subgraph `customers`. `off`: tokens are passed on unverified.',
    schema: z.union([z.literal('off'), z.url({ protocol: /^https?$/ })]),
    default: undefined,
    accepted: 'an http or https URL, or off',
  },
  TOKEN_INTROSPECTION_URL: {
    description:
      'Where the gateway asks whether a token was revoked. Not set: `/introspect` of the subgraph `customers`, unless `TOKEN_JWKS_URL` is set. `off`: nowhere.',
    schema: z.union([z.literal('off'), z.url({ protocol: /^https?$/ })]),
    default: undefined,
    accepted: 'an http or https URL, or off',
  },
  TOKEN_UNCHECKED: {
    description:
      "What happens to a token of a customer or service that can't be checked, because neither its status nor the keys are available. `refuse`: the request is answered 503. `pass`: the token is forwarded, and the subgraphs decide. See [While a token can't be checked](tokens.md#while-a-token-cant-be-checked).",
    schema: z.enum(UNCHECKED_TOKENS),
    default: 'refuse' as const,
    accepted: UNCHECKED_TOKENS.join(' or '),
  },
  TOKEN_GRACE_SECONDS: {
    description:
      'How long a token that was active goes on as it is while its status can not be asked for. A revocation in that time is noticed after it at the latest.',
    schema: z.coerce.number().int().min(0).max(3_600),
    default: 10,
    accepted: 'a whole number of seconds, 0 to 3600 (an hour)',
  },
  TRUSTED_ISSUERS: {
    description:
      'Whose tokens count beside those of the customer subgraph: a YAML or JSON file. See [Other issuers](tokens.md#other-issuers).',
    schema: z.string().min(1),
    default: undefined,
    accepted: "a file's path",
  },
  GRAPHQL_ERROR_STATUS: {
    description:
      "The HTTP status of answers with errors. Not set: by the client's `Accept`. See [Tokens and statuses](gateway.md#tokens-and-statuses).",
    schema: z.enum(ERROR_STATUSES),
    default: undefined,
    accepted: 'magento or spec',
  },
  GATEWAY_METRICS_PORT: {
    description: 'A port of its own for `/metrics`. Not set: the public port; in production none.',
    schema: z.coerce.number().int().min(0).max(65535),
    default: undefined,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  CORS_ORIGINS: {
    ...names([], 'origins (https://shop.example) with commas between them, or none; not *', isOrigin),
    description:
      'Origins whose pages may read answers, with credentials. Outside production pages of this machine may, too: of `localhost`, names below it, and `127.0.0.1`, on any port.',
  },
  TRUST_PROXY: {
    ...names([], 'addresses or networks of proxies (10.0.0.0/8) with commas between them, or none', isProxy),
    description:
      'Proxies whose `X-Forwarded-For` is believed. They have to append the address that they see; what stands left of a text that is no address is not believed.',
  },
  FORWARD_HEADERS: {
    ...headerNames(['authorization', 'idempotency-key', 'store', 'user-agent', 'x-captcha', 'x-recaptcha']),
    description: 'Headers of the client that go down to the subgraphs. A well-formed `traceparent` always does.',
  },
  RETURN_HEADERS: { ...headerNames([]), description: 'Headers of the subgraphs that come back to the client.' },
  ANSWER_CACHING: {
    description:
      'Which answers browsers and CDNs may store. `subgraphs`: those whose subgraphs say so by `Cache-Control`. `off`: none. See [Caching and compression](caching-and-compression.md).',
    schema: z.enum(['subgraphs', 'off']),
    default: 'subgraphs' as const,
    accepted: 'subgraphs or off',
  },
  CACHE_TAG_HEADER: {
    description: 'The header with the tags by which a CDN purges stored answers. `none`: it is not sent.',
    schema: z.enum(TAG_HEADERS),
    default: 'cache-tag' as const,
    accepted: TAG_HEADERS.join(', '),
  },
  ANSWER_ENCODINGS: {
    ...names(ENCODINGS, `${ENCODINGS.join(', ')} with commas between them, or none`, (name) =>
      (ENCODINGS as readonly string[]).includes(name),
    ),
    description: 'The encodings in which answers of 1 kB and more are compressed, in the order of preference.',
  },
  SUBGRAPH_ENCODINGS: {
    ...names([], `${SUBGRAPH_ENCODINGS.join(', ')} with commas between them, or none`, (name) =>
      SUBGRAPH_ENCODINGS.some((each) => each === name && isDecompressable(each)),
    ),
    description: 'The encodings in which subgraphs are asked to compress their answers.',
  },
  SUBGRAPH_SECRET_FOR: {
    ...names(['customers'], "subgraphs' names with commas between them, or none", (name) => /^[\w-]+$/.test(name)),
    description: 'The subgraphs that get `SUBGRAPH_SECRET`.',
  },
  SUBGRAPH_TIMEOUT_MS: { ...count(10_000), description: 'How long a subgraph may take for a whole answer.' },
  SUBGRAPH_CONNECTIONS: { ...count(64), description: 'Connections to one subgraph.' },
  SUBGRAPH_PIPELINING: { ...count(1), description: 'Queries under way on one of these connections.' },
  SUBGRAPH_SETTINGS: {
    description:
      'A YAML file with time limits, retries, connections and forwarded headers by subgraph. See [Settings by subgraph](gateway.md#settings-by-subgraph).',
    schema: z.string().min(1),
    default: undefined,
    accepted: "a file's path",
  },
  GATEWAY_PLUGIN: {
    ...names([], 'paths of modules (.ts, .js, .mjs) with commas between them, or none', (path) =>
      /\.(ts|mts|js|mjs)$/.test(path),
    ),
    description: 'Your own code around requests and subgraph calls, in this order. See [Plugins](plugins.md).',
  },
  SUBGRAPH_SHARED_CALLS: {
    description:
      'Which queries of guests, in flight at the same moment, are one subgraph call. `same`: those with the same headers, but for ids of the request; `guests`: whatever the client address and user agent. Always off where `RETURN_HEADERS` has `set-cookie`.',
    schema: z.enum(SHARING),
    default: 'same' as const,
    accepted: SHARING.join(', '),
  },
  SUBGRAPH_ANSWER_LIMIT_BYTES: { ...count(8 * 1024 * 1024), description: 'The largest answer of one subgraph.' },
  SUBSCRIPTIONS: { ...count(10_000), description: 'Subscriptions of all clients at once, and WebSockets.' },
  SUBSCRIPTIONS_PER_CLIENT: { ...count(100), description: 'The same of one client address (IPv6: one /64 network).' },
  SUBSCRIPTION_BUFFER: {
    ...count(100),
    description: 'Events that may wait for one client, in all at most 1 MiB. One more ends the subscription.',
  },
  SUBSCRIPTION_SILENCE_MS: {
    ...count(60_000),
    description: "How long a subgraph's stream may be silent, heartbeats included, until it counts as broken.",
  },
  SUBSCRIPTION_URLS: {
    ...subscriptionUrls,
    schema: subscriptionUrls.schema.refine((pairs) => new Set(pairs.map(subgraphOf)).size === pairs.length),
    description:
      'Where subgraphs offer their subscriptions. Not named: where they answer queries, as server-sent events.',
  },
  ANSWER_LIMIT_BYTES: {
    ...count(8 * 1024 * 1024),
    description:
      'The largest answer to a client. A batch counts as one. A client address that leaves answers of so many characters unread gets further ones once it has read some.',
  },
  DEFER: {
    description:
      'Whether documents may have `@defer`. `off`: the directive is not in the schema. See [Deferred fragments](defer.md).',
    schema: z.enum(['on', 'off']),
    default: 'on' as const,
    accepted: 'on or off',
  },
  OVERRIDE_LABELS: {
    ...names([], 'labels of @override, percent(0) to percent(100), with commas between them, or none', isLabel),
    description: 'Labels of `@override(label:)` that hold. `percent(n)` holds for n of a hundred requests by itself.',
  },
  CONNECTIONS_PER_CLIENT: {
    ...count(CONNECTIONS_PER_CLIENT),
    description: 'Connections of one client address (IPv6: one /64 network). Those of `TRUST_PROXY` do not count.',
  },
  BODY_LIMIT_BYTES: { ...count(1024 * 1024), description: 'The largest request.' },
  BODY_LIMIT_VALUES: {
    ...count(MAX_JSON_VALUES),
    description:
      'JSON values in a request: lists, objects, and what is in them. They take far more memory than their text.',
  },
  BATCH_LIMIT: {
    description: 'Requests in one batch.',
    ...count(0),
    schema: z.coerce.number().int().min(0),
    accepted: 'a whole number; 0: no batches',
  },
  LIMIT_DEPTH: { ...count(DEFAULT_LIMITS.depth), description: "How deep a document may be nested. Magento's limit." },
  LIMIT_FIELDS: { ...count(DEFAULT_LIMITS.fields), description: "Fields in a document. Magento's limit." },
  LIMIT_ALIASES: { ...count(DEFAULT_LIMITS.aliases), description: 'Aliases in a document.' },
  LIMIT_ROOT_FIELDS: { ...count(DEFAULT_LIMITS.rootFields), description: 'Root fields in an operation.' },
  LIMIT_TOKENS: { ...count(DEFAULT_LIMITS.tokens), description: 'Tokens in a document.' },
  LIMIT_DIRECTIVES: { ...count(DEFAULT_LIMITS.directives), description: 'Directives in one place of a document.' },
  LIMIT_COST: {
    ...count(DEFAULT_LIMITS.cost),
    description:
      'The cost of an operation, estimated by `@cost` and `@listSize`; a list without a size counts as 10. Operations under way for one client address may cost this much together, for all clients twice as much; others wait in turn.',
  },
  RATE_LIMIT_PER_MINUTE: {
    description: 'Requests of one client address (IPv6: one /64 network). Not set: 1200 in production, else 0.',
    schema: z.coerce.number().int().min(0),
    default: undefined,
    accepted: 'a whole number; 0: no limit',
  },
  RATE_LIMIT_SIGN_IN_PER_MINUTE: {
    description:
      'Of these, fields that check a password, create an account or send mail. Not set: 60 in production, else 0.',
    schema: z.coerce.number().int().min(0),
    default: undefined,
    accepted: 'a whole number; 0: no limit',
  },
  RATE_LIMIT_REDIS_URL: {
    description:
      'Where several gateways count together. Not set: `READMODEL_URL`, if that is Redis, also a Sentinel group or a Cluster.',
    schema: z.string().regex(/^rediss?(-(sentinel|cluster))?:\/\/./),
    default: undefined,
    accepted: 'redis://…, redis-sentinel://…, redis-cluster://… (rediss… for TLS)',
    secret: true,
  },
  PERSISTED_QUERIES: {
    description: '`apq`: automatic persisted queries. `safelist`: only documents of the manifest run.',
    schema: z.enum(['apq', 'safelist', 'off']),
    default: 'apq' as const,
    accepted: 'apq, safelist or off',
  },
  PERSISTED_QUERIES_MANIFEST: {
    description:
      'The manifest, in the format of Apollo, or of Relay and graphql-codegen. It is watched, and changes are applied. Required for `safelist`.',
    schema: z.string().min(1),
    default: undefined,
    accepted: "a manifest file's path",
  },
} satisfies Readonly<Record<string, Variable>>

/** The variables of the gateway, by name. */
export const GATEWAY_VARIABLES: Readonly<Record<string, Variable>> = variables

export type GatewayConfiguration = Values<typeof variables> & {
  /** URLs in place of those in the supergraph, by the subgraph's name in capitals with _ for - . */
  readonly subgraphUrls: Readonly<Record<string, string>>
}

/** @throws ConfigurationError naming the variable, its value and what is accepted */
export function loadGatewayConfiguration(env: Readonly<Record<string, string | undefined>>): GatewayConfiguration {
  return { ...readVariables(variables, env), subgraphUrls: subgraphUrls(env) }
}

/** `SUBGRAPH_URL_<NAME>` */
function subgraphUrls(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const prefix = 'SUBGRAPH_URL_'
  const urls = Object.entries(env).filter(([name, url]) => name.startsWith(prefix) && url)
  return Object.fromEntries(
    urls.map(([name, url = '']) => {
      if (!/^https?:\/\/./.test(url) || !URL.canParse(url)) {
        throw new ConfigurationError(`${name}: ${JSON.stringify(url)} can't be used; accepted: an http or https URL.`)
      }
      return [name.slice(prefix.length), url]
    }),
  )
}
