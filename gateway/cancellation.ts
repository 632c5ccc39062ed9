/** A client that goes away: what is done for it alone stops. */

/** Why a call has no answer: nobody waits for it any more. */
export class Cancelled extends Error {
  override readonly name = 'Cancelled'

  constructor() {
    super('The client has gone away.')
  }
}

/** Cheaper than an AbortSignal, of which each request would need one. */
export class Cancellation {
  #isCancelled = false
  #aborts: Set<() => void> | undefined

  get isCancelled(): boolean {
    return this.#isCancelled
  }

  /** @param abort called once when the client goes away; at once where it has */
  onCancel(abort: () => void): void {
    if (this.#isCancelled) abort()
    else {
      this.#aborts ??= new Set()
      this.#aborts.add(abort)
    }
  }

  /** What is done needs no abort. */
  off(abort: () => void): void {
    this.#aborts?.delete(abort)
  }

  cancel(): void {
    if (this.#isCancelled) return
    this.#isCancelled = true
    for (const abort of this.#aborts ?? []) abort()
    this.#aborts = undefined
  }
}
