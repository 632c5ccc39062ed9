/**
 * The mails that are to be sent now: a few at a time, each until it is in other hands or of no use. What fails is tried
 * again: all of them after a growing wait where the server is away, a single one on its own beside the others.
 */

import { EventStoreUnavailable, type RecordedEvent } from '../eventstore/port.ts'
import { customerOf } from '../projections/fold.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import type { Log } from '../runtime/log.ts'
import type { Letter, LetterPurpose, Letters, Reason } from './letters.ts'
import { MailDeferred, MailRefused, type Outbox } from './outbox.ts'

/** Told of what becomes of mails, for metrics. */
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
  /** Attempts at one time. */
  readonly concurrency: number
  /** The longest that one attempt may take. */
  readonly attemptMs: number
  /** While the server is away. */
  readonly outageWaits: BackOff
  /** Of a mail that the server does not take while it takes others. */
  readonly mailWaits: BackOff
  /** So often such a mail is tried. */
  readonly mostTries: number
  /** Asked before each attempt: whether it is this process's turn. */
  mayStart(): boolean
  /** None of the mails that the event asks for needs a further attempt. */
  onSettled(event: RecordedEvent): void
}

export interface Queue {
  add(event: RecordedEvent): void
  /** What is not settled. */
  events(): readonly RecordedEvent[]
  readonly size: number
  /** Whether the server was away at the last attempt. */
  readonly isInterrupted: boolean
  /** Begins attempts, as far as they are due. */
  start(): void
  /** Begins no further attempt and lets those under way end, but gives them up after `graceMs`. */
  drain(graceMs: number): Promise<void>
  /** Forgets all; what is under way is given up after `graceMs`. */
  clear(graceMs: number): Promise<void>
}

interface Job {
  readonly event: RecordedEvent
  readonly purpose: LetterPurpose
  isUnderWay: boolean
  notBefore: number
  failures: number
  /** Failures that were not the server's. */
  tries: number
  /** Mails that the server had taken before this one was tried first. */
  takenBefore: number | undefined
}

/** Reading a customer's stream failed because the event store is away. */
const STORE_WAITS: BackOff = { firstMs: 500, mostMs: 5_000 }

