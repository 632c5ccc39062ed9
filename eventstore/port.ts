/**
 * The event-store port: what every adapter (SQLite, KurrentDB) offers, with the semantics of EventStoreDB 20.10 and
 * later. All adapters behave as this file states; the contract suite in test/contract/event-store.ts has a case for
 * each statement.
 */

import type { EventPlace } from './event-place.ts'

/** What the methods of the port throw. */
export {
  AppendTooLarge,
  EventStoreUnavailable,
  GroupExists,
  GroupNotFound,
  InvalidArgument,
  LogReplaced,
  StreamDeleted,
  StreamNotFound,
  WrongExpectedRevision,
} from './errors.ts'

/** The revision that a stream must be at for an append to succeed; a number is the exact revision of its last event. */
export type ExpectedRevision = number | 'no_stream' | 'any' | 'stream_exists'

/**
 * A position in the log of all streams. Opaque, except for {@link comparePositions}; strictly increasing in log order.
 */
export interface Position {
  readonly commit: bigint
  readonly prepare: bigint
}

/** Anything that `JSON.stringify` writes and `JSON.parse` gives back unchanged. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** An event to append. `data` and `metadata` are stored as JSON, or byte for byte if they are a `Uint8Array`. */
export interface NewEvent {
  /** A UUID. Create it once, before any retry: it makes a repeated append idempotent. */
  readonly id: string
  readonly type: string
  readonly data: Json | Uint8Array
  readonly metadata?: Json | Uint8Array
  /** `data` and `metadata` as `JSON.stringify` writes them, where they have been written already: a store need not do it again. */
  readonly json?: { readonly data: string; readonly metadata: string }
}

/** An event as read back. Malformed JSON is returned as a string, and never ends a read. */
export interface RecordedEvent {
  readonly stream: string
  /** 0 for the first event of a stream, then one more for each. */
  readonly revision: number
  readonly position: Position
  readonly id: string
  readonly type: string
  readonly isJson: boolean
  readonly data: Json | Uint8Array
  readonly metadata: Json | Uint8Array | undefined
  /** When the store wrote it (UTC, millisecond precision). */
  readonly created: Date
}

export interface AppendResult {
  /**
   * The revision of the last event written, for a repeated append that of the original; -1 for a stream without events.
   */
  readonly revision: number
  /** Absent if nothing was written and there is no original write (an empty append). */
  readonly position?: Position
  /**
   * Whether it is this append that has written the events, and not an earlier one that it repeats. Only where the store can
   * tell (a server does not say); it is not enumerable, because a repetition gives the same result.
   */
  readonly isWritten?: boolean
}

export interface AppendOptions {
  readonly expected: ExpectedRevision
}

export interface ReadStreamOptions {
  /** Default `forwards`. */
  readonly direction?: 'forwards' | 'backwards'
  /** Inclusive. Default: `start` forwards, `end` backwards. */
  readonly from?: number | 'start' | 'end'
  /** Default: no limit. */
  readonly maxCount?: number
}

/**
 * Keeps events whose stream name starts with one of the prefixes (case-sensitive). Without a filter, system events
 * (`$…`) are left out too.
 */
export interface StreamFilter {
  readonly streamPrefixes: readonly string[]
}

export interface ReadAllOptions {
  readonly direction?: 'forwards' | 'backwards'
  /** Inclusive. Default: `start` forwards, `end` backwards. */
  readonly from?: Position | 'start' | 'end'
  /**
   * The last position to read, inclusive; there need not be an event at it. Only forwards. Default: the end of the log.
   */
  readonly to?: Position
  readonly maxCount?: number
  readonly filter?: StreamFilter
  /** Default false: events of streams whose name starts with `$` are left out. */
  readonly systemEvents?: boolean
}

export interface SubscribeToAllOptions {
  /** EXCLUSIVE (a read's `from` is inclusive): the position of the last event already handled. */
  readonly from: Position | 'start' | 'end'
  /** The event at `from`: after a lost connection it must still be there. */
  readonly expects?: EventPlace
  readonly filter?: StreamFilter
  /** The most events in one batch. Default 500. */
  readonly batchSize?: number
}

export interface SubscribeToStreamOptions {
  /** EXCLUSIVE: the revision of the last event already handled. */
  readonly from: number | 'start' | 'end'
  readonly batchSize?: number
}

