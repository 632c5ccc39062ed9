/**
 * Commands of the command line in the test's own process: a process of its own would spend most of its time on loading
 * what is loaded here. `processes.ts` starts processes, for those that serve, are killed, or whose way of starting is tested.
 */
import { Console } from 'node:console'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { main } from '../../bin/customers.ts'
import { lazily } from '../../runtime/lazily.ts'
import { environment } from './graph.ts'

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Both streams, in the order in which they were written. */
  readonly output: string
}

/** Signals, and what else the process listens to for a command. */
const EVENTS = ['SIGTERM', 'SIGINT', 'unhandledRejection'] as const

/** Where a process would have ended. */
const END = new Error('the command has ended')

/**
 * The other files of this process are loaded while the first one is tested already (see run-files.ts). A command changes
 * what they are found by and read, so it waits for them.
 */
const allLoaded = lazily(async () => {
  for (const file of process.env.TEST_MORE_FILES?.split(':') ?? []) {
    await import(pathToFileURL(join(import.meta.dirname, '../..', file)).href)
  }
  await new Promise(setImmediate)
})

/** The working directory, the environment and the streams belong to one command at a time. */
let last: Promise<unknown> = Promise.resolve()

/**
 * Runs a command line to its end, as `startProcess` does in a process. Not for what goes on after its action has returned:
 * a service that starts, and `healthcheck`.
 * @param args the command and its arguments
 * @param env what differs from the folder's environment
 */
export function runCommandHere(
  folder: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const running = last
    .then(allLoaded)
    .then(() => runNow(folder, args, { PATH: process.env.PATH, ...environment(folder), ...env }))
  last = running.catch(() => {})
  return running
}

async function runNow(folder: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const texts = { stdout: '', stderr: '', output: '' }
  let code: number | undefined
  /** What would be written once the process has ended is not. */
  const stream = (name: 'stdout' | 'stderr') =>
    new Writable({
      decodeStrings: false,
      write(chunk, _, done) {
        if (code === undefined) {
          texts[name] += chunk
          texts.output += chunk
        }
        done()
      },
    })
  const [stdout, stderr] = [stream('stdout'), stream('stderr')]
  const listeners = EVENTS.map((event) => [event, process.listeners(event as 'SIGTERM')] as const)
  const restore = [
    replaced(process, 'env', env),
    replaced(process, 'stdout', stdout),
    replaced(process, 'stderr', stderr),
    replaced(globalThis, 'console', new Console({ stdout, stderr })),
    replaced(process, 'exit', (given?: number) => {
      code ??= given ?? Number(process.exitCode ?? 0)
      throw END
    }),
  ]
  const [folderBefore, codeBefore] = [process.cwd(), process.exitCode]
  process.chdir(folder)
  process.exitCode = undefined
  try {
    await main(args)
    const isServing = process.listenerCount('SIGTERM') > (listeners[0]?.[1].length ?? 0)
    if (code === undefined && isServing) throw new Error(`${args.join(' ')}: it has started, and goes on`)
    code ??= Number(process.exitCode ?? 0)
  } catch (error) {
    if (error !== END) throw error
  } finally {
    process.chdir(folderBefore)
    process.exitCode = codeBefore
    for (const each of restore) each()
    for (const [event, known] of listeners) {
      for (const each of process.listeners(event as 'SIGTERM')) if (!known.includes(each)) process.off(event, each)
    }
  }
  return { code: code ?? 0, ...texts }
}

/** Gives a property another value. @returns what undoes it */
function replaced<Owner extends object, Name extends keyof Owner>(owner: Owner, name: Name, value: unknown) {
  const before = Object.getOwnPropertyDescriptor(owner, name) as PropertyDescriptor
  Object.defineProperty(owner, name, { value, configurable: true, writable: true, enumerable: true })
  return () => Object.defineProperty(owner, name, before)
}
