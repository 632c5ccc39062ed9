/** How long ago something was, whatever happens to the clocks. */

/** A moment by two clocks: the monotonic one may stop with a virtual machine, the other one may be set. */
export interface Moment {
  readonly monotonic: number
  readonly wall: number
}

export const now = (): Moment => ({ monotonic: performance.now(), wall: Date.now() })

/** Milliseconds since then, by the clock that shows more. */
export const elapsed = ({ monotonic, wall }: Moment): number =>
  Math.max(performance.now() - monotonic, Date.now() - wall)