/** A batch that a subscription yields: events in log order, possibly none, and how far the log has been read. */
export interface SubscriptionBatch {
  readonly events: readonly RecordedEvent[]
  /**
   * Everything up to and including this position has been delivered or filtered out: the value to store as a
   * checkpoint.
   */
  readonly checkpoint: Position
  /** True when the batch reaches the end of the log as it was when the batch was read. */
  readonly caughtUp: boolean
}

/**
 * Catches up from its start, then follows live. Iterate it to receive; a consumer that does not pull stops the
 * subscription, so memory is bounded. The iteration ends when `unsubscribe` has been called. When the connection drops,
 * it resumes by itself after the last event that was pulled, if that one is still where it was; otherwise the iteration
 * throws LogReplaced. There is one iterator: requesting it again continues the iteration; leaving a `for await` ends
 * it.
 */
export interface Subscription extends AsyncIterable<SubscriptionBatch> {
  /** No batch is delivered once this resolves. Calling it again does nothing. */
  unsubscribe(): Promise<void>
}

/** The settings of a new group of competing consumers. */
export interface GroupOptions {
  readonly filter: StreamFilter
  /** INCLUSIVE, unlike a subscription's: the event at the position is delivered, too. */
  readonly from: Position | 'start' | 'end'
  /**
   * How long a consumer may take for an event before it is delivered to another one, in milliseconds. Default 30,000.
   */
  readonly messageTimeout?: number
  /** How often an event is delivered again before the server parks it. Default 10. */
  readonly maxRetryCount?: number
  /** The most consumers at once; default 0: any number. */
  readonly maxConsumers?: number
}

export interface GroupInfo {
  readonly consumers: number
  /** Delivered and not yet acknowledged. */
  readonly inFlight: number
  readonly parked: number
  /** Everything up to and including it is acknowledged or parked; none before the server's first checkpoint. */
  readonly checkpoint: Position | undefined
  /** The newest event known to the group. */
  readonly lastKnown: Position | undefined
}

/** An event delivered to one consumer of a group. */
export interface Delivery {
  readonly event: RecordedEvent
  /** 0 the first time. */
  readonly retryCount: number
}

/**
 * One consumer of a group. Each event is delivered at least once, to one consumer at a time, without an order across
 * streams. A stream's events go to the same consumer in order only as long as no consumer joins, leaves or is slow. If
 * the connection drops, it rejoins by itself; unacknowledged events are delivered again.
 */
export interface GroupSubscription extends AsyncIterable<readonly Delivery[]> {
  /** Acknowledges events. Those of a connection that was lost since are ignored: they are delivered again. */
  ack(deliveries: readonly Delivery[]): Promise<void>
  /** `retry`: deliver again; `park`: the server parks it; `skip`: as if acknowledged. */
  nack(deliveries: readonly Delivery[], action: 'retry' | 'park' | 'skip', reason: string): Promise<void>
  /** Leaves the group: unacknowledged events go to other consumers. Calling it again does nothing. */
  unsubscribe(): Promise<void>
}

/**
 * Persistent subscriptions to the log of all streams: the server distributes the events among the consumers of a group.
 */
export interface PersistentSubscriptions {
  /** Creates a group in which each stream is pinned to one consumer. @throws GroupExists | EventStoreUnavailable */
  create(group: string, options: GroupOptions): Promise<void>
  /** Deletes the group and disconnects its consumers. @throws GroupNotFound | EventStoreUnavailable */
  delete(group: string): Promise<void>
  /** @throws GroupNotFound | EventStoreUnavailable */
  info(group: string): Promise<GroupInfo>
  /**
   * Delivers parked events again, the oldest `limit` of them (default: all). @throws GroupNotFound |
   * EventStoreUnavailable
   */
  replayParked(group: string, limit?: number): Promise<void>
  /**
   * Joins the group. The iteration throws GroupNotFound if there is none, or if it is deleted.
   * @param bufferSize the most events in flight to this consumer
   * @throws EventStoreUnavailable for a closed store
   */
  subscribe(group: string, options: { readonly bufferSize: number }): GroupSubscription
}

/** The metadata that the store interprets, and any other keys, which are kept unchanged. */
export interface StreamMetadata {
  /** Only the newest `$maxCount` events stay readable: a whole number, 1 or more. */
  readonly $maxCount?: number
  /** Events older than this many seconds are no longer readable: a whole number, 1 or more. */
  readonly $maxAge?: number
  /** Events below this revision are no longer readable. */
  readonly $tb?: number
  readonly [key: string]: Json | undefined
}

