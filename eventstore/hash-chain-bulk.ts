/** Bulk appends that continue the hash chains of their streams. */
import { type BulkAppend, bulkAppendsOf, offerBulkAppends, type Sequence, writeConverted } from './bulk-appends.ts'
import { type LinkedEvent, linkEvents, linkOf } from './event-hash.ts'
import type { ChainMemory } from './hash-chain-memory.ts'
import type { EventStore, Json } from './port.ts'

interface Chains {
  readonly memory: ChainMemory
  /** Whether a stream usually gets no second append, and its end need not be remembered. */
  isWrittenOnce(stream: string): boolean
  /** Whether another append to the stream is under way or its outcome unknown, or the store is closed. */
  isBusy(stream: string): boolean
}

/** Offers bulk appends for the chained store, if the store below has them. */
export function offerChainedBulk(below: EventStore, store: EventStore, chains: Chains): void {
  const bulk = bulkAppendsOf(below)
  if (bulk === undefined) return
  const { memory, isBusy, isWrittenOnce } = chains

  /** The hash that an append continues; undefined: it has to be looked up as `append` does. */
  function previousOf({ stream, expected }: BulkAppend): string | null | undefined {
    if (expected === 'no_stream') return null
    const known = memory.knownHash(stream, expected)
    if (known !== undefined) return known
    const metadata = bulk?.metadataAt(stream, expected)
    return metadata === undefined ? undefined : linkOf({ metadata: JSON.parse(metadata) as Json }).hash
  }

  return void offerBulkAppends(store, {
    ...bulk,

    write(sequences) {
      /** The ends of the streams, once everything is written. */
      const tails: (readonly [stream: string, revision: number, hash: string])[][] = []

      function link(sequence: Sequence): Sequence | undefined {
        const own: (typeof tails)[number] = []
        const linked: BulkAppend[] = []
        for (const append of sequence) {
          const { stream, events, expected } = append
          const previous = previousOf(append)
          if (previous === undefined || events.length === 0 || isBusy(stream)) return undefined
          const withLinks = linkEvents(stream, events, previous)
          linked.push({ stream, events: withLinks, expected })
          if (expected === 'no_stream' && isWrittenOnce(stream)) continue
          const { metadata } = withLinks.at(-1) as LinkedEvent
          own.push([stream, (expected === 'no_stream' ? -1 : expected) + events.length, metadata.$hash])
        }
        tails.push(own)
        return linked
      }

      const remember = (written: readonly boolean[]) => {
        for (const [index, own] of tails.entries()) {
          if (written[index]) for (const [stream, revision, hash] of own) memory.remember(stream, { revision, hash })
        }
        return written
      }
      return writeConverted(sequences, link, (linked) => bulk.write(linked).then(remember))
    },
  })
}
