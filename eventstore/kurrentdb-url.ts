/** Connection strings of EventStoreDB and KurrentDB, checked before the client sees them: it prints what it does not like, password and all. */

export const KURRENTDB_URLS = 'kurrentdb://…, kurrent://…, kdb://…, esdb://… (each also with +discover)'

const SCHEME = /^(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\//
const HOST = /^(\[[0-9a-f:]+\]|[\w.-]+)(:(\d{1,5}))?$/i
const BOOLEAN = /^(true|false)$/
const NUMBER = /^\d+$/
const ANYTHING = /^.+$/

/** The client's options with what they accept; names are compared without case, `_` and `-`. */
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

/** A connection string as the client takes it without a word, and what of it concerns the adapter. */
export interface KurrentDbUrl {
  readonly connectionString: string
  /** Milliseconds, where the connection string says so. */
  readonly defaultDeadline?: number
  /** False where the connection string prefers other nodes than the leader. */
  readonly prefersLeader: boolean
}

/** Whether the URL is one for {@link parseKurrentDbUrl}. */
export const isKurrentDbUrl = (url: string): boolean => SCHEME.test(url)

/**
 * @throws TypeError that says what is wrong and never quotes credentials
 */
export function parseKurrentDbUrl(url: string): KurrentDbUrl {
  const scheme = SCHEME.exec(url)
  if (scheme === null) throw new TypeError(`the scheme is not one of ${KURRENTDB_URLS}`)
  const rest = url.slice(scheme[0].length)
  const [authorityAndPath = '', query = ''] = rest.split('?', 2)
  const authority = authorityAndPath.replace(/\/+$/, '')
  const at = authority.lastIndexOf('@')
  const credentials = authority.slice(0, at + 1)
  if (at >= 0 && !/^[^:@/]+:[^:@/]+@$/.test(credentials)) {
    throw new TypeError('what stands before the @ is not username:password (special characters as %XX)')
  }
  const hosts = authority.slice(at + 1).split(',')
  for (const host of hosts) {
    const port = HOST.exec(host)?.[3]
    if (!HOST.test(host) || (port !== undefined && (Number(port) < 1 || Number(port) > 65535))) {
      throw new TypeError(`host ${JSON.stringify(host)} is not HOST or HOST:PORT`)
    }
  }
  const options = new Map<string, string>()
  for (const pair of query === '' ? [] : query.split('&')) {
    const [key = '', value = ''] = pair.split('=', 2)
    const option = OPTIONS[key.toLowerCase().replace(/[_-]/g, '')]
    if (option === undefined) {
      const known = Object.values(OPTIONS).map(([name]) => name)
      throw new TypeError(`option ${JSON.stringify(key)} is unknown; there are ${known.join(', ')}`)
    }
    const [name, accepted, words] = option
    if (!accepted.test(value)) throw new TypeError(`option ${name} is ${JSON.stringify(value)}; accepted: ${words}`)
    options.set(name, value)
  }
  const deadline = options.get('defaultDeadline')
  const preference = options.get('nodePreference')
  const text = [...options].map(([name, value]) => `${name}=${value}`).join('&')
  return {
    connectionString: `kurrentdb${scheme[2] ?? ''}://${credentials}${hosts.join(',')}${text && `?${text}`}`,
    ...(deadline && { defaultDeadline: Number(deadline) }),
    prefersLeader: preference === undefined || preference.toLowerCase() === 'leader',
  }
}
