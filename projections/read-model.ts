/** The read-model port: one document per customer, served to queries. Adapters: SQLite, Redis. */
import type { Position } from '../eventstore/port.ts'
import type { CustomerDocument } from './customer.ts'

/** What the read model knows of one customer. */
export interface ReadModelEntry {
  /** null where no document has been projected yet. */
  readonly document: CustomerDocument | null
  /**
   * The newest revision that the subgraph has acknowledged, -1 for none known. Where it is higher than the
   * document's, the document is behind and the stream has to be folded instead.
   */
  readonly acknowledged: number
}

/** A document to store if the stored one is still at `expected` (-1: none stored). */
export interface DocumentWrite {
  readonly document: CustomerDocument
  readonly expected: number
}

export interface ReadModel {
  /** The entries of these customers, in the order of `ids`, in one round trip. @throws ReadModelUnavailable */
  get(ids: readonly number[]): Promise<readonly ReadModelEntry[]>

  /**
   * Notes that a customer's stream has been acknowledged up to `revision`. Never goes back. @throws ReadModelUnavailable
   */
  acknowledge(id: number, revision: number): Promise<void>

  /**
   * Stores documents, each only if the stored revision is the one expected (compare-and-set).
   * @returns for each write, in order, the revision now stored: the document's own where it was written
   * @throws ReadModelUnavailable
   */
  put(writes: readonly DocumentWrite[]): Promise<readonly number[]>

  /** The position up to which `projection` has worked; null before its first. @throws ReadModelUnavailable */
  getCheckpoint(projection: string): Promise<Position | null>

  /** @throws ReadModelUnavailable */
  setCheckpoint(projection: string, position: Position): Promise<void>

  /** Answers whether the store can be reached. @throws ReadModelUnavailable */
  ping(): Promise<void>

  /** Calling it again does nothing. */
  close(): Promise<void>
}

/** The read model can't be reached: fold the stream instead. */
export class ReadModelUnavailable extends Error {
  override readonly name = 'ReadModelUnavailable'
}
