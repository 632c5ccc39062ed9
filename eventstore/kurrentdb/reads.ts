/** Reads of a stream and of the log of all streams. */
import { checkCount, checkEnd, checkExpectedRevision, checkStreamName } from '../argument-checks.ts'
import {
  comparePositions,
  EventStoreUnavailable,
  InvalidArgument,
  type Position,
  type ReadAllOptions,
  type ReadStreamOptions,
  type RecordedEvent,
  type StreamFilter,
  type StreamMetadata,
  StreamNotFound,
} from '../port.ts'
import { firstOf } from '../read.ts'
import type { Connection } from './connection/connection.ts'
import { toPortError } from './errors.ts'
import { StreamsClient } from './generated-messages.ts'
import type { Incoming } from './incoming.ts'
import { type LogPlace, logRequest, metadataStream, STREAMS_READ, streamRequest } from './requests.ts'
import { decodeReadResponse, type ReadAnswer } from './wire.ts'

/** How many answers of a read may wait for their consumer. */
const READ_BUFFER = 512
/**
 * How far a follower may be behind, in bytes: for a read from a follower, a position this far past its end may still
 * belong to the log.
 */
const FOLLOWER_LAG = 17n * 1024n * 1024n
/** A server treats a larger one as the end of the log. */
const LARGEST_POSITION = 2n ** 63n - 1n

type Events = AsyncGenerator<RecordedEvent, void, void>

export interface Reads {
  /** As in the port. */
  readStream(stream: string, options?: ReadStreamOptions): Events
  /** As in the port. */
  readAll(options?: ReadAllOptions): Events
  /** Reads the log from a position, inclusive forwards and exclusive backwards, as the server does. */
  readLog(from: LogPlace, forwards: boolean, maxCount?: number, filter?: StreamFilter | 'users' | 'all'): Events
  /** The position of the log's last event; undefined in an empty log. @throws EventStoreUnavailable */
  logEnd(): Promise<Position | undefined>
  /** @throws InvalidArgument for a position that is not one of this log | EventStoreUnavailable */
  checkPosition(position: Position): Promise<void>
  /** The revision of the stream's newest event; -1 if there is none. @throws StreamDeleted | EventStoreUnavailable */
  lastRevision(stream: string): Promise<number>
  /** The first revision that can be read; undefined for none. @throws StreamDeleted | EventStoreUnavailable */
  firstRevision(stream: string): Promise<number | undefined>
  /** Empty if none was set. @throws StreamDeleted | EventStoreUnavailable */
  metadata(stream: string): Promise<StreamMetadata>
}

