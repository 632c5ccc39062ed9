/**
 * Shuts a server down in two steps: it reports that it is not ready while it finishes requests under way, and only then
 * stops listening. So a load balancer's probe in the meantime gets an answer instead of a refused connection.
 */

/** The requests from before the drain, or those that arrive during it. */
interface Group {
  count: number
  done?: () => void
}

export interface Drain {
  readonly isDraining: () => boolean
  /** Counts a request; pass the result to `leave` when it is answered. */
  enter(): Group
  leave(group: Group): void
  /**
   * Resolves once all requests under way are answered. Requests that arrive in the meantime are answered, too, but not
   * waited for.
   */
  begin(): Promise<void>
}

export function createDrain(): Drain {
  let current: Group = { count: 0 }
  let draining = false
  return {
    isDraining: () => draining,
    enter() {
      current.count++
      return current
    },
    leave(group) {
      if (--group.count === 0) group.done?.()
    },
    begin() {
      const before = current
      current = { count: 0 }
      draining = true
      if (before.count === 0) return Promise.resolve()
      return new Promise((resolve) => {
        before.done = resolve
      })
    },
  }
}
