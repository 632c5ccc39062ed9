/**
 * Bulk appends, for a process that writes far more than it reads, such as an import: many sequences of appends in one call,
 * without a promise for each append.
 *
 * A store does not have to offer them. They are not part of the port, because a wrapper that copies a store's methods and
 * replaces `append` would then let bulk appends pass it by. So each wrapper offers its own, or there are none.
 */
import type { EventStore, NewEvent } from './port.ts'

/** One append of a sequence. */
export interface BulkAppend {
  readonly stream: string
  /** At least one. */
  readonly events: readonly NewEvent[]
  /** The revision that the stream must be at. `any` is not accepted: nobody would notice a repetition. */
  readonly expected: number | 'no_stream'
}

/** Appends to different streams, made in this order. */
export type Sequence = readonly BulkAppend[]

export interface BulkAppends {
  /**
   * Makes the appends of each sequence, one after another. A sequence ends at the first append that is not made: because the
   * stream is at another revision, because the events are there already, or because they can't be written in bulk. Those
   * before it stay. `append` tells why, and can go on from there, as it can after a crash at that point.
   * @returns for each sequence, whether all of it was written by this call. Then it is durable
   * @throws EventStoreUnavailable: what was written is unknown
   */
  write(sequences: readonly Sequence[]): Promise<readonly boolean[]>
}

const offered = new WeakMap<EventStore, BulkAppends>()

/** Makes bulk appends available for a store. @returns the store */
export function offerBulkAppends<Store extends EventStore>(eventStore: Store, bulk: BulkAppends): Store {
  offered.set(eventStore, bulk)
  return eventStore
}

/** The store's bulk appends; undefined if it has none: use `append` then. */
export const bulkAppendsOf = (eventStore: EventStore): BulkAppends | undefined => offered.get(eventStore)

/**
 * Prepares sequences for the store below, and leaves out those that can't be prepared.
 * @param prepare returns undefined for a sequence that can't be written in bulk
 * @param write as {@link BulkAppends.write}, for the prepared ones
 * @returns as {@link BulkAppends.write}, for all of them
 */
export async function writePrepared<Prepared>(
  sequences: readonly Sequence[],
  prepare: (sequence: Sequence, index: number) => Prepared | undefined,
  write: (prepared: readonly Prepared[]) => Promise<readonly boolean[]>,
): Promise<readonly boolean[]> {
  const all = sequences.map(prepare)
  const prepared = all.filter((each) => each !== undefined)
  const results = prepared.length === 0 ? [] : await write(prepared)
  let next = 0
  return all.map((each) => each !== undefined && results[next++] === true)
}
