/**
 * A position in the log together with the event at it. Everything that is derived from a log stores such a place and
 * checks it before it resumes: a log that was restored from a backup, truncated or replaced has other events at these
 * positions.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  comparePositions,
  type EventStore,
  InvalidArgument,
  type Position,
  type RecordedEvent,
  StreamDeleted,
} from './port.ts'
import { firstOf, newestStored } from './read.ts'

export interface EventPlace {
  readonly position: Position
  /** The event's id; '' if it is unknown (written by an earlier release). */
  readonly id: string
  readonly stream: string
  readonly revision: number
}

export function placeOf({ position, id, stream, revision }: RecordedEvent): EventPlace {
  return { position, id, stream, revision }
}

/** The later of two places in the log. */
export function laterPlace(a: EventPlace | undefined, b: EventPlace): EventPlace {
  return a !== undefined && comparePositions(a.position, b.position) >= 0 ? a : b
}

/** Between two looks at a node that may not have caught up yet. */
const CATCH_UP_RETRY_MS = 200

/**
 * Whether the log still has the event at its place. Usually costs one read. An event that was removed on purpose (its
 * stream was deleted, truncated or limited) counts as still there, as long as its position is readable; one with an
 * unknown id does not. If the log ends before the place, the store gets the time to catch up that it may need.
 * @throws EventStoreUnavailable
 */
export async function holdsEvent(eventStore: EventStore, place: EventPlace): Promise<boolean> {
  if (place.id === '') return false
  const until = performance.now() + (eventStore.catchUpMs ?? 0)
  for (;;) {
    const found = await lookAt(eventStore, place)
    if (found !== undefined || performance.now() >= until) return found ?? false
    await delay(CATCH_UP_RETRY_MS)
  }
}

/** Whether the event is there, or was removed; undefined if the log ends before its place. */
async function lookAt(eventStore: EventStore, place: EventPlace): Promise<boolean | undefined> {
  let next: RecordedEvent | undefined
  try {
    next = await firstOf(eventStore.readAll({ from: place.position, maxCount: 1, systemEvents: true }))
  } catch (error) {
    // A position past the end of the log may count as none of its own.
    if (error instanceof InvalidArgument) return undefined
    throw error
  }
  if (next && comparePositions(next.position, place.position) === 0) return isSameId(next.id, place.id)
  if (await wasRemoved(eventStore, place)) return true
  return next ? false : undefined
}

/** Whether the stream's metadata, or its end, says that the event was removed from it. */
export async function wasRemoved(
  eventStore: EventStore,
  { stream, revision }: Pick<EventPlace, 'stream' | 'revision'>,
): Promise<boolean> {
  try {
    const { $tb = 0, $maxCount, $maxAge } = await eventStore.getStreamMetadata(stream)
    if ($tb > revision) return true
    if ($maxCount === undefined && $maxAge === undefined) return false
    const newest = await newestStored(eventStore, stream)
    return newest !== undefined && newest.revision > revision
  } catch (error) {
    if (error instanceof StreamDeleted) return true
    throw error
  }
}

export const isSameId = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase()
