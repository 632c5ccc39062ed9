/** The environment variables of the gateway, beside those that all processes share. */
import { isIP } from 'node:net'
import { z } from 'zod'
import { ConfigurationError, readVariables, type Values, type Variable } from '../runtime/configuration.ts'
import { isOrigin } from './http/negotiation.ts'
import { DEFAULT_LIMITS } from './planning/document-limits.ts'

const count = (defaultValue: number) => ({
  schema: z.coerce.number().int().positive(),
  default: defaultValue,
  accepted: 'a whole number, 1 or more',
})
const names = (defaultValue: readonly string[], accepted: string, isAccepted: (name: string) => boolean) => ({
  schema: z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '' && name !== 'none'),
    )
    .refine((given) => given.every(isAccepted)),
  default: defaultValue,
  accepted,
})
const headerNames = (defaultValue: readonly string[]) =>
  names(defaultValue, 'header names with commas between them, or none', (name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name))
/** As @override(label:) has them (federation's specification), and shares of requests. */
const isLabel = (text: string) =>
  /^[a-z][\w:./-]*$/i.test(text) || Number(/^percent\((\d{1,3}(?:\.\d{1,8})?)\)$/.exec(text)?.[1] ?? 101) <= 100
/** An address, a network, or a name that proxy-addr knows. */
function isProxy(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0) return ['loopback', 'linklocal', 'uniquelocal'].includes(text)
  return (
    rest.length === 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)))
  )
}

const variables = {
  EXECUTOR: { schema: z.enum(['compiled', 'apollo']), default: 'compiled' as const, accepted: 'compiled or apollo' },
  TOKEN_JWKS_URL: {
    schema: z.union([z.literal('off'), z.url({ protocol: /^https?$/ })]),
    default: undefined,
    accepted: 'an http or https URL, or off',
  },
  TOKEN_INTROSPECTION_URL: {
    schema: z.union([z.literal('off'), z.url({ protocol: /^https?$/ })]),
    default: undefined,
    accepted: 'an http or https URL, or off',
  },
  GATEWAY_METRICS_PORT: {
    schema: z.coerce.number().int().min(0).max(65535),
    default: undefined,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  CORS_ORIGINS: names([], 'origins (https://shop.example) with commas between them, or none; not *', isOrigin),
  TRUST_PROXY: names([], 'addresses or networks of proxies (10.0.0.0/8) with commas between them, or none', isProxy),
  FORWARD_HEADERS: headerNames(['authorization', 'idempotency-key', 'store', 'user-agent', 'x-captcha', 'x-recaptcha']),
  RETURN_HEADERS: headerNames([]),
  SUBGRAPH_SECRET_FOR: names(['customers'], "subgraphs' names with commas between them, or none", (name) =>
    /^[\w-]+$/.test(name),
  ),
  SUBGRAPH_TIMEOUT_MS: count(10_000),
  SUBGRAPH_CONNECTIONS: count(64),
  SUBGRAPH_PIPELINING: count(1),
  SUBGRAPH_ANSWER_LIMIT_BYTES: count(8 * 1024 * 1024),
  ANSWER_LIMIT_BYTES: count(8 * 1024 * 1024),
  OVERRIDE_LABELS: names(
    [],
    'labels of @override, percent(0) to percent(100), with commas between them, or none',
    isLabel,
  ),
  BODY_LIMIT_BYTES: count(1024 * 1024),
  BATCH_LIMIT: { ...count(0), schema: z.coerce.number().int().min(0), accepted: 'a whole number; 0: no batches' },
  LIMIT_DEPTH: count(DEFAULT_LIMITS.depth),
  LIMIT_FIELDS: count(DEFAULT_LIMITS.fields),
  LIMIT_ALIASES: count(DEFAULT_LIMITS.aliases),
  LIMIT_ROOT_FIELDS: count(DEFAULT_LIMITS.rootFields),
  LIMIT_TOKENS: count(DEFAULT_LIMITS.tokens),
  LIMIT_DIRECTIVES: count(DEFAULT_LIMITS.directives),
  LIMIT_COST: count(DEFAULT_LIMITS.cost),
  RATE_LIMIT_PER_MINUTE: {
    schema: z.coerce.number().int().min(0),
    default: undefined,
    accepted: 'a whole number; 0: no limit',
  },
  RATE_LIMIT_SIGN_IN_PER_MINUTE: {
    schema: z.coerce.number().int().min(0),
    default: undefined,
    accepted: 'a whole number; 0: no limit',
  },
  RATE_LIMIT_REDIS_URL: {
    schema: z.string().regex(/^rediss?(-cluster)?:\/\/./),
    default: undefined,
    accepted: 'redis://…, redis-cluster://… (rediss… for TLS)',
    secret: true,
  },
  PERSISTED_QUERIES: {
    schema: z.enum(['apq', 'safelist', 'off']),
    default: 'apq' as const,
    accepted: 'apq, safelist or off',
  },
  PERSISTED_QUERIES_MANIFEST: { schema: z.string().min(1), default: undefined, accepted: "a manifest file's path" },
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
