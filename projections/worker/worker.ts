/** The projection worker: follows the log from its checkpoint and keeps the documents of the read model up to date. */

import { hasKeys, keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { type EventPlace, placeOf } from '../../eventstore/event-place.ts'
import {
  comparePositions,
  type EventStore,
  type Position,
  type RecordedEvent,
  type Subscription,
  type SubscriptionBatch,
} from '../../eventstore/port.ts'
import { logEnd } from '../../eventstore/read.ts'
import { type Log, SILENT } from '../../runtime/log.ts'
import { CUSTOMER_STREAMS } from '../fold.ts'
import { originOf, provenanceOf } from '../provenance.ts'
import type { Checkpoint, ReadModel } from '../read-model.ts'
import { createApplier } from './apply-events.ts'
import type { Failure } from './parking.ts'
import { createArrivals } from './progress.ts'
import { repeat } from './run-forever.ts'

export interface Projection {
  /**
   * Resolves when everything that is in the log now is in the documents. @throws Error if the worker is stopped first
   */
  caughtUp(): Promise<void>
  /** Finishes the write under way and stores its checkpoint. Calling it again does nothing. */
  stop(): Promise<void>
}

export const FILTER = { streamPrefixes: [CUSTOMER_STREAMS] }
/** How often a worker checks whether the read model is still the one it filled. */
const CHECK_MS = 1_000
/**
 * While the read model is filled, it is written at least this often: a group's other processes take a filling that stands
 * still for longer for dead. Milliseconds.
 */
const WRITE_MS = 400
const START: Position = { commit: 0n, prepare: 0n }
const OVER = 'The subscription ended, or the read model was emptied, set back or switched to another generation.'

/** Notified of a projection's progress, for metrics. */
export interface ProjectionObserver {
  /**
   * A batch is in the documents; `caughtUp`: it reached the end of the log; `isRefill`: it fills a read model that was
   * not complete, so that its events say nothing of how long a change takes, and it may still have to be written.
   */
  applied(events: readonly RecordedEvent[], caughtUp: boolean, isRefill: boolean): void
  /** Called once for each outage of a store. */
  interrupted(): void
  /** Called for each customer whose document gets stuck. */
  stuck(failure: Failure): void
}

export interface ProjectionOptions {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log?: Log
  readonly observer?: Partial<ProjectionObserver>
  /** The most events of one batch. Default 500. */
  readonly batchSize?: number
  /**
   * While the read model is filled: after how many events the documents and the checkpoint are written, so that a
   * document with several of them is written once. Sooner if the documents take much memory. Default 10,000.
   */
  readonly writeAfter?: number
}

/**
 * Handles an event that can't be applied: it is parked, logged and counted, and its customer's document stays behind.
 */
export function reportFailures({ log = SILENT, observer }: ProjectionOptions): (failure: Failure) => void {
  return (failure) => {
    const { stream, revision, error } = failure
    // Logs at most the message of the error, because the event's data is personal.
    const reason = (error as Error).message
    log.error({ stream, revision, reason }, "event cannot be applied; its customer's document stays behind")
    observer?.stuck?.(failure)
  }
}

/**
 * Starts following. Failures of a store are retried indefinitely with back-off, and are logged once for each outage;
 * duplicate deliveries are skipped. Only `caughtUp` throws.
 */
export function startProjection(options: ProjectionOptions): Projection {
  const { eventStore, readModel, log = SILENT, observer, batchSize = 500, writeAfter = 10_000 } = options
  const stopping = new AbortController()
  const { signal } = stopping
  const applier = createApplier({ eventStore, readModel, onFailure: reportFailures(options), log, signal })
  let subscription: Subscription | undefined
  const arrivals = createArrivals()

  const running = repeat(follow, { signal, log, observer }).finally(arrivals.stop)

  /** @param onProgress called after each batch that is applied and whose checkpoint is stored */
  async function follow(onProgress: () => void): Promise<void> {
    const generation = await readModel.follow()
    let checkpoint = await resume(options)
    if (signal.aborted) return
    applier.forget()
    arrivals.reset()
    if (checkpoint) arrivals.reach(checkpoint.position)
    let isFilled = checkpoint?.complete ?? false
    let isBegun = isFilled
    let writtenAt = performance.now()
    const following = eventStore.subscribeToAll({
      from: checkpoint?.position ?? 'start',
      ...(checkpoint && { expects: checkpoint }),
      filter: FILTER,
      batchSize,
    })
    subscription = following
    const checks = setInterval(async () => {
      if (await isOutOfDate(readModel, checkpoint, generation)) await following.unsubscribe()
    }, CHECK_MS)
    /** The previous batch: its writes, then its checkpoint. */
    let storing: Promise<void> = Promise.resolve()
    let applying: Promise<void> = Promise.resolve()
    const failure: { reason?: unknown } = {}
    /** What was folded since the last write. */
    let reach = NOTHING
    const finish = async (batch: SubscriptionBatch, to: Reach, applied: Promise<void>): Promise<void> => {
      await applied
      checkpoint = await storeCheckpoint(readModel, { ...to, caughtUp: batch.caughtUp }, checkpoint)
      observer?.applied?.(batch.events, batch.caughtUp, !isFilled)
      isFilled ||= batch.caughtUp
      arrivals.reach(batch.checkpoint)
      onProgress()
    }
    try {
      const batches = following[Symbol.asyncIterator]()
      for (let coming = batches.next(); ; ) {
        const { value: batch, done } = await coming
        if ('reason' in failure) throw failure.reason
        if (done) break
        await applier.fold(batch.events)
        reach = extend(reach, batch.events)
        // Queries wait for the end of a filling, so until then several batches cost a document one write.
        // The first batch is written at once: only then does a filling of Redis begin (see redis/read-model.ts).
        const isLate = performance.now() - writtenAt > WRITE_MS
        const isEnough = !isBegun || isLate || reach.events >= writeAfter || applier.isFull()
        const isDue = isFilled || batch.caughtUp || isEnough
        if (!isDue && !signal.aborted) {
          observer?.applied?.(batch.events, false, true)
          coming = batches.next()
          continue
        }
        isBegun ||= reach.events > 0
        writtenAt = performance.now()
        // While Redis writes one batch, the next one is read and sent: the compare-and-set keeps them in order.
        const sent = Promise.withResolvers<void>()
        const applied = applier.write(sent.resolve)
        applying = applied
        await Promise.race([sent.promise, applied])
        coming = batches.next()
        coming.catch(() => {}) // awaited when its turn comes, or never
        await storing
        if ('reason' in failure) throw failure.reason
        storing = finish(batch, reach, applied).catch(async (reason: unknown) => {
          failure.reason = reason
          await following.unsubscribe()
        })
        reach = NOTHING
        if (signal.aborted) return
      }
    } finally {
      clearInterval(checks)
      await storing // of the batch in hand
      await applying.catch(() => {}) // its failure is the one that is thrown, or comes again; it must not write to the next generation
      await following.unsubscribe()
    }
    if ('reason' in failure) throw failure.reason
    if (!signal.aborted) throw new Error(OVER)
  }

  return {
    caughtUp: async () => arrivals.wait((await logEnd(eventStore, FILTER)) ?? START),

    async stop() {
      stopping.abort()
      await subscription?.unsubscribe()
      await running
    },
  }
}

/**
 * Whether the read model was cleared or restored since the checkpoint, is no longer complete, or another generation is
 * live. Documents that were set back are hidden from queries until they have caught up.
 */
async function isOutOfDate(readModel: ReadModel, checkpoint: Checkpoint | null, generation: number): Promise<boolean> {
  try {
    if ((await readModel.wanted()) !== generation) return true
    if (checkpoint === null) return false
    const stored = await readModel.getCheckpoint()
    if (stored === null || (checkpoint.complete && !stored.complete)) return true
    if (comparePositions(stored.position, checkpoint.position) >= 0) return false
    await hideSetBack(readModel, stored)
    return true
  } catch {
    return false // not known; the next batch fails by the outage too
  }
}

/** The marks were set back with the documents, so nothing tells a query that they are old. */
async function hideSetBack(readModel: ReadModel, { complete }: Checkpoint): Promise<void> {
  if (complete) await readModel.distrust()
}

/** The events that were folded into documents together. */
interface Reach {
  /** The origin of a read model that begins with the first of them. */
  readonly origin?: string
  /** The place of the last one; none if there was no event. */
  readonly newest?: EventPlace
  /** How many. */
  readonly events: number
}

const NOTHING: Reach = { events: 0 }

function extend(reach: Reach, events: readonly RecordedEvent[]): Reach {
  const [first, last] = [events[0], events.at(-1)]
  if (!first || !last) return reach
  return { origin: reach.origin ?? originOf(first), newest: placeOf(last), events: reach.events + events.length }
}

/**
 * Stores how far the documents have come.
 * @param reach what they reflect now
 * @param last the checkpoint before it
 * @returns the checkpoint to go on from
 * @throws Error if the stored checkpoint is before these events and not the worker's own: then it has to resume from
 * there
 */
async function storeCheckpoint(
  readModel: ReadModel,
  reach: Reach & { readonly caughtUp: boolean },
  last: Checkpoint | null,
): Promise<Checkpoint | null> {
  const { newest, caughtUp } = reach
  const origin = last?.origin ?? reach.origin
  // The place is that of an event and not of the end of the batch, because an event can be compared later. So a batch
  // without one does not move the checkpoint, and before the log's first event there is none.
  const place = newest ?? last
  if (origin === undefined || !place) return null
  const complete = (last?.complete ?? false) || caughtUp
  if (!newest && complete === last?.complete) return last
  const { position, id, stream, revision } = place
  const next: Checkpoint = { position, id, stream, revision, origin, complete }
  if (last !== null && comparePositions(next.position, last.position) < 0) return last // another worker is further
  const stored = await readModel.setCheckpoint(next, last)
  // If it was cleared between the first documents and the first checkpoint, it looks unchanged, although they are gone.
  if (last === null && (await readModel.newest()) === null) {
    await readModel.reset()
    throw new Error(OVER)
  }
  if (stored?.origin === origin && comparePositions(stored.position, next.position) >= 0) return stored
  if (stored) await hideSetBack(readModel, stored)
  throw new Error(OVER)
}

/**
 * The checkpoint to resume from. A read model of another log is cleared, because its documents belong to other people.
 * So is one of another release, whose documents have another format. Nothing is cleared for a log that is not the keys'.
 * @throws EventStoreUnavailable | ReadModelUnavailable | ConfigurationError if log and keys do not belong together
 */
export async function resume({
  eventStore,
  readModel,
  log = SILENT,
}: Pick<ProjectionOptions, 'eventStore' | 'readModel' | 'log'>): Promise<Checkpoint | null> {
  const checkpoint = await readModel.getCheckpoint()
  if ((await provenanceOf(eventStore, { checkpoint, newest: await readModel.newest() })) === 'same') return checkpoint
  // The keys of a lost log are no keys of this one: the documents may be all that is left of it.
  if (hasKeys(eventStore)) await keysOf(eventStore).check()
  log.warn({}, 'the read model belongs to another log or release; it is cleared and filled again')
  await readModel.reset()
  return null
}
