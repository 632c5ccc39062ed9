/** Timeouts, and waiting that can be aborted. */
import { setTimeout as delay } from 'node:timers/promises'

/**
 * Calls `late` after the limit. If this process itself stood still meanwhile, an answer may have come that nobody has
 * read yet: timers run before what has arrived is read. So the answer is given its turn first.
 * @param limit milliseconds
 * @returns ends it
 */
export function startLimit(limit: number, late: () => void): () => void {
  let lastTurn: NodeJS.Immediate | undefined
  const timer = setTimeout(() => {
    lastTurn = setImmediate(late)
  }, limit)
  return () => {
    clearTimeout(timer)
    clearImmediate(lastTurn)
  }
}

/**
 * The outcome of the work if it settles in time. The work itself is not stopped; a later outcome is ignored.
 * @param limit milliseconds
 * @param late creates the error for a timeout. Default: an Error that names the limit
 */
export function within<T>(
  limit: number,
  work: Promise<T>,
  late = () => new Error(`no answer within ${limit} ms`),
): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = startLimit(limit, () => reject(late()))
    work.then(
      (value) => {
        end()
        resolve(value)
      },
      (error) => {
        end()
        reject(error)
      },
    )
  })
}

/** Waits for that many milliseconds, or until the signal is aborted. */
export const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  delay(milliseconds, undefined, { signal }).catch(() => {})

/** How long a readiness probe waits for a store, in milliseconds: the prober gives up after a few seconds. */
const PROBE_MS = 2_000

/** Whether the work succeeds within the time limit of a readiness probe. */
export const answersProbe = (work: Promise<unknown>): Promise<boolean> =>
  probed(work).then(
    () => true,
    () => false,
  )

/** The outcome of the work, within the time limit of a readiness probe. @throws Error after the limit */
export const probed = <T>(work: Promise<T>): Promise<T> => within(PROBE_MS, work)
