/**
 * The events whose mails are settled: sent, refused or no longer wanted. They are not sent again, even if the
 * checkpoint is lost (after a restore from a backup).
 */
import { boundedCache } from '../runtime/bounded-cache.ts'

const REMEMBERED = 10_000

export class SettledMails {
  readonly #ids = boundedCache<string, true>(REMEMBERED)
  #unsaved = 0

  /** How many of them the checkpoint does not reflect yet. */
  get unsaved(): number {
    return this.#unsaved
  }

  has(eventId: string): boolean {
    return this.#ids.has(eventId)
  }

  add(eventId: string): void {
    this.#ids.set(eventId, true)
    this.#unsaved++
  }

  /** A checkpoint was stored that reflects this many more of them. */
  saved(count: number): void {
    this.#unsaved -= count
  }
}
