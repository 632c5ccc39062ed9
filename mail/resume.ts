/** Where a mail worker resumes: it waits for the lease, and finds the checkpoint's events in the log. */
import { type EventPlace, holdsEvent, isSameId, placeOf } from '../eventstore/event-place.ts'
import {
  comparePositions,
  type EventStore,
  InvalidArgument,
  type Position,
  type RecordedEvent,
} from '../eventstore/port.ts'
import { isOfNoStream } from '../eventstore/read.ts'
import { rangeBetween } from '../eventstore/times.ts'
import type { Log } from '../runtime/log.ts'
import { pause } from '../runtime/time-limits.ts'
import { MAIL_STREAMS, NOTICE_HOURS } from './letters.ts'
import type { MailCheckpointStream, StoredMailCheckpoint } from './mail-checkpoint.ts'

/** The events that can ask for a mail. */
export const FILTER = { streamPrefixes: MAIL_STREAMS }

/**
 * Waits while another worker holds the lease and renews it. The lease has expired if the checkpoint does not change for
 * `leaseMs` by this process's clock; clocks of different machines are never compared.
 * @param signal ends the wait; the checkpoint may then still belong to another worker
 * @throws EventStoreUnavailable
 */
export async function awaitLease(
  checkpoints: MailCheckpointStream,
  workerId: string,
  leaseMs: number,
  signal: AbortSignal,
  log: Log,
): Promise<StoredMailCheckpoint> {
  let stored = await checkpoints.load()
  let changedAt = performance.now()
  for (;;) {
    const holder = stored.checkpoint?.holder ?? null
    if (holder === null || holder === workerId || signal.aborted) return stored
    const left = leaseMs - (performance.now() - changedAt)
    if (left <= 0) {
      log.warn({}, 'the lease of another mail worker has expired; this one takes over')
      return stored
    }
    await pause(Math.min(left, leaseMs / 60), signal)
    const now = await checkpoints.load()
    if (now.revision !== stored.revision) changedAt = performance.now()
    stored = now
  }
}

/**
 * The event to resume from: the checkpoint's, even if it has another position by now (in a log that was copied to
 * another server). If the log does not contain it at all, it is unknown what was sent. Then the worker resumes from the
 * checkpoint itself, so that no old mail is sent again.
 * @returns undefined: there is no checkpoint, see {@link firstStart}
 * @throws EventStoreUnavailable
 */
export async function locate(
  eventStore: EventStore,
  { checkpoint, ownPlace }: StoredMailCheckpoint,
  log: Log,
): Promise<EventPlace | undefined> {
  if (checkpoint === undefined) return undefined
  const { place } = checkpoint
  if (place.id === '' || (await holdsEvent(eventStore, place))) return place
  const event = await eventAt(eventStore, place)
  if (event) return placeOf(event)
  log.warn({}, 'the mail checkpoint belongs to another log; mails are sent for events after it')
  return ownPlace
}

/**
 * Where a worker without a checkpoint starts. Not at the end, so that mails requested between the first start of the
 * subgraph and its own are sent. Not at the start either: a log may contain years of events whose mails nobody expects
 * any more.
 * @param stored the log as stored
 * @throws EventStoreUnavailable
 */
export async function firstStart(stored: EventStore): Promise<Position | 'start'> {
  return (await rangeBetween(stored, new Date(Date.now() - NOTICE_HOURS * 3_600_000), undefined)).from
}

/** The event, wherever it is by now; undefined if it is gone. @throws EventStoreUnavailable */
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
    if (!isOfNoStream(error)) throw error
  }
  return undefined
}
