/** One customer folded from its stream. */
import { decode } from '../eventstore/codec.ts'
import { type EventStore, StreamNotFound } from '../eventstore/port.ts'
import type { CustomerEvent } from '../schema/events.ts'
import { absentCustomer, type CustomerDocument, project } from './customer.ts'

/** The name of a customer's stream. */
export const customerStream = (id: number) => `customer-${id}`

/**
 * The customer as of the end of its stream; `absentCustomer` where there is none.
 * @param from what is known already: only newer events are read
 * @throws EventStoreUnavailable
 */
export async function foldCustomer(
  eventStore: EventStore,
  id: number,
  from: CustomerDocument = absentCustomer(id),
): Promise<CustomerDocument> {
  let document = from
  try {
    for await (const event of eventStore.readStream(customerStream(id), { from: from.revision + 1 })) {
      document = project(document, decode<CustomerEvent>(event))
    }
  } catch (error) {
    if (!(error instanceof StreamNotFound)) throw error
  }
  return document
}
