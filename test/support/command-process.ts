/**
 * Runs command lines of the service one after the other: each message has one, and is answered with how it ended and what
 * it printed. Started by `commands.ts`.
 */
import { main } from '../../bin/customers.ts'

interface CommandLine {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** What the command under way has printed. */
let output = ''
/** How it ended. Its own code goes on from there, as it does not in a process of its own: that counts no more. */
let code: number | undefined

for (const stream of [process.stdout, process.stderr]) {
  stream.write = (chunk: string | Uint8Array, ...rest: unknown[]) => {
    if (code === undefined) output += chunk
    const done = rest.at(-1)
    if (typeof done === 'function') done()
    return true
  }
}
process.exit = (ended) => {
  code ??= Number(ended ?? process.exitCode ?? 0)
  throw new Error('The command has ended.')
}

async function run({ args, env }: CommandLine): Promise<{ code: number; output: string }> {
  output = ''
  code = undefined
  process.env = { ...env }
  process.exitCode = undefined
  try {
    await main(args)
  } catch (error) {
    if (code === undefined) throw error
  }
  code ??= Number(process.exitCode ?? 0)
  process.exitCode = undefined
  for (const event of ['SIGTERM', 'SIGINT', 'unhandledRejection']) process.removeAllListeners(event)
  return { code, output }
}

let last: Promise<unknown> = Promise.resolve()
process.on('message', ({ id, line }: { readonly id: number; readonly line: CommandLine }) => {
  last = last.then(async () => process.send?.({ id, ended: await run(line) }))
})
