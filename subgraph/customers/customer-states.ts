/** Customers folded from their streams, and those that were folded last. */
import { LRUCache } from 'lru-cache'
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { Marks } from '../../projections/fence/marks.ts'
import { type Folded, foldForward } from '../../projections/fold.ts'
import { endWith, startSpan } from '../../runtime/tracing.ts'

export interface CustomerStates {
  /** The state that is in memory: it may be older than the stream. */
  cached(id: number): CustomerDocument | undefined
  /**
   * The customer as of the end of its stream, folded forward from what is cached. It may have what another instance has not
   * acknowledged yet: see `shown`.
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
  /** Keeps the newest: a slower read must not put an older state back. */
  remember(folded: Folded): CustomerDocument
  /** The log turned out to be another one. */
  clear(): void
  close(): void
}

const CACHED_CUSTOMERS = 10_000

export function createCustomerStates(eventStore: EventStore, marks: Pick<Marks, 'acknowledge'>): CustomerStates {
  const cache = new LRUCache<number, Folded>({ max: CACHED_CUSTOMERS })

  // A state is decided on before the log is read again: it must not be of a log that is gone.
  const unlisten = eventStore.onDisconnect?.(() => cache.clear())

  async function fold(id: number, traceparent?: string): Promise<CustomerDocument> {
    const known = cache.get(id)
    const folded = await endWith(
      startSpan('fold customer', { parent: traceparent }),
      foldForward(eventStore, id, known),
    )
    // It does not go on from what was known: the stream is that of another log, or of an older state of it.
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

/** Whether one is not what the other, read later, has become. */
function isOther(folded: Folded, known: Folded): boolean {
  const [after, before] = [folded.document.revision, known.document.revision]
  return after < before || (after === before && folded.eventId !== known.eventId)
}
