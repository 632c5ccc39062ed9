/** The environment variables that the processes share, checked once at start. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const url = z.url({ protocol: /^https?$/ })
const port = z.coerce.number().int().min(0).max(65535)

/** What load a server takes before it answers 503. */
export type LoadLimits = {
  /** By how much the event loop may be late, in milliseconds, as the mean over three seconds; 0: any. */
  readonly maxEventLoopDelayMs: number
  /** How much of the heap that V8 may have can be in use, in percent; 0: any. */
  readonly maxHeapPercent: number
  /** How often both are looked at, in milliseconds. Default 3,000. */
  readonly sampleMs?: number
}

/** Of the processes. */
export const DEFAULT_LOAD_LIMITS: LoadLimits = { maxEventLoopDelayMs: 1_000, maxHeapPercent: 90 }

const variables = {
  EVENTSTORE_URL: {
    schema: z.string().regex(/^(sqlite:|(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\/)./),
    default: 'sqlite:data/events.db',
    accepted: 'sqlite:PATH, kurrentdb://…, kurrent://…, kdb://…, esdb://… (each also with +discover)',
    secret: true,
  },
  READMODEL_URL: {
    schema: z.string().regex(/^(sqlite:|rediss?(-(sentinel|cluster))?:\/\/)./),
    default: 'sqlite:data/readmodel.db',
    accepted: 'sqlite:PATH, redis://…, redis-sentinel://…, redis-cluster://… (rediss… for TLS)',
    secret: true,
  },
  KEYS_URL: {
    schema: z.string().regex(/^(sqlite:|(esdb|kurrentdb|kurrent|kdb)(\+discover)?:\/\/)./),
    default: undefined,
    accepted: 'as EVENTSTORE_URL: another store for the keys of customers',
    secret: true,
  },
  GATEWAY_PORT: { schema: port, default: 4000, accepted: 'a port, 0 to 65535 (0: any free one)' },
  SUBGRAPH_PORT: { schema: port, default: 4001, accepted: 'a port, 0 to 65535 (0: any free one)' },
  PROJECTIONS_PORT: { schema: port, default: 4002, accepted: 'a port, 0 to 65535 (0: any free one)' },
  SAMPLES_PORT: { schema: port, default: 4003, accepted: 'a port, 0 to 65535 (0: any free one)' },
  MAIL_PORT: { schema: port, default: 4004, accepted: 'a port, 0 to 65535 (0: any free one)' },
  HOST: { schema: z.string().min(1), default: '127.0.0.1', accepted: 'an address to listen on' },
  SUPERGRAPH: { schema: z.string().min(1), default: undefined, accepted: "a supergraph file's path" },
  DATA_DIR: { schema: z.string().min(1), default: 'data', accepted: "a folder's path" },
  TOKEN_SIGNING_KEY: {
    schema: z.string().min(1),
    default: undefined,
    accepted: 'an Ed25519 private key (PEM or JWK)',
    secret: true,
  },
  EMAIL_HASH_KEY: { schema: z.string().min(32), default: undefined, accepted: '32 characters or more', secret: true },
  MASTER_KEY: {
    schema: z.string().min(1),
    default: undefined,
    accepted: '32 bytes, in hexadecimal or base64',
    secret: true,
  },
  MASTER_KEY_PREVIOUS: {
    schema: z.string(),
    default: undefined,
    accepted: 'master keys from before a rotation, with commas between them',
    secret: true,
  },
  KMS_PLUGIN: { schema: z.string().min(1), default: undefined, accepted: "a module's path or package" },
  AUDIT_SIGNING_KEY: {
    schema: z.string().min(1),
    default: undefined,
    accepted: 'an Ed25519 private key (PEM or JWK)',
    secret: true,
  },
  CHECKPOINT_MINUTES: {
    schema: z.coerce.number().int().min(0).max(10_080),
    default: 60,
    accepted: 'a whole number of minutes, 0 (never) to 10080 (a week)',
  },
  SUBGRAPH_SECRET: { schema: z.string().min(16), default: undefined, accepted: '16 characters or more', secret: true },
  CAPTCHA_SECRET: {
    schema: z.string().min(1),
    default: undefined,
    accepted: "the CAPTCHA provider's secret",
    secret: true,
  },
  STORE_CONFIG: { schema: z.string(), default: undefined, accepted: 'a file of settings as in schema/store.yaml' },
  SMTP_URL: {
    schema: z.url({ protocol: /^smtps?$/, hostname: /./ }),
    default: undefined,
    accepted: 'smtp://user:password@host:port, or smtps://…',
    secret: true,
  },
  PROJECTION_GROUP: {
    schema: z.string().regex(/^[\w.-]+$/),
    default: 'customers',
    accepted: 'letters, digits and . _ -: one name for each read model',
  },
  PROJECTION_MAX_LAG_SECONDS: {
    schema: z.coerce.number().int().positive(),
    default: 60,
    accepted: 'a whole number of seconds, 1 or more',
  },
  OTEL_EXPORTER_OTLP_ENDPOINT: { schema: url, default: undefined, accepted: 'an http or https URL', secret: true },
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: {
    schema: url,
    default: undefined,
    accepted: 'an http or https URL',
    secret: true,
  },
  OTEL_SERVICE_NAME: { schema: z.string().min(1), default: undefined, accepted: "the process's name in traces" },
  MAX_EVENT_LOOP_DELAY_MS: {
    schema: z.coerce.number().int().min(0),
    default: DEFAULT_LOAD_LIMITS.maxEventLoopDelayMs,
    accepted: 'a whole number of milliseconds; 0: any delay',
  },
  MAX_HEAP_PERCENT: {
    schema: z.coerce.number().int().min(0).max(100),
    default: DEFAULT_LOAD_LIMITS.maxHeapPercent,
    accepted: 'a whole number, 0 (any) to 100',
  },
  LOG_LEVEL: {
    schema: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    default: 'info' as const,
    accepted: 'fatal, error, warn, info, debug, trace or silent',
  },
  NODE_ENV: {
    schema: z.enum(['production', 'development', 'test']),
    default: 'development' as const,
    accepted: 'production, development or test',
  },
} as const

/** The variables that the processes share, by name. */
export const SHARED_VARIABLES: Readonly<Record<string, Variable>> = variables

/** A variable: what is accepted, in words too, and what stands for it where it is not set. */
export interface Variable {
  readonly schema: z.ZodType
  readonly default: unknown
  readonly accepted: string
  /** Never shown; may stand in a file. */
  readonly secret?: boolean
}

/** The values of variables. */
export type Values<Variables extends Readonly<Record<string, Variable>>> = {
  readonly [V in keyof Variables]:
    | z.infer<Variables[V]['schema']>
    | (Variables[V]['default'] extends undefined ? undefined : never)
}

export type Configuration = Values<typeof variables>

/** For servers within tests and other programs, whose load is not theirs alone. */
export const NO_LOAD_LIMITS: LoadLimits = { maxEventLoopDelayMs: 0, maxHeapPercent: 0 }

/** The load limits of a configuration. */
export const loadLimits = (configuration: Configuration): LoadLimits => ({
  maxEventLoopDelayMs: configuration.MAX_EVENT_LOOP_DELAY_MS,
  maxHeapPercent: configuration.MAX_HEAP_PERCENT,
})

/** A variable that can't be used. The message is one line for the operator; a secret's value is never in it. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads the shared configuration: see {@link readVariables}. Embedded stores lie in DATA_DIR where no URL is set. In
 * production a store whose variable is there but empty stays without a URL, and can't be opened: a deployment that was to
 * name a server must not write to a file instead.
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

/** Whether the log is an embedded one. @throws ConfigurationError where it is not named although it has to be */
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
 * Reads one environment variable; an empty one counts as not set. A secret one may stand in a file that `<NAME>_FILE` names,
 * as containers get them.
 * @throws ConfigurationError naming the variable, its value and what is accepted
 */
export function readVariable(name: string, variable: Variable, env: Environment): Setting {
  const text = variable.secret ? readSecret(env, name) : env[name]
  if (text === undefined || text === '') return { value: variable.default, source: 'default' }
  // A number as people write it: not 0x10, 1e3 or blanks, which Number() would take.
  const isWritten = !(variable.schema instanceof z.ZodNumber) || /^-?\d+$/.test(text)
  const result = variable.schema.safeParse(text)
  if (isWritten && text.trim() !== '' && result.success) {
    return { value: result.data, source: variable.secret && env[`${name}_FILE`] ? 'file' : 'environment' }
  }
  const shown = variable.secret ? 'its value' : JSON.stringify(text)
  throw new ConfigurationError(`${name}: ${shown} can't be used; accepted: ${variable.accepted}.`)
}

/** A line feed at the file's end is not part of the value. */
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
