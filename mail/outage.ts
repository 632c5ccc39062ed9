/** An outage of the mail server: when it began, and when to try again. */
import { type BackOff, waitAfter } from '../runtime/back-off.ts'

export class Outage {
  readonly #waits: BackOff
  #failures = 0
  #until = 0

  constructor(waits: BackOff) {
    this.#waits = waits
  }

  get isOngoing(): boolean {
    return this.#failures > 0
  }

  /** When the next attempt is due, by `performance.now()`; 0 if there is no outage. */
  get until(): number {
    return this.#until
  }

  /** Another attempt failed because the server is unavailable. */
  extend(): void {
    this.#failures++
    this.#until = performance.now() + waitAfter(this.#waits, this.#failures)
  }

  end(): void {
    this.#failures = 0
    this.#until = 0
  }
}
