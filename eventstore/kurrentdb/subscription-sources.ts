/** The source of a subscription: the log of all streams, or one stream. */
import {
  comparePositions,
  type Position,
  type RecordedEvent,
  type StreamFilter,
  type SubscribeToAllOptions,
  type SubscribeToStreamOptions,
} from '../port.ts'
import type { Reads } from './reads.ts'
import { logRequest, streamRequest } from './requests.ts'

/** What differs between a subscription to $all and one to a stream. */
export interface Source<Place> {
  readonly name: string
  /** Checks the start, and returns it in the form of a request. @throws the error that ends the subscription */
  begin(): Promise<Place>
  /**
   * Checks a place after a lost connection, because the log may have been replaced. @throws InvalidArgument for a place
   * that is not in the log
   */
  check(place: Place): Promise<void>
  /** The current end of the source. */
  end(): Promise<Place>
  /** The end, if there is no relevant event between the place and it; otherwise undefined. */
  endIfNothingAfter(place: Place): Promise<Place | undefined>
  request(from: Place): { serializeBinary(): Uint8Array }
  /** The place after an event. */
  after(event: RecordedEvent): Place
  /** The place of a server's checkpoint; undefined if it sends none. */
  at(checkpoint: Position): Place | undefined
  /** The position of a place, if it has one. */
  positionOf(place: Place): Position | undefined
  isBefore(a: Place, b: Place): boolean
}

/** @param filter the filter for events */
export function logSource(
  { logEnd, checkPosition, readLog }: Reads,
  from: SubscribeToAllOptions['from'],
  filter: StreamFilter | 'users' | 'all',
): Source<Position | 'start'> {
  return {
    name: '$all',
    async begin() {
      if (from === 'end') return (await logEnd()) ?? 'start'
      if (from !== 'start') await checkPosition(from)
      return from
    },
    async check(place) {
      if (place !== 'start') await checkPosition(place)
    },
    end: async () => (await logEnd()) ?? 'start',
    async endIfNothingAfter(place) {
      const end = (await logEnd()) ?? 'start'
      // The event at the place itself comes first.
      for await (const { position } of readLog(place, true, 2, filter)) {
        if (place === 'start' || comparePositions(position, place) > 0) return undefined
      }
      return end
    },
    request: (place) => logRequest(place, filter),
    after: ({ position }) => position,
    at: (checkpoint) => checkpoint,
    positionOf: (place) => (place === 'start' ? undefined : place),
    isBefore: (a, b) => (a === 'start' ? b !== 'start' : b !== 'start' && comparePositions(a, b) < 0),
  }
}

export function streamSource(
  { lastRevision }: Reads,
  stream: string,
  from: SubscribeToStreamOptions['from'],
): Source<number> {
  return {
    name: stream,
    begin: async () => (from === 'start' ? -1 : from === 'end' ? lastRevision(stream) : from),
    check: async () => {},
    end: () => lastRevision(stream),
    async endIfNothingAfter(place) {
      const end = await lastRevision(stream)
      return end > place ? undefined : end
    },
    request: (place) => streamRequest(stream, place === -1 ? 'start' : place),
    after: ({ revision }) => revision,
    at: () => undefined,
    positionOf: () => undefined,
    isBefore: (a, b) => a < b,
  }
}
