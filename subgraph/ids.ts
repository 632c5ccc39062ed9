/**
 * Ids from the log: a reservation is one event, and the revision at which it lands is the number of the reserved block.
 * So ids are unique over all instances without a retry; blocks that are not used up leave gaps, which nothing minds.
 */
import type { EventStore } from '../eventstore/port.ts'
import type { CustomerDocument } from '../projections/customer.ts'
import type { IdEvent } from '../schema/events.ts'
import { type Command, encodeAll } from './command.ts'
import { readNewest } from './streams.ts'

const CUSTOMER_BLOCK = 32
/** Addresses come in blocks for one customer, so that an id tells whose address it is. */
const ADDRESS_BLOCK = 10

export interface Ids {
  /** An id that no customer has had. */
  nextCustomerId(command: Command): Promise<number>
  /** The next address id of a customer from the block in use, or undefined where a new block is needed. */
  nextAddressId(state: CustomerDocument): number | undefined
  /** Reserves a block for the customer and gives its first id. */
  reserveAddressIds(customerId: number, command: Command): Promise<number>
  /** Whose address this id is or once was; undefined where it was never given out. */
  addressOwner(addressId: number): Promise<number | undefined>
}

export function createIds(eventStore: EventStore): Ids {
  let next = 0
  let end = 0
  let reserving: Promise<void> | undefined

  async function reserve(stream: string, event: IdEvent, command: Command, size: number): Promise<number> {
    // Each reservation has an id of its own, also within one command: it must never count as a repetition.
    const [encoded] = encodeAll({ ...command, id: crypto.randomUUID() }, [event])
    const { revision } = await eventStore.append(stream, encoded ? [encoded] : [], { expected: 'any' })
    return revision * size + 1
  }

  return {
    async nextCustomerId(command) {
      while (next === end) {
        reserving ??= reserve('customerIds', { type: 'CustomerIdsReserved', data: {} }, command, CUSTOMER_BLOCK)
          .then((first) => {
            next = first
            end = first + CUSTOMER_BLOCK
          })
          .finally(() => {
            reserving = undefined
          })
        await reserving
      }
      return next++
    },

    nextAddressId(state) {
      const id = state.lastAddressId + 1
      return state.lastAddressId % ADDRESS_BLOCK === 0 ? undefined : id
    },

    reserveAddressIds(customerId, command) {
      return reserve('addressIds', { type: 'AddressIdsReserved', data: { customerId } }, command, ADDRESS_BLOCK)
    },

    async addressOwner(addressId) {
      if (addressId < 1) return undefined
      const from = Math.floor((addressId - 1) / ADDRESS_BLOCK)
      const [reservation] = await readNewest<Extract<IdEvent, { type: 'AddressIdsReserved' }>>(
        eventStore,
        'addressIds',
        1,
        from,
      )
      return reservation?.data.customerId
    },
  }
}
