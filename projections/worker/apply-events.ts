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
import type { Log } from '../../runtime/log.ts'
import { streamOf } from '../../schema/streams.ts'
import { absentCustomer, type CustomerDocument, isRegistered } from '../customer.ts'
import { documentSize } from '../document-size.ts'
import { completeErasure } from '../erasure.ts'
import { customerOf } from '../fold.ts'
import type { DocumentWrite, ReadModel } from '../read-model.ts'
import { advance, NodeIsBehind } from './advance-document.ts'
import { createParking, type Failure, type Parking } from './parking.ts'
import { createScrubbing, type Scrubbing } from './scrubbing.ts'

export interface Applier {
  /**
   * Applies these events to the documents of their customers in memory. They are stored by the next `write`: one write
   * for a document, however many events it has had since. @throws ReadModelUnavailable | EventStoreUnavailable
   */
  fold(events: readonly RecordedEvent[]): Promise<void>
  /** Whether what is folded takes so much memory that it should be written now. */
  isFull(): boolean
  /**
   * Stores the documents that were folded, and completes the erasures among the events.
   * @param onSent called once the writes have been sent; from then on the next events may be folded
   * @throws ReadModelUnavailable | EventStoreUnavailable; then call `forget` and fold the events again
   */
  write(onSent?: () => void): Promise<void>
  /** Folds these events and writes their documents, apart from what `fold` keeps. @throws as `write` */
  apply(events: readonly RecordedEvent[]): Promise<void>
  /**
   * Call it when the read model may have been cleared or switched: otherwise documents stored earlier would count as
   * still there. What `fold` has folded and `write` has not written is dropped.
   */
  forget(): void
}

/** For about 10,000 customers with two addresses each. */
const CACHED_BYTES = 20 * 1024 * 1024
/** How much memory the documents may take that are folded and not written yet, estimated. */
const FOLDED_BYTES = 8 * 1024 * 1024
/** A deletion of longer ago left its traces to whoever applied it first. A day: clocks of servers differ by less. */
const RECENT_MS = 86_400_000

interface ApplierOptions {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  /** Called once for each customer that gets stuck. */
  readonly onFailure: (failure: Failure) => void
  /** See parking.ts. */
  readonly patienceMs?: number
  /** See scrubbing.ts. */
  readonly log?: Log
  readonly signal?: AbortSignal
}

/** A document to write, and the memory that it takes. */
interface FoldedDocument extends DocumentWrite {
  /** Bytes, estimated. */
  readonly size: number
}

/** What was folded and is not written yet. */
interface Folded {
  readonly documents: Map<number, FoldedDocument>
  /** The deletions among the events, whose erasures have to be completed. */
  readonly deletions: RecordedEvent[]
  /** The newest event that a document reflects. Stored in the read model before any document of it. */
  newest: EventPlace | undefined
  /** Whether a stored document of a customer who is deleted now will be overwritten. */
  overwritesDeleted: boolean
  bytes: number
}

const nothing = (): Folded => ({
  documents: new Map(),
  deletions: [],
  newest: undefined,
  overwritesDeleted: false,
  bytes: 0,
})

/** Notes an event that a document reflects and that was not delivered. */
const noting = (into: Folded) => (event: RecordedEvent) => {
  into.newest = laterPlace(into.newest, placeOf(event))
}

/** Has all customers of a batch wait at the same time: `end` throws NodeIsBehind if one of them was noted. */
function createWaiting() {
  let behind: NodeIsBehind | undefined
  return {
    note(error: unknown): void {
      if (!(error instanceof NodeIsBehind)) throw error
      behind = error
    },
    end(): void {
      if (behind) throw behind
    },
  }
}

/** Keeps an advanced document for the next write. */
function keep(into: Folded, before: CustomerDocument, document: CustomerDocument): void {
  if (document.revision <= before.revision) return
  const known = into.documents.get(document.id)
  const expected = known?.expected ?? before.revision
  const size = documentSize(document)
  into.documents.set(document.id, { document, expected, size })
  into.bytes += size - (known?.size ?? 0)
  if (document.status === 'deleted' && isRegistered(before) && expected !== -1) into.overwritesDeleted = true
}

