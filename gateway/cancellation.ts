/** Cancellation when a client goes away: work for that client alone stops. */

/** A call was cancelled, because nobody waits for its answer any more. */
export class Cancelled extends Error {
  override readonly name = 'Cancelled'
  readonly code = 'GTW_ERR_CANCELLED'

  constructor() {
    super('The client has gone away.')
  }
}

/** Work that can be aborted. */
export interface Abortable {
  abort(): void
}

/** Cheaper than an AbortSignal for each request. */
export class Cancellation {
  #isCancelled = false
  /** Most requests wait for one thing at a time, so only a second one needs a set. */
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
