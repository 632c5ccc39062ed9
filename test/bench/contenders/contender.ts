/** What every contender's process does beside serving. */
import { collectGarbage } from '../jobs/job.ts'

/** The options that the process was started with. */
export function options<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T
}

/**
 * Tells the bench where this contender listens, and how much CPU time and memory it uses whenever it is asked. From then on
 * it ends with the bench, however that ends.
 * @param subgraphs the GraphQL endpoints of several, by name
 */
export function ready(url: string, subgraphs: Readonly<Record<string, string>> = {}): void {
  process.on('message', (asked) => process.send?.(asked === 'memory' ? memory() : process.cpuUsage()))
  process.on('disconnect', () => process.exit())
  process.send?.({ url, subgraphs })
}

function memory(): NodeJS.MemoryUsage {
  collectGarbage()
  return process.memoryUsage()
}
