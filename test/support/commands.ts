/**
 * Commands of the service for tests of what they do. They share one process: to start one and to load the service costs more
 * than most commands. `processes.ts` starts processes, for those that serve, are killed, or whose way of starting is tested.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import type { CommandLine, Ended } from './command-process.ts'
import { environment } from './graph.ts'

export type { Ended } from './command-process.ts'

let child: ChildProcess | undefined
let count = 0
const waiting = new Map<number, PromiseWithResolvers<Ended>>()

function start(): ChildProcess {
  const started = fork(join(import.meta.dirname, 'command-process.ts'), { execArgv: ['--max-semi-space-size=16'] })
  started.on('message', ({ id, ended, failed }: { id: number; ended?: Ended; failed?: string }) => {
    const { resolve, reject } = waiting.get(id) as PromiseWithResolvers<Ended>
    if (ended) resolve(ended)
    else reject(new Error(failed))
    waiting.delete(id)
  })
  const closed = new Promise<void>((resolve) =>
    started.on('close', () => {
      for (const { reject } of waiting.values()) reject(new Error('The process of the commands has ended.'))
      resolve()
    }),
  )
  process.on('exit', () => started.kill('SIGKILL'))
  t.teardown(async () => {
    started.kill('SIGKILL')
    await closed
  })
  return started
}

/**
 * Runs a command line to its end, after those that were given before. Not for what goes on after its action has returned: a
 * service that starts, and `healthcheck`.
 * @param folder the working directory, where its data lies
 * @param args the command and its arguments
 * @param env what differs from {@link environment}
 */
export function runCommand(
  folder: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  child ??= start()
  const id = ++count
  const ended = Promise.withResolvers<Ended>()
  waiting.set(id, ended)
  const line: CommandLine = { folder, args, env: { PATH: process.env.PATH, ...environment(folder), ...env } }
  child.send({ id, line })
  return ended.promise
}