export function createQueue(options: QueueOptions): Queue {
  const { letters, outbox, log, observer, concurrency, attemptMs, outageWaits, mailWaits, mostTries } = options
  /** By event and purpose, in the order in which they are to be tried. */
  const jobs = new Map<string, Job>()
  const keyOf = ({ event, purpose }: Pick<Job, 'event' | 'purpose'>) => `${event.id} ${purpose}`
  const underWay = new Set<Promise<void>>()
  let givingUp = new AbortController()
  let isDraining = false
  let timer: NodeJS.Timeout | undefined
  let taken = 0
  let outage: { failures: number; until: number } | undefined

  function start(): void {
    clearTimeout(timer)
    if (isDraining || !options.mayStart()) return
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const job of [...jobs.values()]) {
      // While the server is away one mail asks whether it is back.
      if (underWay.size >= (outage ? 1 : concurrency)) return
      if (job.isUnderWay) continue
      const due = Math.max(job.notBefore, outage?.until ?? 0)
      if (due <= now) {
        const trying = attempt(job).finally(() => {
          underWay.delete(trying)
          start()
        })
        underWay.add(trying)
      } else next = Math.min(next, due)
    }
    if (next < Number.POSITIVE_INFINITY) timer = setTimeout(start, Math.ceil(next - now))
  }

  async function attempt(job: Job): Promise<void> {
    const { event, purpose } = job
    const { signal } = givingUp
    job.isUnderWay = true
    job.takenBefore ??= taken
    try {
      const letter = await compose(job)
      if (letter === undefined) return
      if (typeof letter === 'string') {
        settle(job)
        observer.skipped?.(purpose, letter)
        return
      }
      // The reading may have taken long.
      if (signal.aborted || isDraining || !options.mayStart()) return
      const before = taken
      try {
        await outbox.send(letter, AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]))
      } catch (error) {
        if (!signal.aborted) meet(job, error, before)
        return
      }
      taken++
      endOutage()
      settle(job)
      observer.sent?.(purpose)
    } finally {
      job.isUnderWay = false
    }
    log.info(about(event), 'mail sent')
  }

  /** undefined: not now. */
  async function compose(job: Job): Promise<Letter | Reason | undefined> {
    try {
      return await letters.compose(job.event, job.purpose)
    } catch (error) {
      if (error instanceof EventStoreUnavailable) retry(job, STORE_WAITS)
      else {
        // Of the error its message at most: see codec.ts and customer.ts.
        job.tries++
        tryLater(job, (error as Error).message)
      }
      return undefined
    }
  }

  /** An attempt that failed. @param before mails that the server had taken when it began */
  function meet(job: Job, error: unknown, before: number): void {
    const reason = (error as Error).message
    if (error instanceof MailRefused) {
      endOutage()
      fail(job, reason)
    } else if (error instanceof MailDeferred || taken > before) {
      // A server that has taken others meanwhile is not away, whatever went wrong with this one.
      if (error instanceof MailDeferred) endOutage()
      // Where it takes none at all, the mail is not what is wrong.
      if (taken > (job.takenBefore ?? taken)) job.tries++
      tryLater(job, reason)
    } else {
      if (!outage) {
        log.warn({ reason }, 'the mail server does not take mails; they wait')
        observer.interrupted?.()
      }
      const failures = (outage?.failures ?? 0) + 1
      outage = { failures, until: performance.now() + waitAfter(outageWaits, failures) }
      observer.retried?.(job.purpose)
      // Another one asks next time: this one may be what the server can't cope with.
      jobs.delete(keyOf(job))
      jobs.set(keyOf(job), job)
    }
  }

  function endOutage(): void {
    if (outage) log.info({}, 'the mail server takes mails again')
    outage = undefined
  }

  function tryLater(job: Job, reason: string): void {
    if (job.tries >= mostTries) fail(job, reason)
    else retry(job, mailWaits)
  }

  function retry(job: Job, waits: BackOff): void {
    job.failures++
    job.notBefore = performance.now() + waitAfter(waits, job.failures)
    observer.retried?.(job.purpose)
  }

  function fail(job: Job, reason: string): void {
    settle(job)
    observer.failed?.(job.purpose)
    log.error({ ...about(job.event), reason }, 'mail could not be sent; it is passed over')
  }

  function settle(job: Job): void {
    const { event } = job
    jobs.delete(keyOf(job))
    if (!letters.purposesOf(event).some((purpose) => jobs.has(keyOf({ event, purpose })))) options.onSettled(event)
  }

  async function finish(graceMs: number): Promise<void> {
    const grace = setTimeout(() => givingUp.abort(), graceMs)
    await Promise.all(underWay)
    clearTimeout(grace)
  }

  return {
    get size() {
      return jobs.size
    },
    get isInterrupted() {
      return outage !== undefined
    },
    add(event) {
      for (const purpose of letters.purposesOf(event)) {
        const job = { event, purpose, isUnderWay: false, notBefore: 0, failures: 0, tries: 0, takenBefore: undefined }
        if (!jobs.has(keyOf(job))) jobs.set(keyOf(job), job)
      }
    },
    events: () => [...new Set([...jobs.values()].map(({ event }) => event))],
    start,

    async drain(graceMs) {
      isDraining = true
      clearTimeout(timer)
      await finish(graceMs)
    },

    async clear(graceMs) {
      clearTimeout(timer)
      jobs.clear()
      await finish(graceMs)
      jobs.clear() // one that failed meanwhile
      givingUp = new AbortController()
    },
  }
}

/** For the log: nobody's name or address. */
function about({ id, stream, type }: RecordedEvent): object {
  const customerId = customerOf(stream)
  return { eventId: id, type, ...(customerId !== undefined && { customerId }) }
}
