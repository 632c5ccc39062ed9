/**
 * The event store on EventStoreDB (22.10 and later) or KurrentDB, by the official client. Appends of an instance share
 * one pipelined call; reads and subscriptions go through the client's generated stub (see connection.ts).
 */
import { binaryEvent, type EventData, jsonEvent } from '@kurrent/kurrentdb-client'
import { checkCount, checkEvent, checkExpectedRevision, checkMetadata, checkStreamName } from '../checks.ts'
import { type EventPlace, holdsEvent } from '../place.ts'
import {
  type AppendResult,
  comparePositions,
  type EventStore,
  EventStoreUnavailable,
  type ExpectedRevision,
  InvalidArgument,
  type Json,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type StreamFilter,
  type StreamMetadata,
  StreamNotFound,
  type Subscription,
} from '../port.ts'
import { connectKurrentDb } from './connection.ts'
import { toPortError } from './errors.ts'
import { StreamsClient } from './generated-messages.ts'
import { createGroups } from './groups.ts'
import type { Incoming } from './incoming.ts'
import type { Node } from './node.ts'
import { type LogPlace, logRequest, removalRequest, STREAMS_READ, streamRequest } from './requests.ts'
import { type Source, type SubscriptionObserver, subscribe } from './subscription.ts'
import { decodeReadResponse, type ReadAnswer } from './wire.ts'

const BATCH = 500
/** Answers of a read that may wait for their consumer. */
const READ_BUFFER = 512
/** How far a follower may be behind, in bytes: where a read may go to one, a position so far past its end is not another log's. */
const FOLLOWER_LAG = 17n * 1024n * 1024n
/** A server takes a larger one for the end of the log. */
const LARGEST_POSITION = 2n ** 63n - 1n

/**
 * @param url a connection string: `kurrentdb://user:password@host:2113`, `esdb+discover://…?tls=false`, …
 * @param observer told when a subscription loses its connection
 * @throws TypeError for a connection string that can't be used, without quoting its credentials
 */
