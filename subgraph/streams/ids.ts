/** The ids of customers and addresses: unique across all instances, and never assigned twice. See id-blocks.ts. */
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { Command } from '../commands/command.ts'
import { createAddressOwners } from './address-owners.ts'
import { ADDRESSES, CUSTOMERS, createReservations, raiseFloor } from './id-blocks.ts'

export interface Ids {
  /** Returns an id that no customer has had. */
  nextCustomerId(command: Command): Promise<number>
  /** The next address id of a customer from the block in use, or undefined if a new block is needed. */
  nextAddressId(state: Pick<CustomerDocument, 'lastAddressId'>): number | undefined
  /** Reserves a block for the customer and returns its first id. */
  reserveAddressIds(customerId: number, command: Command): Promise<number>
  /** The customer who owns or owned this address id; undefined if it was never assigned or imported. */
  addressOwner(addressId: number): Promise<number | undefined>
  /**
   * Makes all ids reserved from now on greater than this one, so that customers or addresses with ids up to it can be
   * imported.
   * @returns the highest id that may be in a block reserved earlier, above which no id is in use; 0 if there are none
   */
  raiseFloor(kind: 'customer' | 'address', highest: number, command: Command): Promise<number>
}

export function createIds(eventStore: EventStore): Ids {
  let next = 0
  let end = 0
  let reserving: Promise<void> | undefined
  const reserveCustomers = createReservations(eventStore, CUSTOMERS)
  const reserveAddresses = createReservations(eventStore, ADDRESSES)

  // In a restored log, somebody else may reserve the block again.
  eventStore.onDisconnect?.(() => {
    next = end
  })

  async function reserveCustomerIds(command: Command): Promise<void> {
    const first = await reserveCustomers(() => ({ type: 'CustomerIdsReserved', data: {} }), command)
    next = first
    end = first + CUSTOMERS.size
  }

  return {
    async nextCustomerId(command) {
      while (next === end) {
        reserving ??= reserveCustomerIds(command).finally(() => {
          reserving = undefined
        })
        await reserving
      }
      return next++
    },

    nextAddressId: ({ lastAddressId }) => (lastAddressId % ADDRESSES.size === 0 ? undefined : lastAddressId + 1),

    reserveAddressIds: (customerId, command) =>
      reserveAddresses(
        (floor) => ({ type: 'AddressIdsReserved', data: { customerId, ...(floor > 0 && { floor }) } }),
        command,
      ),

    addressOwner: createAddressOwners(eventStore),

    raiseFloor: (kind, highest, command) =>
      raiseFloor(eventStore, kind === 'customer' ? CUSTOMERS : ADDRESSES, highest, command),
  }
}
