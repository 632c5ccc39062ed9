/**
 * A mail worker's lease. The checkpoint names its holder, so that of several workers one sends at a time; storing the
 * checkpoint acquires the lease, renews it and releases it. There is one object for each time that the worker follows
 * the log:
 *
 *     free ──(stored with mails in hand)──> held ──(stored without)──> free
 *     free, held ──(the worker stops)──> releasing
 *     any ──(another worker has stored the checkpoint, or it can't be stored)──> ended
 */
import { type EventPlace, placeOf } from '../eventstore/event-place.ts'
import { EventStoreUnavailable } from '../eventstore/port.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import type { Log } from '../runtime/log.ts'
import { elapsed, type Moment, now } from '../runtime/moments.ts'
import { pause } from '../runtime/time-limits.ts'
import type { MailCheckpoint, MailCheckpointStream, StoredMailCheckpoint } from './mail-checkpoint.ts'
import type { MailQueue } from './queue.ts'
import type { SettledMails } from './settled-mails.ts'

type LeaseState =
  /** No holder is named: the worker reads, and may not send. */
  | { readonly name: 'free' }
  /** The worker is named and may send. `since`: when that write began. */
  | { readonly name: 'held'; readonly since: Moment }
  /** The next write removes the name, even if mails are in hand. */
  | { readonly name: 'releasing' }
  /** Nothing more is written. `error`: the failure that ended it, if one did. */
  | { readonly name: 'ended'; readonly error?: unknown }

export interface LeaseOptions {
  readonly checkpoints: MailCheckpointStream
  readonly workerId: string
  /** The lease expires after this time without a write, in milliseconds. */
  readonly leaseMs: number
  /**
   * The longest time that one attempt to send may take, in milliseconds. No attempt begins that could outlast the
   * lease.
   */
  readonly attemptMs: number
  readonly queue: MailQueue
  readonly settled: SettledMails
  readonly log: Log
  /** Aborted when nothing may be written any more. */
  readonly signal: AbortSignal
  /** Called after each change of what is stored, or of the lease. */
  onChange(): void
  /** Called when another worker has stored the checkpoint, or it can't be stored. */
  onLost(): void
}

/** Events without a mail need a checkpoint only now and then; without new events there is none. */
const QUIET = { events: 5_000, ms: 60_000 }
export const BACK_OFF: BackOff = { firstMs: 50, mostMs: 5_000 }

export class MailLease {
  readonly #options: LeaseOptions
  #state: LeaseState = { name: 'free' }
  /** The revision of the stored checkpoint. */
  #revision: StoredMailCheckpoint['revision']
  #place: EventPlace | undefined
  /** Events that were read and are not in the checkpoint. */
  #unsaved = 0
  /** How many of these the write under way will cover. */
  #covered = 0
  #isSaveRequested = false
  #saving: Promise<void> | undefined
  #renewal: NodeJS.Timeout | undefined
  #quietSave: NodeJS.Timeout | undefined

  /** @param place the event up to which everything has been read; undefined at the start of the log */
  constructor(options: LeaseOptions, revision: StoredMailCheckpoint['revision'], place: EventPlace | undefined) {
    this.#options = options
    this.#revision = revision
    this.#place = place
  }

  get place(): EventPlace | undefined {
    return this.#place
  }

  get isEnded(): boolean {
    return this.#state.name === 'ended'
  }

  get isSaving(): boolean {
    return this.#saving !== undefined
  }

  /** Why the checkpoint can't be stored. */
  get error(): unknown {
    return this.#state.name === 'ended' ? this.#state.error : undefined
  }

  /** Whether an attempt to send that begins now is sure to end before the lease expires. */
  get maySend(): boolean {
    const { leaseMs, attemptMs } = this.#options
    return this.#state.name === 'held' && elapsed(this.#state.since) < leaseMs - attemptMs
  }

