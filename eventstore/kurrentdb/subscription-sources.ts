/** What a subscription follows: the log of all streams, or one stream. */
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
  /** Checks the first place, and gives it as one that a request can name. @throws what ends the subscription */
  begin(): Promise<Place>
  /** After a lost connection: another log may have come back. @throws InvalidArgument for a place that is not one of it */
  check(place: Place): Promise<void>
  /** The end of what is followed, as of now. */
  end(): Promise<Place>
  /** The end, where no event that is followed lies between the place and it; undefined where one does. */
  endIfNothingAfter(place: Place): Promise<Place | undefined>
  request(from: Place): { serializeBinary(): Uint8Array }
  /** The place after an event. */
  after(event: RecordedEvent): Place
  /** The place of a checkpoint of the server; undefined where it sends none. */
  at(checkpoint: Position): Place | undefined
  /** The position of a place, where it is one. */
  positionOf(place: Place): Position | undefined
  isBefore(a: Place, b: Place): boolean
}

/** @param filter which events are wanted */
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
      // What stands at the place itself comes first.
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
