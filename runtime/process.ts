/** How every process of the service starts and ends. */
import { setFlagsFromString } from 'node:v8'
import { type Configuration, loadConfiguration } from './configuration.ts'

/** A process that is up. */
export interface Running {
  /** Finishes what is under way and gives everything back. */
  close(): Promise<void>
}

/** A fault that the operator can mend: its message is one line that says all there is to say. */
class StartupError extends Error {
  override readonly name = 'StartupError'
  readonly code = 'RUN_ERR_STARTUP'
}

/** A command line that can't be used: nothing was done, and the exit code says so. Its message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly code = 'RUN_ERR_USAGE'
}

const USAGE_EXIT_CODE = 2

const DRAIN_LIMIT_MS = 10_000

/** An unhandled rejection inside a library is a fault to fix but no reason to end the process: it is logged. */
function surviveRejections(): void {
  process.on('unhandledRejection', (reason) => console.error(`unhandled rejection: ${explain(reason)}`))
}

/**
 * How much V8 lets the heap grow before it collects all of it: by default up to fourfold, so that large requests, each
 * garbage soon after it came, take hundreds of MB, and so does a walk over a long log.
 */
const HEAP_GROWTH_PERCENT = 40

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
 * Runs a command to its end and exits with the code that it gives; 1 and one line for a fault that has been thought of,
 * 2 for wrong usage.
 * @param work its signal is aborted when the operator stops the process (SIGINT, SIGTERM)
 */
export async function runCommand(
  work: (configuration: Configuration, signal: AbortSignal) => Promise<number>,
): Promise<void> {
  surviveRejections()
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`)
  const stopping = new AbortController()
  const stop = () => {
    setTimeout(() => process.exit(1), DRAIN_LIMIT_MS).unref()
    stopping.abort()
  }
  process.on('SIGTERM', stop).on('SIGINT', stop)
  try {
    process.exit(await work(loadConfiguration(process.env), stopping.signal))
  } catch (error) {
    endProcess(error)
  }
}

/**
 * Listens, or says which setting to change.
 * @param variable the environment variable that holds the port
 * @throws StartupError where the port or the address is not available
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
  process.exit(error instanceof UsageError ? USAGE_EXIT_CODE : 1)
}

/** Codes of a catalogue: ours, Fastify's (FST_ERR_*), undici's (UND_ERR_*). Node's own, ERR_*, are faults in the code. */
const CATALOGUED = /^[A-Z]+_ERR_/

/** One line for a foreseen fault, which has a code of a catalogue or is the operating system's; the stack for any other. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`
  const { code } = error as { code?: unknown }
  const isForeseen = (typeof code === 'string' && CATALOGUED.test(code)) || 'syscall' in error
  return isForeseen ? `error: ${error.message}` : (error.stack ?? error.message)
}
