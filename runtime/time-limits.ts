/** Waiting, and limits on how long something is waited for. */
import { setTimeout as delay } from 'node:timers/promises'

/**
 * The work's outcome, if it comes in time. The work itself goes on; what becomes of it later is ignored.
 * @param limit milliseconds
 * @param late makes what is thrown after the limit. Default: an Error that names the limit
 */
export function within<T>(
  limit: number,
  work: Promise<T>,
  late = () => new Error(`no answer within ${limit} ms`),
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), limit)
    work.then(
      (value) => {
        clearTimeout(timer)
        resolve(value)
      },
      (error) => {
        clearTimeout(timer)
        reject(error)
      },
    )
  })
}

/** Waits so many milliseconds, or until the signal is aborted. */
export const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  delay(milliseconds, undefined, { signal }).catch(() => {})

/** How long a readiness probe waits for a store, in milliseconds: whoever probes gives up after a few seconds. */
const PROBE_MS = 2_000

/** Whether the work succeeds in the time that a readiness probe has. */
export const answersProbe = (work: Promise<unknown>): Promise<boolean> =>
  probed(work).then(
    () => true,
    () => false,
  )

/** The work's outcome, in the time that a readiness probe has. @throws Error after it */
export const probed = <T>(work: Promise<T>): Promise<T> => within(PROBE_MS, work)
