/** The one way in which tests wait for something. */
import { setTimeout as delay } from 'node:timers/promises'

/** By far more than anything takes on a machine that stands still for seconds: only what never comes takes so long. */
const LIMIT_S = 60

type No = false | null | undefined

/**
 * Waits until something holds, and gives what was found.
 * @param what for the error
 * @param holds false, null or undefined: not yet. What it throws ends the wait
 * @throws Error after a minute
 */
export async function until<T>(
  what: string,
  holds: () => T | No | Promise<T | No>,
  { everyMs = 10 }: { readonly everyMs?: number } = {},
): Promise<T> {
  // Not `performance.now`, which tests stop.
  const started = process.hrtime()
  for (;;) {
    const found = await holds()
    if (found !== false && found !== null && found !== undefined) return found
    if (process.hrtime(started)[0] >= LIMIT_S) throw new Error(`Not so after ${LIMIT_S} s: ${what}`)
    await delay(everyMs)
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
