/** Bringing one document up to events of its customer: in order, without gaps, as far as they can be applied. */
import { decode } from '../../eventstore/codec.ts'
import { wasRemoved } from '../../eventstore/event-place.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { type CustomerDocument, project } from '../customer.ts'
import { applyNext } from '../fold.ts'
import { isSkipped } from '../skips.ts'
import type { Parking } from './parking.ts'

/** An event whose data is not at hand. */
type EventReference = Pick<RecordedEvent, 'stream' | 'revision'>

/** An event that was delivered is not in its stream yet. */
export class NodeIsBehind extends EventStoreUnavailable {}

/**
 * The document with the events applied, as far as they can be; the first one that can't be is parked.
 * @param events of its customer, in the order of their revisions; one without its data is read from the stream
 * @param onRead called for each event that had to be read from the stream
 * @returns no promise if all of them are the document's next, as nearly always
 * @throws ReadModelUnavailable | EventStoreUnavailable, of which NodeIsBehind concerns this customer alone
 */
export function advance(
  eventStore: EventStore,
  parking: Parking,
  document: CustomerDocument,
  events: readonly (RecordedEvent | EventReference)[],
  onRead: (event: RecordedEvent) => void,
): CustomerDocument | Promise<CustomerDocument> {
  let current = document
  for (const [index, event] of events.entries()) {
    if (event.revision <= current.revision) continue
    const isNext = event.revision === current.revision + 1 && 'data' in event
    const after = isNext && event.revision !== parking.stuckAt(current.id) ? tryProject(current, event) : undefined
    if (after === undefined) return advanceFurther(eventStore, parking, current, events.slice(index), onRead)
    current = after
  }
  return current
}

/** undefined if it can't be applied: `next` finds out why. */
function tryProject(document: CustomerDocument, event: RecordedEvent): CustomerDocument | undefined {
  try {
    return project(document, decode<CustomerEvent>(event))
  } catch {
    return undefined
  }
}

async function advanceFurther(
  eventStore: EventStore,
  parking: Parking,
  document: CustomerDocument,
  events: readonly (RecordedEvent | EventReference)[],
  onRead: (event: RecordedEvent) => void,
): Promise<CustomerDocument> {
  const { id } = document
  const deletion = events.find(isDeletion)
  let current = document
  for (const event of events) {
    if (event.revision <= current.revision) continue
    if (current.revision + 1 === parking.stuckAt(id) && !deletion) break
    let type = ''
    try {
      if (event.revision > current.revision + 1 || !('data' in event)) {
        parking.forget() // another process may have parked what lies in the gap
        let isCutOff = false
        for await (const missing of orNone(eventStore.readStream(event.stream, { from: current.revision + 1 }))) {
          isCutOff = await isCutOffBefore(eventStore, current, missing)
          if (isCutOff) break
          type = missing.type
          current = await applyNext(eventStore, current, missing)
          onRead(missing)
        }
        if (current.revision < event.revision) {
          type = '' // of the missing one
          if (isCutOff || (await isRemoved(eventStore, event, current.revision + 1)))
            throw new Error('The event is gone from its stream.')
          // One customer must not hold up the others for ever, nor again for each event while it is parked.
          const missing = current.revision + 1
          if ((await parking.isParkedAsMissing(id, missing)) || parking.hasWaited(id, missing))
            throw new Error('The event was delivered, but it does not appear in its stream.')
          throw new NodeIsBehind('A node that is behind has read the stream.')
        }
      } else {
        type = event.type
        current = await applyNext(eventStore, current, event)
      }
    } catch (error) {
      if (error instanceof EventStoreUnavailable) throw error
      // Nothing of a deleted customer is kept for what can't be applied, or is missing.
      const deleted = deletion && tryProject({ ...current, revision: deletion.revision - 1 }, deletion)
      if (deleted) {
        current = deleted
        continue
      }
      await parking.park(current, event, type, error)
      break
    }
  }
  if (current.status === 'deleted') parking.release(id)
  return current
}

const isDeletion = (event: RecordedEvent | EventReference): event is RecordedEvent =>
  'data' in event && event.type === 'CustomerDeleted'

/** Whether events before this one are missing from the stream that an operator has not decided to skip. */
async function isCutOffBefore(
  eventStore: EventStore,
  { id, revision }: CustomerDocument,
  event: RecordedEvent,
): Promise<boolean> {
  for (let missing = revision + 1; missing < event.revision; missing++) {
    if (!(await isSkipped(eventStore, id, missing))) return true
  }
  return false
}

/**
 * Whether an event that is not in its stream was removed from it, although a later one has been delivered. Otherwise the
 * stream was read from a node that does not have it yet.
 */
async function isRemoved(
  eventStore: EventStore,
  delivered: RecordedEvent | EventReference,
  revision: number,
): Promise<boolean> {
  const { stream } = delivered
  // Without data it is one that was delivered, with its data, and is again.
  if ('data' in delivered && eventStore.catchUpMs === undefined) return true
  if (await wasRemoved(eventStore, { stream, revision })) return true
  // All of them may have expired. Only an operator sets a limit for a customer's stream.
  return (await eventStore.getStreamMetadata(stream)).$maxAge !== undefined
}
