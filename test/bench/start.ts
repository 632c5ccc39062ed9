/**
 * What the service costs before it does anything: how soon each process is ready, how much CPU time that takes, how much
 * memory it has at rest, and how large a production install is.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, globSync, lstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { KEYS } from '../support/keys.ts'
import { freePort } from '../support/ports.ts'

const ROOT = join(import.meta.dirname, '../..')

/** The processes in the order in which they start, each with the variable of its port. */
const PROCESSES = {
  subgraph: 'SUBGRAPH_PORT',
  projections: 'PROJECTIONS_PORT',
  mail: 'MAIL_PORT',
  gateway: 'GATEWAY_PORT',
} as const
/** As package.json starts them. */
const HEAP_OPTIONS = ['--max-semi-space-size=32']
/** Until a process has collected the garbage of its start, and V8 has given the memory back. */
const REST_MS = 20_000
/** Of `utime` and `stime` in /proc. */
const TICKS_PER_SECOND = 100
const MIB = 2 ** 20

interface Start {
  readonly child: ChildProcess
  /** Milliseconds until it answers. */
  readonly ready: number
  /** Milliseconds of CPU time until then. */
  readonly cpu: number
}

/**
 * Starts the processes on embedded stores, several times, and lets them rest after the last.
 * @param options.rounds starts that are measured, after one that fills Node's compile cache
 * @param options.install also installs the packages of production, from the registry
 * @returns a table
 */
export async function startBench(options: { readonly rounds: number; readonly install: boolean }): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-start-'))
  const rounds: Start[][] = []
  try {
    for (let round = 0; round <= options.rounds; round++) {
      rounds.push(await startAll(folder))
      const last = rounds.at(-1) ?? []
      if (round === options.rounds) await sleep(REST_MS)
      else await stopAll(last)
    }
    const last = rounds.at(-1) ?? []
    const rows = Object.keys(PROCESSES).map((name, index) => {
      const starts = rounds.slice(1).map((round) => round[index] as Start)
      const resident = statusOf(last[index]?.child.pid)
      return [name, median(starts.map(({ ready }) => ready)), median(starts.map(({ cpu }) => cpu)), resident / MIB]
    })
    await stopAll(last)
    return `${tableOf([['', 'ready, ms', 'CPU, ms', 'at rest, MiB'], ...rows])}${options.install ? `\n\n${installed()}` : ''}`
  } finally {
    for (const { child } of rounds.flat()) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
}

async function startAll(folder: string): Promise<Start[]> {
  const env: Record<string, string> = {
    ...KEYS,
    NODE_ENV: 'production',
    EVENTSTORE_URL: `sqlite:${join(folder, 'events.db')}`,
    READMODEL_URL: `sqlite:${join(folder, 'readmodel.db')}`,
    DATA_DIR: folder,
    LOG_LEVEL: 'warn',
    SUBGRAPH_SECRET: 'a secret that is long enough for a bench',
    SUPERGRAPH: join(ROOT, 'schema/supergraph.graphql'),
  }
  for (const variable of Object.values(PROCESSES)) env[variable] = String(await freePort())
  env.SUBGRAPH_URL_CUSTOMERS = `http://127.0.0.1:${env.SUBGRAPH_PORT}/graphql`
  const starts: Start[] = []
  for (const [name, variable] of Object.entries(PROCESSES)) starts.push(await start(name, env[variable] ?? '', env))
  return starts
}

async function start(name: string, port: string, env: Record<string, string>): Promise<Start> {
  const began = performance.now()
  const child = spawn(process.execPath, [...HEAP_OPTIONS, join(ROOT, 'bin/customers.js'), name], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  while (child.exitCode === null) {
    const isReady = await fetch(`http://127.0.0.1:${port}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (isReady) return { child, ready: performance.now() - began, cpu: cpuOf(child.pid) }
    await sleep(2)
  }
  throw new Error(`${name} ended before it was ready.`)
}

async function stopAll(starts: readonly Start[]): Promise<void> {
  // In good order: Node writes its compile cache at the end.
  for (const { child } of starts.toReversed()) {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
}

/** @returns milliseconds */
function cpuOf(pid: number | undefined): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND
}

/** @returns the resident memory in bytes */
function statusOf(pid: number | undefined): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1_024
}

/** Installs what production needs into a folder. @returns how many packages that are, their size, and the largest */
function installed(): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-install-'))
  try {
    for (const name of ['package.json', 'package-lock.json', '.npmrc'])
      copyFileSync(join(ROOT, name), join(folder, name))
    execFileSync('npm', ['ci', '--omit=dev', '--ignore-scripts'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const sizes = new Map<string, number>()
    for (const file of globSync('node_modules/**', { cwd: folder })) {
      const status = lstatSync(join(folder, file))
      const [, name = ''] = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file) ?? []
      if (status.isFile()) sizes.set(name, (sizes.get(name) ?? 0) + status.blocks * 512)
    }
    const packages = globSync('node_modules/**/package.json', { cwd: folder }).filter((path) =>
      /(^|\/)node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(path),
    )
    const total = [...sizes.values()].reduce((sum, size) => sum + size, 0)
    const largest = [...sizes].toSorted(([, a], [, b]) => b - a).slice(0, 10)
    const rows = largest.map(([name, size]) => [name, size / MIB] as const)
    return tableOf([[`a production install: ${packages.length} packages, MiB`, total / MIB], ...rows])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function tableOf(rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === 'number' ? cell.toFixed(0) : cell)))
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  '),
    )
    .join('\n')
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
