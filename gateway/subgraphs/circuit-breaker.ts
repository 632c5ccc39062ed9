/** A circuit breaker: a subgraph that keeps failing is not called for a while, so that no request waits for it. */

/** How many consecutive failures open it. */
const FAILURES = 5
/**
 * How long the breaker stays open, in milliseconds. Then one call tests whether the subgraph works again (half-open).
 */
const OPEN_MS = 5_000

export interface Breaker {
  /** Whether a call may be made. While the breaker is open, one call every five seconds may. */
  readonly tries: () => boolean
  readonly isClosed: () => boolean
  readonly succeeded: () => void
  /**
   * A call that began before another one succeeded does not count: the subgraph works, and the call was a slow one. Otherwise
   * a client with five slow operations would take the subgraph from all others.
   * @param began when the call was made, by the same clock
   */
  readonly failed: (began: number) => void
}

/** @param now milliseconds; default: a monotonic clock */
export function createBreaker(now: () => number = () => performance.now()): Breaker {
  let failures = 0
  let opened = 0
  let lastSuccess = Number.NEGATIVE_INFINITY
  return {
    tries: () => {
      if (failures < FAILURES) return true
      const at = now()
      if (at - opened < OPEN_MS) return false
      opened = at
      return true
    },
    isClosed: () => failures < FAILURES,
    succeeded: () => {
      failures = 0
      lastSuccess = now()
    },
    failed: (began) => {
      if (began < lastSuccess) return
      failures++
      if (failures >= FAILURES) opened = now()
    },
  }
}
