/** Logs of customers' events, as a shop writes them, for benches that read many. */

import { randomUUID } from 'node:crypto'
import type { EventStore, NewEvent } from '../../eventstore/port.ts'
import { absentCustomer, type CustomerDocument, project } from '../../projections/customer.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { store as defaultStore } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { createCommand, encodeAll } from '../../subgraph/commands/command.ts'
import { addAddress, checkRegistration, register, update } from '../../subgraph/domain/customer.ts'
import { ADDRESS } from './customers.ts'

const store = defaultStore()
/** So many customers are busy at a time: a customer's events lie so many events apart. */
const BUSY = 2_000
/** Of each customer in a log of many. */
export const EVENTS_EACH = 5

/** The five events of a customer: registered, an address that becomes both defaults, a change of name. */
function historyOf(id: number): NewEvent[] {
  const at = new Date()
  const encoded: NewEvent[] = []
  let state: CustomerDocument = absentCustomer(id)
  const append = (events: readonly CustomerEvent[]) => {
    const command = createCommand({
      operation: 'bench',
      arguments: {},
      actor: 'bench',
      correlationId: randomUUID(),
      at,
    })
    const added = encodeAll(command, events)
    for (const [index, event] of events.entries()) {
      const { id, metadata } = added[index] as NewEvent
      state = project(state, { ...event, id, metadata, revision: state.revision + 1, created: at } as never)
    }
    encoded.push(...added)
  }
  const registration = checkRegistration(
    { email: `customer${id}@example.com`, firstname: 'Ann', lastname: 'Lee' },
    store,
    at,
  )
  append(register(state, { ...registration, customerId: id, credentialsRevision: -1, at }, store))
  append(addAddress(state, id, { ...ADDRESS, default_billing: true, default_shipping: true }, store))
  append(update(state, { firstname: 'Bob' }, store, at))
  return encoded
}

/** Appends `count` events of one customer: changes of name and of an address, after its first five. */
export async function fillCustomer(eventStore: EventStore, id: number, count: number): Promise<void> {
  const first = historyOf(id)
  await eventStore.append(streamOf.customer(id), first, { expected: 'no_stream' })
  for (let done = first.length; done < count; ) {
    const piece = Array.from({ length: Math.min(500, count - done) }, (_, index) => changeOf(id, done + index))
    await eventStore.append(streamOf.customer(id), piece, { expected: done - 1 })
    done += piece.length
  }
}

function changeOf(id: number, number: number): NewEvent {
  const command = createCommand({
    operation: 'bench',
    arguments: {},
    actor: `customer:${id}`,
    correlationId: randomUUID(),
    at: new Date(),
  })
  const [event] = encodeAll(command, [
    number % 2 === 0
      ? { type: 'CustomerDetailsChanged', data: { firstname: `Ann ${number}` } }
      : { type: 'CustomerAddressChanged', data: { addressId: id, city: `Austin ${number}` } },
  ])
  return event as NewEvent
}

/** Appends `count` events, a multiple of {@link BUSY} customers' histories, one event at a time. @param firstId the number of the first customer */
export async function fillLog(eventStore: EventStore, count: number, firstId = 1): Promise<void> {
  const busy = Math.min(BUSY, Math.ceil(count / EVENTS_EACH))
  for (let first = firstId; (first - firstId) * EVENTS_EACH < count; first += busy) {
    const histories = Array.from({ length: busy }, (_, index) => ({
      id: first + index,
      events: historyOf(first + index),
    }))
    for (let revision = 0; revision < EVENTS_EACH; revision++) {
      const expected = revision === 0 ? 'no_stream' : revision - 1
      await Promise.all(
        histories.map(({ id, events }) =>
          eventStore.append(streamOf.customer(id), [events[revision] as NewEvent], { expected }),
        ),
      )
    }
  }
}
