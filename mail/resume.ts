/** Where a mail worker goes on: it waits for the lease, and finds the checkpoint's events in the log. */
import { type EventPlace, holdsEvent, isSameId, placeOf } from '../eventstore/place.ts'
import {
  comparePositions,
  type EventStore,
  InvalidArgument,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  StreamNotFound,
} from '../eventstore/port.ts'
import { stretchBetween } from '../eventstore/times.ts'
import type { Log } from '../runtime/log.ts'
import { pause } from '../runtime/time-limits.ts'
import type { CheckpointStream, StoredCheckpoint } from './checkpoint.ts'
import { MAIL_STREAMS, NOTICE_HOURS } from './letters.ts'

/** The events that can ask for a mail. */
export const FILTER = { streamPrefixes: MAIL_STREAMS }

/**
 * Waits while another worker holds the lease and renews it. It has expired where the checkpoint does not change for
 * `leaseMs`, by this process's clock alone: the clocks of two machines differ.
 * @param signal ends the wait; then the checkpoint may still be another worker's
 * @throws EventStoreUnavailable
 */
export async function awaitLease(
  checkpoints: CheckpointStream,
  workerId: string,
  leaseMs: number,
  signal: AbortSignal,
  log: Log,
): Promise<StoredCheckpoint> {
  let stored = await checkpoints.load()
  let changedAt = performance.now()
  for (;;) {
    const holder = stored.checkpoint?.holder ?? null
    if (holder === null || holder === workerId || signal.aborted) return stored
    const left = leaseMs - (performance.now() - changedAt)
    if (left <= 0) {
      log.warn({}, 'another mail worker gives no sign of life; this one takes over')
      return stored
    }
    await pause(Math.min(left, leaseMs / 60), signal)
    const now = await checkpoints.load()
    if (now.revision !== stored.revision) changedAt = performance.now()
    stored = now
  }
}

/**
 * The event to go on from: the checkpoint's, also where it stands elsewhere by now (a log that was copied to another
 * server). Where the log does not hold it at all, nobody knows what was sent. Then the worker goes on from the checkpoint
 * itself, so that no mail is sent again long after.
 * @returns undefined: there is no checkpoint, see {@link firstStart}
 * @throws EventStoreUnavailable
 */
export async function locate(
  eventStore: EventStore,
  { checkpoint, ownPlace }: StoredCheckpoint,
  log: Log,
): Promise<EventPlace | undefined> {
  if (checkpoint === undefined) return undefined
  const { place } = checkpoint
  if (place.id === '' || (await holdsEvent(eventStore, place))) return place
  const event = await eventAt(eventStore, place)
  if (event) return placeOf(event)
  log.warn({}, 'the mail checkpoint is of another log; mails are sent for what came after it was written')
  return ownPlace
}

/**
 * Where a worker begins that has no checkpoint. Not at the end: what was asked for between the subgraph's first start and its
 * own is to be sent. Not at the start either: a log may hold years, and nobody waits for their mails any more.
 * @param stored the log as it is stored
 * @throws EventStoreUnavailable
 */
export async function firstStart(stored: EventStore): Promise<Position | 'start'> {
  return (await stretchBetween(stored, new Date(Date.now() - NOTICE_HOURS * 3_600_000), undefined)).from
}

/** The event, wherever it stands by now; undefined where it is gone. @throws EventStoreUnavailable */
export async function eventAt(
  eventStore: EventStore,
  { position, id, stream, revision }: EventPlace,
): Promise<RecordedEvent | undefined> {
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
