/**
 * The results of one subscription: a bounded buffer of a subgraph's events, executed one by one as the client takes
 * them.
 */
import type { RawAnswer, SentAnswer } from '../subgraphs/client.ts'

/** Why a subscription ended; a label of the metrics. */
export type EndReason = 'client' | 'complete' | 'subgraph' | 'token' | 'schema' | 'slow' | 'closing' | 'failed'

export interface ResultStreamOptions {
  /** Makes the result of an event: the JSON text for the client. @throws what ends the subscription */
  readonly answer: (event: RawAnswer) => Promise<string>
  /** The most events that wait for the client. */
  readonly maxEvents: number
  /** The most bytes of waiting events; a single one may have more. */
  readonly maxBytes: number
  /** Called once, when no further event is taken. */
  readonly onEnd: (reason: EndReason) => void
  /** The last result when more events wait than may: the JSON text. */
  readonly tooSlow: string
  /** The last result for an error of `answer`. */
  readonly failed: (error: unknown) => { readonly reason: EndReason; readonly text: string }
}

type Result = IteratorResult<string, undefined>

const DONE: Result = { done: true, value: undefined }

/**
 * An async generator of JSON texts. It is none of the language's, because their `return` waits for the pending `next`:
 * a client that goes away would keep its subgraph's stream until the next event.
 */
export class ResultStream implements AsyncGenerator<string, undefined, undefined> {
  readonly #options: ResultStreamOptions
  readonly #events: SentAnswer[] = []
  #bytes = 0
  /** The last result, after the waiting events. */
  #last: { readonly reason: EndReason; readonly text: string | undefined } | undefined
  /** Nothing but the last result is delivered any more. */
  #isCut = false
  #isOver = false
  #isReported = false
  #wake: (() => void) | undefined

  constructor(options: ResultStreamOptions) {
    this.#options = options
  }

  /** Whether no further event is taken. */
  get isEnded(): boolean {
    return this.#isReported
  }

  /** Adds an event. If too many wait, the subscription ends. */
  push(event: SentAnswer): void {
    if (this.#last || this.#isOver) return
    const { maxEvents, maxBytes, tooSlow } = this.#options
    const size = event.text.length
    if (this.#events.length >= maxEvents || (this.#events.length > 0 && this.#bytes + size > maxBytes)) {
      this.end('slow', tooSlow)
      return
    }
    this.#events.push(event)
    this.#bytes += size
    this.#wake?.()
  }

  /** No further event comes; those that wait are delivered. @param text the last result */
  finish(reason: EndReason, text?: string): void {
    this.#last ??= { reason, text }
    this.#wake?.()
  }

  /** Ends the subscription at once: events that wait are dropped. @param text the last result */
  end(reason: EndReason, text: string): void {
    if (this.#isOver || this.#isCut) return
    this.#cut()
    this.#last = { reason, text }
    this.#report(reason)
    this.#wake?.()
  }

  async next(): Promise<Result> {
    for (;;) {
      if (this.#isOver) return DONE
      const event = this.#events.shift()
      if (event) {
        this.#bytes -= event.text.length
        const value = await this.#resultOf(event)
        if (this.#isCut || this.#isOver) continue
        return { done: false, value }
      }
      if (this.#last) {
        const { reason, text } = this.#last
        this.#isOver = true
        this.#report(reason)
        return text === undefined ? DONE : { done: false, value: text }
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** The client has gone away. */
  return(): Promise<Result> {
    if (!this.#isOver) {
      this.#isOver = true
      this.#cut()
      this.#report('client')
      this.#wake?.()
    }
    return Promise.resolve(DONE)
  }

  throw(error: unknown): Promise<Result> {
    void this.return()
    return Promise.reject(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  async #resultOf(event: SentAnswer): Promise<string> {
    try {
      return await this.#options.answer({ ...event, milliseconds: 0 })
    } catch (error) {
      const { reason, text } = this.#options.failed(error)
      this.end(reason, text)
      return text
    }
  }

  #cut(): void {
    this.#isCut = true
    this.#events.length = 0
    this.#bytes = 0
  }

  #report(reason: EndReason): void {
    if (this.#isReported) return
    this.#isReported = true
    this.#options.onEnd(reason)
  }
}
