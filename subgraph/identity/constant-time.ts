/** Answers whose duration must not reveal what was found. */
import { setTimeout as delay } from 'node:timers/promises'

/** Longer than the work takes on a store that is well. Milliseconds. */
export const STEP_MS = 100

/**
 * Does the work, and settles as it does, but only at a whole multiple of {@link STEP_MS} after the start: whether anything
 * was written does not show. Waiting costs nothing but time, so this is for what people do rarely.
 */
export async function evenly<T>(work: () => Promise<T>): Promise<T> {
  const started = performance.now()
  try {
    return await work()
  } finally {
    const elapsed = performance.now() - started
    await delay(STEP_MS * Math.ceil(elapsed / STEP_MS) - elapsed)
  }
}
