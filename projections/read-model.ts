/** The read-model port: one document per customer, served to queries. Adapters: SQLite, Redis. */
import type { EventPlace } from '../eventstore/event-place.ts'
import { comparePositions, type StoreFact } from '../eventstore/port.ts'
import type { CustomerDocument } from './customer.ts'

export { ReadModelUnavailable } from './errors.ts'

/** What a query learns of one customer. */
export interface ReadModelEntry {
  /** null if no document has been projected yet, and for all customers while the read model is not complete. */
  readonly document: CustomerDocument | null
  /**
   * The newest revision that the subgraph has acknowledged, -1 for none known. Where it is higher than the
   * document's, the document is behind and the stream has to be folded instead.
   */
  readonly acknowledged: number
}

/** The entry of an unknown customer. */
export const UNKNOWN: ReadModelEntry = { document: null, acknowledged: -1 }

/** A document to store if the stored one is still at `expected` (-1: none stored). */
export interface DocumentWrite {
  readonly document: CustomerDocument
  readonly expected: number
}

/**
 * How far the projection has come: everything up to and including this customer event is in the documents. It names an
 * event and not just a position, so that another log is detected.
 */
export interface Checkpoint extends EventPlace {
  /** The id of the log's first customer event: documents of another log must never be served. */
  readonly origin: string
  /**
   * Whether the projection has reached the end of the log since the read model was empty. Until then its documents
   * may be older than what was acknowledged before, and the marks may be lost, so queries must not see them.
   */
  readonly complete: boolean
}

/**
 * An event that can't be applied: its customer's document stays at the revision before it, until it is replayed or
 * dropped.
 */
export interface ParkedEvent {
  readonly customerId: number
  readonly stream: string
  readonly revision: number
  /** The event's type; '' if the event is missing from its stream. */
  readonly type: string
  /** Why, without the event's data. */
  readonly reason: string
  /** When it was parked (ISO 8601, UTC). */
  readonly at: string
}

/** One of several sets of documents, one of which is live. */
export interface Generation {
  /** 1 for the first. */
  readonly number: number
  readonly live: boolean
  readonly checkpoint: Checkpoint | null
}

/** An estimate of what a generation takes, and how much more fits where it is stored. In bytes. */
export interface Space {
  readonly documents: number
  readonly bytes: number
  /** undefined: unknown. */
  readonly free: number | undefined
  /** What limits it, in the operator's terms: `maxmemory`, `the disk`. */
  readonly limit: { readonly name: string; readonly bytes: number } | undefined
}

/**
 * Documents come in generations, of which one is live: a rebuild fills another one beside it. Documents, checkpoint and
 * parked events belong to a generation. The marks of what was acknowledged do not: they are facts of the log. So after
 * a switch nothing acknowledged is missed; where a document is behind its mark, the stream is folded.
 */
export interface ReadModel {
  /** The generation that this handle works on. @throws ReadModelUnavailable if it is not known yet */
  generation(): Promise<number>

  /**
   * Switches to the generation that is live now, unless the handle was opened for a fixed one. The generation changes
   * only here, so that no step of work sees two of them.
   * @returns the generation that the handle works on from now on
   * @throws ReadModelUnavailable
   */
  follow(): Promise<number>

  /**
   * The generation that `follow` would switch to: the live one, or the one that the handle was opened for. @throws
   * ReadModelUnavailable
   */
  wanted(): Promise<number>

  /** All generations, oldest first; the live one is always among them. @throws ReadModelUnavailable */
  generations(): Promise<readonly Generation[]>

  /** Makes `to` the live generation if `from` still is. @returns whether it was @throws ReadModelUnavailable */
  switchGeneration(from: number, to: number): Promise<boolean>

  /** Deletes a generation, but no marks. @throws RangeError for the live one | ReadModelUnavailable */
  dropGeneration(generation: number): Promise<void>

  /** The ids of all customers with a document, in batches; an id may occur twice. @throws ReadModelUnavailable */
  customers(): AsyncIterable<readonly number[]>

  /** The number of documents, and an estimate of what they take. Walks all keys. @throws ReadModelUnavailable */
  space(): Promise<Space>

  /**
   * The customers among these whose document differs from the one in another generation, or that have one in only one
   * of the two. The store compares, so only differing documents of a generation have to be read.
   * @throws ReadModelUnavailable
   */
  differing(ids: readonly number[], generation: number): Promise<readonly number[]>

  /** Those of these customers that have no document in this generation. @throws ReadModelUnavailable */
  lacking(ids: readonly number[]): Promise<readonly number[]>

  /**
   * Records an event that can't be applied. There is one for each customer: the newest counts. @throws
   * ReadModelUnavailable
   */
  park(event: ParkedEvent): Promise<void>

