/**
 * The gateway's memory through ever new documents, and through swaps of its supergraph. It must not grow with either: what is
 * kept has limits, and a swap frees what the supergraph before held.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { startAsking } from './gateway.ts'
import type { StartContender } from './processes.ts'
import type { Servers } from './servers.ts'

/** MiB: of the heap after a garbage collection, and of the process. */
interface Memory {
  readonly heap: number
  readonly resident: number
}

interface MemorySizes {
  readonly documents: number
  readonly swaps: number
}

/** How many times the memory is read. */
const READINGS = 10
/** The first readings: caches fill, and V8 finds the size of its heap. */
const WARM_UP = 3
/** The larger of the two still counts as flat: fragmentation and the collector's timing move a figure by as much. */
const SLACK = { ratio: 0.1, mebibytes: 8 }

/**
 * What a figure grew by since the warm-up.
 * @param readings in their order, MiB
 * @returns `!` marks growth that noise does not explain
 */
export function growthOf(readings: readonly number[]): string {
  const from = mean(readings.slice(WARM_UP, WARM_UP + 3))
  const grown = mean(readings.slice(-3)) - from
  const text = `${grown < 0 ? '-' : '+'}${Math.abs(grown).toFixed(0)} MiB`
  return grown > Math.max(SLACK.mebibytes, from * SLACK.ratio) ? `${text} !` : text
}

/** A line for each figure: its readings, and what it grew by since the warm-up. */
function memoryTable(runs: readonly { name: string; count: number; readings: readonly Memory[] }[]): string {
  const tenths = Array.from({ length: READINGS }, (_, index) => `${(index + 1) * 10} %`)
  const rows = runs.flatMap(({ name, count, readings }) =>
    (['heap', 'resident'] as const).map((kind) => {
      const values = readings.map((reading) => reading[kind])
      return [
        `${count.toLocaleString('en')} ${name}, ${kind} MiB`,
        ...values.map((n) => n.toFixed(0)),
        growthOf(values),
      ]
    }),
  )
  const all = [['', ...tenths, 'grown'], ...rows]
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const lines = all.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  const isMarked = rows.some((row) => row.at(-1)?.endsWith('!'))
  return [...lines, ...(isMarked ? ['', '! grows with what it should not depend on'] : [])].join('\n')
}

/** Runs both, each in a gateway of its own. @returns the table */
export async function memoryBench(servers: Servers, start: StartContender, sizes: MemorySizes): Promise<string> {
  const runs = []
  for (const [name, count, run] of [
    ['documents', sizes.documents, newDocuments],
    ['swaps', sizes.swaps, swaps],
  ] as const) {
    if (count > 0) runs.push({ name, count, readings: await run(servers, start, count) })
  }
  return memoryTable(runs)
}

/** Every document is new to the gateway. */
async function newDocuments(servers: Servers, start: StartContender, count: number): Promise<Memory[]> {
  const { gateway, ask, stop } = await startAsking(start, servers)
  let next = 0
  const readings = await inTenths(count, gateway.memory, async (end) => {
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (next < end) await ask(next++)
      }),
    )
  })
  await stop()
  gateway.stop()
  return readings
}

/** Every supergraph has other subgraph URLs and a field that no other has, and is asked for several documents. */
async function swaps(servers: Servers, start: StartContender, count: number): Promise<Memory[]> {
  const { gateway, ask, stop, supergraph } = await startAsking(start, servers, { watchIntervalMs: 5, subgraphs: {} })
  const original = readFileSync(supergraph, 'utf8')
  let served = await servedBy(gateway.url)
  const swap = async (number: number) => {
    // Its fields are spread over other origins, too: connections must go with the supergraph that used them.
    const host = number % 2 === 0 ? 'localhost' : '127.0.0.1'
    const changed = original
      .replaceAll(/127\.0\.0\.1(:\d+\/\w+)/g, (_, place) => `${host}${place}?swap=${number}`)
      .replace('email: String!', `extra${number}: String email: String!`)
    writeFileSync(`${supergraph}.new`, changed)
    renameSync(`${supergraph}.new`, supergraph)
    const deadline = performance.now() + 30_000
    for (let now = served; now === served; served = await servedBy(gateway.url)) {
      if (performance.now() > deadline) throw new Error(`swap ${number}: the supergraph was not picked up`)
      await sleep(10)
    }
    for (let document = 0; document < 5; document++) await ask(document)
  }
  let next = 0
  const readings = await inTenths(count, gateway.memory, async (end) => {
    while (next < end) await swap(next++)
  })
  await stop()
  gateway.stop()
  return readings
}

/** The hash of the served supergraph. */
async function servedBy(url: string): Promise<string> {
  return ((await (await fetch(`${url}/readyz`)).json()) as { supergraph: string }).supergraph
}

async function inTenths(
  count: number,
  read: () => Promise<Memory>,
  runUntil: (end: number) => Promise<void>,
): Promise<Memory[]> {
  const readings: Memory[] = []
  for (let tenth = 1; tenth <= READINGS; tenth++) {
    await runUntil(Math.round((count * tenth) / READINGS))
    readings.push(await read())
  }
  return readings
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
