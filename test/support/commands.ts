/**
 * Commands of the service for tests of what they do. They share one process: to start one and to load the service costs more
 * than most commands. Tests of how a process ends start it by `startProcess`.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { environment } from './graph.ts'

export interface Ended {
  readonly code: number
  /** Both streams. */
  readonly output: string
}

let child: ChildProcess | undefined
let count = 0
const waiting = new Map<number, PromiseWithResolvers<Ended>>()

function start(): ChildProcess {
  const started = fork(join(import.meta.dirname, 'command-process.ts'), { execArgv: ['--max-semi-space-size=16'] })
  started.on('message', ({ id, ended }: { readonly id: number; readonly ended: Ended }) => {
    waiting.get(id)?.resolve(ended)
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
 * Runs a command line, after those that were given before.
 * @param folder where its data lies
 * @param env what differs from {@link environment}
 */
export function runCommandLine(
  folder: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  child ??= start()
  const id = ++count
  const ended = Promise.withResolvers<Ended>()
  waiting.set(id, ended)
  child.send({ id, line: { args, env: { PATH: process.env.PATH, ...environment(folder), ...env } } })
  return ended.promise
}
