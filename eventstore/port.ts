/**
 * The event-store port: what every adapter (SQLite, KurrentDB) offers, with the semantics of
 * EventStoreDB 20.10 and later. The adapters differ in nothing that this file states; the contract
 * suite in test/contract/event-store.ts holds each statement as a case.
 */

import type { EventPlace } from './place.ts'

/** The revision that a stream must be at for an append to succeed; a number is the exact revision of its last event. */
export type ExpectedRevision = number | 'no_stream' | 'any' | 'stream_exists'

/** A place in the log of all streams. Opaque but for {@link comparePositions}; strictly increasing in log order. */
export interface Position {
  readonly commit: bigint
  readonly prepare: bigint
}

/** Anything that `JSON.stringify` writes and `JSON.parse` gives back unchanged. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/** An event to append. `data` and `metadata` are stored as JSON, or byte for byte where they are a `Uint8Array`. */
export interface NewEvent {
  /** A UUID. Made once, before any retry: it is what makes a repeated append idempotent. */
  readonly id: string
  readonly type: string
  readonly data: Json | Uint8Array
  readonly metadata?: Json | Uint8Array
}

/** An event as read back. Malformed JSON comes as the string it is, and never ends a read. */
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
  /** The revision of the last event written; of the original write where the append was a repetition; -1 for a stream without events. */
  readonly revision: number
  /** Absent where nothing was written and there is no original write (an empty append). */
  readonly position?: Position
}

