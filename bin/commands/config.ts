/** `customers config`: every setting, where it comes from, and what is wrong. Nothing is started, opened or written. */
import { existsSync, readFileSync } from 'node:fs'
import { readAuditKey } from '../../audit/proof/signing-key.ts'
import { loadMasterKeys } from '../../eventstore/encryption/master-key.ts'
import { isKurrentDbUrl } from '../../eventstore/kurrentdb/connection/scheme.ts'
import { parseKurrentDbUrl } from '../../eventstore/kurrentdb/connection/url.ts'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { createPersistedQueries } from '../../gateway/http/persisted-queries.ts'
import { gatewayOptions, subgraphsOf } from '../../gateway/options.ts'
import { loadSupergraph } from '../../gateway/planning/supergraph.ts'
import { checkPluginFile } from '../../gateway/plugins/load.ts'
import { RETRIES } from '../../gateway/subgraphs/client.ts'
import { effectiveSettings, loadSubgraphSettings } from '../../gateway/subgraphs/settings.ts'
import { type Configuration, isEmbedded, loadConfiguration } from '../../runtime/configuration.ts'
import { ConfigurationError } from '../../runtime/errors.ts'
import { parseRedisUrl } from '../../runtime/redis/url.ts'
import { KEY_VARIABLES, type KeyVariable, keyFile, loadKey, readSigningKey } from '../../runtime/service-keys.ts'
import { type ShownSetting, shownSetting, shownUrl, withDerived } from '../../runtime/shown-settings.ts'
import { loadStore } from '../../schema/store.ts'
import { defaultSupergraph, START_DEFAULTS, SUBGRAPH_URL, strangeNames, VARIABLES } from '../environment.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The keys that each process requires. Without the audit key, no checkpoints are signed. */
const NEEDED: Readonly<Record<string, readonly KeyVariable[]>> = {
  start: ['TOKEN_SIGNING_KEY', 'EMAIL_HASH_KEY', 'MASTER_KEY'],
  subgraph: ['TOKEN_SIGNING_KEY', 'EMAIL_HASH_KEY', 'MASTER_KEY'],
  projections: ['MASTER_KEY'],
  mail: ['EMAIL_HASH_KEY', 'MASTER_KEY'],
  gateway: [],
}

/** Prints the settings. The exit code is 1 if something is wrong. @param options.for a process of {@link NEEDED} */
export function config(options: { readonly json: boolean; readonly for: string }): void {
  const rows = settings(process.env, options.for)
  const problems = rows.flatMap(({ problem }) => problem ?? [])
  if (options.json) console.log(JSON.stringify({ ok: problems.length === 0, variables: rows }, null, 2))
  else print(rows, problems)
  process.exitCode = problems.length === 0 ? 0 : 1
}

function print(rows: readonly ShownSetting[], problems: readonly string[]): void {
  const widest = Math.max(...rows.map(({ name }) => name.length))
  for (const { name, value, source, problem } of rows) {
    console.log(`${problem === undefined ? ' ' : '!'} ${name.padEnd(widest)}  ${value ?? '-'}  (${source})`)
  }
  console.log('')
  for (const problem of problems) console.log(`error: ${problem}`)
  console.log(
    problems.length === 0
      ? 'Nothing is wrong.'
      : `${problems.length} ${problems.length === 1 ? 'setting is' : 'settings are'} wrong.`,
  )
}

/** All variables of all processes, those of subgraphs, and names that look like a misspelled variable. */
function settings(env: Environment, process: string): ShownSetting[] {
  const subgraphUrls = Object.keys(env).filter((name) => SUBGRAPH_URL.test(name) && env[name])
  const first = [
    ...Object.entries(VARIABLES).map(([name, variable]) => shownSetting(name, variable, env)),
    ...subgraphUrls.map((name) => ({
      name,
      value: shownUrl(env[name] ?? ''),
      source: 'environment',
      ...attempt(() => loadGatewayConfiguration({ [name]: env[name] })),
    })),
  ]
  const wrong = new Set(first.filter(({ problem }) => problem !== undefined).map(({ name }) => name))
  // A variable that is wrong by itself is reported once; the checks below treat it as not set.
  const right = Object.fromEntries(Object.entries(env).filter(([name]) => !wrong.has(name.replace(/_FILE$/, ''))))
  const configuration = configurationOf(right, process)
  const found = new Map<string, string>()
  for (const [name, check] of checks(configuration, right, process)) {
    const { problem } = attempt(check)
    if (problem !== undefined) found.set(problem.match(/^SUBGRAPH_URL_\w+|^[A-Z_]+(?=:)/)?.[0] ?? name, problem)
  }
  const rows = first.map((row) => {
    const problem = row.problem ?? found.get(row.name)
    return { ...withDerived(row, configuration), ...(problem !== undefined && { problem }) }
  })
  const strange = [...strangeNames(env)].map(({ name, problem }) => ({
    name,
    value: '(not read)',
    source: 'environment',
    problem,
  }))
  const isReadable = !rows.some(({ name, problem }) => name === 'SUBGRAPH_SETTINGS' && problem !== undefined)
  return [...rows, ...(isReadable ? subgraphRows(configuration, right) : []), ...strange]
}

function configurationOf(env: Environment, process: string): Configuration {
  if (process !== 'start') return loadConfiguration(env)
  const configuration = loadConfiguration({ ...START_DEFAULTS, ...env })
  return {
    ...configuration,
    SUPERGRAPH: configuration.SUPERGRAPH ?? defaultSupergraph(configuration.NODE_ENV === 'production'),
  }
}