/** Something that a store says about itself. */
export interface StoreFact {
  readonly name: string
  readonly value: string
  /** What is wrong with it, and what to do, in a sentence. */
  readonly problem?: string
}

export interface EventStore {
  /**
   * Writes all events, in order, at consecutive revisions, or none of them. Durable when it resolves. Repeating an
   * append (same ids, same exact revision or `no_stream`) writes nothing and returns the original result, at any later
   * time; with `any` and `stream_exists` only while the store still remembers the ids. Without events nothing is
   * written.
   * @throws WrongExpectedRevision | StreamDeleted | AppendTooLarge | InvalidArgument | EventStoreUnavailable
   */
  append(stream: string, events: readonly NewEvent[], options: AppendOptions): Promise<AppendResult>

  /**
   * Reads one stream. A revision past the end yields nothing.
   * @throws StreamNotFound (at the first pull) | StreamDeleted | InvalidArgument | EventStoreUnavailable
   */
  readStream(stream: string, options?: ReadStreamOptions): AsyncIterable<RecordedEvent>

  /** Reads the log of all streams. @throws InvalidArgument for a position without an event | EventStoreUnavailable */
  readAll(options?: ReadAllOptions): AsyncIterable<RecordedEvent>

  /**
   * System events are left out unless a filter prefix names them.
   * @throws InvalidArgument; LogReplaced (in the iteration) after a lost connection
   */
  subscribeToAll(options: SubscribeToAllOptions): Subscription

  /** A missing stream is waited for. @throws StreamDeleted (at the first pull) for a tombstoned one */
  subscribeToStream(stream: string, options: SubscribeToStreamOptions): Subscription

  /** Hides the events; a later append continues the numbering. @throws WrongExpectedRevision | StreamDeleted */
  deleteStream(stream: string, options: AppendOptions): Promise<void>

  /** Tombstones the stream: it can never be written again. @throws WrongExpectedRevision | StreamDeleted */
  tombstoneStream(stream: string, options: AppendOptions): Promise<void>

  /** Replaces the stream's metadata; takes effect on the next read. @throws InvalidArgument | StreamDeleted */
  setStreamMetadata(stream: string, metadata: StreamMetadata): Promise<void>

  /** Empty if none was set. @throws StreamDeleted for a tombstoned stream | EventStoreUnavailable */
  getStreamMetadata(stream: string): Promise<StreamMetadata>

  /**
   * Present if positions are consecutive numbers, so that a read may start at any of them up to the end of the log. If
   * the event there is gone, the read starts with the next one.
   */
  readonly readsFromAnyPosition?: true

  /**
   * How long, in milliseconds, the end of the log may be missing from what is read, after another node was read from: a
   * node of a cluster shows only what it knows to be replicated, and one that was just started or elected may not know
   * yet. Absent: never.
   */
  readonly catchUpMs?: number

  /** Present if the store is a server that can distribute events among processes. */
  readonly persistentSubscriptions?: PersistentSubscriptions

  /**
   * Present if the store is a server. Calls the listener each time the connection is lost, before the next one is
   * established. The server may return with another log (restored from a backup), so caches of what was read must not
   * outlive the connection. @returns a function that removes the listener
   */
  onDisconnect?(listener: () => void): () => void

  /** Resolves if the store can be reached. @throws EventStoreUnavailable */
  ping(): Promise<void>

  /** What the store says about itself, for an operator. Absent: nothing. @throws EventStoreUnavailable */
  describe?(): Promise<readonly StoreFact[]>

  /** Finishes appends under way, ends subscriptions, closes connections. Calling it again does nothing. */
  close(): Promise<void>
}

/** -1, 0 or 1 if `a` is before, at or after `b`. */
export function comparePositions(a: Position, b: Position): -1 | 0 | 1 {
  if (a.commit !== b.commit) return a.commit < b.commit ? -1 : 1
  if (a.prepare !== b.prepare) return a.prepare < b.prepare ? -1 : 1
  return 0
}

/** The largest append that a server accepts with its default settings, in bytes (EventStoreDB's MaxAppendSize). */
export const MAX_APPEND_SIZE = 1_048_576
