/** What every contender's process does beside serving. */

/** The options that the process was started with. */
export function options<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T
}

/**
 * Tells the bench where this contender listens, and how much CPU time it has used whenever it is asked. From then on it
 * ends with the bench, however that ends.
 * @param subgraphs the GraphQL endpoints of several, by name
 */
export function ready(url: string, subgraphs: Readonly<Record<string, string>> = {}): void {
  process.on('message', () => process.send?.(process.cpuUsage()))
  process.on('disconnect', () => process.exit())
  process.send?.({ url, subgraphs })
}