interface AppendOptions {
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

/** Keeps events whose stream name starts with one of the prefixes (case-sensitive). Without a filter, system events (`$…`) are left out too. */
export interface StreamFilter {
  readonly streamPrefixes: readonly string[]
}

export interface ReadAllOptions {
  readonly direction?: 'forwards' | 'backwards'
  /** Inclusive. Default: `start` forwards, `end` backwards. */
  readonly from?: Position | 'start' | 'end'
  /** Inclusive, forwards: the read ends there. It need not be an event's. Default: the end of the log. */
  readonly to?: Position
  readonly maxCount?: number
  readonly filter?: StreamFilter
  /** Default false: events of streams whose name starts with `$` are left out. */
  readonly systemEvents?: boolean
}

export interface SubscribeToAllOptions {
  /** EXCLUSIVE (a read's `from` is inclusive): the position of the last event already handled. */
  readonly from: Position | 'start' | 'end'
  /** The event that stands at `from`: after a lost connection it has to be there still. */
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

/** What a subscription yields: some events in log order, or none, and how far the log has been read. */
export interface SubscriptionBatch {
  readonly events: readonly RecordedEvent[]
  /** Everything up to and including this position has been delivered or filtered out: the value to store as a checkpoint. */
  readonly checkpoint: Position
  /** True when the batch reaches the end of the log as it was when the batch was read. */
  readonly caughtUp: boolean
}

/**
 * Catches up from its start, then follows live. Iterate it to receive; a consumer that does not pull
 * holds the subscription back, with bounded memory. The iteration ends when `unsubscribe` has been called.
 * When the connection drops, it resumes by itself after the last event that was pulled, if that one is still where it was;
 * otherwise the iteration throws LogReplaced.
 * There is one iterator: asked for again, it goes on; leaving a `for await` ends it.
 */
export interface Subscription extends AsyncIterable<SubscriptionBatch> {
  /** No batch is handed out once this resolves. Calling it again does nothing. */
  unsubscribe(): Promise<void>
}

/** What a new group of competing consumers is given. */
export interface GroupOptions {
  readonly filter: StreamFilter
  /** INCLUSIVE, other than a subscription's: the event at the position comes too. */
  readonly from: Position | 'start' | 'end'
  /** How long a consumer has for an event before others get it, in milliseconds. Default 30,000. */
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
  /** The newest event that the group has seen. */
  readonly lastKnown: Position | undefined
}

/** An event delivered to one consumer of a group. */
export interface Delivery {
  readonly event: RecordedEvent
  /** 0 the first time. */
  readonly retryCount: number
}

/**
 * One consumer of a group. Each event comes at least once, to one consumer at a time, in no order across streams; a stream's
 * events come to the same consumer and in order only as long as nobody joins, leaves or is slow.
 * When the connection drops, it joins again by itself; what was not acknowledged is delivered anew.
 */
export interface GroupSubscription extends AsyncIterable<readonly Delivery[]> {
  /** Done with them. Those of a connection that was lost since are ignored: they come again. */
  ack(deliveries: readonly Delivery[]): Promise<void>
  /** `retry`: deliver again; `park`: set aside at the server; `skip`: as if done. */
  nack(deliveries: readonly Delivery[], action: 'retry' | 'park' | 'skip', reason: string): Promise<void>
  /** Leaves the group: what is not acknowledged goes to the others. Calling it again does nothing. */
  unsubscribe(): Promise<void>
}

/** Persistent subscriptions to the log of all streams: the server shares the events out among a group's consumers. */
export interface PersistentSubscriptions {
  /** A group whose streams stay with one consumer each. @throws GroupExists | EventStoreUnavailable */
  create(group: string, options: GroupOptions): Promise<void>
  /** Its consumers are let go. @throws GroupNotFound | EventStoreUnavailable */
  delete(group: string): Promise<void>
  /** @throws GroupNotFound | EventStoreUnavailable */
  info(group: string): Promise<GroupInfo>
  /** Delivers the parked events anew, the oldest `limit` of them (default: all). @throws GroupNotFound | EventStoreUnavailable */
  replayParked(group: string, limit?: number): Promise<void>
  /**
   * Joins the group. The iteration throws GroupNotFound where there is none, or it is deleted.
   * @param bufferSize the most events in flight to this consumer
   */
  subscribe(group: string, options: { readonly bufferSize: number }): GroupSubscription
}

/** The metadata that the store acts upon, and any other keys, which are kept as they are. */
export interface StreamMetadata {
  /** Only the newest `$maxCount` events stay readable: a whole number, 1 or more. */
  readonly $maxCount?: number
  /** Events older than this many seconds are no longer readable: a whole number, 1 or more. */
  readonly $maxAge?: number
  /** Events below this revision are no longer readable. */
  readonly $tb?: number
  readonly [key: string]: Json | undefined
}

export interface EventStore {
  /**
   * Writes all events, in order, at consecutive revisions, or none of them. Durable when it resolves.
   * Repeating an append (same ids, same exact revision or `no_stream`) writes nothing and gives the original result,
   * for ever; with `any` and `stream_exists` only while the store still remembers the ids. No events: nothing is written.
   * @throws WrongExpectedRevision | StreamDeleted | AppendTooLarge | InvalidArgument | EventStoreUnavailable
   */
  append(stream: string, events: readonly NewEvent[], options: AppendOptions): Promise<AppendResult>

  /**
   * Reads one stream. A revision past the end yields nothing.
   * @throws StreamNotFound (at the first pull) | StreamDeleted | InvalidArgument | EventStoreUnavailable
   */
  readStream(stream: string, options?: ReadStreamOptions): AsyncIterable<RecordedEvent>

  /** Reads the log of all streams. @throws InvalidArgument for a position that is not an event's | EventStoreUnavailable */
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

  /** Closes the stream for ever. @throws WrongExpectedRevision | StreamDeleted */
  tombstoneStream(stream: string, options: AppendOptions): Promise<void>

  /** Replaces the stream's metadata; takes effect on the next read. @throws InvalidArgument | StreamDeleted */
  setStreamMetadata(stream: string, metadata: StreamMetadata): Promise<void>

  /** Empty where none was set. @throws StreamDeleted for a tombstoned stream | EventStoreUnavailable */
  getStreamMetadata(stream: string): Promise<StreamMetadata>

  /**
   * Where positions are numbers one after the other, so that a read may begin at any of them up to the log's end, also where
   * no event stands any more: then the first one after it comes first.
   */
  readonly readsFromAnyPosition?: true

  /** Where the store is a server that can share events out among processes. */
  readonly persistentSubscriptions?: PersistentSubscriptions

