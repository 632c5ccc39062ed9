/**
 * Runs command lines of the service one after the other: each message has one, and is answered with how it ended and what
 * it printed. Started by `commands.ts`.
 */
import { main } from '../../bin/customers.ts'

export interface CommandLine {
  /** The working directory. */
  readonly folder: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Both streams, in the order in which they were written. */
  readonly output: string
}

/** What the command under way has printed. */
let printed = { stdout: '', stderr: '', output: '' }
/** How it ended. Its own code goes on from there, as it does not in a process of its own: that counts no more. */
let code: number | undefined

for (const name of ['stdout', 'stderr'] as const) {
  process[name].write = (chunk: string | Uint8Array, ...rest: unknown[]) => {
    if (code === undefined) {
      printed[name] += chunk
      printed.output += chunk
    }
    const done = rest.at(-1)
    if (typeof done === 'function') done()
    return true
  }
}
process.exit = (ended) => {
  code ??= Number(ended ?? process.exitCode ?? 0)
  throw new Error('The command has ended.')
}

async function run({ folder, args, env }: CommandLine): Promise<Ended> {
  printed = { stdout: '', stderr: '', output: '' }
  code = undefined
  process.chdir(folder)
  process.env = { ...env }
  process.exitCode = undefined
  try {
    await main(args)
    if (code === undefined && process.listenerCount('SIGTERM') > 0)
      throw new Error(`${args.join(' ')} has started, and goes on.`)
  } catch (error) {
    if (code === undefined) throw error
  }
  code ??= Number(process.exitCode ?? 0)
  process.exitCode = undefined
  for (const event of ['SIGTERM', 'SIGINT', 'unhandledRejection']) process.removeAllListeners(event)
  return { code, ...printed }
}

let last: Promise<unknown> = Promise.resolve()
process.on('message', ({ id, line }: { readonly id: number; readonly line: CommandLine }) => {
  last = last.then(async () => {
    try {
      process.send?.({ id, ended: await run(line) })
    } catch (error) {
      process.send?.({ id, failed: `${(error as Error).stack}` })
    }
  })
})
