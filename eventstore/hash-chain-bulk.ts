/** Bulk appends that continue the hash chains of their streams. */
import { type BulkAppend, bulkAppendsOf, offerBulkAppends, type Sequence, writeConverted } from './bulk-appends.ts'
import { linkEvents, linkOf } from './event-hash.ts'
import type { ChainMemory } from './hash-chain-memory.ts'
import type { EventStore, Json } from './port.ts'

interface Chains {
  readonly memory: ChainMemory
  /** Whether another append to the stream is under way or its outcome unknown, or the store is closed. */
  isBusy(stream: string): boolean
}

/** Offers bulk appends for the chained store, if the store below has them. */
export function offerChainedBulk(below: EventStore, store: EventStore, chains: Chains): void {
  const bulk = bulkAppendsOf(below)
  if (bulk === undefined) return
  const { memory, isBusy } = chains

  /** The hash that an append continues; undefined: it has to be looked up as `append` does. */
  function previousOf({ stream, expected }: BulkAppend): string | null | undefined {
    if (expected === 'no_stream') return null
    const known = memory.knownHash(stream, expected)
    if (known !== undefined) return known
    const metadata = bulk?.metadataAt(stream, expected)
    return metadata === undefined ? undefined : linkOf({ metadata: JSON.parse(metadata) as Json }).hash
  }

  function link(sequence: Sequence): Sequence | undefined {
    const linked: BulkAppend[] = []
    for (const append of sequence) {
      const { stream, events, expected } = append
      const previous = previousOf(append)
      if (previous === undefined || events.length === 0 || isBusy(stream)) return undefined
      linked.push({ stream, events: linkEvents(stream, events, previous), expected })
      // Its end is read when it is needed again: a million of them would only push each other out of memory.
      memory.forgetTail(stream)
    }
    return linked
  }

  offerBulkAppends(store, {
    ...bulk,
    write: (sequences) => bulk.readTogether(() => writeConverted(sequences, link, bulk.write)),
  })
}
