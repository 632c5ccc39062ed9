/**
 * The mails to send now, a few at a time, each until the server has accepted it or it is no longer wanted. Failures are
 * retried with back-off: for all mails while the server is unavailable, otherwise for the single mail.
 */

import { EventStoreUnavailable, type RecordedEvent } from '../eventstore/port.ts'
import { customerOf } from '../projections/fold.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import type { Log } from '../runtime/log.ts'
import { MailDeferred, MailRefused } from './errors.ts'
import type { Letter, LetterPurpose, Letters, Reason } from './letters.ts'
import { Outage } from './outage.ts'
import type { Outbox } from './outbox.ts'

/** Callbacks for metrics. */
export interface MailObserver {
  /** @param requested the time of the event that asked for the mail */
  sent(purpose: LetterPurpose, requested: Date): void
  /** Refused for good, or given up after too many attempts. */
  failed(purpose: LetterPurpose): void
  /** No longer wanted. */
  skipped(purpose: LetterPurpose, reason: Reason): void
  /** An attempt failed and will be retried. */
  retried(purpose: LetterPurpose): void
  /** Once for each outage of the mail server. */
  interrupted(): void
}

export interface QueueOptions {
  readonly letters: Letters
  readonly outbox: Outbox
  readonly log: Log
  readonly observer: Partial<MailObserver>
  /** How many attempts run concurrently. */
  readonly concurrency: number
  /** The time limit of one attempt, in milliseconds. */
  readonly attemptMs: number
  /** The back-off while the server is unavailable. */
  readonly outageWaits: BackOff
  /** The back-off of a mail that the server defers while it accepts others. */
  readonly mailWaits: BackOff
  /** How many attempts such a mail gets. */
  readonly mostTries: number
  /** Whether this process holds the lease; called before each attempt. */
  mayStart(): boolean
  /** All mails that the event asks for are settled: none needs a further attempt. */
  onSettled(event: RecordedEvent): void
}

interface Job {
  readonly event: RecordedEvent
  readonly purpose: LetterPurpose
  isUnderWay: boolean
  notBefore: number
  failures: number
  /** Failures that were not an outage of the server. */
  tries: number
  /** How many mails the server had accepted when this one was tried first. */
  acceptedBefore: number | undefined
}

/** Reading a customer's stream failed because the event store is unavailable. */
const STORE_WAITS: BackOff = { firstMs: 500, mostMs: 5_000 }

const keyOf = ({ event, purpose }: Pick<Job, 'event' | 'purpose'>) => `${event.id} ${purpose}`

export class MailQueue {
  readonly #options: QueueOptions
  /** By event and purpose, in the order in which they are to be tried. */
  readonly #jobs = new Map<string, Job>()
  readonly #attempts = new Set<Promise<void>>()
  readonly #outage: Outage
  /** Aborted to give up the attempts under way. */
  #givingUp = new AbortController()
  #isDraining = false
  #timer: NodeJS.Timeout | undefined
  /** How many mails the server has accepted. */
  #accepted = 0

  constructor(options: QueueOptions) {
    this.#options = options
    this.#outage = new Outage(options.outageWaits)
  }

  /** Mails that are not settled. */
  get size(): number {
    return this.#jobs.size
  }

  /** Whether the server was unavailable at the last attempt. */
  get isInterrupted(): boolean {
    return this.#outage.isOngoing
  }

