/**
 * Prepares the documents in use for a new supergraph before it is served. Otherwise the first request of each would wait for its
 * plan, all of them at the same moment.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { Operations } from './operations.ts'

/** How many documents are prepared, those in use last. */
const MAX_DOCUMENTS = 200
/** After this time the new supergraph is served, whatever is left to prepare. In milliseconds. */
const MAX_MS = 2_000

/**
 * Requests are answered in between.
 * @param isWanted whether to go on
 * @returns how many documents were prepared; those that the new supergraph refuses do not count
 */
export async function warmUp(next: Operations, current: Operations, isWanted: () => boolean): Promise<number> {
  const end = performance.now() + MAX_MS
  let prepared = 0
  for (const { source, operationName } of current.recent(MAX_DOCUMENTS)) {
    await turn()
    if (!isWanted() || performance.now() > end) break
    try {
      next.find(source, operationName)
      prepared++
    } catch {
      // Its next request is told why.
    }
  }
  return prepared
}
