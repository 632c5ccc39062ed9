/**
 * Ids from the log: a reservation is one event, and the revision at which it lands is the number of the reserved block.
 * So ids are unique over all instances without a retry; blocks that are not used up leave gaps, which nothing minds.
 */
import type { EventStore } from '../eventstore/port.ts'
import type { CustomerDocument } from '../projections/customer.ts'
import type { IdEvent, ImportedIdEvent } from '../schema/events.ts'
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
  /** Whose address this id is or once was; undefined where it was never given out or brought in. */
  addressOwner(addressId: number): Promise<number | undefined>
  /** Ids reserved from now on lie above these, which came from elsewhere. */
  raiseFloors(highest: { readonly customerId: number; readonly addressId: number }, command: Command): Promise<void>
}

type FloorRaised = Extract<ImportedIdEvent, { type: 'IdFloorRaised' }>
type AddressImported = Extract<ImportedIdEvent, { type: 'AddressIdImported' }>
type AddressesReserved = Extract<IdEvent, { type: 'AddressIdsReserved' }>

export function createIds(eventStore: EventStore): Ids {
  let next = 0
  let end = 0
  let reserving: Promise<void> | undefined

  /** @returns how many ids the blocks before this one hold */
  async function reserve(stream: string, event: IdEvent, command: Command, size: number): Promise<number> {
    // Each reservation has an id of its own, also within one command: it must never count as a repetition.
    const [encoded] = encodeAll({ ...command, id: crypto.randomUUID() }, [event])
    const { revision } = await eventStore.append(stream, encoded ? [encoded] : [], { expected: 'any' })
    return revision * size
  }

  /** What blocks reserved from now on lie above: the ids that came from elsewhere. */
  async function floorOf(stream: 'customerIdFloor' | 'addressIdFloor'): Promise<number> {
    const [newest] = await readNewest<FloorRaised>(eventStore, stream, 1)
    return newest?.data.floor ?? 0
  }

  return {
    async nextCustomerId(command) {
      while (next === end) {
        reserving ??= reserveCustomerIds(command)
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

    async reserveAddressIds(customerId, command) {
      const floor = await floorOf('addressIdFloor')
      const event: IdEvent = { type: 'AddressIdsReserved', data: { customerId, ...(floor > 0 && { floor }) } }
      return floor + (await reserve('addressIds', event, command, ADDRESS_BLOCK)) + 1
    },

    async addressOwner(addressId) {
      if (addressId < 1) return undefined
      const [imported] = await readNewest<AddressImported>(eventStore, `addressOwner-${addressId}`, 1)
      if (imported) return imported.data.customerId
      // There is one floor for each import: few.
      const floors = await readNewest<FloorRaised>(eventStore, 'addressIdFloor', 1_000)
      for (const floor of [...new Set([0, ...floors.map(({ data }) => data.floor)])].reverse()) {
        if (addressId <= floor) continue
        const from = Math.floor((addressId - 1 - floor) / ADDRESS_BLOCK)
        const [reservation] = await readNewest<AddressesReserved>(eventStore, 'addressIds', 1, from)
        if (reservation?.revision === from && (reservation.data.floor ?? 0) === floor)
          return reservation.data.customerId
      }
      return undefined
    },

    async raiseFloors({ customerId, addressId }, command) {
      const raise = async (stream: 'customerIdFloor' | 'addressIdFloor', highest: number, block: number) => {
        // Whole blocks: the last id of an address block is a multiple of its size.
        const floor = Math.ceil(highest / block) * block
        if (floor <= (await floorOf(stream))) return
        const events = encodeAll({ ...command, id: crypto.randomUUID() }, [{ type: 'IdFloorRaised', data: { floor } }])
        await eventStore.append(stream, events, { expected: 'any' })
      }
      await raise('customerIdFloor', customerId, CUSTOMER_BLOCK)
      await raise('addressIdFloor', addressId, ADDRESS_BLOCK)
    },
  }

  async function reserveCustomerIds(command: Command): Promise<number> {
    const floor = await floorOf('customerIdFloor')
    return (
      floor + (await reserve('customerIds', { type: 'CustomerIdsReserved', data: {} }, command, CUSTOMER_BLOCK)) + 1
    )
  }
}
