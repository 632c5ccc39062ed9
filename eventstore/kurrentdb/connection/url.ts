/**
 * Connection strings of EventStoreDB and KurrentDB. The client's own parser prints invalid ones, including the
 * password.
 */
import { readFileSync } from 'node:fs'
import { type ChannelCredentials, credentials } from '@grpc/grpc-js'
import { KURRENTDB_URLS, SCHEME } from './scheme.ts'

const HOST = /^(\[[0-9a-f:]+\]|[\w.-]+)(:(\d{1,5}))?$/i
const BOOLEAN = /^(true|false)$/
const NUMBER = /^\d+$/
const ANYTHING = /^.+$/

/** The client's options and what they accept; names are compared without case, `_` and `-`. */
const OPTIONS: Readonly<Record<string, readonly [name: string, accepted: RegExp, words: string]>> = {
  tls: ['tls', BOOLEAN, 'true or false'],
  tlsverifycert: ['tlsVerifyCert', BOOLEAN, 'true or false'],
  tlscafile: ['tlsCAFile', ANYTHING, 'a path'],
  usercertfile: ['userCertFile', ANYTHING, 'a path'],
  userkeyfile: ['userKeyFile', ANYTHING, 'a path'],
  connectionname: ['connectionName', ANYTHING, 'a name'],
  nodepreference: [
    'nodePreference',
    /^(leader|follower|random|read_?only_?replica)$/i,
    'leader, follower, random or readOnlyReplica',
  ],
  maxdiscoverattempts: ['maxDiscoverAttempts', NUMBER, 'a whole number'],
  discoveryinterval: ['discoveryInterval', NUMBER, 'milliseconds'],
  gossiptimeout: ['gossipTimeout', NUMBER, 'seconds'],
  keepaliveinterval: ['keepAliveInterval', /^(-1|\d+)$/, 'milliseconds, or -1'],
  keepalivetimeout: ['keepAliveTimeout', /^(-1|\d+)$/, 'milliseconds, or -1'],
  defaultdeadline: ['defaultDeadline', NUMBER, 'milliseconds'],
}