/** @param checkOpen throws EventStoreUnavailable once the store is closed */
export function createReads(connection: Connection, checkOpen: () => void): Reads {
  /** @param ask checks the arguments and returns the request */
  const read = (stream: string, ask: () => { serializeBinary(): Uint8Array }) =>
    readAnswers(connection, checkOpen, stream, ask)

  const newest = (stream: string, name = stream) =>
    read(stream, () => streamRequest(name, 'end', { forwards: false, maxCount: 1 }))

  const readLog: Reads['readLog'] = (from, forwards, maxCount, filter = 'all') =>
    read('$all', () => logRequest(from, filter, { forwards, maxCount }))

  const logEnd = async () => (await firstOf(readLog('end', false, 1)))?.position

  async function checkPosition(position: Position): Promise<void> {
    const { commit, prepare } = position
    const invalid = () => new InvalidArgument(`Position ${commit}/${prepare} is not one of this log.`)
    // For these, the server answers with an unnamed error, or with the log's end.
    if (prepare > commit || prepare < 0n || commit > LARGEST_POSITION) throw invalid()
    try {
      // Backwards, because forwards a server answers a position past its end with nothing and without an error.
      await firstOf(readLog(position, false, 1))
    } catch (error) {
      if (!(error instanceof EventStoreUnavailable)) throw error
      // Past the end it is an unnamed error, too. A follower's end may be before the leader's.
      const end = (await logEnd()) ?? { commit: -1n }
      if (commit > end.commit + (connection.requiresLeader ? 0n : FOLLOWER_LAG)) throw invalid()
      // The node may have caught up since.
      if (commit <= end.commit) await firstOf(readLog(position, false, 1))
    }
  }

  /** The server answers such a read with an error. A read of the newest event shows whether the stream exists. */
  // biome-ignore lint/correctness/useYield: it yields nothing, and may throw
  async function* nothingAfterEnd(stream: string, check: () => void): Events {
    check()
    for await (const _ of newest(stream)) return
  }

  return {
    readStream(stream, { direction = 'forwards', from, maxCount } = {}) {
      const forwards = direction === 'forwards'
      const check = () => {
        checkStreamName(stream)
        if (typeof from === 'number') checkExpectedRevision(from)
        if (maxCount !== undefined) checkCount(maxCount, 'maxCount')
      }
      if (forwards && from === 'end') return nothingAfterEnd(stream, check)
      return read(stream, () => {
        check()
        return streamRequest(stream, from ?? (forwards ? 'start' : 'end'), { forwards, maxCount })
      })
    },

    // Not a generator around a generator: a delegated step costs as much as the decoding of an event.
    readAll({ direction = 'forwards', from, to, maxCount, filter, systemEvents = false } = {}) {
      const forwards = direction === 'forwards'
      const begin = (place: LogPlace) =>
        read('$all', () => {
          if (maxCount !== undefined) checkCount(maxCount, 'maxCount')
          checkEnd(to, forwards)
          return logRequest(place, filterOf(filter, systemEvents), { forwards, maxCount })
        })
      const place = from ?? (forwards ? 'start' : 'end')
      const events = typeof place === 'string' ? begin(place) : readFrom(place)
      return to ? upTo(events, to) : events

      async function* readFrom(position: Position): Events {
        const kept = filterOf(filter, systemEvents)
        if (maxCount !== undefined) checkCount(maxCount, 'maxCount')
        await checkPosition(position)
        if (forwards) return yield* begin(position)
        // Backwards, the server begins before the position, so the event at it is read first.
        let left = maxCount ?? Number.MAX_SAFE_INTEGER
        for await (const event of readLog(position, true, 1, kept)) {
          if (comparePositions(event.position, position) !== 0) break
          yield event
          left--
        }
        if (left === 0) return
        for await (const event of begin(position)) {
          if (comparePositions(event.position, position) === 0) continue
          yield event
          if (--left === 0) return
        }
      }
    },

    readLog,
    logEnd,
    checkPosition,
    lastRevision: async (stream) => (await firstOf(newest(stream)))?.revision ?? -1,

    async firstRevision(stream) {
      const oldest = read(stream, () => streamRequest(stream, 'start', { forwards: true, maxCount: 1 }))
      return (await firstOf(oldest))?.revision
    },

    async metadata(stream) {
      const event = await firstOf(newest(stream, metadataStream(stream)))
      return (event?.data ?? {}) as StreamMetadata
    },
  }
}

/**
 * Makes the call of a read, and retries it if a node did not answer and nothing was delivered yet.
 * @throws StreamNotFound | StreamDeleted | EventStoreUnavailable; what `ask` throws
 */
async function* readAnswers(
  connection: Connection,
  checkOpen: () => void,
  stream: string,
  ask: () => { serializeBinary(): Uint8Array },
): Events {
  const request = ask()
  checkOpen()
  const until = connection.until()
  for (let attempt = 1; ; attempt++) {
    const node = await connection.node(until)
    let begun = false
    let call: Incoming<ReadAnswer> | undefined
    try {
      call = await node.stream({
        service: StreamsClient,
        path: STREAMS_READ,
        request,
        decode: decodeReadResponse,
        buffer: READ_BUFFER,
      })
      for (;;) {
        const answers = await (call.hasMore()
          ? call.take()
          : connection.answered(node, call.take(), begun ? connection.until() : until))
        if (answers === null) return
        for (const answer of answers) {
          if (answer.kind === 'notFound') throw new StreamNotFound(stream)
          if (answer.kind !== 'event') continue
          begun = true
          yield answer.event
        }
      }
    } catch (error) {
      if (begun) connection.failed(node, error)
      if (begun || !(await connection.mayRetry(node, error, attempt, until, true))) throw toPortError(error, stream)
    } finally {
      call?.cancel()
    }
  }
}

/** Ends the read at the first event past the position: the server itself would continue to the end of the log. */
async function* upTo(events: Events, to: Position): Events {
  for await (const event of events) {
    if (comparePositions(event.position, to) > 0) return
    yield event
  }
}

/** @throws InvalidArgument for an empty filter */
export function filterOf(filter: StreamFilter | undefined, systemEvents: boolean): StreamFilter | 'users' | 'all' {
  if (filter === undefined) return systemEvents ? 'all' : 'users'
  if (filter.streamPrefixes.length === 0) throw new InvalidArgument('A filter needs a prefix.')
  return filter
}
