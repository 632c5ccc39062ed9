/** The processes of the scale bench: commands as an operator runs them, and the resources that they use. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { KEYS } from '../../support/keys.ts'
import { freePort } from '../../support/ports.ts'
import type { Figures } from './growth.ts'

const ROOT = join(import.meta.dirname, '../../..')
const USAGE = pathToFileURL(join(import.meta.dirname, 'usage.ts')).href
const CLI = 'bin/customers.js'

/** The settings for the log and the read model of one size, both SQLite files in a folder. */
const environment = (folder: string) => ({
  PATH: process.env.PATH,
  ...(process.env.NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE }),
  DATA_DIR: folder,
  EVENTSTORE_URL: `sqlite:${join(folder, 'events.db')}`,
  READMODEL_URL: `sqlite:${join(folder, 'readmodel.db')}`,
  LOG_LEVEL: 'error',
  ...KEYS,
})

interface Measured {
  readonly child: ChildProcess
  /** What it has used, and how long it ran. Rejects with its output if it fails. */
  readonly ended: Promise<Figures>
}

/** As package.json starts the service's processes. */
const HEAP_OPTIONS = ['--max-semi-space-size=32']

function start(
  folder: string,
  script: string,
  args: readonly string[],
  { env = {}, nodeOptions = [] }: { readonly env?: Record<string, string>; readonly nodeOptions?: string[] } = {},
): Measured {
  const usage = join(folder, `usage-${crypto.randomUUID()}.json`)
  const began = performance.now()
  const child = spawn(process.execPath, [...nodeOptions, join(ROOT, script), ...args], {
    cwd: folder,
    env: { ...environment(folder), NODE_OPTIONS: `--import=${USAGE}`, BENCH_USAGE: usage, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr?.on('data', (chunk) => {
    said = (said + chunk).slice(-2_000)
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    const seconds = (performance.now() - began) / 1000
    if (code !== 0) throw new Error(`${script} ${args.join(' ')} ended with ${signal ?? code}:\n${said}`)
    const { userCPUTime, systemCPUTime, maxRSS } = JSON.parse(readFileSync(usage, 'utf8')) as NodeJS.ResourceUsage
    return { time: seconds, cpu: (userCPUTime + systemCPUTime) / 1e6, memory: maxRSS / 1024 }
  })
  ended.catch(() => {}) // whoever awaits it handles the error
  return { child, ended }
}

/** Runs a command to its end. */
export const command = (folder: string, ...args: string[]): Promise<Figures> => start(folder, CLI, args).ended

/** Runs a script of jobs/ to its end. */
export const job = (folder: string, name: string, options: object): Promise<Figures> =>
  start(folder, `test/bench/jobs/${name}.ts`, [JSON.stringify({ folder, ...options })], { nodeOptions: HEAP_OPTIONS })
    .ended

/** Starts the subgraph: the time until it is ready, and the CPU and memory of the whole process. */
export async function startOfSubgraph(folder: string): Promise<Figures> {
  const port = await freePort()
  const began = performance.now()
  const { child, ended } = start(folder, CLI, ['subgraph'], {
    env: { SUBGRAPH_PORT: String(port) },
    nodeOptions: HEAP_OPTIONS,
  })
  let over = false
  const failed = ended.catch(() => {
    over = true
  })
  while (!over && !(await answers(`http://127.0.0.1:${port}/readyz`))) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const seconds = (performance.now() - began) / 1000
  child.kill('SIGTERM')
  await failed
  return { ...(await ended), time: seconds }
}

const answers = (url: string) =>
  fetch(url).then(
    ({ ok }) => ok,
    () => false,
  )
