/** Customers folded from their streams, with a cache of the most recent ones. */
import { LRUCache } from 'lru-cache'
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { documentSize } from '../../projections/document-size.ts'
import type { Marks } from '../../projections/fence/marks.ts'
import { type Folded, foldForward } from '../../projections/fold.ts'
import { endWith, startSpan } from '../../runtime/tracing.ts'

export interface CustomerStates {
  /** The cached state, which may be older than the stream. */
  cached(id: number): CustomerDocument | undefined
  /**
   * The customer as of the end of its stream, folded forward from what is cached. It may have what another instance has
   * not acknowledged yet: see `shown`.
   * @throws EventStoreUnavailable
   */
  fold(id: number, traceparent?: string): Promise<CustomerDocument>
  /**
   * To be called before anything that depends on a folded state is answered: nobody may be shown an older one after it.
   * @param known the revision up to which every instance is known to show it
   */
  shown(state: CustomerDocument, known?: number): Promise<CustomerDocument>
  /** `fold`, then `shown`. */
  load(id: number): Promise<CustomerDocument>
  /** Keeps the newest state: a slower read must not restore an older one. */
  remember(folded: Folded): CustomerDocument
  /** The log was replaced by another one. */
  clear(): void
  close(): void
}

/** For about 10,000 customers with two addresses each. */
const CACHED_BYTES = 24 * 1024 * 1024

export function createCustomerStates(eventStore: EventStore, marks: Pick<Marks, 'acknowledge'>): CustomerStates {
  const cache = new LRUCache<number, Folded>({
    maxSize: CACHED_BYTES,
    sizeCalculation: ({ document }) => documentSize(document),
  })

  // A cached state is used for decisions without reading the log, so it must not come from a replaced log.
  const unlisten = eventStore.onDisconnect?.(() => cache.clear())

  async function fold(id: number, traceparent?: string): Promise<CustomerDocument> {
    const known = cache.get(id)
    const folded = await endWith(
      startSpan('fold customer', { parent: traceparent }),
      foldForward(eventStore, id, known),
    )
    // The stream does not continue the known state: it belongs to another log, or to an older state of this one.
    if (known && isOther(folded, known) && cache.get(id) === known) cache.delete(id)
    return remember(folded)
  }

  async function shown(state: CustomerDocument, known = -1): Promise<CustomerDocument> {
    await marks.acknowledge(state.id, state.revision, known)
    return state
  }

  function remember(folded: Folded): CustomerDocument {
    const { document } = folded
    if (document.revision > (cache.get(document.id)?.document.revision ?? -1)) cache.set(document.id, folded)
    return document
  }

  return {
    cached: (id) => cache.get(id)?.document,
    fold,
    shown,
    load: async (id) => shown(await fold(id)),
    remember,
    clear: () => cache.clear(),
    close: () => unlisten?.(),
  }
}

/** Whether the later state can't have followed from the earlier one. */
function isOther(folded: Folded, known: Folded): boolean {
  const [after, before] = [folded.document.revision, known.document.revision]
  return after < before || (after === before && folded.eventId !== known.eventId)
}
