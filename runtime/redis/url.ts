/** The URLs that name a Redis: one server, a Sentinel group or a Cluster; with `rediss` over TLS. */
import { ConfigurationError } from '../errors.ts'

interface RedisNode {
  readonly host: string
  readonly port: number
}

export interface RedisAddress {
  readonly kind: 'server' | 'sentinel' | 'cluster'
  readonly tls: boolean
  /** The servers to ask first: at least one. */
  readonly nodes: readonly [RedisNode, ...RedisNode[]]
  readonly username?: string
  readonly password?: string
  readonly database: number
  /** Of a Sentinel group, '' otherwise. */
  readonly masterName: string
}

/** The accepted forms, for messages to the operator. */
const REDIS_URLS =
  'redis://[user:password@]host[:port][/database], redis-sentinel://[user:password@]host[:port],…/mastername[/database], ' +
  'redis-cluster://[user:password@]host[:port],…, or rediss… for TLS'

const URL_FORM = /^(rediss?)(-sentinel|-cluster)?:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^@/?#]*)\/?([^?#]*)$/
const NODE_FORM = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/i

/**
 * @param variable that it comes from, for the message
 * @throws ConfigurationError for another form; the URL is not in the message, because it may contain a password
 */
export function parseRedisUrl(
  url: string,
  variable: 'READMODEL_URL' | 'RATE_LIMIT_REDIS_URL' = 'READMODEL_URL',
): RedisAddress {
  try {
    return parse(url)
  } catch {
    const others = variable === 'READMODEL_URL' ? 'sqlite:PATH, ' : ''
    throw new ConfigurationError(`${variable}: its value can't be used; accepted: ${others}${REDIS_URLS}.`)
  }
}

/** @throws Error for another form */
function parse(url: string): RedisAddress {
  const parts = URL_FORM.exec(url)
  if (!parts) throw refused()
  const [, scheme, suffix, username = '', password = '', hosts = '', path = ''] = parts
  const kind = suffix === '-sentinel' ? 'sentinel' : suffix === '-cluster' ? 'cluster' : 'server'
  const [first, ...others] = hosts.split(',').map((host) => parseNode(host, kind === 'sentinel' ? 26379 : 6379))
  const [masterName, database, ...rest] = kind === 'sentinel' ? path.split('/') : ['', ...path.split('/')]
  if (!first || (kind === 'server' && others.length > 0) || rest.length > 0) throw refused()
  if (!/^\d{0,4}$/.test(database ?? '') || (kind === 'cluster' && path !== '')) throw refused()
  if (kind === 'sentinel' && !masterName) throw refused()
  return {
    kind,
    tls: scheme === 'rediss',
    nodes: [first, ...others],
    ...(username && { username: decode(username) }),
    ...(password && { password: decode(password) }),
    database: Number(database ?? 0),
    masterName: decode(masterName ?? ''),
  }
}

function parseNode(text: string, defaultPort: number): RedisNode {
  const [, ipv6, name, digits] = NODE_FORM.exec(text) ?? []
  const host = ipv6 ?? name
  const port = digits === undefined ? defaultPort : Number(digits)
  if (host === undefined || port < 1 || port > 65535) throw refused()
  return { host, port }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refused()
  }
}

const refused = () => new Error('not a URL of Redis')
