/** Finds the owner of an address id: by the block that it was reserved in, or by the import that brought it. */

import type { EventStore } from '../../eventstore/port.ts'
import { newestEvent, readNewest } from '../../eventstore/read.ts'
import type { IdEvent, ImportedIdEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { ADDRESSES, type FloorRaised } from './id-blocks.ts'

/**
 * A reservation that finds a new floor afterwards is abandoned. The log may contain this many in a row with the
 * previous floor.
 */
const LOST_BLOCKS = 8

type AddressImported = Extract<ImportedIdEvent, { type: 'AddressIdImported' }>
type AddressesReserved = Extract<IdEvent, { type: 'AddressIdsReserved' }>

/**
 * @returns a function that finds the customer who owns or owned an address id; undefined if the id was never assigned
 * or imported
 */
export function createAddressOwners(eventStore: EventStore): (addressId: number) => Promise<number | undefined> {
  /** Every floor that addresses have had, rising; at first none is known but that of a log without imports. */
  let addressFloors: readonly number[] = [0]
  let floorsRead = -1
  // The server may come back with an older state of the log, and floors raised then are others.
  eventStore.onDisconnect?.(() => {
    addressFloors = [0]
    floorsRead = -1
  })

  /** @returns whether there are more than before */
  async function learnFloors(): Promise<boolean> {
    const newest = await newestEvent<FloorRaised>(eventStore, ADDRESSES.floors)
    if (newest === undefined || newest.revision <= floorsRead) return false
    const missing = newest.revision - floorsRead
    const floors = await readNewest<FloorRaised>(eventStore, ADDRESSES.floors, missing, newest.revision)
    addressFloors = [...new Set([...addressFloors, ...floors.map(({ data }) => data.floor)])].sort((a, b) => a - b)
    floorsRead = newest.revision
    return true
  }

  /**
   * Whose block the id is of, by the floors that are known. Blocks and their floors rise together, so each block that
   * is read halves the floors under which the id can have been reserved: a read for each halving.
   */
  async function reservedFor(addressId: number): Promise<number | undefined> {
    const floors = addressFloors.filter((floor) => floor < addressId)
    let [low, high] = [0, floors.length - 1]
    while (low <= high) {
      const middle = (low + high) >> 1
      const floor = floors[middle] as number
      const revision = Math.floor((addressId - 1 - floor) / ADDRESSES.size)
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

  return async (addressId) => {
    if (addressId < 1) return undefined
    const imported = await newestEvent<AddressImported>(eventStore, streamOf.addressOwner(addressId))
    if (imported) return imported.data.customerId
    const owner = await reservedFor(addressId)
    // An import may have raised the floor in the meantime.
    return owner ?? ((await learnFloors()) ? reservedFor(addressId) : undefined)
  }
}
