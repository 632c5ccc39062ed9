/**
 * The mail worker: follows the log from its checkpoint and sends the mails that events ask for.
 *
 * The checkpoint says how far the log has been looked at, and which events up to there still wait for their mail. So after
 * a crash each mail is sent that was not, and one that was is sent a second time only if the crash came between the
 * server's answer and the checkpoint. Of several workers one sends at a time: the one that has put its name into the
 * checkpoint, which it renews while it has mails in hand. Another takes over when it has seen no change for `leaseMs`; no
 * attempt of the former one lasts as long.
 */

import { LRUCache } from 'lru-cache'
import { type EventPlace, holdsEvent, isSameId, placeOf } from '../eventstore/place.ts'
import {
  comparePositions,
  type EventStore,
  EventStoreUnavailable,
  InvalidArgument,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  StreamNotFound,
  type Subscription,
} from '../eventstore/port.ts'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import { type Log, SILENT } from '../runtime/log.ts'
import { pause } from '../runtime/time-limits.ts'
import { type CheckpointStream, checkpointStream, type StoredCheckpoint } from './checkpoint.ts'
import { type Letters, STREAM_PREFIXES } from './letters.ts'
import type { Outbox } from './outbox.ts'
import { createQueue, type MailObserver } from './queue.ts'

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
  /** The mail server took the last mail that it was given. */
  readonly isServerThere: boolean
}

/** Of whoever they are about, nothing is kept. */
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
  /** Mails that are being sent at a time. */
  readonly concurrency?: number
  /** After so long without a sign of life another worker takes over. */
  readonly leaseMs?: number
  /** How long stopping waits for mails that are being sent. */
  readonly graceMs?: number
  /** How long mails wait while the server is away. */
  readonly outageWaits?: BackOff
  /** How long a mail waits that the server does not take while it takes others. */
  readonly mailWaits?: BackOff
  /** So often such a mail is tried. */
  readonly mostTries?: number
}

const FILTER = { streamPrefixes: STREAM_PREFIXES }
/** From so many unsent mails on the log is not read further. */
const MOST_WAITING = 200
/** Events without a mail are worth a checkpoint only now and then, and none at all where there are none. */
const QUIET = { events: 5_000, ms: 60_000 }
const BACK_OFF: BackOff = { firstMs: 50, mostMs: 5_000 }
/** Of so many mails a worker knows that they are done with. */
const REMEMBERED_MAILS = 10_000
/** So long stopping tries to store the checkpoint. */
const LAST_WRITE_MS = 2_000

