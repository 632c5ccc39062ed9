/** The calls that wait for a node. */
import type { EventStoreUnavailable } from '../../port.ts'
import type { Node } from './node.ts'

interface Waiter {
  readonly since: number
  resolve(node: Node): void
  reject(error: EventStoreUnavailable): void
}

export interface Waiters {
  /**
   * Resolves with the next node that is found. @param until by performance.now() @throws EventStoreUnavailable after it
   */
  wait(until: number, late: () => EventStoreUnavailable): Promise<Node>
  resolveAll(node: Node): void
  /** Rejects those who began to wait by then (performance.now). */
  rejectSince(since: number, error: EventStoreUnavailable): void
}

export function createWaiters(): Waiters {
  const waiting = new Set<Waiter>()
  return {
    wait(until, late) {
      return new Promise((resolve, reject) => {
        const settle = () => {
          clearTimeout(timer)
          waiting.delete(waiter)
        }
        const waiter: Waiter = {
          since: performance.now(),
          resolve(node) {
            settle()
            resolve(node)
          },
          reject(error) {
            settle()
            reject(error)
          },
        }
        const timer = setTimeout(() => waiter.reject(late()), until - performance.now())
        waiting.add(waiter)
      })
    },

    resolveAll(node) {
      for (const waiter of waiting) waiter.resolve(node)
    },

    rejectSince(since, error) {
      for (const waiter of waiting) if (waiter.since <= since) waiter.reject(error)
    },
  }
}
