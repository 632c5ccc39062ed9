/** The one way in which tests wait for something. */
import { setTimeout as delay } from 'node:timers/promises'

/** By far more than anything takes on a machine that stands still for seconds: only what never comes takes so long. */
const LIMIT_S = 60

/**
 * A look costs the test and often the service: with these pauses, what takes long is looked at a few dozen times, and found
 * a tenth too late at the most.
 */
const PAUSE_MS = { least: 2, most: 200 }

type No = false | null | undefined

/**
 * Waits until something holds, and gives what was found. Looks often at first, and the less often the longer it takes.
 * @param what for the error
 * @param holds false, null or undefined: not yet. What it throws ends the wait
 * @throws Error after a minute
 */
export async function until<T>(what: string, holds: () => T | No | Promise<T | No>): Promise<T> {
  // Not `performance.now`, which tests stop.
  const started = process.hrtime()
  for (;;) {
    const found = await holds()
    if (found !== false && found !== null && found !== undefined) return found
    const [seconds, nanoseconds] = process.hrtime(started)
    if (seconds >= LIMIT_S) throw new Error(`Not so after ${LIMIT_S} s: ${what}`)
    const passedMs = seconds * 1_000 + nanoseconds / 1e6
    await delay(Math.min(Math.max(passedMs / 10, PAUSE_MS.least), PAUSE_MS.most))
  }
}

/**
 * Repeats work until it does not fail, and gives its result.
 * @throws Error after a minute; its cause is the last failure
 */
export async function untilDone<T>(what: string, work: () => Promise<T>): Promise<T> {
  let cause: unknown
  const attempt = () =>
    work().then(
      (result) => ({ result }),
      (error) => {
        cause = error
        return undefined
      },
    )
  try {
    return (await until(what, attempt)).result
  } catch (error) {
    throw new Error((error as Error).message, { cause })
  }
}
