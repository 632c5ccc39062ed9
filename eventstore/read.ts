/** Common reads of streams and of the log. */
import type { DomainEvent } from '../schema/events.ts'
import { decode, type Recorded } from './codec.ts'
import {
  type EventStore,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  type StreamFilter,
  type StreamMetadata,
  StreamNotFound,
} from './port.ts'

/** Yields nothing for a missing stream. */
export async function* orNone(events: AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent> {
  try {
    yield* events
  } catch (error) {
    if (!(error instanceof StreamNotFound)) throw error
  }
}

/** Whether a read failed because the stream is missing, or was tombstoned: by hand, since nothing here does that. */
export const isOfNoStream = (error: unknown): boolean =>
  error instanceof StreamNotFound || error instanceof StreamDeleted

/** Whether the metadata of a stream says that it was deleted. */
export const isDeletion = ({ $tb = 0 }: StreamMetadata): boolean => $tb >= Number.MAX_SAFE_INTEGER

/** Yields nothing for a stream that is missing, or was tombstoned. */
export async function* orGone(events: AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent> {
  try {
    yield* events
  } catch (error) {
    if (!isOfNoStream(error)) throw error
  }
}

/** The first event of a read, as stored; undefined if there is none, or no stream. Ends the read. */
export async function firstOf(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent | undefined> {
  for await (const event of orNone(events)) return event
  return undefined
}

/** A stream's newest event, as stored; undefined if there is none. @throws StreamDeleted | EventStoreUnavailable */
export function newestStored(eventStore: EventStore, stream: string): Promise<RecordedEvent | undefined> {
  return firstOf(eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 }))
}

/**
 * The end of the log: the position of its last event, or of the last one that matches the filter (default: the last one
 * that is not a system event); undefined if there is none.
 * @throws EventStoreUnavailable
 */
export async function logEnd(eventStore: EventStore, filter?: StreamFilter): Promise<Position | undefined> {
  const last = await firstOf(eventStore.readAll({ direction: 'backwards', maxCount: 1, ...(filter && { filter }) }))
  return last?.position
}

/**
 * Returns a function that limits a stream to its newest event, for streams where only that one matters. Call it before
 * each append: it only has a cost the first time, and after a reconnect, because a restored log may not have the limit
 * yet.
 */
export function keepNewest(eventStore: EventStore, stream: string): () => Promise<void> {
  let isLimited = false
  eventStore.onDisconnect?.(() => {
    isLimited = false
  })
  return async () => {
    if (isLimited) return
    const metadata = await eventStore.getStreamMetadata(stream)
    if (metadata.$maxCount !== 1) await eventStore.setStreamMetadata(stream, { ...metadata, $maxCount: 1 })
    isLimited = true
  }
}

/**
 * The newest events of a stream up to the revision `from` (default: the end), oldest first; none for a missing stream.
 */
export async function readNewest<E extends DomainEvent>(
  eventStore: EventStore,
  stream: string,
  maxCount: number,
  from: number | 'end' = 'end',
): Promise<Recorded<E>[]> {
  const events: Recorded<E>[] = []
  const newest = eventStore.readStream(stream, { direction: 'backwards', from, maxCount })
  for await (const event of orNone(newest)) events.push(decode<E>(event))
  return events.reverse()
}

/** A stream's newest event, if there is one. @throws EventStoreUnavailable; InvalidEvent for one that can't be read */
export async function newestEvent<E extends DomainEvent>(
  eventStore: EventStore,
  stream: string,
): Promise<Recorded<E> | undefined> {
  const stored = await newestStored(eventStore, stream)
  return stored && decode<E>(stored)
}

/** A stream's newest event, even if it can't be decoded; undefined for a stream that is missing, or was tombstoned. */
export const newestOrGone = (eventStore: EventStore, stream: string): Promise<RecordedEvent | undefined> =>
  firstOf(orGone(eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })))

/** The revision of {@link newestOrGone}. */
export const newestRevision = async (eventStore: EventStore, stream: string): Promise<number | undefined> =>
  (await newestOrGone(eventStore, stream))?.revision
