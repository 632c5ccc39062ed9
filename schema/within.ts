/** Limits on how long something is waited for. */

/**
 * The work's outcome, if it comes in time. The work itself goes on; what becomes of it later is ignored.
 * @param limit milliseconds
 * @param late makes what is thrown after the limit
 */
export function within<T>(limit: number, work: Promise<T>, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), limit)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** How long a readiness probe waits for a store, in milliseconds: whoever probes gives up after a few seconds. */
const PROBE_MS = 2_000

/** Whether the work succeeds in the time that a readiness probe has. */
export const answersProbe = (work: Promise<unknown>): Promise<boolean> =>
  probed(work).then(
    () => true,
    () => false,
  )

/** The work's outcome, in the time that a readiness probe has. @throws Error after it */
export const probed = <T>(work: Promise<T>): Promise<T> =>
  within(PROBE_MS, work, () => new Error(`no answer within ${PROBE_MS} ms`))
