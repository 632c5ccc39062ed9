/** A client that goes away: whatever is being done for it alone stops. */

/** Why a call has no answer: nobody waits for it any more. */
export class Cancelled extends Error {
  override readonly name = 'Cancelled'
  readonly code = 'GTW_ERR_CANCELLED'

  constructor() {
    super('The client has gone away.')
  }
}

/** Work that can be given up. */
export interface Abortable {
  abort(): void
}

/** Cheaper than an AbortSignal, of which each request would need one. */
export class Cancellation {
  #isCancelled = false
  /** Most requests wait for one thing at a time: only a second one needs a set. */
  #first: Abortable | undefined
  #others: Set<Abortable> | undefined

  get isCancelled(): boolean {
    return this.#isCancelled
  }

  /** @param work aborted once, when the client goes away; at once if it already has */
  onCancel(work: Abortable): void {
    if (this.#isCancelled) work.abort()
    else if (this.#first === undefined) this.#first = work
    else {
      this.#others ??= new Set()
      this.#others.add(work)
    }
  }

  /** The work is done and needs no abort. */
  off(work: Abortable): void {
    if (this.#first === work) this.#first = undefined
    else this.#others?.delete(work)
  }

  cancel(): void {
    if (this.#isCancelled) return
    this.#isCancelled = true
    const [first, others] = [this.#first, this.#others]
    this.#first = undefined
    this.#others = undefined
    first?.abort()
    for (const work of others ?? []) work.abort()
  }
}
