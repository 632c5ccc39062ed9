/**
 * Customers as of the end of a history page, so that the next page continues from there instead of folding the stream
 * from its start. They are kept in the memory of this process. Without one, the page is the same but costs a fold.
 */
import { LRUCache } from 'lru-cache'
import { hasKeys } from '../eventstore/encryption/customer-keys.ts'
import type { EventStore } from '../eventstore/port.ts'
import { newestOrGone } from '../eventstore/read.ts'
import { documentSize } from '../projections/document-size.ts'
import type { Folded } from '../projections/fold.ts'
import { streamOf } from '../schema/streams.ts'

const MOST_BYTES = 2 * 1024 * 1024

export interface HistoryStates {
  /**
   * The state at the revision, if it is kept. The caller compares the event, because the log may have been replaced.
   */
  at(revision: number): Folded | undefined
  /** Remembers the customer as of the end of a page. */
  keep(folded: Folded): void
}

/**
 * @returns a function that returns one customer's states. It reads whether they may still be used: after an erasure,
 * the earlier ones contain erased data. @throws EventStoreUnavailable
 */
export function createHistoryStates(eventStore: EventStore): (customerId: number) => Promise<HistoryStates> {
  const states = new LRUCache<string, Folded>({
    maxSize: MOST_BYTES,
    sizeCalculation: ({ document }) => documentSize(document),
  })

  /** undefined: the customer is deleted, but the key is not destroyed yet, or there are no keys. */
  async function lifeOf(customerId: number): Promise<'living' | 'erased' | undefined> {
    const newest = await newestOrGone(eventStore, streamOf.customer(customerId))
    if (newest?.type !== 'CustomerDeleted') return 'living'
    if (!hasKeys(eventStore)) return undefined
    // This reads the key again, so later folds do without it.
    return (await eventStore.keys.isDestroyed(String(customerId))) ? 'erased' : undefined
  }

  return async (customerId) => {
    const life = await lifeOf(customerId)
    const name = (revision: number) => `${life} ${customerId} ${revision}`
    return {
      at: (revision) => (life ? states.get(name(revision)) : undefined),
      keep(folded) {
        if (life) states.set(name(folded.document.revision), folded)
      },
    }
  }
}
