/**
 * Ids from the log: a reservation is one event, and its revision is the number of the reserved block. So ids are unique
 * across all instances without retries. Blocks that are not used up leave gaps, which is harmless.
 *
 * A floor that an import raises lifts all blocks reserved from then on. Which floor counts for a block is read before
 * its reservation and once more after it: where it was raised in between, the block is left unused. So of blocks in
 * use, a later one never has a lower floor (who read the lower one had reserved before it was raised), and no two
 * overlap.
 */

import { type EventStore, WrongExpectedRevision } from '../../eventstore/port.ts'
import { newestEvent } from '../../eventstore/read.ts'
import { endOfTurn } from '../../runtime/end-of-turn.ts'
import type { IdEvent, ImportedIdEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'

export type FloorRaised = Extract<ImportedIdEvent, { type: 'IdFloorRaised' }>

export interface Sequence {
  /** The stream of the reservations, and that of the floors. */
  readonly blocks: string
  readonly floors: string
  /** The number of ids in a block. */
  readonly size: number
}

export const CUSTOMERS: Sequence = { blocks: STREAM_NAMES.customerIds, floors: STREAM_NAMES.customerIdFloor, size: 32 }
/** A block of address ids belongs to one customer, so an id identifies the owner of the address. */
export const ADDRESSES: Sequence = { blocks: STREAM_NAMES.addressIds, floors: STREAM_NAMES.addressIdFloor, size: 10 }

/** How many blocks one append reserves. */
const MOST_AT_ONCE = 256

/** Reserves a block and returns its first id. @param eventOf the reservation above a floor @throws EventStoreUnavailable */
export type Reserve = (eventOf: (floor: number) => IdEvent, command: Command) => Promise<number>

/** A reservation that waits. */
interface Waiting {
  readonly eventOf: Parameters<Reserve>[0]
  readonly command: Command
  resolve(first: number): void
  reject(error: unknown): void
}

/**
 * Reserves blocks. All reservations go to one stream, whose appends are made one after the other, so those that come
 * while one is under way are made together by the next.
 */
export function createReservations(eventStore: EventStore, { blocks, floors, size }: Sequence): Reserve {
  const waiting: Waiting[] = []
  let isReserving = false

  async function reserveAll(): Promise<void> {
    isReserving = true
    await endOfTurn()
    for (;;) {
      const together = waiting.splice(0, MOST_AT_ONCE)
      if (together.length === 0) break
      try {
        const first = await reserve(together)
        for (const [index, { resolve }] of together.entries()) resolve(first + index * size)
      } catch (error) {
        for (const { reject } of together) reject(error)
      }
    }
    isReserving = false
  }

  /** @returns the first id of the first block; the others follow it */
  async function reserve(together: readonly Waiting[]): Promise<number> {
    for (let floor = await floorOf(eventStore, floors); ; ) {
      // Each reservation has an id of its own, also within one command: it must never be taken for a retry.
      const events = together.flatMap(({ eventOf, command }) =>
        encodeAll({ ...command, id: crypto.randomUUID() }, [eventOf(floor)]),
      )
      const { revision } = await eventStore.append(blocks, events, { expected: 'any' })
      const after = await floorOf(eventStore, floors)
      if (after === floor) return floor + (revision - events.length + 1) * size + 1
      floor = after
    }
  }

  return (eventOf, command) =>
    new Promise((resolve, reject) => {
      waiting.push({ eventOf, command, resolve, reject })
      if (!isReserving) reserveAll()
    })
}

/** The floor for blocks reserved from now on: the highest imported id. */
async function floorOf(eventStore: EventStore, floors: string): Promise<number> {
  const newest = await newestEvent<FloorRaised>(eventStore, floors)
  return newest?.data.floor ?? 0
}

/**
 * Makes all ids reserved from now on greater than `highest`.
 * @returns the highest id that may be in a block reserved earlier; 0 if there are none
 */
export async function raiseFloor(
  eventStore: EventStore,
  { blocks, floors, size }: Sequence,
  highest: number,
  command: Command,
): Promise<number> {
  // Whole blocks: the last id of an address block is a multiple of its size.
  const floor = Math.ceil(highest / size) * size
  let before: number
  for (;;) {
    const newest = await newestEvent<FloorRaised>(eventStore, floors)
    before = newest?.data.floor ?? 0
    if (before >= floor) break
    const events = encodeAll({ ...command, id: crypto.randomUUID() }, [{ type: 'IdFloorRaised', data: { floor } }])
    try {
      await eventStore.append(floors, events, { expected: newest?.revision ?? 'no_stream' })
      break
    } catch (error) {
      // With two concurrent imports, a floor must never follow a higher one.
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
  // All blocks in use that were reserved until now had the previous floor.
  const reserved = await newestEvent<IdEvent>(eventStore, blocks)
  return reserved === undefined ? 0 : before + (reserved.revision + 1) * size
}
