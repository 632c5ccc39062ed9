/** The ids of customers and addresses: unique over all instances, and never given out twice. See id-blocks.ts. */
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { Command } from '../commands/command.ts'
import { createAddressOwners } from './address-owners.ts'
import { ADDRESSES, CUSTOMERS, raiseFloor, reserve } from './id-blocks.ts'

export interface Ids {
  /** An id that no customer has had. */
  nextCustomerId(command: Command): Promise<number>
  /** The next address id of a customer from the block in use, or undefined where a new block is needed. */
  nextAddressId(state: Pick<CustomerDocument, 'lastAddressId'>): number | undefined
  /** Reserves a block for the customer and gives its first id. */
  reserveAddressIds(customerId: number, command: Command): Promise<number>
  /** Whose address this id is or once was; undefined where it was never given out or brought in. */
  addressOwner(addressId: number): Promise<number | undefined>
  /**
   * Ids reserved from now on lie above this one, so that customers or addresses can move in with ids up to it.
   * @returns up to where there may be blocks that were reserved before: ids above it are nobody's; 0 where there are none
   */
  raiseFloor(kind: 'customer' | 'address', highest: number, command: Command): Promise<number>
}

export function createIds(eventStore: EventStore): Ids {
  let next = 0
  let end = 0
  let reserving: Promise<void> | undefined

  // In a log that was restored the block may be reserved once more, by somebody else.
  eventStore.onDisconnect?.(() => {
    next = end
  })

  async function reserveCustomerIds(command: Command): Promise<void> {
    const first = await reserve(eventStore, CUSTOMERS, () => ({ type: 'CustomerIdsReserved', data: {} }), command)
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
      reserve(
        eventStore,
        ADDRESSES,
        (floor) => ({ type: 'AddressIdsReserved', data: { customerId, ...(floor > 0 && { floor }) } }),
        command,
      ),

    addressOwner: createAddressOwners(eventStore),

    raiseFloor: (kind, highest, command) =>
      raiseFloor(eventStore, kind === 'customer' ? CUSTOMERS : ADDRESSES, highest, command),
  }
}