export function openKurrentEventStore(url: string, observer: SubscriptionObserver = {}): EventStore {
  const connection = connectKurrentDb(url)
  /** Appends under way: `close` lets them finish. */
  const writing = new Set<Promise<unknown>>()
  const subscriptions = new Set<{ unsubscribe(): Promise<void> }>()
  let closing: Promise<void> | undefined

  function checkOpen(): void {
    if (closing) throw new EventStoreUnavailable('The event store is closed.')
  }

  /** @param repeatable whether it does no harm to send it again where nobody knows whether it was done */
  async function write<T>(
    stream: string,
    expected: ExpectedRevision,
    repeatable: boolean,
    send: (node: Node, until: number) => Promise<T>,
  ): Promise<T> {
    checkOpen()
    const written = connection.call(send, repeatable).catch((error: unknown) => {
      throw toPortError(error, stream, expected)
    })
    writing.add(written)
    try {
      return await written
    } finally {
      writing.delete(written)
    }
  }

  /** @param ask checks what was asked for, and gives the request for it */
  async function* read(
    stream: string,
    ask: () => { serializeBinary(): Uint8Array },
  ): AsyncGenerator<RecordedEvent, void, void> {
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

  const readLog = (
    from: LogPlace,
    forwards: boolean,
    maxCount?: number,
    filter: StreamFilter | 'users' | 'all' = 'all',
  ) => read('$all', () => logRequest(from, filter, { forwards, maxCount }))

  /** The position of the log's last event; undefined in an empty log. */
  async function logEnd(): Promise<Position | undefined> {
    for await (const { position } of readLog('end', false, 1)) return position
    return undefined
  }

  /**
   * A read backwards tells: forwards a server answers a position past its end with nothing, and no error.
   * @throws InvalidArgument for a position that is not one of this log
   */
  async function checkPosition(position: Position): Promise<void> {
    const { commit, prepare } = position
    const invalid = () => new InvalidArgument(`Position ${commit}/${prepare} is not one of this log.`)
    // The server's answers to these are an error without a name, and the log's end.
    if (prepare > commit || prepare < 0n || commit > LARGEST_POSITION) throw invalid()
    try {
      for await (const _ of readLog(position, false, 1)) return
    } catch (error) {
      if (!(error instanceof EventStoreUnavailable)) throw error
      // Past the end it is an error without a name, too. A follower's end may lie before the leader's.
      const end = (await logEnd()) ?? { commit: -1n }
      if (commit > end.commit + (connection.requiresLeader ? 0n : FOLLOWER_LAG)) throw invalid()
      if (commit <= end.commit) throw error
    }
  }

  async function lastRevision(stream: string): Promise<number> {
    try {
      const newest = read(stream, () => streamRequest(stream, 'end', { forwards: false, maxCount: 1 }))
      for await (const { revision } of newest) return revision
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return -1
  }

  /** A server answers such a read with an error; what it says of the stream counts. */
  async function* nothingAfterEnd(stream: string, check: () => void): AsyncGenerator<RecordedEvent, void, void> {
    check()
    for await (const _ of read(stream, () => streamRequest(stream, 'end', { forwards: false, maxCount: 1 }))) return
  }

  async function firstRevision(stream: string): Promise<number | undefined> {
    try {
      const oldest = read(stream, () => streamRequest(stream, 'start', { forwards: true, maxCount: 1 }))
      for await (const { revision } of oldest) return revision
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return undefined
  }

  const metadataStream = (stream: string) => `$$${stream}`

  async function readMetadata(stream: string): Promise<StreamMetadata> {
    const name = metadataStream(stream)
    try {
      const newest = read(stream, () => streamRequest(name, 'end', { forwards: false, maxCount: 1 }))
      for await (const { data } of newest) return (data ?? {}) as StreamMetadata
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return {}
  }

  function append(stream: string, events: readonly NewEvent[], expected: ExpectedRevision): Promise<AppendResult> {
    // With `any` a repetition is written twice once the server has forgotten the ids.
    const repeatable = typeof expected === 'number' || expected === 'no_stream'
    return write(stream, expected, repeatable, (node, until) =>
      node.takesBatches()
        ? node.appends.append(stream, events, expected, until)
        : appendOne(node, until, stream, events, expected),
    )
  }

  /** On servers before 21.10. */
  async function appendOne(
    { client }: Node,
    until: number,
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedRevision,
  ): Promise<AppendResult> {
    const streamState = typeof expected === 'number' ? BigInt(expected) : expected
    const { nextExpectedRevision, position } = await client.appendToStream(stream, events.map(eventData), {
      streamState,
      deadline: until - performance.now(),
      requiresLeader: connection.requiresLeader,
    })
    return { revision: Number(nextExpectedRevision), ...(position && { position }) }
  }

  function remove(kind: 'delete' | 'tombstone', stream: string, expected: ExpectedRevision): Promise<void> {
    const request = removalRequest(kind, stream, expected)
    return write(stream, expected, false, ({ internals }, until) =>
      internals.execute(StreamsClient, kind, (stub) => {
        const { requiresLeader } = connection
        const [metadata, options] = internals.callArguments({ deadline: until - performance.now(), requiresLeader })
        return new Promise<void>((resolve, reject) => {
          stub[kind](request, metadata, options, (error: Error | null) => (error ? reject(error) : resolve()))
        })
      }),
    )
  }

  function follow<Place>(
    source: Source<Place>,
    from: Position | undefined,
    batchSize: number,
    expects?: EventPlace,
  ): Subscription {
    const holds = (place: EventPlace) => holdsEvent(store, place)
    const subscription = subscribe(connection, source, { from, batchSize, observer, expects, holds })
    const followed: Subscription = {
      [Symbol.asyncIterator]: () => subscription[Symbol.asyncIterator](),
      async unsubscribe() {
        subscriptions.delete(followed)
        await subscription.unsubscribe()
      },
    }
    if (closing) void followed.unsubscribe()
    else subscriptions.add(followed)
    return followed
  }

  const store: EventStore = {
    async append(stream, events, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      events.forEach(checkEvent)
      if (events.length === 0) return { revision: await lastRevision(stream) }
      return append(stream, events, expected)
    },

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
    readAll({ direction = 'forwards', from, maxCount, filter, systemEvents = false } = {}) {
      const forwards = direction === 'forwards'
      const begin = (place: LogPlace) =>
        read('$all', () => {
          if (maxCount !== undefined) checkCount(maxCount, 'maxCount')
          return logRequest(place, filterOf(filter, systemEvents), { forwards, maxCount })
        })
      const place = from ?? (forwards ? 'start' : 'end')
      return typeof place === 'string' ? begin(place) : readFrom(place)

      async function* readFrom(position: Position) {
        const kept = filterOf(filter, systemEvents)
        if (maxCount !== undefined) checkCount(maxCount, 'maxCount')
        await checkPosition(position)
        if (forwards) return yield* begin(position)
        // Backwards the server begins before the position: what stands at it comes first.
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

    subscribeToAll({ from, expects, filter, batchSize = BATCH }) {
      checkCount(batchSize, 'batchSize')
      const kept = filterOf(filter, false)
      const source: Source<Position | 'start'> = {
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
          for await (const { position } of readLog(place, true, 2, kept)) {
            if (place === 'start' || comparePositions(position, place) > 0) return undefined
          }
          return end
        },
        request: (place) => logRequest(place, kept),
        after: ({ position }) => position,
        at: (checkpoint) => checkpoint,
        positionOf: (place) => (place === 'start' ? undefined : place),
        isBefore: (a, b) => (a === 'start' ? b !== 'start' : b !== 'start' && comparePositions(a, b) < 0),
      }
      return follow(source, typeof from === 'string' ? undefined : from, batchSize, expects)
    },

    subscribeToStream(stream, { from, batchSize = BATCH }) {
      checkStreamName(stream)
      checkCount(batchSize, 'batchSize')
      if (typeof from === 'number') checkExpectedRevision(from)
      const source: Source<number> = {
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
      return follow(source, undefined, batchSize)
    },

    async deleteStream(stream, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      await remove('delete', stream, expected)
    },

    async tombstoneStream(stream, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      await remove('tombstone', stream, expected)
    },

    async setStreamMetadata(stream, metadata) {
      checkStreamName(stream)
      checkMetadata(metadata)
      const event = { id: crypto.randomUUID(), type: '$metadata', data: metadata as Json }
      await append(metadataStream(stream), [event], 'any').catch((error: unknown) => {
        throw toPortError(error, stream)
      })
    },

    async getStreamMetadata(stream) {
      checkStreamName(stream)
      return readMetadata(stream)
    },

    persistentSubscriptions: createGroups(connection, { checkOpen, subscriptions, observer, firstRevision }),

    onDisconnect: connection.onDisconnect,

    async ping() {
      await logEnd()
    },

    close() {
      closing ??= (async () => {
        await Promise.allSettled(writing)
        await Promise.all([...subscriptions].map((each) => each.unsubscribe()))
        await connection.close()
      })()
      return closing
    },
  }
  return store
}

function filterOf(filter: StreamFilter | undefined, systemEvents: boolean): StreamFilter | 'users' | 'all' {
  if (filter === undefined) return systemEvents ? 'all' : 'users'
  if (filter.streamPrefixes.length === 0) throw new InvalidArgument('A filter needs a prefix.')
  return filter
}

function eventData({ id, type, data, metadata }: NewEvent): EventData {
  // A copy of bytes: they are the caller's to change.
  const kept = metadata instanceof Uint8Array ? new Uint8Array(metadata) : metadata
  const common = { id, type, ...(kept !== undefined && { metadata: kept as Record<string, unknown> }) }
  return data instanceof Uint8Array
    ? binaryEvent({ ...common, data: new Uint8Array(data) })
    : (jsonEvent({ ...common, data: data as never }) as EventData)
}
