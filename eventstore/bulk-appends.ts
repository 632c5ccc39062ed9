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
   * @returns for each sequence, whether all of it was written by this call, and is durable. An empty one never is
   * @throws EventStoreUnavailable: what was written is unknown
   */
  write(sequences: readonly Sequence[]): Promise<readonly boolean[]>
  /**
   * Gets ready what later appends to these streams need, such as keys. Optional: to do it for many streams at once costs
   * less. @throws EventStoreUnavailable
   */
  prepare(streams: readonly string[]): Promise<void>
  /** The metadata of a stream's event at a revision, as JSON. A quick read; undefined if it is not there or busy. */
  metadataAt(stream: string, revision: number): string | undefined
  /** Does work that reads, and waits for nothing, in one read transaction: many quick reads cost less than half then. */
  readTogether<T>(work: () => T): T
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
 * Converts sequences for the store below, and leaves out those that can't be written in bulk. Nothing that was converted is
 * kept while the store writes: an import would hold its rows several times over.
 * @param convert returns undefined for a sequence that can't be written in bulk
 * @param write as {@link BulkAppends.write}, for those that are left
 * @returns as {@link BulkAppends.write}, for all of them
 */
export function writeConverted<Converted>(
  sequences: readonly Sequence[],
  convert: (sequence: Sequence) => Converted | undefined,
  write: (converted: readonly Converted[]) => Promise<readonly boolean[]>,
): Promise<readonly boolean[]> {
  const all: Converted[] = []
  const isSent: boolean[] = []
  for (const sequence of sequences) {
    const converted = sequence.length === 0 ? undefined : convert(sequence)
    isSent.push(converted !== undefined)
    if (converted !== undefined) all.push(converted)
  }
  if (all.length === 0) return Promise.resolve(isSent)
  const writing = write(all)
  return all.length === isSent.length ? writing : writing.then((written) => spread(written, isSent))
}

/** Returns the results of what was sent at their places among all. */
function spread(written: readonly boolean[], isSent: readonly boolean[]): boolean[] {
  let next = 0
  return isSent.map((sent) => sent && written[next++] === true)
}