/** Stores folded documents. @param stored the documents that were stored last */
function createStoring(
  { eventStore, readModel }: ApplierOptions,
  parking: Parking,
  scrubbing: Scrubbing,
  stored: LRUCache<number, CustomerDocument>,
) {
  /** Writes until each document is at the revision that was folded, whoever has written it. */
  async function store(written: Folded, onSent: (() => void) | undefined): Promise<void> {
    for (let unit = written; unit.documents.size > 0; ) {
      // Requested before anything is overwritten: if this process is killed, the next one does it.
      if (unit.overwritesDeleted) {
        await readModel.requestScrub()
        scrubbing.schedule()
      }
      const writes = [...unit.documents.values()]
      // Counts as stored from here on, so that the next events can be applied in the meantime. If the write fails,
      // their compare-and-set fails too.
      for (const { document, size } of writes) stored.set(document.id, document, { size })
      const putting = readModel.put(writes, unit.newest)
      onSent?.()
      const revisions = await putting
      if (!parking.isKnown()) await parking.load()
      const lost: CustomerDocument[] = []
      for (const [index, { document }] of writes.entries()) {
        if (revisions[index] !== document.revision) lost.push(document)
        else if (parking.isPassed(document)) await parking.unpark(document.id)
      }
      unit = await foldAgain(lost, unit.newest)
    }
  }

  /** Folds documents again that were not the ones expected, from what is stored instead. */
  async function foldAgain(lost: readonly CustomerDocument[], newest: EventPlace | undefined): Promise<Folded> {
    const again = { ...nothing(), newest }
    if (lost.length === 0) return again
    for (const { id } of lost) stored.delete(id)
    const found = await readModel.documents(lost.map(({ id }) => id))
    const onRead = noting(again)
    const waiting = createWaiting()
    await inBatches([...lost.entries()], async ([index, { id, revision }]) => {
      const before = found[index] ?? absentCustomer(id)
      const target = { stream: streamOf.customer(id), revision }
      try {
        keep(again, before, await advance(eventStore, parking, before, [target], onRead))
      } catch (error) {
        waiting.note(error)
      }
    })
    waiting.end()
    return again
  }

  return store
}

export function createApplier(options: ApplierOptions): Applier {
  const { eventStore, readModel, onFailure, log, signal } = options
  /**
   * The documents that this applier stored last, which saves reading them. If another one was faster, the
   * compare-and-set fails.
   */
  const stored = new LRUCache<number, CustomerDocument>({ maxSize: CACHED_BYTES })
  const parking = createParking(readModel, onFailure, options.patienceMs)
  const scrubbing = createScrubbing(readModel, { log, signal })
  const store = createStoring(options, parking, scrubbing, stored)
  let folded = nothing()

  /** A stuck document is read each time, because a newer release beside this one may get past the event. */
  const storedOf = (id: number) => (parking.stuckAt(id) === undefined ? stored.get(id) : undefined)

  async function fold(events: readonly RecordedEvent[], into: Folded): Promise<void> {
    for (const event of events) {
      if (into.newest === undefined || isAfter(event, into.newest)) into.newest = placeOf(event)
      if (event.type === 'CustomerDeleted' && customerOf(event.stream)) into.deletions.push(event)
    }
    const groups = groupByCustomer(events)
    const documents = await loadDocuments(readModel, groups, (id) => into.documents.get(id)?.document ?? storedOf(id))
    const onRead = noting(into)
    const waiting = createWaiting()
    for (const [id, own] of groups) {
      const before = documents.get(id) as CustomerDocument
      try {
        const after = advance(eventStore, parking, before, own, onRead)
        keep(into, before, after instanceof Promise ? await after : after)
      } catch (error) {
        waiting.note(error)
      }
    }
    waiting.end()
  }

  async function write(written: Folded, onSent?: () => void): Promise<void> {
    const { deletions } = written
    // Old deletions that are applied again leave nothing new on the disk.
    const isRecent = deletions.some(({ created }) => Date.now() - created.getTime() < RECENT_MS)
    if (isRecent) await readModel.requestScrub()
    await store(written, onSent)
    await completeErasures(options, deletions)
    if (isRecent) scrubbing.schedule()
    await scrubbing.checkOwed()
  }

  return {
    fold: (events) => fold(events, folded),
    isFull: () => folded.bytes >= FOLDED_BYTES,

    write(onSent) {
      const written = folded
      folded = nothing()
      return write(written, onSent)
    },

    // Apart: a group's deliveries are applied beside a filling, whose end drops what was folded.
    async apply(events) {
      const own = nothing()
      await fold(events, own)
      await write(own)
    },

    forget() {
      folded = nothing()
      stored.clear()
      parking.clear()
    },
  }
}

/**
 * The documents of the customers.
 * @param known the documents in memory
 */
async function loadDocuments(
  readModel: ReadModel,
  groups: ReadonlyMap<number, readonly RecordedEvent[]>,
  known: (id: number) => CustomerDocument | undefined,
): Promise<Map<number, CustomerDocument>> {
  const documents = new Map<number, CustomerDocument>()
  const missing: number[] = []
  for (const [id, events] of groups) {
    const document = known(id)
    if (document) documents.set(id, document)
    // Usually there is no document before a stream's first event; otherwise the compare-and-set fails.
    else if (events[0]?.revision === 0) documents.set(id, absentCustomer(id))
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
