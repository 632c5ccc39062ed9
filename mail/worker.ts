/**
 * The mail worker: follows the log from its checkpoint and sends the mails that events ask for.
 *
 * The checkpoint says how far the log was read, and which events up to there still wait for their mail. So after a crash
 * each mail is sent that was not, and one that was is sent a second time only if the crash came between the server's answer
 * and the checkpoint. Of several workers one sends at a time: the one that holds the lease (lease.ts), which it renews while
 * it has mails in hand. Another takes over when the checkpoint has not changed for `leaseMs`; no attempt of the former one
 * lasts as long.
 */
import { asStored } from '../eventstore/as-stored.ts'
import { hasKeys } from '../eventstore/encryption/customer-keys.ts'
import { openEvent } from '../eventstore/encryption/opening.ts'
import { type EventPlace, placeOf } from '../eventstore/place.ts'
import {
  comparePositions,
  type EventStore,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  StreamNotFound,
  type Subscription,
  type SubscriptionBatch,
} from '../eventstore/port.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import { type Log, SILENT } from '../runtime/log.ts'
import { pause } from '../runtime/time-limits.ts'
import { type CheckpointStream, checkpointStream, type StoredCheckpoint } from './checkpoint.ts'
import { Conditions } from './conditions.ts'
import { BACK_OFF, MailLease } from './lease.ts'
import type { Letters } from './letters.ts'
import type { Outbox } from './outbox.ts'
import { type MailObserver, MailQueue } from './queue.ts'
import { awaitLease, eventAt, FILTER, firstStart, locate } from './resume.ts'
import { SettledMails } from './settled-mails.ts'

export interface MailWorker {
  /** How things stand: for health checks and metrics. */
  status(): MailStatus
  /** Resolves when no mail is left of what is in the log now. @throws Error when the worker is stopped before */
  caughtUp(): Promise<void>
  /** Finishes the mails in hand, as far as that does not take long, and stores the checkpoint. */
  stop(): Promise<void>
}

export interface MailStatus {
  /** Mails in hand that are not sent. */
  readonly waiting: number
  /** The age of the oldest of them; 0 where there is none. */
  readonly lagSeconds: number
  /** The mail server accepted the last mail that it was given. */
  readonly isServerThere: boolean
}

/** Nothing is kept of the person that one of these is about. */
const ERASURES: ReadonlySet<string> = new Set(['CustomerDeleted', 'GuestErased'])

export interface MailWorkerOptions {
  readonly eventStore: EventStore
  readonly letters: Letters
  readonly outbox: Outbox
  readonly log?: Log
  readonly observer?: Partial<MailObserver>
  /** Workers of the same name share the work. */
  readonly name?: string
  readonly batchSize?: number
  /** How many mails are sent at a time. */
  readonly concurrency?: number
  /** After this time without a renewal another worker takes over. */
  readonly leaseMs?: number
  /** How long stopping waits for mails that are being sent. */
  readonly graceMs?: number
  /** How long mails wait while the server is away. */
  readonly outageWaits?: BackOff
  /** How long a mail waits that the server defers while it accepts others. */
  readonly mailWaits?: BackOff
  /** How often such a mail is tried. */
  readonly mostTries?: number
}

/** With so many unsent mails the log is not read further. */
const MOST_WAITING = 200
/** How long stopping tries to store the checkpoint. */
const LAST_WRITE_MS = 2_000

/** Starts following. Failures of the event store and of the mail server are retried for ever; only `caughtUp` throws. */
export function startMailWorker(options: MailWorkerOptions): MailWorker {
  const worker = new Worker(options)
  return { status: () => worker.status(), caughtUp: () => worker.caughtUp(), stop: () => worker.stop() }
}

