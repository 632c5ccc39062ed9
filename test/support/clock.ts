/** Time as a process on a busy machine had it. */
import type { Test } from 'tap'

const TICK_MS = 5

/**
 * A clock for limits in tests. Each stall of the event loop counts as one tick, so the clock never shows more than the
 * time that has passed, and less where other processes had the processor: a limit on it fails for a wait that is too
 * long, and not for a slow machine.
 * @returns the milliseconds since it was started
 */
export function startClock(t: Test): () => number {
  let ticks = 0
  const timer = setInterval(() => ticks++, TICK_MS)
  t.teardown(() => clearInterval(timer))
  return () => ticks * TICK_MS
}

/**
 * Stops this process's monotonic clock, `performance.now`, until the test ends. Timers are not stopped.
 * @returns moves it on, by milliseconds
 */
export function stopClock(t: Test): (milliseconds: number) => void {
  let now = performance.now()
  // `t.intercept` would note each call, with its stack: a tenth of a millisecond.
  Object.defineProperty(performance, 'now', { value: () => now, configurable: true })
  t.teardown(() => Reflect.deleteProperty(performance, 'now'))
  return (milliseconds) => {
    now += milliseconds
  }
}
