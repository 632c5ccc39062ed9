/**
 * Customers as of the ends of history pages, so that the page after one goes on from there and is not folded from the
 * stream's start. They are kept in this process alone: without one the page costs a fold, and is the same.
 */
import { LRUCache } from 'lru-cache'
import { hasKeys } from '../eventstore/encryption/customer-keys.ts'
import type { EventStore } from '../eventstore/port.ts'
import { newestStored } from '../eventstore/read.ts'
import { customerStream, type Folded } from '../projections/fold.ts'

/** Customers and addresses that are kept: some 2 MB. */
const KEPT = 2_000

export interface HistoryStates {
  /** The state at the revision, if it is kept. Whether its event is still the same, the caller compares: another log may answer. */
  at(revision: number): Folded | undefined
  /** Keeps the customer as of the end of a page. */
  keep(folded: Folded): void
}

/**
 * @returns gives one customer's states. It reads what shows whether they may still be used: an erased customer's of before
 * the erasure have what is to be forgotten. @throws EventStoreUnavailable
 */
export function createHistoryStates(eventStore: EventStore): (customerId: number) => Promise<HistoryStates> {
  const states = new LRUCache<string, Folded>({
    maxSize: KEPT,
    sizeCalculation: ({ document }) => 1 + document.addresses.length,
  })

  /** undefined: the customer is deleted and the key not destroyed yet, or there is none. */
  async function lifeOf(customerId: number): Promise<'living' | 'erased' | undefined> {
    const newest = await newestStored(eventStore, customerStream(customerId))
    if (newest?.type !== 'CustomerDeleted') return 'living'
    if (!hasKeys(eventStore)) return undefined
    // This reads the key anew: what is folded from here on is folded without it.
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
