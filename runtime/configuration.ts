/** The environment variables that the processes share, checked once at start. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { ConfigurationError } from './errors.ts'
import { DEFAULT_AUDIENCE, DEFAULT_ISSUER, UNNAMED_TOKENS } from './token-names.ts'

const url = z.url({ protocol: /^https?$/ })
const tokenName = z.string().regex(/^[!-~]{1,255}$/)
const port = z.coerce.number().int().min(0).max(65535)

/** The load up to which a server does not answer 503. */
export interface LoadLimits {
  /** The largest accepted event-loop delay in milliseconds, as a mean over three seconds. 0: no limit. */
  readonly maxEventLoopDelayMs: number
  /** The largest accepted share of V8's heap limit that is in use, in percent. 0: no limit. */
  readonly maxHeapPercent: number
  /** How often both are sampled, in milliseconds. Default 3,000. */
  readonly sampleMs?: number
}

/** Of the processes. */
const DEFAULT_LOAD_LIMITS: LoadLimits = { maxEventLoopDelayMs: 1_000, maxHeapPercent: 90 }

const variables = {
  EVENTSTORE_URL: {
    description:
      'The event store. A connection string of EventStoreDB (22.10 and later) or KurrentDB takes several hosts for a cluster (`kurrentdb://a:2113,b:2113,c:2113`), or `+discover`; TLS, credentials and certificates are its options.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.string().regex(/^(sqlite:|(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\/)./),
    default: 'sqlite:data/events.db',
    accepted: 'sqlite:PATH, kurrentdb://…, kurrent://…, kdb://…, esdb://… (each also with +discover)',
    secret: true,
  },
  READMODEL_URL: {
    description:
      'The read model. Redis alone: `redis://host:6379`. Sentinel: `redis-sentinel://host:port,…/master`. Cluster: `redis-cluster://host:port,…`. If it is Redis, the gateway counts its rate limits there, too.',
    usedBy: ['subgraph', 'projections', 'console', 'commands', 'gateway'],
    schema: z.string().regex(/^(sqlite:|rediss?(-(sentinel|cluster))?:\/\/)./),
    default: 'sqlite:data/readmodel.db',
    accepted: 'sqlite:PATH, redis://…, redis-sentinel://…, redis-cluster://… (rediss… for TLS)',
    secret: true,
  },
  KEYS_URL: {
    description:
      'The store of the keys that personal fields are encrypted with. Not set: `events-keys.db` beside an embedded `events.db`; on a server the log itself.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.string().regex(/^(sqlite:|(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\/)./),
    default: undefined,
    accepted: 'as EVENTSTORE_URL: another store for the keys of customers',
    secret: true,
  },
  GATEWAY_PORT: {
    description: 'The port of the gateway.',
    usedBy: ['gateway'],
    schema: port,
    default: 4000,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  SUBGRAPH_PORT: {
    description: 'The port of the customer subgraph.',
    usedBy: ['subgraph', 'samples'],
    schema: port,
    default: 4001,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  PROJECTIONS_PORT: {
    description: "The port of the projections' health checks and metrics.",
    usedBy: ['projections'],
    schema: port,
    default: 4002,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  SAMPLES_PORT: {
    description: 'The port of the sample subgraphs.',
    usedBy: ['samples'],
    schema: port,
    default: 4003,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  MAIL_PORT: {
    description: "The port of the mail worker's health checks and metrics.",
    usedBy: ['mail'],
    schema: port,
    default: 4004,
    accepted: 'a port, 0 to 65535 (0: any free one)',
  },
  HOST: {
    description: 'The address to listen on. `0.0.0.0` or `::` listens on all.',
    usedBy: ['gateway', 'subgraph', 'projections', 'mail', 'console', 'samples'],
    schema: z.string().min(1),
    default: '127.0.0.1',
    accepted: 'an address to listen on',
  },
  SUPERGRAPH: {
    description:
      'The composed supergraph. The gateway watches the file and picks a change up without dropping a request. Not set: `schema/supergraph.graphql`; `npm start` outside production takes `examples/commerce/supergraph.graphql`.',
    usedBy: ['gateway', 'commands'],
    schema: z.string().min(1),
    default: undefined,
    accepted: "a supergraph file's path",
  },
  DATA_DIR: {
    description:
      'The folder of the keys that `npm start` makes for an embedded event store, of the cache of `audit prove` and, without `SMTP_URL`, of the mails.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.string().min(1),
    default: 'data',
    accepted: "a folder's path",
  },
  TOKEN_SIGNING_KEY: {
    description:
      'Signs the tokens of customers and services. Not set: a file in `DATA_DIR`; required on an event-store server.',
    usedBy: ['subgraph', 'commands'],
    schema: z.string().min(1),
    default: undefined,
    accepted: 'an Ed25519 private key (PEM or JWK)',
    secret: true,
  },
  TOKEN_ISSUER: {
    description: 'Who issues the tokens of customers and services: their claim `iss`.',
    usedBy: ['subgraph', 'gateway', 'samples', 'commands'],
    schema: tokenName,
    default: DEFAULT_ISSUER,
    accepted: 'a name or URL, up to 255 characters without blanks',
  },
  TOKEN_AUDIENCE: {
    description: 'For whom these tokens are: their claim `aud`. Give each environment its own.',
    usedBy: ['subgraph', 'gateway', 'samples', 'commands'],
    schema: tokenName,
    default: DEFAULT_AUDIENCE,
    accepted: 'a name or URL, up to 255 characters without blanks',
  },
  TOKEN_UNNAMED: {
    description:
      'Whether tokens count that have neither `iss` nor `aud`, as releases before 0.2 issued them. See [Upgrades](upgrades.md#from-releases-before-020).',
    usedBy: ['subgraph', 'gateway', 'samples'],
    schema: z.enum(UNNAMED_TOKENS),
    default: 'accept' as const,
    accepted: UNNAMED_TOKENS.join(' or '),
  },
  TOKEN_CACHE_SIZE: {
    description:
      'How many verified tokens are kept in memory. Verifying one takes some 70 µs of CPU time; choose a few more than the customers who are active at once.',
    usedBy: ['subgraph', 'gateway'],
    schema: z.coerce.number().int().positive().max(10_000_000),
    default: 10_000,
    accepted: 'a whole number, 1 to 10,000,000',
  },
  EMAIL_HASH_KEY: {
    description:
      'Keys the hash under which an e-mail address is claimed, and the links in mails. It must never change. Not set: a file in `DATA_DIR`; required on an event-store server.',
    usedBy: ['subgraph', 'mail', 'console', 'commands'],
    schema: z.string().min(32),
    default: undefined,
    accepted: '32 characters or more',
    secret: true,
  },
  MASTER_KEY: {
    description:
      'Wraps the keys of customers. Not set: a file in `DATA_DIR`; required on an event-store server, unless `KMS_PLUGIN` is set.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.string().min(1),
    default: undefined,
    accepted: '32 bytes, in hexadecimal or base64',
    secret: true,
  },
  MASTER_KEY_PREVIOUS: {
    description: 'Master keys that still unwrap while keys are rotated.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.string(),
    default: undefined,
    accepted: 'master keys from before a rotation, with commas between them',
    secret: true,
  },
  KMS_PLUGIN: {
    description: 'A module that wraps keys with a key management system, in place of `MASTER_KEY`.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.string().min(1),
    default: undefined,
    accepted: "a module's path or package",
  },
  CIPHER: {
    description:
      'What personal fields are encrypted with from now on: `xchacha20-poly1305`, the faster one, or `aes-256-gcm`, for those who have to use AES, and while processes of an older release still read the log. What was written with either is read.',
    usedBy: ['subgraph', 'projections', 'mail', 'console', 'commands'],
    schema: z.enum(['xchacha20-poly1305', 'aes-256-gcm']),
    default: 'xchacha20-poly1305' as const,
    accepted: 'xchacha20-poly1305 or aes-256-gcm',
  },
  AUDIT_SIGNING_KEY: {
    description:
      "Signs the log's checkpoints. Not set: a file in `DATA_DIR`; on an event-store server no checkpoints are written.",
    usedBy: ['projections', 'console', 'commands'],
    schema: z.string().min(1),
    default: undefined,
    accepted: 'an Ed25519 private key (PEM or JWK)',
    secret: true,
  },
  CHECKPOINT_MINUTES: {
    description: 'How often a checkpoint of the log is signed, where there is something new.',
    usedBy: ['projections'],
    schema: z.coerce.number().int().min(0).max(10_080),
    default: 60,
    accepted: 'a whole number of minutes, 0 (never) to 10080 (a week)',
  },
  SUBGRAPH_SECRET: {
    description:
      'When set, the subgraph answers only requests that carry it in the header `x-subgraph-secret`. The gateway sends it.',
    usedBy: ['gateway', 'subgraph'],
    schema: z.string().min(16),
    default: undefined,
    accepted: '16 characters or more',
    secret: true,
  },
  CAPTCHA_SECRET: {
    description:
      "The secret that the CAPTCHA provider gave you. Required where `captcha` in the store's settings names a provider.",
    usedBy: ['subgraph'],
    schema: z.string().min(1),
    default: undefined,
    accepted: "the CAPTCHA provider's secret",
    secret: true,
  },
  STORE_CONFIG: {
    description: "The store's settings: a YAML or JSON file with what differs from `schema/store.yaml`.",
    usedBy: ['subgraph', 'mail', 'console', 'commands'],
    schema: z.string(),
    default: undefined,
    accepted: 'a file of settings as in schema/store.yaml',
  },
  SMTP_URL: {
    description:
      'The mail server. `smtp://` uses port 587, and STARTTLS where offered; it never sends a password without TLS, except to this machine. `smtps://` uses TLS from the start, on port 465. Not set: mails become files in `DATA_DIR/mail`.',
    usedBy: ['mail'],
    schema: z.url({ protocol: /^smtps?$/, hostname: /./ }),
    default: undefined,
    accepted: 'smtp://user:password@host:port, or smtps://…',
    secret: true,
  },
  PROJECTION_GROUP: {
    description: 'The name of the persistent subscription of `npm run projections -- --mode group`.',
    usedBy: ['projections'],
    schema: z.string().regex(/^[\w.-]+$/),
    default: 'customers',
    accepted: 'letters, digits and . _ -: one name for each read model',
  },
  PROJECTION_MAX_LAG_SECONDS: {
    description: 'A projection that is further behind is not ready.',
    usedBy: ['projections'],
    schema: z.coerce.number().int().positive(),
    default: 60,
    accepted: 'a whole number of seconds, 1 or more',
  },
  OTEL_EXPORTER_OTLP_ENDPOINT: {
    description:
      'Where traces and metrics go, by OTLP over HTTP. Not set: nothing is traced, and metrics are at `/metrics` alone.',
    usedBy: ['gateway', 'subgraph', 'projections', 'mail'],
    schema: url,
    default: undefined,
    accepted: 'an http or https URL',
    secret: true,
  },
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: {
    description: "The same, as the whole URL of the traces' endpoint.",
    usedBy: ['gateway', 'subgraph', 'projections'],
    schema: url,
    default: undefined,
    accepted: 'an http or https URL',
    secret: true,
  },
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: {
    description: "The same, as the whole URL of the metrics' endpoint.",
    usedBy: ['gateway', 'subgraph', 'projections', 'mail'],
    schema: url,
    default: undefined,
    accepted: 'an http or https URL',
    secret: true,
  },
  OTEL_METRICS_EXPORTER: {
    description: '`none`: metrics are not exported, for an endpoint that takes traces alone.',
    usedBy: ['gateway', 'subgraph', 'projections', 'mail'],
    schema: z.enum(['otlp', 'none']),
    default: 'otlp' as const,
    accepted: 'otlp or none',
  },
  OTEL_METRIC_EXPORT_INTERVAL: {
    description: 'How often metrics are exported, in milliseconds.',
    usedBy: ['gateway', 'subgraph', 'projections', 'mail'],
    schema: z.coerce.number().int().min(100).max(3_600_000),
    default: 60_000,
    accepted: 'a whole number of milliseconds, 100 to 3,600,000',
  },
  OTEL_SERVICE_NAME: {
    description:
      'The name of the process in traces, metrics and log lines. Not set: `gateway`, `subgraph` and the like.',
    usedBy: ['gateway', 'subgraph', 'projections', 'mail', 'console', 'samples'],
    schema: z.string().min(1),
    default: undefined,
    accepted: "the process's name",
  },
  MAX_EVENT_LOOP_DELAY_MS: {
    description:
      'Above this delay of the event loop (a mean over 3 seconds) `/graphql` answers 503 with `Retry-After`, and `/readyz` 503.',
    usedBy: ['gateway', 'subgraph'],
    schema: z.coerce.number().int().min(0),
    default: DEFAULT_LOAD_LIMITS.maxEventLoopDelayMs,
    accepted: 'a whole number of milliseconds; 0: any delay',
  },
  MAX_HEAP_PERCENT: {
    description: 'The same, above this share of the heap that V8 may use.',
    usedBy: ['gateway', 'subgraph'],
    schema: z.coerce.number().int().min(0).max(100),
    default: DEFAULT_LOAD_LIMITS.maxHeapPercent,
    accepted: 'a whole number, 0 (any) to 100',
  },
  LOG_LEVEL: {
    description: 'How much is logged. `npm start` logs from `warn` on, where this is not set.',
    usedBy: ['gateway', 'subgraph', 'projections', 'mail', 'console', 'samples'],
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    default: 'info' as const,
    accepted: 'fatal, error, warn, info, debug, trace or silent',
  },
  NODE_ENV: {
    description:
      "`production` turns off the sample subgraphs, the query editor, introspection, suggestions in errors, and `/metrics` on the gateway's public port, and turns on rate limits. The subgraph then gives its SDL only where `SUBGRAPH_SECRET` is set.",
    usedBy: ['gateway', 'subgraph', 'console'],
    schema: z.enum(['production', 'development', 'test']),
    default: 'development' as const,
    accepted: 'production, development or test',
  },
} as const satisfies Readonly<Record<string, SharedVariable>>

/** A process of the service; `commands` are those of operators. */
type Process = 'gateway' | 'subgraph' | 'projections' | 'mail' | 'console' | 'samples' | 'commands'

/** A variable, and what reads it when the parts are processes of their own. `npm start` is all of them. */
export interface SharedVariable extends Variable {
  readonly usedBy: readonly Process[]
}

/** The variables that the processes share, by name. */
export const SHARED_VARIABLES: Readonly<Record<string, SharedVariable>> = variables

/** A variable: what it accepts (as a schema and in words), and its default. */
export interface Variable {
  readonly schema: z.ZodType
  readonly default: unknown
  readonly accepted: string
  /** What it does, in Markdown. docs/configuration.md is generated from it. */
  readonly description: string
  /** Never printed; may be read from a file. */
  readonly secret?: boolean
}

/** The values of variables. */
export type Values<Variables extends Readonly<Record<string, Variable>>> = {
  readonly [V in keyof Variables]:
    | z.infer<Variables[V]['schema']>
    | (Variables[V]['default'] extends undefined ? undefined : never)
}

export type Configuration = Values<typeof variables>

/** For servers inside tests and other programs, where the load of the process is not the server's alone. */
export const NO_LOAD_LIMITS: LoadLimits = { maxEventLoopDelayMs: 0, maxHeapPercent: 0 }

/** The load limits of a configuration. */
export const loadLimits = (configuration: Configuration): LoadLimits => ({
  maxEventLoopDelayMs: configuration.MAX_EVENT_LOOP_DELAY_MS,
  maxHeapPercent: configuration.MAX_HEAP_PERCENT,
})

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads the shared configuration: see {@link readVariables}. If no URL is set, the embedded stores in DATA_DIR are
 * used. In production, a store variable that is set but empty is an error: a deployment that forgot to fill in its
 * server must not silently write to a file.
 */
export function loadConfiguration(env: Environment): Configuration {
  const configuration = readVariables(variables, env)
  const isProduction = configuration.NODE_ENV === 'production'
  const urlOf = (name: 'EVENTSTORE_URL' | 'READMODEL_URL', file: string) => {
    const { source } = readVariable(name, variables[name], env)
    if (source !== 'default') return configuration[name]
    return isProduction && env[name] === '' ? '' : `sqlite:${join(configuration.DATA_DIR, file)}`
  }
  return {
    ...configuration,
    EVENTSTORE_URL: urlOf('EVENTSTORE_URL', 'events.db'),
    READMODEL_URL: urlOf('READMODEL_URL', 'readmodel.db'),
  }
}

/** Whether the log is embedded. @throws ConfigurationError if EVENTSTORE_URL is set but empty */
export function isEmbedded({ EVENTSTORE_URL }: Pick<Configuration, 'EVENTSTORE_URL'>): boolean {
  if (EVENTSTORE_URL !== '') return EVENTSTORE_URL.startsWith('sqlite:')
  throw new ConfigurationError(
    `EVENTSTORE_URL is set but empty; accepted in production: ${variables.EVENTSTORE_URL.accepted}.`,
  )
}

/**
 * Reads environment variables: see {@link readVariable}.
 * @throws ConfigurationError naming the variable, its value and what is accepted
 */
export function readVariables<Variables extends Readonly<Record<string, Variable>>>(
  variables: Variables,
  env: Environment,
): Values<Variables> {
  return Object.fromEntries(
    Object.entries(variables).map(([name, variable]) => [name, readVariable(name, variable, env).value]),
  ) as Values<Variables>
}

/** A variable's value and where it comes from. */
export interface Setting {
  readonly value: unknown
  readonly source: 'environment' | 'file' | 'default'
}

/**
 * Reads one environment variable; an empty one counts as not set. A secret can also be read from the file that
 * `<NAME>_FILE` names, which is how containers receive secrets.
 * @throws ConfigurationError naming the variable, its value and what is accepted
 */
export function readVariable(name: string, variable: Variable, env: Environment): Setting {
  const text = variable.secret ? readSecret(env, name) : env[name]
  if (text === undefined || text === '') return { value: variable.default, source: 'default' }
  // A plain decimal number: not 0x10, 1e3 or blanks, which Number() would accept.
  const isWritten = !(variable.schema instanceof z.ZodNumber) || /^-?\d+$/.test(text)
  const result = variable.schema.safeParse(text)
  if (isWritten && text.trim() !== '' && result.success) {
    return { value: result.data, source: variable.secret && env[`${name}_FILE`] ? 'file' : 'environment' }
  }
  const shown = variable.secret ? 'its value' : JSON.stringify(text)
  throw new ConfigurationError(`${name}: ${shown} can't be used; accepted: ${variable.accepted}.`)
}

/** A trailing line feed is not part of the value. */
function readSecret(env: Environment, name: string): string | undefined {
  const variable = `${name}_FILE`
  const path = env[variable]
  if (!path) return env[name]
  if (env[name]) throw new ConfigurationError(`${name} and ${variable} are both set; accepted: one of them.`)
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigurationError(`${variable}: ${JSON.stringify(path)} can't be read (${code}).`)
  }
}
