/**
 * The mail worker: follows the log from its checkpoint and sends the mails that events ask for.
 *
 * The checkpoint says how far the log was read, and which events up to there still wait for their mail. So after a
 * crash every unsent mail is sent, and a sent one is repeated only if the crash came between the server's answer and
 * the checkpoint. Of several workers one sends at a time: the one that holds the lease (lease.ts), which it renews
 * while it has mails in hand. Another takes over when the checkpoint has not changed for `leaseMs`; no attempt of the
 * former one lasts as long.
 */
import { asStored } from '../eventstore/as-stored.ts'
import { hasKeys } from '../eventstore/encryption/customer-keys.ts'
import { decryptEvent } from '../eventstore/encryption/decryption.ts'
import { type EventPlace, placeOf } from '../eventstore/event-place.ts'
import {
  comparePositions,
  type EventStore,
  type Position,
  type RecordedEvent,
  type Subscription,
  type SubscriptionBatch,
} from '../eventstore/port.ts'
import { isOfNoStream } from '../eventstore/read.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import { type Log, SILENT } from '../runtime/log.ts'
import { pause } from '../runtime/time-limits.ts'
import { MAIL_WORKERS } from '../schema/streams.ts'
import { Conditions } from './conditions.ts'
import { BACK_OFF, MailLease } from './lease.ts'
import type { Letters } from './letters.ts'
import { checkpointStream, type MailCheckpointStream, type StoredMailCheckpoint } from './mail-checkpoint.ts'
import type { Outbox } from './outbox.ts'
import { type MailObserver, MailQueue } from './queue.ts'
import { awaitLease, eventAt, FILTER, firstStart, locate } from './resume.ts'
import { SettledMails } from './settled-mails.ts'

export interface MailWorker {
  /** The current status, for health checks and metrics. */
  status(): MailStatus
  /**
   * Resolves when all mails for the current end of the log are settled. @throws Error when the worker is stopped before
   */
  caughtUp(): Promise<void>
  /** Finishes the mails in hand, within a short time, and stores the checkpoint. */
  stop(): Promise<void>
}

export interface MailStatus {
  /** Mails in hand that are not sent. */
  readonly waiting: number
  /** The age of the oldest of them; 0 if there is none. */
  readonly lagSeconds: number
  /** The mail server accepted the last mail that it was given. */
  readonly isServerThere: boolean
}

/** After one of these events, nothing is kept about the person. */
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
  /** How many mails are sent concurrently. */
  readonly concurrency?: number
  /** After this time without a renewal another worker takes over. */
  readonly leaseMs?: number
  /** How long stopping waits for mails that are being sent. */
  readonly graceMs?: number
  /** The back-off while the mail server is unavailable. */
  readonly outageWaits?: BackOff
  /** The back-off of a mail that the server defers while it accepts others. */
  readonly mailWaits?: BackOff
  /** How many attempts such a mail gets. */
  readonly mostTries?: number
}

/** With this many unsent mails, reading of the log pauses. */
const MOST_WAITING = 200
/** How long a stopping worker tries to store the checkpoint. */
const LAST_WRITE_MS = 2_000

/**
 * Starts following. Failures of the event store and of the mail server are retried indefinitely; only `caughtUp`
 * throws.
 */
export function startMailWorker(options: MailWorkerOptions): MailWorker {
  const worker = new Worker(options)
  return { status: () => worker.status(), caughtUp: () => worker.caughtUp(), stop: () => worker.stop() }
}

class Worker {
  readonly #options: MailWorkerOptions
  readonly #log: Log
  readonly #leaseMs: number
  readonly #graceMs: number
  /** The holder's name in the checkpoint while this worker sends. */
  readonly #id = crypto.randomUUID()
  /** The log as stored: an event's type says whether it asks for mails, and few do, so few are decrypted. */
  readonly #stored: EventStore
  readonly #checkpoints: MailCheckpointStream
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
    this.#checkpoints = checkpointStream(options.eventStore, options.name ?? MAIL_WORKERS)
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
      if (failures > 0) this.#log.info({}, 'mail worker resumes')
      failures = 0
    }
    while (!this.#isStopping) {
      try {
        await this.#follow(onProgress)
      } catch (error) {
        const reason = (error as Error).message
        if (failures === 0) this.#log.warn({ reason }, 'mail worker interrupted; it retries')
        await pause(waitAfter(BACK_OFF, ++failures), this.#stopping.signal)
      }
    }
    this.#writesEnd.abort()
    this.#conditions.reject(new Error('The mail worker was stopped.'))
  }

  /** Follows the log until the worker is stopped or loses its lease. @param onProgress called after each batch */
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
      if (this.#isStopping) return // meanwhile: `stop` has not seen it
      // The holder is gone, or was this worker before an outage: its name has to be removed from the checkpoint.
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

  #newLease(revision: StoredMailCheckpoint['revision'], place: EventPlace | undefined): MailLease {
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

  /** Queues what the checkpoint lists as unsent. @throws EventStoreUnavailable */
  async #queueUnsent(unsent: readonly EventPlace[]): Promise<void> {
    for (const place of unsent) {
      const event = await eventAt(this.#options.eventStore, place)
      if (event && !this.#settled.has(event.id)) this.#queue.add(event)
    }
  }

  /** Decrypts an event that was read as stored. @throws EventStoreUnavailable */
  #open(event: RecordedEvent): RecordedEvent | Promise<RecordedEvent> {
    const { eventStore } = this.#options
    return hasKeys(eventStore) ? decryptEvent(eventStore.keys, event) : event
  }

  async #accept({ events }: SubscriptionBatch, lease: MailLease): Promise<void> {
    const { letters } = this.#options
    for (const event of events) {
      if (letters.purposesOf(event).length > 0 && !this.#settled.has(event.id)) this.#queue.add(await this.#open(event))
      else if (ERASURES.has(event.type)) await this.#forget(event.stream)
    }
    // The place of an event and not of the end of the batch, because it can be verified later.
    const last = events.at(-1)
    lease.advance(events.length, last && placeOf(last))
  }

  /** Removes mails to an erased person from the folder, if mails are files. @throws EventStoreUnavailable */
  async #forget(stream: string): Promise<void> {
    const { outbox } = this.#options
    if (outbox.forget === undefined) return
    const ids = new Set<string>()
    try {
      for await (const { id } of this.#stored.readStream(stream)) ids.add(id)
    } catch (error) {
      if (!isOfNoStream(error)) throw error
    }
    await outbox.forget(ids)
  }

  /**
   * Ends following: a worker that stops sends the mails in hand and releases the lease, so that others need not wait.
   */
  async #finish(lease: MailLease): Promise<void> {
    if (this.#isStopping && !lease.isEnded) {
      await this.#queue.drain(this.#graceMs)
      const limit = setTimeout(() => this.#writesEnd.abort(), LAST_WRITE_MS)
      await lease.release()
      clearTimeout(limit)
    }
    // If another worker has the lease, this one must stop at once; otherwise it finishes what is under way.
    const clearing = this.#queue.clear(lease.isEnded ? 0 : this.#graceMs)
    lease.end()
    await clearing
    await lease.idle()
  }
}
