/** Answers whose duration must not reveal what was found. */
import { setTimeout as delay } from 'node:timers/promises'

/** Longer than the work takes on a healthy store. Milliseconds. */
export const STEP_MS = 100

/**
 * Settles like the work, but only at a multiple of {@link STEP_MS} after the start, so the duration does not show
 * whether anything was written. Use it for rare operations, because of the wait.
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
