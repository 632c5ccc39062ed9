/** Makes sure that documents or marks cover everything in the log. */
import type { EventStore } from '../../eventstore/port.ts'
import { CUSTOMER_STREAMS, customerOf } from '../fold.ts'
import type { ReadModel } from '../read-model.ts'

/** How many marks are written at once. */
const BATCH = 500

/**
 * Writes marks for the customers with events after the read model's checkpoint; the documents contain what comes before
 * it.
 * @param accepts whether a mark in that incarnation counts
 * @returns false if the documents are not complete, or a mark did not count; try again later
 * @throws EventStoreUnavailable | ReadModelUnavailable
 */
export async function coverLog(
  eventStore: EventStore,
  readModel: ReadModel,
  accepts: (incarnation: string) => boolean,
): Promise<boolean> {
  const checkpoint = await readModel.getCheckpoint()
  if (!checkpoint?.complete) return false
  let newest = new Map<number, number>()
  const mark = async (): Promise<boolean> => {
    const marks = [...newest].map(([id, revision]) => readModel.acknowledge(id, revision))
    newest = new Map()
    return (await Promise.all(marks)).every(accepts)
  }
  const events = eventStore.readAll({ from: checkpoint.position, filter: { streamPrefixes: [CUSTOMER_STREAMS] } })
  for await (const { stream, revision } of events) {
    const id = customerOf(stream)
    if (id !== undefined) newest.set(id, revision)
    if (newest.size >= BATCH && !(await mark())) return false
  }
  return mark()
}
