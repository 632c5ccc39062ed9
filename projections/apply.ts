/**
 * Applying events to documents, in whatever order and however often they are delivered: an event counts only if its
 * revision is the document's next. A lower one is a duplicate; a higher one shows a gap, which is filled from the stream.
 */
import { LRUCache } from 'lru-cache'
import { decode } from '../eventstore/codec.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../eventstore/port.ts'
import type { CustomerEvent } from '../schema/events.ts'
import { absentCustomer, type CustomerDocument, project } from './customer.ts'
import { foldCustomer } from './fold.ts'
import type { DocumentWrite, ReadModel } from './read-model.ts'

/** An event that could not be applied: its customer's document stays at the revision before it. */
export interface Failure {
  readonly stream: string
  readonly revision: number
  readonly error: unknown
}

export interface Applier {
  /** Brings the documents of these events' customers up to them. @throws ReadModelUnavailable | EventStoreUnavailable; call again then */
  apply(events: readonly RecordedEvent[]): Promise<void>
}

export const CUSTOMER_STREAMS = 'customer-'
const CACHED_DOCUMENTS = 10_000

/**
 * @param options.onFailure told once for each customer that got stuck
 */
export function createApplier(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly onFailure: (failure: Failure) => void
}): Applier {
  const { eventStore, readModel, onFailure } = options
  /** What this applier stored last: saves the reading. Where another one was faster, the compare-and-set tells. */
  const stored = new LRUCache<number, CustomerDocument>({ max: CACHED_DOCUMENTS })
  const stuck = new Set<number>()

  async function load(ids: readonly number[]): Promise<Map<number, CustomerDocument>> {
    const documents = new Map<number, CustomerDocument>()
    const missing: number[] = []
    for (const id of ids) {
      const document = stored.get(id)
      if (document) documents.set(id, document)
      else missing.push(id)
    }
    if (missing.length > 0) {
      const read = await readModel.documents(missing)
      for (const [index, id] of missing.entries()) documents.set(id, read[index] ?? absentCustomer(id))
    }
    return documents
  }

  /** The document with the events applied, as far as they can be. */
  async function advance(document: CustomerDocument, events: readonly RecordedEvent[]): Promise<CustomerDocument> {
    let current = document
    for (const event of events) {
      if (event.revision <= current.revision) continue
      try {
        current =
          event.revision === current.revision + 1
            ? project(current, decode<CustomerEvent>(event))
            : await foldCustomer(eventStore, current.id, current)
        if (current.revision < event.revision) throw new Error('The events before it are gone.')
      } catch (error) {
        if (error instanceof EventStoreUnavailable) throw error
        stuck.add(current.id)
        onFailure({ stream: event.stream, revision: event.revision, error })
        break
      }
    }
    return current
  }

  return {
    async apply(events) {
      let pending = groupByCustomer(events)
      while (pending.size > 0) {
        const documents = await load([...pending.keys()])
        const writes: DocumentWrite[] = []
        for (const [id, own] of pending) {
          const before = documents.get(id) as CustomerDocument
          const document = stuck.has(id) ? before : await advance(before, own)
          if (document.revision > before.revision) writes.push({ document, expected: before.revision })
        }
        if (writes.length === 0) return
        const revisions = await readModel.put(writes)
        const lost = new Map<number, RecordedEvent[]>()
        for (const [index, { document }] of writes.entries()) {
          if (revisions[index] === document.revision) stored.set(document.id, document)
          else {
            stored.delete(document.id)
            lost.set(document.id, pending.get(document.id) ?? [])
          }
        }
        pending = lost
      }
    },
  }
}

function groupByCustomer(events: readonly RecordedEvent[]): Map<number, RecordedEvent[]> {
  const groups = new Map<number, RecordedEvent[]>()
  for (const event of events) {
    const id = Number(event.stream.slice(CUSTOMER_STREAMS.length))
    if (!event.stream.startsWith(CUSTOMER_STREAMS) || !Number.isSafeInteger(id)) continue
    const group = groups.get(id)
    if (group) group.push(event)
    else groups.set(id, [event])
  }
  for (const group of groups.values()) group.sort((a, b) => a.revision - b.revision)
  return groups
}
