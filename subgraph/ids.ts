/**
 * Ids from the log: a reservation is one event, and the revision at which it lands is the number of the reserved block.
 * So ids are unique over all instances without a retry; blocks that are not used up leave gaps, which nothing minds.
 *
 * A floor that an import raises lifts all blocks reserved from then on. Which floor counts for a block is read before its
 * reservation and once more after it: where it was raised in between, the block is left unused. So of blocks in use, a
 * later one never has a lower floor (who read the lower one had reserved before it was raised), and no two overlap.
 */
import { type EventStore, WrongExpectedRevision } from '../eventstore/port.ts'
import { readNewest } from '../eventstore/read.ts'
import type { CustomerDocument } from '../projections/customer.ts'
import type { IdEvent, ImportedIdEvent } from '../schema/events.ts'
import { type Command, encodeAll } from './command.ts'

const CUSTOMER_BLOCK = 32
/** Addresses come in blocks for one customer, so that an id tells whose address it is. */
const ADDRESS_BLOCK = 10

/** A reservation that met a new floor is given up; so many in a row may stand in the log with the floor before. */
const LOST_BLOCKS = 8

interface Sequence {
  /** The stream of the reservations, and that of the floors. */
  readonly blocks: string
  readonly floors: string
  /** Ids of a block. */
  readonly size: number
}

const CUSTOMERS: Sequence = { blocks: 'customerIds', floors: 'customerIdFloor', size: CUSTOMER_BLOCK }
const ADDRESSES: Sequence = { blocks: 'addressIds', floors: 'addressIdFloor', size: ADDRESS_BLOCK }

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

type FloorRaised = Extract<ImportedIdEvent, { type: 'IdFloorRaised' }>
type AddressImported = Extract<ImportedIdEvent, { type: 'AddressIdImported' }>
type AddressesReserved = Extract<IdEvent, { type: 'AddressIdsReserved' }>

export function createIds(eventStore: EventStore): Ids {
  let next = 0
  let end = 0
  let reserving: Promise<void> | undefined

  // In a log that was restored the block may be reserved once more, by somebody else.
  eventStore.onDisconnect?.(() => {
    next = end
  })

  /** Reserves a block and gives its first id. */
  async function reserve(
    { blocks, floors, size }: Sequence,
    eventOf: (floor: number) => IdEvent,
    command: Command,
  ): Promise<number> {
    for (let floor = await floorOf(floors); ; ) {
      // Each reservation has an id of its own, also within one command: it must never count as a repetition.
      const events = encodeAll({ ...command, id: crypto.randomUUID() }, [eventOf(floor)])
      const { revision } = await eventStore.append(blocks, events, { expected: 'any' })
      const after = await floorOf(floors)
      if (after === floor) return floor + revision * size + 1
      floor = after
    }
  }

  /** What blocks reserved from now on lie above: the ids that came from elsewhere. */
  async function floorOf(floors: string): Promise<number> {
    const [newest] = await readNewest<FloorRaised>(eventStore, floors, 1)
    return newest?.data.floor ?? 0
  }

  /** Every floor that addresses have had, rising; at first none is known but that of a log without imports. */
  let addressFloors: readonly number[] = [0]
  let floorsRead = -1

  /** @returns whether there are more than before */
  async function learnFloors(): Promise<boolean> {
    const [newest] = await readNewest<FloorRaised>(eventStore, ADDRESSES.floors, 1)
    if (newest === undefined || newest.revision <= floorsRead) return false
    const missing = newest.revision - floorsRead
    const floors = await readNewest<FloorRaised>(eventStore, ADDRESSES.floors, missing, newest.revision)
    addressFloors = [...new Set([...addressFloors, ...floors.map(({ data }) => data.floor)])].sort((a, b) => a - b)
    floorsRead = newest.revision
    return true
  }

  /**
   * Whose block the id is of, by the floors that are known. Blocks and their floors rise together, so each block that is
   * looked at halves the floors under which the id can have been reserved: a read for each halving.
   */
  async function reservedFor(addressId: number): Promise<number | undefined> {
    const floors = addressFloors.filter((floor) => floor < addressId)
    let [low, high] = [0, floors.length - 1]
    while (low <= high) {
      const middle = (low + high) >> 1
      const floor = floors[middle] as number
      const revision = Math.floor((addressId - 1 - floor) / ADDRESS_BLOCK)
      const blocks = await readNewest<AddressesReserved>(eventStore, ADDRESSES.blocks, LOST_BLOCKS, revision)
      const block = blocks.at(-1)
      if (block?.revision !== revision) {
        low = middle + 1 // not reserved yet: an earlier block, under a higher floor
        continue
      }
      if ((block.data.floor ?? 0) === floor) return block.data.customerId
      if (Math.max(...blocks.map(({ data }) => data.floor ?? 0)) > floor) low = middle + 1
      else high = middle - 1
    }
    return undefined
  }

  return {
    async nextCustomerId(command) {
      while (next === end) {
        reserving ??= reserve(CUSTOMERS, () => ({ type: 'CustomerIdsReserved', data: {} }), command)
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

    reserveAddressIds: (customerId, command) =>
      reserve(
        ADDRESSES,
        (floor) => ({ type: 'AddressIdsReserved', data: { customerId, ...(floor > 0 && { floor }) } }),
        command,
      ),

    async addressOwner(addressId) {
      if (addressId < 1) return undefined
      const [imported] = await readNewest<AddressImported>(eventStore, `addressOwner-${addressId}`, 1)
      if (imported) return imported.data.customerId
      const owner = await reservedFor(addressId)
      // An import may have raised the floor since.
      return owner ?? ((await learnFloors()) ? reservedFor(addressId) : undefined)
    },

    async raiseFloor(kind, highest, command) {
      const { blocks, floors, size } = kind === 'customer' ? CUSTOMERS : ADDRESSES
      // Whole blocks: the last id of an address block is a multiple of its size.
      const floor = Math.ceil(highest / size) * size
      let before: number
      for (;;) {
        const [newest] = await readNewest<FloorRaised>(eventStore, floors, 1)
        before = newest?.data.floor ?? 0
        if (before >= floor) break
        const events = encodeAll({ ...command, id: crypto.randomUUID() }, [{ type: 'IdFloorRaised', data: { floor } }])
        try {
          await eventStore.append(floors, events, { expected: newest?.revision ?? 'no_stream' })
          break
        } catch (error) {
          // Two imports at once: a floor must never come after a higher one.
          if (!(error instanceof WrongExpectedRevision)) throw error
        }
      }
      // What was reserved until now and is in use was reserved under the floor before.
      const [reserved] = await readNewest<IdEvent>(eventStore, blocks, 1)
      return reserved === undefined ? 0 : before + (reserved.revision + 1) * size
    },
  }
}
