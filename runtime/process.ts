/** How every process of the service starts and ends. */

import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Configuration, loadConfiguration } from './configuration.ts'
import { StartupError, UsageError } from './errors.ts'
import type { Log } from './log.ts'

/** Something that runs until it is closed. */
export interface Running {
  /** Finishes the work under way and releases all resources. */
  close(): Promise<void>
}

/** A running process. */
interface RunningProcess extends Running {
  /** Its beginning and its end are logged there. Default: standard output, in plain lines. */
  readonly log?: Log
}

const USAGE_EXIT_CODE = 2
/** Stopped by SIGINT or SIGTERM before the end. */
const STOPPED_EXIT_CODE = 130

const DRAIN_LIMIT_MS = 10_000
/** How long a process that is to end may still take to start. Then it ends without finishing anything. */
const START_GRACE_MS = 1_000

/** For processes that print lines for people. */
const PLAIN: Pick<Log, 'info'> = { info: (_, message) => console.log(message) }

/** An unhandled rejection inside a library is a fault to fix but no reason to end the process: it is logged. */
function surviveRejections(): void {
  process.on('unhandledRejection', (reason) => console.error(`unhandled rejection: ${explain(reason)}`))
}

/**
 * How far V8 lets the heap grow before a full collection. The default is up to fourfold, so short-lived large requests
 * would take hundreds of MB, and so would a walk over a long log.
 */
const HEAP_GROWTH_PERCENT = 40

/** For every process that runs for long or walks the log. It can be called at any time. */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`)
}

/**
 * Starts a process and ends it on SIGTERM or SIGINT: exit code 0 when it drained, 1 when it could not start or
 * drain. A signal during the start waits a second for its end.
 * @param start takes the configuration and resolves once everything is up
 * @param defaults defaults for environment variables that are not set
 */
export async function runProcess(
  start: (configuration: Configuration) => Promise<RunningProcess>,
  defaults: Readonly<Record<string, string>> = {},
): Promise<void> {
  surviveRejections()
  limitHeapGrowth()
  let running: RunningProcess | undefined
  let signalled: NodeJS.Signals | undefined
  // From the beginning: it may already serve requests while its start goes on.
  const end = (signal: NodeJS.Signals) => {
    if (signalled) return
    signalled = signal
    if (running) void drain(running, signal)
    else setTimeout(() => endUnlessStarted(signal), START_GRACE_MS).unref()
  }
  /** As the signal does where nobody handles it. A start can't be cut short, and may wait for a store. */
  const endUnlessStarted = (signal: NodeJS.Signals) => {
    if (running) return
    process.off('SIGTERM', end).off('SIGINT', end)
    process.kill(process.pid, signal)
  }
  process.on('SIGTERM', end).on('SIGINT', end)
  try {
    running = await start(loadConfiguration({ ...defaults, ...process.env }))
  } catch (error) {
    console.error(explain(error))
    process.exit(1)
  }
  if (signalled) await drain(running, signalled)
  else collectAtRest()
}

/** How often a process that has started looks whether it rests, and the share of the time that it may be busy then. */
const REST_CHECK_MS = 3_000
const REST_UTILIZATION = 0.2

/**
 * Collects the garbage of the start once the process rests. V8 would keep it, and a young generation that grew for it,
 * until there is load: a third of the process's memory. Collecting takes some 50 ms. Where there is load from the
 * beginning, V8 collects anyway.
 */
function collectAtRest(): void {
  let before = performance.eventLoopUtilization()
  const checking = setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    if (utilization > REST_UTILIZATION) return
    clearInterval(checking)
    setFlagsFromString('--expose-gc')
    runInNewContext('gc')()
    setFlagsFromString('--no-expose-gc')
  }, REST_CHECK_MS).unref()
}

async function drain(running: RunningProcess, signal: NodeJS.Signals): Promise<void> {
  const log = running.log ?? PLAIN
  const began = performance.now()
  log.info({ signal }, 'stopping: what is under way is finished')
  setTimeout(() => {
    console.error(`error: still busy after ${DRAIN_LIMIT_MS / 1000} s, stopped hard`)
    process.exit(1)
  }, DRAIN_LIMIT_MS).unref()
  try {
    await running.close()
    log.info({ signal, ms: Math.round(performance.now() - began) }, 'stopped')
    process.exit(0)
  } catch (error) {
    console.error(explain(error))
    process.exit(1)
  }
}

/**
 * Runs a command to its end and exits with the code that it returns. For a foreseen fault it prints one line and exits
 * with 1, for wrong usage with 2. One that fails because it is stopped, or does not end within 10 s of that, exits with 130.
 * @param work receives a signal that is aborted when the operator stops the process (SIGINT, SIGTERM)
 */
export async function runCommand(
  work: (configuration: Configuration, signal: AbortSignal) => Promise<number>,
): Promise<void> {
  surviveRejections()
  limitHeapGrowth()
  const stopping = new AbortController()
  const endStopped = (reason?: string): never => {
    if (reason !== undefined) console.error(reason)
    console.error('Stopped before its end.')
    process.exit(STOPPED_EXIT_CODE)
  }
  const stop = () => {
    // npm passes on a signal that the terminal has sent to both.
    if (stopping.signal.aborted) return
    setTimeout(() => endStopped(`error: still busy after ${DRAIN_LIMIT_MS / 1000} s`), DRAIN_LIMIT_MS).unref()
    stopping.abort()
  }
  process.on('SIGTERM', stop).on('SIGINT', stop)
  try {
    process.exit(await work(loadConfiguration(process.env), stopping.signal))
  } catch (error) {
    const { aborted, reason } = stopping.signal
    if (aborted && !(error instanceof UsageError)) endStopped(error === reason ? undefined : explain(error))
    endProcess(error)
  }
}

/**
 * Listens, or throws an error that says which setting to change.
 * @param variable the environment variable that holds the port
 * @throws StartupError if the port or the address is not available
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

/** Ends a running process because of a fault that the operator has to fix. */
export function endProcess(error: unknown): never {
  console.error(explain(error))
  process.exit(error instanceof UsageError ? USAGE_EXIT_CODE : 1)
}

/**
 * The codes of foreseen faults: ours, Fastify's (FST_ERR_*), undici's (UND_ERR_*). Node's own ERR_* codes are
 * programming errors.
 */
const CATALOGUED = /^[A-Z]+_ERR_/

/**
 * One line for a foreseen fault (one with a catalogued code, or an error of the operating system), the stack for any
 * other.
 */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`
  const { code } = error as { code?: unknown }
  const isForeseen = (typeof code === 'string' && CATALOGUED.test(code)) || 'syscall' in error
  return isForeseen ? `error: ${error.message}` : (error.stack ?? error.message)
}
