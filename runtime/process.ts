/** How every process of the service starts and ends. */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { type Configuration, ConfigurationError, loadConfiguration } from './configuration.ts'

/** A process that is up. */
export interface Running {
  /** Finishes what is under way and gives everything back. */
  close(): Promise<void>
}

/** A fault that the operator can mend: its message is one line that says all there is to say. */
export class StartupError extends Error {
  override readonly name = 'StartupError'
  readonly code = 'STARTUP_FAILED'
}

const DRAIN_LIMIT_MS = 10_000

/** What a library rejects where nobody listens is a fault to be mended, and no reason for a process to end: it is told. */
function surviveRejections(): void {
  process.on('unhandledRejection', (reason) => console.error(`unhandled rejection: ${explain(reason)}`))
}

/**
 * How much V8 lets the heap grow before it collects all of it: by default up to fourfold, so that large requests, each
 * garbage soon after it came, take hundreds of MB.
 */
const HEAP_GROWTH_PERCENT = 60

/**
 * Starts a process and ends it on SIGTERM or SIGINT: exit code 0 when it drained, 1 when it could not start or drain.
 * @param start takes the configuration and resolves once everything is up
 * @param defaults environment variables that count where the environment does not set them
 */
export async function runProcess(
  start: (configuration: Configuration) => Promise<Running>,
  defaults: Readonly<Record<string, string>> = {},
): Promise<void> {
  surviveRejections()
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`)
  let running: Running
  try {
    running = await start(loadConfiguration({ ...defaults, ...process.env }))
  } catch (error) {
    console.error(explain(error))
    process.exit(1)
  }
  let draining = false
  const drain = async () => {
    if (draining) return
    draining = true
    setTimeout(() => {
      console.error(`error: still busy after ${DRAIN_LIMIT_MS / 1000} s, stopped hard`)
      process.exit(1)
    }, DRAIN_LIMIT_MS).unref()
    try {
      await running.close()
      process.exit(0)
    } catch (error) {
      console.error(explain(error))
      process.exit(1)
    }
  }
  process.on('SIGTERM', drain).on('SIGINT', drain)
}

/**
 * Runs a command to its end and exits with the code that it gives; 1 and one line for a fault that has been thought of.
 * @param work is told by the signal that the operator wants it to stop (SIGINT, SIGTERM)
 */
export async function runCommand(
  work: (configuration: Configuration, signal: AbortSignal) => Promise<number>,
): Promise<void> {
  surviveRejections()
  const stopping = new AbortController()
  const stop = () => {
    setTimeout(() => process.exit(1), DRAIN_LIMIT_MS).unref()
    stopping.abort()
  }
  process.on('SIGTERM', stop).on('SIGINT', stop)
  try {
    process.exit(await work(loadConfiguration(process.env), stopping.signal))
  } catch (error) {
    console.error(explain(error))
    process.exit(1)
  }
}

/**
 * Reads a command's arguments.
 * @throws ConfigurationError in one line, with what is accepted
 */
export function readArguments<T extends ParseArgsConfig>(config: T, accepted: string): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config)
  } catch (error) {
    throw new ConfigurationError(`${(error as Error).message.split('. ')[0]}; accepted: ${accepted}.`)
  }
}

/**
 * Listens, or says which setting to change.
 * @param variable the environment variable that holds the port
 * @throws StartupError where the port or the address can't be had
 */
export async function listen(
  app: { listen(options: { port: number; host: string }): Promise<string> },
  options: { readonly port: number; readonly host: string },
  variable: string,
): Promise<string> {
  try {
    return await app.listen(options)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const { port, host } = options
    if (code === 'EADDRINUSE') {
      throw new StartupError(`port ${port} on ${host} is in use: stop what uses it, or set ${variable} to another port`)
    }
    if (code === 'EACCES')
      throw new StartupError(`port ${port} needs more rights: set ${variable} to a port above 1023`)
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
      throw new StartupError(`HOST: ${JSON.stringify(host)} is not an address of this machine`)
    }
    throw error
  }
}

/** Ends a process that is up, for a fault that the operator has to mend. */
export function endProcess(error: unknown): never {
  console.error(explain(error))
  process.exit(1)
}

/** Faults that are no defects of the program: their messages say all that an operator needs. */
const OPERATIONAL: ReadonlySet<unknown> = new Set([
  'STARTUP_FAILED',
  'CONFIGURATION_INVALID',
  'STORE_SETTINGS_INVALID',
  'SUPERGRAPH_INVALID',
  'SQLITE_FILE_UNUSABLE',
  'EVENT_STORE_UNAVAILABLE',
  'READ_MODEL_UNAVAILABLE',
  'MAIL_SERVER_UNAVAILABLE',
  'AUDIT_FAILED',
  'PROOF_UNAVAILABLE',
  'CHECKPOINT_INVALID',
  'IMPORT_FILE_BROKEN',
])

/** One line for an operational fault or the system's own error; all of any other. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`
  const isOperational = 'syscall' in error || ('code' in error && OPERATIONAL.has(error.code))
  return isOperational ? `error: ${error.message}` : (error.stack ?? error.message)
}