/** Starts following. Failures of the event store and of the mail server are retried for ever; only `caughtUp` throws. */
export function startMailWorker(options: MailWorkerOptions): MailWorker {
  const { eventStore, log = SILENT, observer = {}, batchSize = 100, leaseMs = 60_000, graceMs = 7_000 } = options
  const checkpoints: CheckpointStream = checkpointStream(eventStore, options.name ?? 'default')
  const attemptMs = leaseMs / 2
  const me = crypto.randomUUID()
  const stopping = new AbortController()
  /** Nothing is written any more. */
  const over = new AbortController()

  let subscription: Subscription | undefined
  let place: EventPlace | undefined
  let revision: StoredCheckpoint['revision'] = 'no_stream'
  /** When the write began by which this worker may send. */
  let heldSince: number | undefined
  /** Another worker has written the checkpoint. */
  let isLost = false
  /** Why the checkpoint can't be written. */
  let failure: unknown
  let isReleasing = false
  /** Events that were looked at and are not in the checkpoint. */
  let unsaved = 0
  /** Of these, those that a write under way will cover. */
  let covered = 0
  /** Mails that are done with: whatever happens to the checkpoint (a server restored from a backup), they are not sent again. */
  const settled = new LRUCache<string, true>({ max: REMEMBERED_MAILS })
  /** How many of them are not in the checkpoint. */
  let settledUnsaved = 0
  let isWanted = false
  let saving: Promise<void> | undefined
  let renewal: NodeJS.Timeout | undefined
  let quiet: NodeJS.Timeout | undefined
  let waiting: { readonly until: () => boolean; readonly resolve: () => void; readonly reject: (e: Error) => void }[] =
    []

  const queue = createQueue({
    letters: options.letters,
    outbox: options.outbox,
    log,
    observer,
    concurrency: options.concurrency ?? 5,
    attemptMs,
    outageWaits: options.outageWaits ?? { firstMs: 500, mostMs: 60_000 },
    mailWaits: options.mailWaits ?? { firstMs: 5_000, mostMs: 300_000 },
    mostTries: options.mostTries ?? 15,
    mayStart: () => !isLost && heldSince !== undefined && performance.now() - heldSince < leaseMs - attemptMs,
    onSettled(event) {
      settled.set(event.id, true)
      settledUnsaved++
      save()
      tell()
    },
  })

  const running = run()

  async function run(): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        await follow(() => {
          if (failures > 0) log.info({}, 'mail worker goes on')
          failures = 0
        })
      } catch (error) {
        if (failures === 0) log.warn({ reason: (error as Error).message }, 'mail worker is interrupted; it tries again')
        await pause(waitAfter(BACK_OFF, ++failures), stopping.signal)
      }
    }
    over.abort()
    for (const { reject } of waiting) reject(new Error('The mail worker was stopped.'))
  }

  /** Until the worker is stopped, or another one takes its turn. @param worked called after each batch */
  async function follow(worked: () => void): Promise<void> {
    const stored = await awaitTurn()
    if (stopping.signal.aborted) return
    begin(stored)
    place = await locate(stored)
    const { unsent = [], holder = null } = stored.checkpoint ?? {}
    try {
      for (const place of unsent) {
        const event = await eventAt(place)
        if (event && !settled.has(event.id)) queue.add(event)
      }
      const following = eventStore.subscribeToAll({
        from: place?.position ?? 'start',
        ...(place && place.id !== '' && { expects: place }),
        filter: FILTER,
        batchSize,
      })
      subscription = following
      // Its holder is gone, or was this worker before an outage: the checkpoint must not go on saying that it sends.
      if (holder !== null || queue.size > 0) save()
      for await (const batch of following) {
        for (const event of batch.events) {
          if (options.letters.purposesOf(event).length > 0 && !settled.has(event.id)) queue.add(event)
          else if (ERASURES.has(event.type)) await forget(event.stream)
        }
        // An event's place, not that of the end of what was looked at: it can be compared.
        const last = batch.events.at(-1)
        if (last) place = placeOf(last)
        unsaved += batch.events.length
        take()
        worked()
        tell()
        await until(() => isLost || stopping.signal.aborted || queue.size < MOST_WAITING)
        if (isLost || stopping.signal.aborted) break
      }
      if (failure !== undefined) throw failure
    } finally {
      await subscription?.unsubscribe()
      if (stopping.signal.aborted && !isLost) await finish()
      clearTimeout(renewal)
      clearTimeout(quiet)
      // Where another one's turn has begun, nothing of this one's may go on; else what is under way is better finished.
      const clearing = queue.clear(isLost ? 0 : graceMs)
      isLost = true // no write of this turn counts any more
      await clearing
      await saving
    }
  }

  /** Mails to somebody who was erased, where they lie in files. @throws EventStoreUnavailable */
  async function forget(stream: string): Promise<void> {
    const { outbox } = options
    if (outbox.forget === undefined) return
    const ids = new Set<string>()
    try {
      for await (const { id } of eventStore.readStream(stream)) ids.add(id)
    } catch (error) {
      if (!(error instanceof StreamNotFound || error instanceof StreamDeleted)) throw error
    }
    await outbox.forget(ids)
  }

  function begin(stored: StoredCheckpoint): void {
    revision = stored.revision
    place = undefined
    subscription = undefined
    heldSince = undefined
    isLost = false
    failure = undefined
    unsaved = 0
    isWanted = false
  }

  /** Waits while another worker has mails in hand, and shows signs of life. @throws EventStoreUnavailable */
  async function awaitTurn(): Promise<StoredCheckpoint> {
    let stored = await checkpoints.load()
    let seen = performance.now() // this process's clock alone: those of two machines differ
    for (;;) {
      const holder = stored.checkpoint?.holder ?? null
      if (holder === null || holder === me || stopping.signal.aborted) return stored
      const left = leaseMs - (performance.now() - seen)
      if (left <= 0) {
        log.warn({}, 'another mail worker gives no sign of life; this one takes over')
        return stored
      }
      await pause(Math.min(left, leaseMs / 60), stopping.signal)
      const now = await checkpoints.load()
      if (now.revision !== stored.revision) seen = performance.now()
      stored = now
    }
  }

  /**
   * Where to go on from: the checkpoint's event, also where it stands elsewhere by now (a log that was copied to another
   * server). Of an event that is not in this log at all nobody can say what was sent: then from the checkpoint itself on,
   * for mails that were sent long ago must not go out once more. @throws EventStoreUnavailable
   */
  async function locate({ checkpoint, ownPlace }: StoredCheckpoint): Promise<EventPlace | undefined> {
    if (checkpoint === undefined) return undefined
    const { place } = checkpoint
    if (place.id === '' || (await holdsEvent(eventStore, place))) return place
    const event = await eventAt(place)
    if (event) return placeOf(event)
    log.warn({}, 'the mail checkpoint is of another log; mails are sent for what came after it was written')
    return ownPlace
  }

  /** The event, wherever it stands by now; undefined where it is gone. @throws EventStoreUnavailable */
  async function eventAt({ position, id, stream, revision }: EventPlace): Promise<RecordedEvent | undefined> {
    const isIt = (event: RecordedEvent) =>
      id === '' ? comparePositions(event.position, position) === 0 : isSameId(event.id, id)
    try {
      for await (const event of eventStore.readAll({ from: position, filter: FILTER, maxCount: 1 })) {
        if (isIt(event)) return event
      }
    } catch (error) {
      if (!(error instanceof InvalidArgument)) throw error
    }
    if (id === '') return undefined
    try {
      for await (const event of eventStore.readStream(stream, { from: revision, maxCount: 1 })) {
        if (isIt(event)) return event
      }
    } catch (error) {
      if (!(error instanceof StreamNotFound || error instanceof StreamDeleted)) throw error
    }
    return undefined
  }

  /** Sees to what a batch brought. */
  function take(): void {
    if (queue.size > 0) {
      if (heldSince !== undefined) queue.start()
      else if (saving === undefined) save() // one under way sees to it
    } else if (unsaved - covered >= QUIET.events) save()
    else if (unsaved > 0) quiet ??= setTimeout(save, QUIET.ms).unref()
  }

  /** Stores how things stand; what changes meanwhile is stored after it. Resolves when nothing is left to store. */
  function save(): Promise<void> {
    isWanted = true
    saving ??= Promise.resolve()
      .then(write)
      .catch((error: unknown) => lose(error))
    return saving
  }

  /** The turn of this worker is over. */
  function lose(error?: unknown): void {
    isLost = true
    failure = error
    saving = undefined
    tell()
    subscription?.unsubscribe()
  }

  async function write(): Promise<void> {
    while (isWanted && !isLost && place !== undefined) {
      isWanted = false
      clearTimeout(renewal)
      clearTimeout(quiet)
      quiet = undefined
      const began = performance.now()
      const unsent = queue.events().map(placeOf)
      const holder = unsent.length > 0 && !isReleasing ? me : null
      const done = settledUnsaved
      covered = unsaved
      const written = await replace({ place, unsent, holder })
      if (written === undefined) return lose()
      revision = written
      unsaved -= covered
      covered = 0
      settledUnsaved -= done
      heldSince = holder === null ? undefined : began
      if (queue.size > 0 && !isReleasing) {
        if (heldSince === undefined) isWanted = true // a mail came while the name was taken out
        renewal = setTimeout(save, leaseMs / 4)
        queue.start()
      }
    }
    saving = undefined // in the same turn as the last look at what is wanted
    tell()
  }

  /** The new revision; undefined where another worker came first, or it is over. Tried until the event store answers. */
  async function replace(checkpoint: Parameters<CheckpointStream['replace']>[1]): Promise<number | undefined> {
    const id = crypto.randomUUID()
    for (let failures = 1; !over.signal.aborted && !isLost; failures++) {
      try {
        return await checkpoints.replace(revision, checkpoint, id)
      } catch (error) {
        if (!(error instanceof EventStoreUnavailable)) throw error
        if (failures === 1) log.warn({}, 'the event store is away; the mail checkpoint waits')
        await pause(waitAfter(BACK_OFF, failures), over.signal)
      }
    }
    return undefined
  }

  /** The end of a worker that is stopped: what is in hand is sent, and the others need not wait for it. */
  async function finish(): Promise<void> {
    await queue.drain(graceMs)
    isReleasing = true
    const limit = setTimeout(() => over.abort(), LAST_WRITE_MS)
    if (heldSince !== undefined || settledUnsaved > 0 || unsaved > 0 || saving) await save()
    clearTimeout(limit)
  }

  function until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve, reject) => waiting.push({ until: condition, resolve, reject }))
  }

  /** Looks whether what somebody waits for has come. */
  function tell(): void {
    const ready = waiting.filter((each) => each.until())
    if (ready.length === 0) return
    waiting = waiting.filter((each) => !ready.includes(each))
    for (const { resolve } of ready) resolve()
  }

  return {
    status() {
      const events = queue.events()
      const oldest = Math.min(...events.map(({ created }) => created.getTime()))
      const lagSeconds = events.length === 0 ? 0 : Math.max(0, (Date.now() - oldest) / 1000)
      return { waiting: events.length, lagSeconds, isServerThere: !queue.isInterrupted }
    },

    async caughtUp() {
      let end: Position | undefined
      const newest = eventStore.readAll({ direction: 'backwards', filter: FILTER, maxCount: 1 })
      for await (const last of newest) end = last.position
      const isThere = () => end === undefined || (place !== undefined && comparePositions(place.position, end) >= 0)
      if (stopping.signal.aborted) throw new Error('The mail worker was stopped.')
      await until(() => isThere() && queue.size === 0 && saving === undefined && !isLost)
    },

    async stop() {
      stopping.abort()
      tell()
      const limit = setTimeout(() => over.abort(), graceMs + LAST_WRITE_MS)
      await subscription?.unsubscribe()
      await running
      clearTimeout(limit)
    },
  }
}
