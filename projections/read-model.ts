/** The read-model port: one document per customer, served to queries. Adapters: SQLite, Redis. */
import type { EventPlace } from '../eventstore/place.ts'
import { comparePositions } from '../eventstore/port.ts'
import type { CustomerDocument } from './customer.ts'

/** What a query learns of one customer. */
export interface ReadModelEntry {
  /** null where no document has been projected yet, and for all as long as the read model is not complete. */
  readonly document: CustomerDocument | null
  /**
   * The newest revision that the subgraph has acknowledged, -1 for none known. Where it is higher than the
   * document's, the document is behind and the stream has to be folded instead.
   */
  readonly acknowledged: number
}

/** Of a customer of whom nothing is known. */
export const UNKNOWN: ReadModelEntry = { document: null, acknowledged: -1 }

/** A document to store if the stored one is still at `expected` (-1: none stored). */
export interface DocumentWrite {
  readonly document: CustomerDocument
  readonly expected: number
}

/**
 * How far the projection has worked: everything up to and including this customer event is in the documents. It names an
 * event and not just a position, so that another log is noticed.
 */
export interface Checkpoint extends EventPlace {
  /** The id of the log's first customer event: documents of another log must never be served. */
  readonly origin: string
  /**
   * Whether the projection has reached the end of the log since the read model was empty. Until then its documents
   * may be older than what was acknowledged before, with the marks of it lost: queries must not see them.
   */
  readonly complete: boolean
}

/** An event that can't be applied: its customer's document stays at the revision before it, until it is replayed or dropped. */
export interface ParkedEvent {
  readonly customerId: number
  readonly stream: string
  readonly revision: number
  /** The event's type; '' where the event is gone from its stream. */
  readonly type: string
  /** Why, without the event's data. */
  readonly reason: string
  /** When it was parked (ISO 8601, UTC). */
  readonly at: string
}

/** One of several sets of documents of which one is live. */
export interface Generation {
  /** 1 for the first. */
  readonly number: number
  readonly live: boolean
  readonly checkpoint: Checkpoint | null
}

/** What a generation takes, about, and how much more there is room for where it lies. In bytes. */
export interface Space {
  readonly documents: number
  readonly bytes: number
  /** undefined: not known. */
  readonly free: number | undefined
  /** What limits it, as an operator knows it: `maxmemory`, `the disk`. */
  readonly limit: { readonly name: string; readonly bytes: number } | undefined
}

/**
 * Documents come in generations, of which one is live: a rebuild fills another one beside it. Documents, checkpoint and
 * parked events belong to a generation. The marks of what was acknowledged do not: they are facts of the log. So after a
 * switch nothing acknowledged is missed; where a document is behind its mark, the stream is folded.
 */
export interface ReadModel {
  /** The generation that this handle works on. @throws ReadModelUnavailable where it is not known yet */
  generation(): Promise<number>

  /**
   * Goes over to the generation that is live now, unless the handle was opened for one. It changes here only, so that
   * no step of work sees two of them.
   * @returns the generation that the handle works on from now on
   * @throws ReadModelUnavailable
   */
  follow(): Promise<number>

  /** The generation that `follow` would go over to: the live one, or the one that the handle was opened for. @throws ReadModelUnavailable */
  wanted(): Promise<number>

  /** All generations, oldest first; the live one is always among them. @throws ReadModelUnavailable */
  generations(): Promise<readonly Generation[]>

  /** Makes `to` the live generation if it still is `from`. @returns whether it was @throws ReadModelUnavailable */
  switchGeneration(from: number, to: number): Promise<boolean>

  /** Forgets a generation, but no marks. @throws RangeError for the live one | ReadModelUnavailable */
  dropGeneration(generation: number): Promise<void>

  /** The ids of all customers with a document, some at a time; one may come twice. @throws ReadModelUnavailable */
  customers(): AsyncIterable<readonly number[]>

  /** How many customers have a document, and what the documents take. Looks at each key. @throws ReadModelUnavailable */
  space(): Promise<Space>

  /**
   * Of these customers, those whose document is not the same text in another generation, as it is where one of the two
   * has none. The store compares: of a whole generation only what differs has to be read.
   * @throws ReadModelUnavailable
   */
  differing(ids: readonly number[], generation: number): Promise<readonly number[]>

  /** Those of these customers that have no document in this generation. @throws ReadModelUnavailable */
  lacking(ids: readonly number[]): Promise<readonly number[]>

  /** Notes an event that can't be applied, one for each customer: the newest counts. @throws ReadModelUnavailable */
  park(event: ParkedEvent): Promise<void>

  /** The customer's document has got past its parked event. @throws ReadModelUnavailable */
  unpark(customerId: number): Promise<void>

