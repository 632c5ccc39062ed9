/**
 * The mails that are to be sent now: a few at a time, each until the server has accepted it or it is of no use. What fails
 * is retried: all of them after a growing wait where the server is away, a single one on its own beside the others.
 */

import { EventStoreUnavailable, type RecordedEvent } from '../eventstore/port.ts'
import { customerOf } from '../projections/fold.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import type { Log } from '../runtime/log.ts'
import { MailDeferred, MailRefused } from './errors.ts'
import type { Letter, LetterPurpose, Letters, Reason } from './letters.ts'
import { Outage } from './outage.ts'
import type { Outbox } from './outbox.ts'

/** What becomes of mails, for metrics. */
export interface MailObserver {
  sent(purpose: LetterPurpose): void
  /** Refused, or tried too often: it is not sent. */
  failed(purpose: LetterPurpose): void
  /** Of no use any more. */
  skipped(purpose: LetterPurpose, reason: Reason): void
  /** An attempt failed that is made again. */
  retried(purpose: LetterPurpose): void
  /** Once for each outage of the mail server. */
  interrupted(): void
}

export interface QueueOptions {
  readonly letters: Letters
  readonly outbox: Outbox
  readonly log: Log
  readonly observer: Partial<MailObserver>
  /** How many attempts run at a time. */
  readonly concurrency: number
  /** The longest that one attempt may take, milliseconds. */
  readonly attemptMs: number
  /** While the server is away. */
  readonly outageWaits: BackOff
  /** Of a mail that the server defers while it accepts others. */
  readonly mailWaits: BackOff
  /** How often such a mail is tried. */
  readonly mostTries: number
  /** Asked before each attempt: whether this process holds the lease. */
  mayStart(): boolean
  /** None of the mails that the event asks for needs a further attempt. */
  onSettled(event: RecordedEvent): void
}

interface Job {
  readonly event: RecordedEvent
  readonly purpose: LetterPurpose
  isUnderWay: boolean
  notBefore: number
  failures: number
  /** Failures that were not the server's. */
  tries: number
  /** How many mails the server had accepted when this one was tried first. */
  acceptedBefore: number | undefined
}

/** Reading a customer's stream failed because the event store is away. */
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

  /** Whether the server was away at the last attempt. */
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

  /** The events that ask for these mails. */
  events(): readonly RecordedEvent[] {
    return [...new Set([...this.#jobs.values()].map(({ event }) => event))]
  }

  /** Begins attempts, as far as they are due. */
  start(): void {
    clearTimeout(this.#timer)
    if (!this.#mayStart) return
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const job of [...this.#jobs.values()]) {
      // While the server is away one mail asks whether it is back.
      if (this.#attempts.size >= (this.#outage.isOngoing ? 1 : this.#options.concurrency)) return
      if (job.isUnderWay) continue
      const due = Math.max(job.notBefore, this.#outage.until)
      if (due <= now) this.#begin(job)
      else next = Math.min(next, due)
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.start(), Math.ceil(next - now))
  }

  /** Begins no further attempt and lets those under way end, but gives them up after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true
    clearTimeout(this.#timer)
    await this.#attemptsEnd(graceMs)
  }

  /** Removes all mails; attempts under way are given up after `graceMs`. */
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
    // Reading may have been slow.
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
    observer.sent?.(job.purpose)
    return true
  }

  /** The letter, or why there is none; undefined where it could not be made now. */
  async #compose(job: Job): Promise<Letter | Reason | undefined> {
    try {
      return await this.#options.letters.compose(job.event, job.purpose)
    } catch (error) {
      if (error instanceof EventStoreUnavailable) this.#retry(job, STORE_WAITS)
      else {
        // Of the error its message at most: see codec.ts and customer.ts.
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
      // A server that has accepted others meanwhile is not away, whatever went wrong with this one.
      if (error instanceof MailDeferred) this.#endOutage()
      // Where it accepts none at all, the mail is not what is wrong.
      if (this.#accepted > (job.acceptedBefore ?? this.#accepted)) job.tries++
      this.#retryOrFail(job, reason)
    } else this.#onServerAway(job, reason)
  }

  #onServerAway(job: Job, reason: string): void {
    const { log, observer } = this.#options
    if (!this.#outage.isOngoing) {
      log.warn({ reason }, 'the mail server does not take mails; they wait')
      observer.interrupted?.()
    }
    this.#outage.extend()
    observer.retried?.(job.purpose)
    // Another one asks next time: this one may be what the server can't cope with.
    this.#jobs.delete(keyOf(job))
    this.#jobs.set(keyOf(job), job)
  }

  #endOutage(): void {
    if (this.#outage.isOngoing) this.#options.log.info({}, 'the mail server takes mails again')
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
    this.#options.log.error({ ...about(job.event), reason }, 'mail could not be sent; it is passed over')
  }

  #settle(job: Job): void {
    const { letters, onSettled } = this.#options
    const { event } = job
    this.#jobs.delete(keyOf(job))
    if (!letters.purposesOf(event).some((purpose) => this.#jobs.has(keyOf({ event, purpose })))) onSettled(event)
  }
}

/** For the log: nobody's name or address. */
function about({ id, stream, type }: RecordedEvent): object {
  const customerId = customerOf(stream)
  return { eventId: id, type, ...(customerId !== undefined && { customerId }) }
}
