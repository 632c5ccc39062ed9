/** Processes of the service, started as an operator starts them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'
import { environment } from './graph.ts'
import { until } from './until.ts'

const root = join(import.meta.dirname, '../..')
const program = 'bin/customers.js'

/** A test that is stopped, because it takes too long, leaves no process behind. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** As the npm scripts start processes. Commands that walk the log would restart themselves without it, for 80 ms of CPU. */
const HEAP_OPTIONS = ['--max-semi-space-size=16']

export interface Started {
  readonly child: ChildProcess
  /** What it has printed so far, both streams. */
  output(): string
  /** Sends a signal and waits for the end; gives the exit code, or the signal that ended it. */
  end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null>
  readonly ended: Promise<number | NodeJS.Signals | null>
}

/** Runs a command of the command line; the process is killed at the end of the test. @param script another project's */
export function startProcess(
  t: Test,
  command: string,
  folder: string,
  env: Record<string, string> = {},
  args: readonly string[] = [],
  script: string = program,
): Started {
  return startScript(t, script, folder, env, [command, ...args])
}

/** Runs a script; the process is killed at the end of the test. @param script its path in the project, or absolute */
export function startScript(
  t: Test,
  script: string,
  folder: string,
  env: Record<string, string> = {},
  args: readonly string[] = [],
): Started {
  const child = spawn(process.execPath, [...HEAP_OPTIONS, resolve(root, script), ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, ...environment(folder), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let output = ''
  const collect = (chunk: Buffer) => {
    output += chunk
  }
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.on('close', (code, signal) => {
      running.delete(child)
      resolve(signal ?? code)
    }),
  )
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return {
    child,
    output: () => output,
    ended,
    end: (signal) => {
      child.kill(signal)
      return ended
    },
  }
}

/** Waits until the address answers. @throws Error with the process's output where it ends before or takes over a minute */
export async function untilReady(started: Started, url: string): Promise<void> {
  let over = false
  started.ended.then(() => {
    over = true
  })
  try {
    await until('it answers', () => {
      if (over) throw new Error('The process has ended.')
      return fetch(url).then(
        ({ ok }) => ok,
        () => false,
      )
    })
  } catch (cause) {
    throw new Error(`${url} does not answer:\n${started.output()}`, { cause })
  }
}