/** Where a node listens. */
export interface Endpoint {
  /** A name or an address; of IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

export type NodePreference = 'leader' | 'follower' | 'random' | 'readonlyreplica'

/** A parsed connection string. */
export interface KurrentDbUrl {
  /** The seeds of a cluster; otherwise the single node. */
  readonly seeds: readonly Endpoint[]
  /** Whether the members are discovered: several hosts, or `+discover`. */
  readonly isCluster: boolean
  readonly nodePreference: NodePreference
  readonly tls: boolean
  /** For a connection that begins now: certificates may be exchanged while the process runs. */
  channelCredentials(): ChannelCredentials
  /** Sent with each call over TLS. */
  readonly user: { readonly username: string; readonly password: string } | undefined
  readonly connectionName: string | undefined
  /** Milliseconds, as are the next ones; undefined if not set. */
  readonly defaultDeadline: number | undefined
  /** The wait between two attempts to ask a node while none is found. */
  readonly discoveryInterval: number | undefined
  /** How long a node may take to name the members. */
  readonly gossipTimeout: number | undefined
  /** -1: never. */
  readonly keepAliveInterval: number | undefined
  readonly keepAliveTimeout: number | undefined
}

/**
 * Parses a connection string, and reads the certificates that it names.
 * @throws TypeError that says what is wrong and never quotes credentials
 */
export function parseKurrentDbUrl(url: string): KurrentDbUrl {
  const scheme = SCHEME.exec(url)
  if (scheme === null) throw new TypeError(`the scheme is not one of ${KURRENTDB_URLS}`)
  const rest = url.slice(scheme[0].length)
  const [authorityAndPath = '', query = ''] = rest.split('?', 2)
  const authority = authorityAndPath.replace(/\/+$/, '')
  const at = authority.lastIndexOf('@')
  const [, username, password] = /^([^:@/]+):([^:@/]+)$/.exec(authority.slice(0, Math.max(at, 0))) ?? []
  if (at >= 0 && username === undefined) {
    throw new TypeError('what stands before the @ is not username:password (special characters as %XX)')
  }
  const seeds = authority
    .slice(at + 1)
    .split(',')
    .map((host, index) => endpointOf(host, index + 1))
  const options = optionsOf(query)
  const milliseconds = (name: string, unit = 1) => {
    const value = options.get(name)
    return value === undefined ? undefined : Number(value) * unit
  }
  return {
    seeds,
    isCluster: scheme[2] !== undefined || seeds.length > 1,
    nodePreference: (options.get('nodePreference') ?? 'leader').toLowerCase().replace(/_/g, '') as NodePreference,
    tls: options.get('tls') !== 'false',
    channelCredentials: channelCredentialsOf(options),
    user:
      username === undefined || password === undefined
        ? undefined
        : { username: decoded(username), password: decoded(password) },
    connectionName: options.get('connectionName'),
    defaultDeadline: milliseconds('defaultDeadline') || undefined,
    discoveryInterval: milliseconds('discoveryInterval'),
    gossipTimeout: milliseconds('gossipTimeout', 1_000),
    keepAliveInterval: milliseconds('keepAliveInterval'),
    keepAliveTimeout: milliseconds('keepAliveTimeout'),
  }
}

/** @param place of the host, from 1 on: its text may be a password */
function endpointOf(text: string, place: number): Endpoint {
  const [, host, , port = '2113'] = HOST.exec(text) ?? []
  if (host === undefined || Number(port) < 1 || Number(port) > 65535) {
    throw new TypeError(`host ${place} is not HOST or HOST:PORT (special characters of a password as %XX)`)
  }
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

function optionsOf(query: string): Map<string, string> {
  const options = new Map<string, string>()
  for (const pair of query === '' ? [] : query.split('&')) {
    const [key = '', value = ''] = pair.split('=', 2)
    const option = OPTIONS[key.toLowerCase().replace(/[_-]/g, '')]
    if (option === undefined) {
      const known = Object.values(OPTIONS).map(([name]) => name)
      const named = /^[\w-]+$/.test(key) ? JSON.stringify(key) : 'after the ?' // it may be a password
      throw new TypeError(`option ${named} is unknown; there are ${known.join(', ')}`)
    }
    const [name, accepted, words] = option
    if (!accepted.test(value)) throw new TypeError(`option ${name} is ${JSON.stringify(value)}; accepted: ${words}`)
    options.set(name, accepted === ANYTHING ? decoded(value) : value)
  }
  return options
}

/**
 * The files of certificates are read again for each connection. One that can't be used any more, because it is just being
 * replaced, leaves those from before in force.
 */
function channelCredentialsOf(options: ReadonlyMap<string, string>): () => ChannelCredentials {
  if (options.get('tls') === 'false') return credentials.createInsecure
  const verifyOptions = options.get('tlsVerifyCert') === 'false' ? { rejectUnauthorized: false } : {}
  let files: readonly (Buffer | null)[]
  let made: ChannelCredentials
  const make = () => {
    const read = ['tlsCAFile', 'userKeyFile', 'userCertFile'].map((name) => fileOf(options, name))
    if (read.every((file, index) => file === files?.[index] || (file && files?.[index]?.equals(file)))) return
    const [authority = null, key = null, certificate = null] = read
    if ((key === null) !== (certificate === null)) throw new TypeError('userCertFile and userKeyFile go together')
    made = credentials.createSsl(authority, key, certificate, verifyOptions)
    files = read
  }
  make()
  return () => {
    try {
      make()
    } catch {}
    return made
  }
}

function fileOf(options: ReadonlyMap<string, string>, name: string): Buffer | null {
  const path = options.get(name)
  if (path === undefined) return null
  try {
    return readFileSync(path)
  } catch (error) {
    throw new TypeError(`option ${name}: ${path} can't be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new TypeError('a % stands without two hexadecimal digits after it (%25 is the sign itself)')
  }
}
