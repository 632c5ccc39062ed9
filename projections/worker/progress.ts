/** How far a projection has come in the log, and promises for reaching a position. */
import { comparePositions, type Position } from '../../eventstore/port.ts'

export interface Arrivals {
  /** Resolves when the position is reached. @throws Error once the projection is stopped */
  wait(position: Position): Promise<void>
  /** Everything up to the position is in the documents. */
  reach(position: Position): void
  /** Starts over: positions reached before no longer count. */
  reset(): void
  /** Stops: all pending promises are rejected. */
  stop(): void
}

export function createArrivals(): Arrivals {
  let reached: Position | undefined
  let isStopped = false
  let waiting: { readonly position: Position; resolve(): void; reject(error: Error): void }[] = []
  const stopped = () => new Error('The projection was stopped.')
  return {
    async wait(position) {
      if (reached && comparePositions(reached, position) >= 0) return
      if (isStopped) throw stopped()
      await new Promise<void>((resolve, reject) => waiting.push({ position, resolve, reject }))
    },

    reach(position) {
      reached = position
      const late = waiting.filter((each) => comparePositions(each.position, position) > 0)
      for (const each of waiting) if (!late.includes(each)) each.resolve()
      waiting = late
    },

    reset() {
      reached = undefined
    },

    stop() {
      isStopped = true
      for (const { reject } of waiting) reject(stopped())
    },
  }
}
