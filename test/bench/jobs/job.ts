/** What every job's process does: it prepares, is timed, and tells what it did. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { limitHeapGrowth } from '../../../runtime/process.ts'

/** What a job did in one run. */
export interface JobResult {
  /** Events, or whatever it counts. */
  readonly count: number
  readonly seconds: number
  /** The most memory that the process had, in MiB. */
  readonly peakMemory: number
  /** MiB that what the job is about takes, where it measures that. */
  readonly memory?: number
  /** Milliseconds, where the job measures waits. */
  readonly p50?: number
  readonly p99?: number
}

/** What is timed; gives what it counted. */
export type Timed = () => Promise<number | Omit<JobResult, 'seconds' | 'peakMemory'>>

export function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
}

/**
 * Runs a job with the options that its process was started with.
 * @param prepare does what is not timed, and gives what is
 */
export async function job<Options>(prepare: (options: Options) => Promise<Timed>): Promise<void> {
  limitHeapGrowth() // as the service's processes do
  const work = await prepare(JSON.parse(process.argv[2] ?? '{}') as Options)
  const before = performance.now()
  const done = await work()
  const seconds = (performance.now() - before) / 1000
  const figures = typeof done === 'number' ? { count: done } : done
  process.send?.({ ...figures, seconds, peakMemory: process.resourceUsage().maxRSS / 1024 })
  process.exit()
}