  /** A batch was read, and its mails are queued. @param place of its last event */
  advance(events: number, place: EventPlace | undefined): void {
    if (place) this.#place = place
    this.#unsaved += events
    const { queue } = this.#options
    if (queue.size > 0) {
      if (this.#state.name === 'held') queue.start()
      else if (!this.isSaving) this.save() // a write under way starts the queue
    } else if (this.#unsaved - this.#covered >= QUIET.events) this.save()
    else if (this.#unsaved > 0) this.#quietSave ??= setTimeout(() => this.save(), QUIET.ms).unref()
  }

  /** Stores the checkpoint; what changes meanwhile is stored after it. Resolves when nothing is left to store. */
  save(): Promise<void> {
    this.#isSaveRequested = true
    this.#saving ??= Promise.resolve()
      .then(() => this.#write())
      .catch((error: unknown) => this.#lose(error))
    return this.#saving
  }

  /** Stores the checkpoint without a holder, where anything has changed since the last. */
  async release(): Promise<void> {
    if (this.#state.name === 'ended') return
    const isHeld = this.#state.name === 'held'
    this.#state = { name: 'releasing' }
    if (isHeld || this.#unsaved > 0 || this.#options.settled.unsaved > 0 || this.isSaving) await this.save()
  }

  /** No write counts any more. */
  end(): void {
    clearTimeout(this.#renewal)
    clearTimeout(this.#quietSave)
    if (this.#state.name !== 'ended') this.#state = { name: 'ended' }
  }

  /** Resolves when no write is under way. */
  async idle(): Promise<void> {
    await this.#saving
  }

  #lose(error?: unknown): void {
    this.#state = { name: 'ended', error }
    this.#saving = undefined
    this.#options.onChange()
    this.#options.onLost()
  }

  async #write(): Promise<void> {
    const { queue, settled, workerId } = this.#options
    while (this.#isSaveRequested && !this.isEnded && this.#place !== undefined) {
      this.#isSaveRequested = false
      clearTimeout(this.#renewal)
      clearTimeout(this.#quietSave)
      this.#quietSave = undefined
      const began = now()
      const unsent = queue.events().map(placeOf)
      const isHolder = unsent.length > 0 && this.#state.name !== 'releasing'
      const newlySettled = settled.unsaved
      this.#covered = this.#unsaved
      const revision = await this.#replace({ place: this.#place, unsent, holder: isHolder ? workerId : null })
      if (revision === undefined) return this.#lose()
      this.#revision = revision
      this.#unsaved -= this.#covered
      this.#covered = 0
      settled.saved(newlySettled)
      if (this.#state.name === 'free' || this.#state.name === 'held') {
        this.#state = isHolder ? { name: 'held', since: began } : { name: 'free' }
        if (queue.size > 0) this.#continue()
      }
    }
    this.#saving = undefined // no await since `#isSaveRequested` was read
    this.#options.onChange()
  }

  /** Mails are in hand. */
  #continue(): void {
    if (this.#state.name === 'free') this.#isSaveRequested = true // the first came while the name was removed
    this.#renewal = setTimeout(() => this.save(), this.#options.leaseMs / 4)
    this.#options.queue.start()
  }

  /**
   * Returns the new revision, or undefined if another worker came first or the lease ended. Retries until the event
   * store answers.
   */
  async #replace(checkpoint: MailCheckpoint): Promise<number | undefined> {
    const { checkpoints, signal, log } = this.#options
    const id = crypto.randomUUID()
    for (let failures = 1; !signal.aborted && !this.isEnded; failures++) {
      try {
        return await checkpoints.replace(this.#revision, checkpoint, id)
      } catch (error) {
        if (!(error instanceof EventStoreUnavailable)) throw error
        if (failures === 1) log.warn({}, 'the event store is unavailable; the mail checkpoint waits')
        await pause(waitAfter(BACK_OFF, failures), signal)
      }
    }
    return undefined
  }
}