  /** In order of the customers' ids. @throws ReadModelUnavailable */
  parked(): Promise<readonly ParkedEvent[]>

  /**
   * For queries: the entries of these customers, in the order of `ids`, in one round trip.
   * @param trusted the incarnations that count; what another one answers is `UNKNOWN`. Default: any
   * @throws ReadModelUnavailable
   */
  get(ids: readonly number[], trusted?: ReadonlySet<string>): Promise<readonly ReadModelEntry[]>

  /** For projections: the stored documents, complete or not, in the order of `ids`. @throws ReadModelUnavailable */
  documents(ids: readonly number[]): Promise<readonly (CustomerDocument | null)[]>

  /**
   * Notes that a customer's stream has been acknowledged up to `revision`. Never goes back.
   * @returns the incarnation of the store that has the mark now: see `incarnations`
   * @throws ReadModelUnavailable
   */
  acknowledge(id: number, revision: number): Promise<string>

  /**
   * The incarnations of the servers that answer. An incarnation is one server's time as the keeper of what was written to
   * it without a break: after a restart, a failover or a restored file it is another one, and no two are ever the same.
   * '' stands for a server that only copies another one.
   * @throws ReadModelUnavailable where none answers
   */
  incarnations(): Promise<{ readonly reached: readonly string[]; readonly isWhole: boolean }>

  /**
   * Writes something small to each server, to learn whether it takes writes.
   * @returns the incarnations of the servers
   * @throws ReadModelUnavailable where one of them is away or refuses
   */
  probe(): Promise<readonly string[]>

  /**
   * Stores documents, each only if the stored revision is the one expected (compare-and-set).
   * @param newest the newest event that the documents reflect; stored with them, and never later than they are
   * @returns for each write, in order, the revision now stored: the document's own where it was written
   * @throws ReadModelUnavailable
   */
  put(writes: readonly DocumentWrite[], newest?: EventPlace): Promise<readonly number[]>

  /**
   * The newest event that any document of this generation may reflect; null for none. It can be newer than the checkpoint:
   * after a crash between the two, and where a group shares the events out.
   * @throws ReadModelUnavailable
   */
  newest(): Promise<EventPlace | null>

  /**
   * Hides the documents of this generation from queries, on every instance at once, until a projection has compared them
   * with the log. For whoever finds that they are another log's. @throws ReadModelUnavailable
   */
  distrust(): Promise<void>

  /** null before the first. @throws ReadModelUnavailable */
  getCheckpoint(): Promise<Checkpoint | null>

  /**
   * Stores the checkpoint if the stored one is still `expected` (compare-and-set; null: none is stored). So a worker
   * learns that the read model was emptied under it, and does not call complete what has just begun anew.
   * @returns the checkpoint now stored: the given one where it was written
   * @throws ReadModelUnavailable
   */
  setCheckpoint(checkpoint: Checkpoint, expected: Checkpoint | null): Promise<Checkpoint | null>

  /**
   * Forgets this generation, and all marks where it is the live one: those beside another one are what keeps the
   * service's queries right. @throws ReadModelUnavailable
   */
  reset(): Promise<void>

  /**
   * Removes what other generations than this handle's still know of customers who were deleted: of a generation that
   * nobody follows, for good; of one that is followed, until its worker has come to the deletion. @throws ReadModelUnavailable
   */
  forget(ids: readonly number[]): Promise<void>

  /**
   * Notes, as durably as the documents themselves, that a scrub is owed: before the documents of a deleted customer are
   * overwritten. Only a `scrub` that begins later settles it. @throws ReadModelUnavailable
   */
  oweScrub(): Promise<void>

  /** Whether a scrub is owed, whichever process noted it. @throws ReadModelUnavailable */
  isScrubOwed(): Promise<boolean>

  /**
   * What was overwritten or removed by now is gone from the disk too when it resolves, as far as the store can be told to:
   * Redis needs to allow INFO, CONFIG GET, BGREWRITEAOF and BGSAVE. Settles what was owed when it began.
   * @throws ReadModelUnavailable
   */
  scrub(): Promise<void>

  /** Answers whether the store can be reached, for reads at least. @throws ReadModelUnavailable */
  ping(): Promise<void>

  /** Calling it again does nothing. */
  close(): Promise<void>
}

/** Whether two checkpoints say the same. */
export function sameCheckpoint(a: Checkpoint | null, b: Checkpoint | null): boolean {
  if (a === null || b === null) return a === b
  if (a.origin !== b.origin || a.complete !== b.complete || a.id !== b.id) return false
  return comparePositions(a.position, b.position) === 0
}

/** The read model can't be reached: fold the stream instead. */
export class ReadModelUnavailable extends Error {
  override readonly name = 'ReadModelUnavailable'
  readonly code = 'PRJ_ERR_READ_MODEL_UNAVAILABLE'
}
