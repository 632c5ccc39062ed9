/**
 * Applying events to documents, in whatever order and however often they are delivered: an event counts only if its
 * revision is the document's next. A lower one is a duplicate; a higher one shows a gap, which is filled from the stream.
 */
import { LRUCache } from 'lru-cache'
import { decode } from '../eventstore/codec.ts'
import { hasKeys, keysOf } from '../eventstore/encryption/customer-keys.ts'
import { type EventPlace, laterPlace, placeOf } from '../eventstore/place.ts'
import { comparePositions, type EventStore, EventStoreUnavailable, type RecordedEvent } from '../eventstore/port.ts'
import { inTurns } from '../runtime/in-turns.ts'
import { type CustomerEvent, isErased } from '../schema/events.ts'
import { absentCustomer, type CustomerDocument, project } from './customer.ts'
import { completeErasure } from './erasure.ts'
import { customerOf, skipOrThrow } from './fold.ts'
import { type DocumentWrite, type ReadModel, ReadModelUnavailable } from './read-model.ts'

/** An event that can't be applied, or is gone from its stream: its customer's document stays at the revision before it. */
export interface Failure {
  readonly stream: string
  /** The revision that would have been the document's next. */
  readonly revision: number
  readonly error: unknown
}

export interface Applier {
  /**
   * Brings the documents of these events' customers up to them.
   * @param onSent called once the writes are on their way: from then on the events that follow may be applied
   * @throws ReadModelUnavailable | EventStoreUnavailable; after that call `forget` and apply again
   */
  apply(events: readonly RecordedEvent[], onSent?: () => void): Promise<void>
  /** To be called when the read model may have been emptied or switched: else what was stored once would count as still there. */
  forget(): void
}

/** Customers and addresses that are kept: some 20 MB. */
const CACHED = 20_000

