/** Folds one customer from its stream. */

import { decode } from '../eventstore/codec.ts'
import { isSameId } from '../eventstore/event-place.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../eventstore/port.ts'
import { isOfNoStream, newestStored } from '../eventstore/read.ts'
import type { CustomerEvent } from '../schema/events.ts'
import { STREAM_PREFIXES, streamOf } from '../schema/streams.ts'
import { absentCustomer, type CustomerDocument, project } from './customer.ts'
import { isSkipped } from './skips.ts'

/** The prefix of customers' streams. */
export const CUSTOMER_STREAMS = STREAM_PREFIXES.customer

/** The id in the name of a customer's stream; undefined for any other stream, such as `customer-007`. */
export function customerOf(stream: string): number | undefined {
  const id = Number(stream.slice(CUSTOMER_STREAMS.length))
  return id > 0 && Number.isSafeInteger(id) && stream === streamOf.customer(id) ? id : undefined
}

/**
 * The customer as of the end of its stream; `absentCustomer` if there is none.
 * @param from the known state: only newer events are read
 * @param to the last revision to apply; default: the end of the stream
 * @throws EventStoreUnavailable
 */
export async function foldCustomer(
  eventStore: EventStore,
  id: number,
  from: CustomerDocument = absentCustomer(id),
  to = Number.MAX_SAFE_INTEGER,
): Promise<CustomerDocument> {
  let document = from
  try {
    for await (const event of eventStore.readStream(streamOf.customer(id), { from: from.revision + 1 })) {
      if (event.revision > to) break
      document = await applyNext(eventStore, document, event, to)
    }
  } catch (error) {
    if (!isOfNoStream(error)) throw error
  }
  return document
}

/** A customer as of an event of its stream. */
export interface Folded {
  readonly document: CustomerDocument
  /** The id of the event at the document's revision; undefined if there is no event. */
  readonly eventId: string | undefined
}

/**
 * The customer as of the end of its stream, folded forward from the known state. The last event of the known state is
 * read too and compared: if it differs, the log was replaced and the whole stream is read again.
 * @throws EventStoreUnavailable
 */
export async function foldForward(
  eventStore: EventStore,
  id: number,
  known: Folded = { document: absentCustomer(id), eventId: undefined },
): Promise<Folded> {
  let { document, eventId } = known
  let isCompared = eventId === undefined
  try {
    for await (const event of eventStore.readStream(streamOf.customer(id), { from: Math.max(document.revision, 0) })) {
      if (!isCompared) {
        if (event.revision !== document.revision || !isSameId(event.id, eventId ?? '')) break
        isCompared = true
        continue
      }
      document = await applyNext(eventStore, document, event)
      eventId = event.id
    }
  } catch (error) {
    if (!isOfNoStream(error)) throw error
  }
  return isCompared ? { document, eventId } : foldForward(eventStore, id)
}

/**
 * The document after the next event of its stream. If that can't be applied, or one before it is missing, and an operator
 * decided to skip that one, it changes nothing. Once the customer is deleted, nothing depends on it either: then it is the
 * document after the deletion, which the events in between leave as it is.
 * @param to as in {@link foldCustomer}
 * @returns no promise if the event can be applied, as nearly always
 * @throws what is wrong with the event; EventStoreUnavailable
 */
export function applyNext(
  eventStore: EventStore,
  document: CustomerDocument,
  event: RecordedEvent,
  to = Number.MAX_SAFE_INTEGER,
): CustomerDocument | Promise<CustomerDocument> {
  if (event.revision <= document.revision) return document
  try {
    return project(document, decode<CustomerEvent>(event))
  } catch {
    return orDeletion(eventStore, document, event, to)
  }
}

async function orDeletion(
  eventStore: EventStore,
  document: CustomerDocument,
  event: RecordedEvent,
  to: number,
): Promise<CustomerDocument> {
  try {
    return await applyOrSkip(eventStore, document, event)
  } catch (error) {
    if (error instanceof EventStoreUnavailable) throw error
    const newest = await newestStored(eventStore, event.stream)
    if (newest?.type !== 'CustomerDeleted' || newest.revision > to) throw error
    return project({ ...document, revision: newest.revision - 1 }, decode<CustomerEvent>(newest))
  }
}

/**
 * The document after the next event of its stream. An event that can't be applied, or is missing before this one, changes
 * nothing if an operator decided to skip it.
 * @throws what is wrong with the event, if not; EventStoreUnavailable
 */
export async function applyOrSkip(
  eventStore: EventStore,
  document: CustomerDocument,
  event: RecordedEvent,
): Promise<CustomerDocument> {
  try {
    return project(document, decode<CustomerEvent>(event))
  } catch (error) {
    const revision = document.revision + 1
    if (!(await isSkipped(eventStore, document.id, revision))) throw error
    const skipped = { ...document, revision }
    return revision < event.revision ? applyOrSkip(eventStore, skipped, event) : skipped
  }
}