class Worker {
  readonly #options: MailWorkerOptions
  readonly #log: Log
  readonly #leaseMs: number
  readonly #graceMs: number
  /** In the checkpoint while this worker sends. */
  readonly #id = crypto.randomUUID()
  /** The log as it is stored: of a type is known what it asks for without a key, and few events ask for anything. */
  readonly #stored: EventStore
  readonly #checkpoints: CheckpointStream
  readonly #queue: MailQueue
  readonly #settled = new SettledMails()
  readonly #conditions = new Conditions()
  /** Aborted when the worker is to stop. */
  readonly #stopping = new AbortController()
  /** Aborted when nothing is to be written any more. */
  readonly #writesEnd = new AbortController()
  readonly #running: Promise<void>
  #lease: MailLease | undefined
  #subscription: Subscription | undefined

  constructor(options: MailWorkerOptions) {
    const { log = SILENT, leaseMs = 60_000, graceMs = 7_000 } = options
    this.#options = options
    this.#log = log
    this.#leaseMs = leaseMs
    this.#graceMs = graceMs
    this.#stored = asStored(options.eventStore)
    this.#checkpoints = checkpointStream(options.eventStore, options.name ?? 'default')
    this.#queue = new MailQueue({
      letters: options.letters,
      outbox: options.outbox,
      log,
      observer: options.observer ?? {},
      concurrency: options.concurrency ?? 5,
      attemptMs: leaseMs / 2,
      outageWaits: options.outageWaits ?? { firstMs: 500, mostMs: 60_000 },
      mailWaits: options.mailWaits ?? { firstMs: 5_000, mostMs: 300_000 },
      mostTries: options.mostTries ?? 15,
      mayStart: () => this.#lease?.maySend ?? false,
      onSettled: ({ id }) => {
        this.#settled.add(id)
        this.#lease?.save()
        this.#conditions.check()
      },
    })
    this.#running = this.#run()
  }

  status(): MailStatus {
    const events = this.#queue.events()
    const oldest = Math.min(...events.map(({ created }) => created.getTime()))
    const lagSeconds = events.length === 0 ? 0 : Math.max(0, (Date.now() - oldest) / 1000)
    return { waiting: events.length, lagSeconds, isServerThere: !this.#queue.isInterrupted }
  }

  async caughtUp(): Promise<void> {
    let end: Position | undefined
    const newest = this.#stored.readAll({ direction: 'backwards', filter: FILTER, maxCount: 1 })
    for await (const last of newest) end = last.position
    const hasRead = (place: EventPlace | undefined) =>
      end === undefined || (place !== undefined && comparePositions(place.position, end) >= 0)
    const isStored = (lease: MailLease | undefined) => lease === undefined || !(lease.isSaving || lease.isEnded)
    if (this.#isStopping) throw new Error('The mail worker was stopped.')
    await this.#conditions.until(() => hasRead(this.#lease?.place) && this.#queue.size === 0 && isStored(this.#lease))
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#conditions.check()
    const limit = setTimeout(() => this.#writesEnd.abort(), this.#graceMs + LAST_WRITE_MS)
    await this.#subscription?.unsubscribe()
    await this.#running
    clearTimeout(limit)
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted
  }

  async #run(): Promise<void> {
    let failures = 0
    const onProgress = () => {
      if (failures > 0) this.#log.info({}, 'mail worker goes on')
      failures = 0
    }
    while (!this.#isStopping) {
      try {
        await this.#follow(onProgress)
      } catch (error) {
        const reason = (error as Error).message
        if (failures === 0) this.#log.warn({ reason }, 'mail worker is interrupted; it tries again')
        await pause(waitAfter(BACK_OFF, ++failures), this.#stopping.signal)
      }
    }
    this.#writesEnd.abort()
    this.#conditions.reject(new Error('The mail worker was stopped.'))
  }

  /** Until the worker is stopped, or loses its lease. @param onProgress called after each batch */
  async #follow(onProgress: () => void): Promise<void> {
    const { eventStore, batchSize = 100 } = this.#options
    const stored = await awaitLease(this.#checkpoints, this.#id, this.#leaseMs, this.#stopping.signal, this.#log)
    if (this.#isStopping) return
    const place = await locate(eventStore, stored, this.#log)
    const { unsent = [], holder = null } = stored.checkpoint ?? {}
    const lease = this.#newLease(stored.revision, place)
    this.#lease = lease
    this.#subscription = undefined
    try {
      await this.#queueUnsent(unsent)
      const subscription = this.#stored.subscribeToAll({
        from: place?.position ?? (await firstStart(this.#stored)),
        ...(place && place.id !== '' && { expects: place }),
        filter: FILTER,
        batchSize,
      })
      this.#subscription = subscription
      // The holder is gone, or was this worker before an outage: the checkpoint must not go on saying that it sends.
      if (holder !== null || this.#queue.size > 0) lease.save()
      for await (const batch of subscription) {
        await this.#accept(batch, lease)
        onProgress()
        this.#conditions.check()
        await this.#conditions.until(() => lease.isEnded || this.#isStopping || this.#queue.size < MOST_WAITING)
        if (lease.isEnded || this.#isStopping) break
      }
      if (lease.error !== undefined) throw lease.error
    } finally {
      await this.#subscription?.unsubscribe()
      await this.#finish(lease)
    }
  }

  #newLease(revision: StoredCheckpoint['revision'], place: EventPlace | undefined): MailLease {
    const options = {
      checkpoints: this.#checkpoints,
      workerId: this.#id,
      leaseMs: this.#leaseMs,
      attemptMs: this.#leaseMs / 2,
      queue: this.#queue,
      settled: this.#settled,
      log: this.#log,
      signal: this.#writesEnd.signal,
      onChange: () => this.#conditions.check(),
      onLost: () => this.#subscription?.unsubscribe(),
    }
    return new MailLease(options, revision, place)
  }

  /** What the checkpoint says is still to be sent. @throws EventStoreUnavailable */
  async #queueUnsent(unsent: readonly EventPlace[]): Promise<void> {
    for (const place of unsent) {
      const event = await eventAt(this.#options.eventStore, place)
      if (event && !this.#settled.has(event.id)) this.#queue.add(event)
    }
  }

  /** An event as it is stored, in clear. @throws EventStoreUnavailable */
  #open(event: RecordedEvent): RecordedEvent | Promise<RecordedEvent> {
    const { eventStore } = this.#options
    return hasKeys(eventStore) ? openEvent(eventStore.keys, event) : event
  }

  async #accept({ events }: SubscriptionBatch, lease: MailLease): Promise<void> {
    const { letters } = this.#options
    for (const event of events) {
      if (letters.purposesOf(event).length > 0 && !this.#settled.has(event.id)) this.#queue.add(await this.#open(event))
      else if (ERASURES.has(event.type)) await this.#forget(event.stream)
    }
    // An event's place, not that of the end of the batch's range: it can be compared.
    const last = events.at(-1)
    lease.advance(events.length, last && placeOf(last))
  }

  /** Removes mails to somebody who was erased, where they lie in files. @throws EventStoreUnavailable */
  async #forget(stream: string): Promise<void> {
    const { outbox } = this.#options
    if (outbox.forget === undefined) return
    const ids = new Set<string>()
    try {
      for await (const { id } of this.#stored.readStream(stream)) ids.add(id)
    } catch (error) {
      if (!(error instanceof StreamNotFound || error instanceof StreamDeleted)) throw error
    }
    await outbox.forget(ids)
  }

  /** Ends following: a worker that stops sends what is in hand and gives up the lease, so that the others need not wait. */
  async #finish(lease: MailLease): Promise<void> {
    if (this.#isStopping && !lease.isEnded) {
      await this.#queue.drain(this.#graceMs)
      const limit = setTimeout(() => this.#writesEnd.abort(), LAST_WRITE_MS)
      await lease.release()
      clearTimeout(limit)
    }
    // Where another worker has the lease, nothing of this one's may go on; else what is under way is better finished.
    const clearing = this.#queue.clear(lease.isEnded ? 0 : this.#graceMs)
    lease.end()
    await clearing
    await lease.idle()
  }
}