  /**
   * Where the store is a server: has the listener called each time that the connection to it is gone, before the next
   * one is there. What answers next may be another log (a server restored from a backup), so what a process keeps in
   * memory of what it has read does not outlive the connection. @returns takes the listener away
   */
  onDisconnect?(listener: () => void): () => void

  /** Answers whether the store can be reached. @throws EventStoreUnavailable */
  ping(): Promise<void>

  /** Finishes appends under way, ends subscriptions, closes connections. Calling it again does nothing. */
  close(): Promise<void>
}

/** -1, 0 or 1 as `a` lies before, at or after `b`. */
export function comparePositions(a: Position, b: Position): -1 | 0 | 1 {
  if (a.commit !== b.commit) return a.commit < b.commit ? -1 : 1
  if (a.prepare !== b.prepare) return a.prepare < b.prepare ? -1 : 1
  return 0
}

/** The stream is not where the append expected it. Nothing was written. */
export class WrongExpectedRevision extends Error {
  override readonly name = 'WrongExpectedRevision'
  readonly code = 'EVS_ERR_WRONG_EXPECTED_REVISION'
  readonly stream: string
  readonly expected: ExpectedRevision
  /** The stream's current revision. */
  readonly actual: number | 'no_stream'
  constructor(stream: string, expected: ExpectedRevision, actual: number | 'no_stream') {
    super(`Stream "${stream}" was expected at ${expected} but is at ${actual}.`)
    this.stream = stream
    this.expected = expected
    this.actual = actual
  }
}

/** No stream of that name, or it was deleted (and may come back). */
export class StreamNotFound extends Error {
  override readonly name = 'StreamNotFound'
  readonly code = 'EVS_ERR_STREAM_NOT_FOUND'
  readonly stream: string
  constructor(stream: string) {
    super(`Stream "${stream}" does not exist.`)
    this.stream = stream
  }
}

/** The stream is closed for ever, or soft-deleted where an existing one was required. */
export class StreamDeleted extends Error {
  override readonly name = 'StreamDeleted'
  readonly code = 'EVS_ERR_STREAM_DELETED'
  readonly stream: string
  constructor(stream: string) {
    super(`Stream "${stream}" is deleted.`)
    this.stream = stream
  }
}

/** The events of one append are larger together than the store takes. Nothing was written. */
export class AppendTooLarge extends Error {
  override readonly name = 'AppendTooLarge'
  readonly code = 'EVS_ERR_APPEND_TOO_LARGE'
  /** Bytes. */
  readonly maxAppendSize: number
  constructor(maxAppendSize: number) {
    super(`The events of one append may be ${maxAppendSize} bytes together at most.`)
    this.maxAppendSize = maxAppendSize
  }
}

/**
 * The log that answers is not the one that was read so far: an event that was handed out is no longer where it was. What
 * was derived from the log has to be compared with it before anything goes on.
 */
export class LogReplaced extends Error {
  override readonly name = 'LogReplaced'
  readonly code = 'EVS_ERR_LOG_REPLACED'
  constructor() {
    super('The event store came back with another log, or an older state of it.')
  }
}

/** An argument that no store would take (a negative revision, an id that is no UUID, a broken position). */
export class InvalidArgument extends Error {
  override readonly name = 'InvalidArgument'
  readonly code = 'EVS_ERR_INVALID_ARGUMENT'
}

/** There is a group of that name already. */
export class GroupExists extends Error {
  override readonly name = 'GroupExists'
  readonly code = 'EVS_ERR_GROUP_EXISTS'
}

/** No group of that name, or it was deleted. */
export class GroupNotFound extends Error {
  override readonly name = 'GroupNotFound'
  readonly code = 'EVS_ERR_GROUP_NOT_FOUND'
}

/** The store can't be reached, or did not answer in time. After an append the outcome is unknown: repeat it with the same ids. */
export class EventStoreUnavailable extends Error {
  override readonly name = 'EventStoreUnavailable'
  readonly code = 'EVS_ERR_UNAVAILABLE'
}

/** The largest append that a server takes with its default settings, in bytes (EventStoreDB's MaxAppendSize). */
export const MAX_APPEND_SIZE = 1_048_576
