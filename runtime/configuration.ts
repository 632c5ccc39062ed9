/** The environment variables that the processes share, checked once at start. */
import { readFileSync } from 'node:fs'
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
  NODE_ENV: { schema: z.string(), default: 'development', accepted: 'production, development or test' },
} as const

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
  readonly code = 'CONFIGURATION_INVALID'
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads the shared configuration: see {@link readVariables}. */
export const loadConfiguration = (env: Environment): Configuration => readVariables(variables, env)

/**
 * Reads environment variables; an empty one counts as not set. A secret one may stand in a file that `<NAME>_FILE` names,
 * as containers get them.
 * @throws ConfigurationError naming the variable, its value and what is accepted
 */
export function readVariables<Variables extends Readonly<Record<string, Variable>>>(
  variables: Variables,
  env: Environment,
): Values<Variables> {
  return Object.fromEntries(
    Object.entries(variables).map(([name, variable]) => {
      const value = variable.secret ? readSecret(env, name) : env[name]
      if (value === undefined || value === '') return [name, variable.default]
      const result = variable.schema.safeParse(value)
      if (result.success) return [name, result.data]
      const shown = variable.secret ? 'its value' : JSON.stringify(value)
      throw new ConfigurationError(`${name}: ${shown} can't be used; accepted: ${variable.accepted}.`)
    }),
  ) as Values<Variables>
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
