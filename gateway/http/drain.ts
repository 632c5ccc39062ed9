/**
 * The end of a server in two steps: it says that it is not ready while it finishes what is under way, and only then stops to
 * listen. A load balancer that asks meanwhile gets an answer instead of a refused connection.
 */

/** The requests that came before the drain, or those that come during it. */
interface Group {
  count: number
  done?: () => void
}

export interface Drain {
  readonly isDraining: () => boolean
  /** Counts a request; to be given to `leave` when it is answered. */
  enter(): Group
  leave(group: Group): void
  /** Resolves once all that was under way is answered. What comes meanwhile is answered, too, but not waited for. */
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