  /** Records that the customer's document has got past its parked event. @throws ReadModelUnavailable */
  unpark(customerId: number): Promise<void>

  /** In order of the customers' ids. @throws ReadModelUnavailable */
  parked(): Promise<readonly ParkedEvent[]>

  /**
   * For queries: the entries of these customers, in the order of `ids`, in one round trip.
   * @param trusted the trusted incarnations; for the answers of others the entries are `UNKNOWN`. Default: any
   * @throws ReadModelUnavailable
   */
  get(ids: readonly number[], trusted?: ReadonlySet<string>): Promise<readonly ReadModelEntry[]>

  /** For projections: the stored documents, complete or not, in the order of `ids`. @throws ReadModelUnavailable */
  documents(ids: readonly number[]): Promise<readonly (CustomerDocument | null)[]>

  /**
   * Records that a customer's stream has been acknowledged up to `revision`. It never goes back.
   * @returns the incarnation of the store that has the mark now: see `incarnations`
   * @throws ReadModelUnavailable
   */
  acknowledge(id: number, revision: number): Promise<string>

  /**
   * The incarnations of the servers that answer. An incarnation is an unbroken period in which one server keeps what
   * was written to it. After a restart, a failover or a restore it is a new one, and no two are ever the same. ''
   * stands for a replica.
   * @throws ReadModelUnavailable if none answers
   */
  incarnations(): Promise<{ readonly reached: readonly string[]; readonly isWhole: boolean }>

  /**
   * Writes something small to each server, to find out whether it accepts writes.
   * @returns the incarnations of the servers
   * @throws ReadModelUnavailable if one of them is unavailable or refuses
   */
  probe(): Promise<readonly string[]>

  /**
   * Stores documents, each only if the stored revision is the one expected (compare-and-set).
   * @param newest the newest event that the documents reflect; stored with them, and never later than they are
   * @returns for each write, in order, the revision now stored: the document's own if it was written
   * @throws ReadModelUnavailable
   */
  put(writes: readonly DocumentWrite[], newest?: EventPlace): Promise<readonly number[]>

  /**
   * The newest event that any document of this generation may reflect; null for none. It can be newer than the
   * checkpoint, after a crash between the two, and with a group that shares the events.
   * @throws ReadModelUnavailable
   */
  newest(): Promise<EventPlace | null>

  /**
   * Hides the documents of this generation from queries, on every instance at once, until a projection has compared
   * them with the log. Call it on finding that they belong to another log. @throws ReadModelUnavailable
   */
  distrust(): Promise<void>

  /** null before the first. @throws ReadModelUnavailable */
  getCheckpoint(): Promise<Checkpoint | null>

  /**
   * Stores the checkpoint if the stored one is still `expected` (compare-and-set; null: none is stored). So a worker
   * notices that the read model was cleared, and does not mark a new filling as complete.
   * @returns the checkpoint now stored: the given one if it was written
   * @throws ReadModelUnavailable
   */
  setCheckpoint(checkpoint: Checkpoint, expected: Checkpoint | null): Promise<Checkpoint | null>

  /**
   * Deletes this generation, and all marks if it is the live one: otherwise the marks are still needed for the live
   * one. @throws ReadModelUnavailable
   */
  reset(): Promise<void>

  /**
   * Removes deleted customers from other generations than this handle's: for good if nobody follows that generation,
   * otherwise until its worker has reached the deletion. @throws ReadModelUnavailable
   */
  forget(ids: readonly number[]): Promise<void>

  /**
   * Records, as durably as the documents themselves, that a scrub is pending. Call it before the documents of a deleted
   * customer are overwritten. Only a `scrub` that begins later clears it. @throws ReadModelUnavailable
   */
  requestScrub(): Promise<void>

  /** Whether a scrub is pending, whichever process requested it. @throws ReadModelUnavailable */
  isScrubPending(): Promise<boolean>

  /**
   * When it resolves, everything overwritten or removed before the call is gone from the disk too, if the store
   * supports it: Redis needs to allow INFO, CONFIG GET, BGREWRITEAOF and BGSAVE. Clears the requests that were pending
   * when it began.
   * @throws ReadModelUnavailable
   */
  scrub(): Promise<void>

  /** Answers whether the store can be reached, for reads at least. @throws ReadModelUnavailable */
  ping(): Promise<void>

  /** What each server of the store says about itself, for an operator. @throws ReadModelUnavailable */
  describe(): Promise<readonly StoreFact[]>

  /** Calling it again does nothing. */
  close(): Promise<void>
}

/** Whether two checkpoints are equal. */
export function sameCheckpoint(a: Checkpoint | null, b: Checkpoint | null): boolean {
  if (a === null || b === null) return a === b
  if (a.origin !== b.origin || a.complete !== b.complete || a.id !== b.id) return false
  return comparePositions(a.position, b.position) === 0
}