  add(event: RecordedEvent): void {
    for (const purpose of this.#options.letters.purposesOf(event)) {
      const key = keyOf({ event, purpose })
      if (this.#jobs.has(key)) continue
      const untried = { isUnderWay: false, notBefore: 0, failures: 0, tries: 0, acceptedBefore: undefined }
      this.#jobs.set(key, { event, purpose, ...untried })
    }
  }

  /** The events that asked for these mails. */
  events(): readonly RecordedEvent[] {
    return [...new Set([...this.#jobs.values()].map(({ event }) => event))]
  }

  /** Begins the attempts that are due. */
  start(): void {
    clearTimeout(this.#timer)
    if (!this.#mayStart) return
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const job of [...this.#jobs.values()]) {
      // During an outage, one mail tests whether the server is back.
      if (this.#attempts.size >= (this.#outage.isOngoing ? 1 : this.#options.concurrency)) return
      if (job.isUnderWay) continue
      const due = Math.max(job.notBefore, this.#outage.until)
      if (due <= now) this.#begin(job)
      else next = Math.min(next, due)
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.start(), Math.ceil(next - now))
  }

  /** Begins no further attempts, waits for those under way, and cancels them after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true
    clearTimeout(this.#timer)
    await this.#attemptsEnd(graceMs)
  }

  /** Removes all mails; attempts under way are cancelled after `graceMs`. */
  async clear(graceMs: number): Promise<void> {
    clearTimeout(this.#timer)
    this.#jobs.clear()
    await this.#attemptsEnd(graceMs)
    this.#jobs.clear() // one that failed meanwhile
    this.#givingUp = new AbortController()
  }

  get #mayStart(): boolean {
    return !this.#isDraining && this.#options.mayStart()
  }

  async #attemptsEnd(graceMs: number): Promise<void> {
    const grace = setTimeout(() => this.#givingUp.abort(), graceMs)
    await Promise.all(this.#attempts)
    clearTimeout(grace)
  }

  #begin(job: Job): void {
    const attempt = this.#attempt(job).finally(() => {
      this.#attempts.delete(attempt)
      this.start()
    })
    this.#attempts.add(attempt)
  }

  async #attempt(job: Job): Promise<void> {
    job.isUnderWay = true
    job.acceptedBefore ??= this.#accepted
    let isSent = false
    try {
      isSent = await this.#composeAndSend(job, this.#givingUp.signal)
    } finally {
      job.isUnderWay = false
    }
    if (isSent) this.#options.log.info(about(job.event), 'mail sent')
  }

  /** @param signal gives the attempt up @returns whether the server has accepted the mail */
  async #composeAndSend(job: Job, signal: AbortSignal): Promise<boolean> {
    const { outbox, observer, attemptMs } = this.#options
    const letter = await this.#compose(job)
    if (letter === undefined) return false
    if (typeof letter === 'string') {
      this.#settle(job)
      observer.skipped?.(job.purpose, letter)
      return false
    }
    // Reading the customer may have taken long: the lease may be lost by now.
    if (signal.aborted || !this.#mayStart) return false
    const before = this.#accepted
    try {
      await outbox.send(letter, AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]))
    } catch (error) {
      if (!signal.aborted) this.#onSendFailed(job, error, before)
      return false
    }
    this.#accepted++
    this.#endOutage()
    this.#settle(job)
    observer.sent?.(job.purpose, job.event.created)
    return true
  }

  /** The letter, or why there is none; undefined if it could not be written now. */
  async #compose(job: Job): Promise<Letter | Reason | undefined> {
    try {
      return await this.#options.letters.compose(job.event, job.purpose)
    } catch (error) {
      if (error instanceof EventStoreUnavailable) this.#retry(job, STORE_WAITS)
      else {
        // Logs at most the message of the error: see codec.ts and customer.ts.
        job.tries++
        this.#retryOrFail(job, (error as Error).message)
      }
      return undefined
    }
  }

  /** @param before how many mails the server had accepted when the attempt began */
  #onSendFailed(job: Job, error: unknown, before: number): void {
    const reason = (error as Error).message
    if (error instanceof MailRefused) {
      this.#endOutage()
      this.#fail(job, reason)
    } else if (error instanceof MailDeferred || this.#accepted > before) {
      // A server that accepted other mails in the meantime is available, whatever went wrong with this one.
      if (error instanceof MailDeferred) this.#endOutage()
      // If it accepts none at all, the mail is not at fault.
      if (this.#accepted > (job.acceptedBefore ?? this.#accepted)) job.tries++
      this.#retryOrFail(job, reason)
    } else this.#onServerAway(job, reason)
  }

  #onServerAway(job: Job, reason: string): void {
    const { log, observer } = this.#options
    if (!this.#outage.isOngoing) {
      log.warn({ reason }, 'the mail server does not accept mails; they wait')
      observer.interrupted?.()
    }
    this.#outage.extend()
    observer.retried?.(job.purpose)
    // Another mail tests the server next time: this one may be what makes it fail.
    this.#jobs.delete(keyOf(job))
    this.#jobs.set(keyOf(job), job)
  }

  #endOutage(): void {
    if (this.#outage.isOngoing) this.#options.log.info({}, 'the mail server accepts mails again')
    this.#outage.end()
  }

  #retryOrFail(job: Job, reason: string): void {
    if (job.tries >= this.#options.mostTries) this.#fail(job, reason)
    else this.#retry(job, this.#options.mailWaits)
  }

  #retry(job: Job, waits: BackOff): void {
    job.failures++
    job.notBefore = performance.now() + waitAfter(waits, job.failures)
    this.#options.observer.retried?.(job.purpose)
  }

  #fail(job: Job, reason: string): void {
    this.#settle(job)
    this.#options.observer.failed?.(job.purpose)
    this.#options.log.error({ ...about(job.event), reason }, 'mail could not be sent; no further attempt is made')
  }

  #settle(job: Job): void {
    const { letters, onSettled } = this.#options
    const { event } = job
    this.#jobs.delete(keyOf(job))
    if (!letters.purposesOf(event).some((purpose) => this.#jobs.has(keyOf({ event, purpose })))) onSettled(event)
  }
}

/** For the log, without names or addresses. */
function about({ id, stream, type }: RecordedEvent): object {
  const customerId = customerOf(stream)
  return { eventId: id, type, ...(customerId !== undefined && { customerId }) }
}
