/**
 * Applying events to documents, in whatever order and however often they are delivered: an event counts only if its
 * revision is the document's next. A lower one is a duplicate; a higher one shows a gap, which is filled from the
 * stream.
 */
import { LRUCache } from 'lru-cache'
import { hasKeys, keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { type EventPlace, laterPlace, placeOf } from '../../eventstore/event-place.ts'
import { comparePositions, type EventStore, EventStoreUnavailable, type RecordedEvent } from '../../eventstore/port.ts'
import { inBatches } from '../../runtime/in-batches.ts'
import { absentCustomer, type CustomerDocument, isRegistered } from '../customer.ts'
import { documentSize } from '../document-size.ts'
import { completeErasure } from '../erasure.ts'
import { customerOf } from '../fold.ts'
import type { DocumentWrite, ReadModel } from '../read-model.ts'
import { advance } from './advance-document.ts'
import { createParking, type Failure } from './parking.ts'
import { createScrubbing } from './scrubbing.ts'

export interface Applier {
  /**
   * Applies these events to the documents of their customers.
   * @param onSent called once the writes have been sent; from then on the next events may be applied
   * @throws ReadModelUnavailable | EventStoreUnavailable; then call `forget` and apply them again
   */
  apply(events: readonly RecordedEvent[], onSent?: () => void): Promise<void>
  /**
   * Call it when the read model may have been cleared or switched: otherwise documents stored earlier would count as
   * still there.
   */
  forget(): void
}

/** For about 10,000 customers with two addresses each. */
const CACHED_BYTES = 20 * 1024 * 1024
const RECENT_MS = 3_600_000

interface ApplierOptions {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  /** Called once for each customer that gets stuck. */
  readonly onFailure: (failure: Failure) => void
}

export function createApplier(options: ApplierOptions): Applier {
  const { eventStore, readModel, onFailure } = options
  /**
   * The documents that this applier stored last, which saves reading them. If another one was faster, the
   * compare-and-set fails.
   */
  const stored = new LRUCache<number, CustomerDocument>({
    maxSize: CACHED_BYTES,
    sizeCalculation: documentSize,
  })
  const parking = createParking(readModel, onFailure)
  const scrubbing = createScrubbing(readModel)

  async function applyAll(events: readonly RecordedEvent[], onSent: (() => void) | undefined): Promise<void> {
    let pending = groupByCustomer(events)
    /** Stored in the read model before any document of it. */
    let newest: EventPlace | undefined
    for (const event of events) if (newest === undefined || isAfter(event, newest)) newest = placeOf(event)
    for (let isFirst = true; pending.size > 0; isFirst = false) {
      const documents = await loadDocuments(readModel, stored, pending, isFirst)
      const writes: DocumentWrite[] = []
      for (const [id, own] of pending) {
        const before = documents.get(id) as CustomerDocument
        const document = await advance(eventStore, parking, before, own, (event) => {
          newest = laterPlace(newest, placeOf(event))
        })
        if (document.revision > before.revision) writes.push({ document, expected: before.revision })
      }
      if (writes.length === 0) return
      // Requested before anything is overwritten: if this process is killed, the next one does it.
      if (
        writes.some(
          ({ document }) => document.status === 'deleted' && isRegistered(documents.get(document.id) ?? document),
        )
      ) {
        await readModel.requestScrub()
        scrubbing.schedule()
      }
      // Counts as stored from here on, so that the next events can be applied in the meantime. If the write fails,
      // their compare-and-set fails too. A stuck document is read each time, because a newer release beside this one
      // may get past the event.
      for (const { document } of writes)
        if (parking.stuckAt(document.id) === undefined) stored.set(document.id, document)
      const putting = readModel.put(writes, newest)
      onSent?.()
      const revisions = await putting
      if (!parking.isKnown()) await parking.load()
      const lost = new Map<number, RecordedEvent[]>()
      for (const [index, { document }] of writes.entries()) {
        if (revisions[index] === document.revision) {
          if (parking.isPassed(document)) await parking.unpark(document.id)
        } else {
          stored.delete(document.id)
          lost.set(document.id, pending.get(document.id) ?? [])
        }
      }
      pending = lost
    }
  }

  return {
    async apply(events, onSent) {
      const deletions = events.filter((event) => event.type === 'CustomerDeleted' && customerOf(event.stream))
      // Old deletions that are applied again leave nothing new on the disk.
      const isRecent = deletions.some(({ created }) => Date.now() - created.getTime() < RECENT_MS)
      if (isRecent) await readModel.requestScrub()
      await applyAll(events, onSent)
      await completeErasures(options, deletions)
      if (isRecent) scrubbing.schedule()
      await scrubbing.checkOwed()
    },

    forget() {
      stored.clear()
      parking.forget()
    },
  }
}

/**
 * The stored documents of the customers, as far as they are known.
 * @param isFirst false if the cached state turned out to be wrong
 */
async function loadDocuments(
  readModel: ReadModel,
  stored: LRUCache<number, CustomerDocument>,
  pending: ReadonlyMap<number, readonly RecordedEvent[]>,
  isFirst: boolean,
): Promise<Map<number, CustomerDocument>> {
  const documents = new Map<number, CustomerDocument>()
  const missing: number[] = []
  for (const [id, events] of pending) {
    const document = stored.get(id)
    if (document) documents.set(id, document)
    // Usually there is no document before a stream's first event; otherwise the compare-and-set fails.
    else if (isFirst && events[0]?.revision === 0) documents.set(id, absentCustomer(id))
    else missing.push(id)
  }
  if (missing.length > 0) {
    const read = await readModel.documents(missing)
    for (const [index, id] of missing.entries()) documents.set(id, read[index] ?? absentCustomer(id))
  }
  return documents
}

/**
 * Nothing may be left of deleted customers, whoever deleted them and however that was interrupted. An unencrypted log
 * that was opened without keys has nothing to destroy; deleting and erasing are refused there.
 */
async function completeErasures(options: ApplierOptions, deletions: readonly RecordedEvent[]): Promise<void> {
  if (deletions.length === 0) return
  const { eventStore, readModel } = options
  if (hasKeys(eventStore)) await inBatches(deletions, (deletion) => complete(options, deletion))
  await readModel.forget(deletions.map(({ stream }) => customerOf(stream) as number))
}

async function complete({ eventStore, onFailure }: ApplierOptions, event: RecordedEvent): Promise<void> {
  try {
    await completeErasure(eventStore, event)
  } catch (error) {
    if (error instanceof EventStoreUnavailable) throw error
    // Some of it can't be read. That must not block all others, and the key is destroyed all the same.
    await keysOf(eventStore).destroy(String(customerOf(event.stream)))
    onFailure({ stream: event.stream, revision: event.revision, error })
  }
}

const isAfter = (a: Pick<RecordedEvent, 'position'>, b: EventPlace) => comparePositions(a.position, b.position) > 0

function groupByCustomer(events: readonly RecordedEvent[]): Map<number, RecordedEvent[]> {
  const groups = new Map<number, RecordedEvent[]>()
  for (const event of events) {
    const id = customerOf(event.stream)
    if (id === undefined) continue
    const group = groups.get(id)
    if (group) group.push(event)
    else groups.set(id, [event])
  }
  for (const group of groups.values()) group.sort((a, b) => a.revision - b.revision)
  return groups
}