/** What SUBGRAPH_SETTINGS comes to for each subgraph. */
function subgraphRows(configuration: Configuration, env: Environment): ShownSetting[] {
  const gateway = loadGatewayConfiguration(env)
  if (gateway.SUBGRAPH_SETTINGS === undefined) return []
  const names = [...(subgraphsOf(configuration.SUPERGRAPH ?? 'schema/supergraph.graphql')?.keys() ?? [])]
  const given = loadSubgraphSettings(gateway.SUBGRAPH_SETTINGS, names)
  const settings = effectiveSettings(given, {
    timeoutMs: gateway.SUBGRAPH_TIMEOUT_MS,
    retries: RETRIES,
    connections: gateway.SUBGRAPH_CONNECTIONS,
    headers: gateway.FORWARD_HEADERS,
  })
  return names.map((name) => {
    const { timeoutMs, retries, connections, headers } = settings.of(name)
    const shownHeaders = headers.join(', ') || 'none'
    return {
      name: `subgraph ${name}`,
      value: `timeout ${timeoutMs} ms; retries ${retries}; connections ${connections}; headers ${shownHeaders}`,
      source: given.subgraphs.has(name) ? `${gateway.SUBGRAPH_SETTINGS}: ${name}` : `${gateway.SUBGRAPH_SETTINGS}: all`,
    }
  })
}

/** The checks between settings, and of the files that they name, each with the variable that it concerns. */
function* checks(
  configuration: Configuration,
  env: Environment,
  process: string,
): Generator<readonly [string, () => unknown]> {
  const { EVENTSTORE_URL, READMODEL_URL, KEYS_URL, SUPERGRAPH = 'schema/supergraph.graphql' } = configuration
  const gateway = loadGatewayConfiguration(env)
  yield ['EVENTSTORE_URL', () => isEmbedded(configuration)]
  for (const [name, url] of Object.entries({ EVENTSTORE_URL, KEYS_URL })) {
    if (url !== undefined && isKurrentDbUrl(url)) yield [name, () => named(name, () => parseKurrentDbUrl(url))]
  }
  if (process !== 'mail' && !READMODEL_URL.startsWith('sqlite:')) {
    yield ['READMODEL_URL', () => parseRedisUrl(READMODEL_URL)]
  }
  const { RATE_LIMIT_REDIS_URL } = gateway
  if (RATE_LIMIT_REDIS_URL !== undefined) {
    yield ['RATE_LIMIT_REDIS_URL', () => parseRedisUrl(RATE_LIMIT_REDIS_URL, 'RATE_LIMIT_REDIS_URL')]
  }
  yield ['STORE_CONFIG', () => loadStore(configuration.STORE_CONFIG)]
  if (env.SUPERGRAPH) {
    yield ['SUPERGRAPH', () => named('SUPERGRAPH', () => loadSupergraph(readFileSync(SUPERGRAPH, 'utf8')))]
  }
  yield [
    'PERSISTED_QUERIES_MANIFEST',
    () => {
      // What the others say is checked by itself.
      const others = { ...gateway, GATEWAY_PLUGIN: [], SUBGRAPH_SETTINGS: undefined, RATE_LIMIT_REDIS_URL: undefined }
      const { persistedQueries = { mode: 'apq' } } = gatewayOptions({ ...configuration, READMODEL_URL: '' }, others)
      createPersistedQueries({ ...persistedQueries, maxEntries: 1, maxTokens: 1 })
    },
  ]
  yield ['SUBGRAPH_SETTINGS', () => subgraphRows(configuration, env)]
  // A plugin is not loaded: it might connect to something.
  for (const path of gateway.GATEWAY_PLUGIN) yield ['GATEWAY_PLUGIN', () => checkPluginFile(path)]
  if (EVENTSTORE_URL !== '') yield* keyChecks(configuration, process)
}

function* keyChecks(configuration: Configuration, process: string): Generator<readonly [string, () => unknown]> {
  const { KMS_PLUGIN } = configuration
  const path = configuration.EVENTSTORE_URL.slice('sqlite:'.length)
  const hasKeyFile = KEY_VARIABLES.some((name) => existsSync(keyFile(configuration, name)))
  const isNew = process === 'start' && isEmbedded(configuration) && !existsSync(path) && !hasKeyFile
  const read: Partial<Record<KeyVariable, (key: string) => unknown>> = {
    TOKEN_SIGNING_KEY: (key) => readSigningKey(key, 'TOKEN_SIGNING_KEY'),
    AUDIT_SIGNING_KEY: readAuditKey,
    // The plug-in is not loaded: it might connect to its key management system.
    MASTER_KEY: () => loadMasterKeys({ ...configuration, KMS_PLUGIN: undefined }),
  }
  for (const name of KEY_VARIABLES) {
    const isThere =
      configuration[name] !== undefined || (isEmbedded(configuration) && existsSync(keyFile(configuration, name)))
    const isNeeded = (NEEDED[process] ?? []).includes(name) && !(name === 'MASTER_KEY' && KMS_PLUGIN !== undefined)
    if (!isThere && (isNew || !isNeeded)) continue
    yield [
      name,
      () => {
        const key = loadKey(configuration, name)
        read[name]?.(key)
      },
    ]
  }
}

function attempt(check: () => unknown): { readonly problem?: string } {
  try {
    check()
    return {}
  } catch (error) {
    return { problem: messageOf(error) }
  }
}

/** Adds the name of the variable to an error that does not have it. */
function named(name: string, check: () => unknown): void {
  try {
    check()
  } catch (error) {
    throw new ConfigurationError(`${name} can't be used: ${messageOf(error)}`)
  }
}

const messageOf = (error: unknown) => (error as Error).message.split('\n')[0] ?? ''
