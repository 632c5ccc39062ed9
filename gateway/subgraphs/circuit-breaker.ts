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
  readonly failed: () => void
}

/** @param now milliseconds; default: a monotonic clock */
export function createBreaker(now: () => number = () => performance.now()): Breaker {
  let failures = 0
  let opened = 0
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
    },
    failed: () => {
      failures++
      if (failures >= FAILURES) opened = now()
    },
  }
}