/** The read model's files are written anew so long after a deletion. */
const SCRUB_AFTER_MS = 1_000
/** After that they are not for so many times as long as it took. */
const SCRUB_REST = 20
const RECENT_MS = 3_600_000
/** How often it is looked whether a scrub is owed that this process has not scheduled; the longest wait after failures. */
const LOOK_FOR_SCRUB_MS = 60_000

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
  const stored = new LRUCache<number, CustomerDocument>({
    maxSize: CACHED,
    sizeCalculation: ({ addresses }) => 1 + addresses.length,
  })
  /** The revision that each stuck customer does not get past. What lies before it still counts, whenever it comes. */
  const stuck = new Map<number, number>()
  /** The revisions of the parked events by customer, as read last. */
  let parked: Map<number, number> | undefined

  /** @param isFirst false where what was taken for granted turned out wrong */
  async function load(
    pending: ReadonlyMap<number, readonly RecordedEvent[]>,
    isFirst: boolean,
  ): Promise<Map<number, CustomerDocument>> {
    const documents = new Map<number, CustomerDocument>()
    const missing: number[] = []
    for (const [id, events] of pending) {
      const document = stored.get(id)
      if (document) documents.set(id, document)
      // Before a stream's first event there is no document, as a rule; else the compare-and-set tells.
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
   * The document with the events applied, as far as they can be.
   * @param onApplied told of each event that the document was read beyond its own for
   */
  async function advance(
    document: CustomerDocument,
    events: readonly RecordedEvent[],
    onApplied: (event: RecordedEvent) => void,
  ): Promise<CustomerDocument> {
    const { id } = document
    let current = document
    for (const event of events) {
      if (event.revision <= current.revision) continue
      if (current.revision + 1 === stuck.get(id)) break
      let type = ''
      try {
        if (event.revision > current.revision + 1) {
          parked = undefined // another process may have parked what lies in the gap
          for await (const missing of eventStore.readStream(event.stream, { from: current.revision + 1 })) {
            if (missing.revision > current.revision + 1) break // the stream was cut off here
            type = missing.type
            current = await next(current, missing)
            onApplied(missing)
          }
          if (current.revision < event.revision) throw new Error('The event is gone from its stream.')
        } else {
          type = event.type
          current = await next(current, event)
        }
      } catch (error) {
        if (error instanceof EventStoreUnavailable || error instanceof ReadModelUnavailable) throw error
        const revision = current.revision + 1
        // So that queries see that the document is behind, also where the subgraph's own mark was lost.
        await readModel.acknowledge(id, revision)
        const { message } = error as Error // never the event's data: see codec.ts and customer.ts
        const at = new Date().toISOString()
        await readModel.park({ customerId: id, stream: event.stream, revision, type, reason: message, at })
        stuck.set(id, revision)
        parked = undefined
        onFailure({ stream: event.stream, revision, error })
        break
      }
    }
    return current
  }

  /** The document after its next event. No promise where it can be applied, as nearly all can. */
  function next(document: CustomerDocument, event: RecordedEvent): CustomerDocument | Promise<CustomerDocument> {
    try {
      return project(document, decode<CustomerEvent>(event))
    } catch (error) {
      return skipOrThrow(eventStore, document, error)
    }
  }

  /** Before then the files of the read model are not written anew once more (performance.now). */
  let restsUntil = 0
  let isScrubDue = false
  /** When it was last looked whether a scrub is owed (performance.now). */
  let looked = Number.NEGATIVE_INFINITY

  /**
   * Of customers who were deleted nothing may be left, whoever deleted them and wherever that was cut off. A log in clear
   * that was opened without keys has nothing to destroy; whoever deletes or erases is refused there.
   */
  async function completeErasures(deletions: readonly RecordedEvent[]): Promise<void> {
    if (deletions.length === 0) return
    if (hasKeys(eventStore)) await inTurns(deletions, complete)
    await readModel.forget(deletions.map(({ stream }) => customerOf(stream) as number))
  }

  async function complete(event: RecordedEvent): Promise<void> {
    try {
      await completeErasure(eventStore, event)
    } catch (error) {
      if (error instanceof EventStoreUnavailable) throw error
      // Something of it can't be read. That must not hold up everybody else, and the key is destroyed all the same.
      await keysOf(eventStore).destroy(String(customerOf(event.stream)))
      onFailure({ stream: event.stream, revision: event.revision, error })
    }
  }

  /** What another process, or this one before it was killed, has not come to. */
  async function lookForScrub(): Promise<void> {
    if (isScrubDue || performance.now() - looked < LOOK_FOR_SCRUB_MS) return
    if (await readModel.isScrubOwed()) scheduleScrub()
    looked = performance.now()
  }

  /** Soon, but not for each of many: most of the time it rests. */
  function scheduleScrub(wait = SCRUB_AFTER_MS): void {
    if (isScrubDue) return
    isScrubDue = true
    setTimeout(
      async () => {
        isScrubDue = false // what comes now may come too late for this one
        const started = performance.now()
        const isDone = await readModel.scrub().then(
          () => true,
          () => false,
        )
        restsUntil = performance.now() + SCRUB_REST * (performance.now() - started)
        if (!isDone) scheduleScrub(Math.min(2 * wait, LOOK_FOR_SCRUB_MS)) // it stays owed until it is
      },
      Math.max(wait, restsUntil - performance.now()),
    ).unref()
  }

  async function applyAll(events: readonly RecordedEvent[], onSent: (() => void) | undefined): Promise<void> {
    let pending = groupByCustomer(events)
    /** Told to the read model before it has any document of it. */
    let newest: EventPlace | undefined
    for (const event of events) if (newest === undefined || isAfter(event, newest)) newest = placeOf(event)
    for (let isFirst = true; pending.size > 0; isFirst = false) {
      const documents = await load(pending, isFirst)
      const writes: DocumentWrite[] = []
      for (const [id, own] of pending) {
        const before = documents.get(id) as CustomerDocument
        const document = await advance(before, own, (event) => {
          newest = laterPlace(newest, placeOf(event))
        })
        if (document.revision > before.revision) writes.push({ document, expected: before.revision })
      }
      if (writes.length === 0) return
      // Noted before anything is overwritten: a process that is killed right after it leaves it to the next one.
      if (writes.some(({ document }) => document.status === 'deleted' && holdsPerson(documents.get(document.id)))) {
        await readModel.oweScrub()
        scheduleScrub()
      }
      // Taken for stored from here on, so that the next events can be applied meanwhile. Where it is not so, their
      // compare-and-set fails too. A stuck one is read each time: a newer release beside this one may get past the event.
      for (const { document } of writes) if (!stuck.has(document.id)) stored.set(document.id, document)
      const putting = readModel.put(writes, newest)
      onSent?.()
      const revisions = await putting
      parked ??= new Map((await readModel.parked()).map(({ customerId, revision }) => [customerId, revision]))
      const lost = new Map<number, RecordedEvent[]>()
      for (const [index, { document }] of writes.entries()) {
        if (revisions[index] === document.revision) {
          if (document.revision >= (parked.get(document.id) ?? Number.POSITIVE_INFINITY)) {
            await readModel.unpark(document.id)
            parked.delete(document.id)
          }
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
      // Of deletions of long ago, met again, nothing new lies on the disk.
      const isRecent = deletions.some(({ created }) => Date.now() - created.getTime() < RECENT_MS)
      if (isRecent) await readModel.oweScrub()
      await applyAll(events, onSent)
      await completeErasures(deletions)
      if (isRecent) scheduleScrub()
      await lookForScrub()
    },

    forget() {
      stored.clear()
      parked = undefined
    },
  }
}

/** Whether something personal is in a document. */
const holdsPerson = (document: CustomerDocument | undefined): boolean =>
  document?.status === 'registered' && !isErased(document.email)
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
