/**
 * Ids from the log: a reservation is one event, and the revision at which it lands is the number of the reserved block.
 * So ids are unique over all instances without a retry; blocks that are not used up leave gaps, which do no harm.
 *
 * A floor that an import raises lifts all blocks reserved from then on. Which floor counts for a block is read before its
 * reservation and once more after it: where it was raised in between, the block is left unused. So of blocks in use, a
 * later one never has a lower floor (who read the lower one had reserved before it was raised), and no two overlap.
 */

import { type EventStore, WrongExpectedRevision } from '../../eventstore/port.ts'
import { newestEvent } from '../../eventstore/read.ts'
import type { IdEvent, ImportedIdEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'

export type FloorRaised = Extract<ImportedIdEvent, { type: 'IdFloorRaised' }>

export interface Sequence {
  /** The stream of the reservations, and that of the floors. */
  readonly blocks: string
  readonly floors: string
  /** Ids of a block. */
  readonly size: number
}

export const CUSTOMERS: Sequence = { blocks: STREAM_NAMES.customerIds, floors: STREAM_NAMES.customerIdFloor, size: 32 }
/** Addresses come in blocks for one customer, so that an id tells whose address it is. */
export const ADDRESSES: Sequence = { blocks: STREAM_NAMES.addressIds, floors: STREAM_NAMES.addressIdFloor, size: 10 }

/** Reserves a block and gives its first id. */
export async function reserve(
  eventStore: EventStore,
  { blocks, floors, size }: Sequence,
  eventOf: (floor: number) => IdEvent,
  command: Command,
): Promise<number> {
  for (let floor = await floorOf(eventStore, floors); ; ) {
    // Each reservation has an id of its own, also within one command: it must never count as a repetition.
    const events = encodeAll({ ...command, id: crypto.randomUUID() }, [eventOf(floor)])
    const { revision } = await eventStore.append(blocks, events, { expected: 'any' })
    const after = await floorOf(eventStore, floors)
    if (after === floor) return floor + revision * size + 1
    floor = after
  }
}

/** What blocks reserved from now on lie above: the ids that came from elsewhere. */
async function floorOf(eventStore: EventStore, floors: string): Promise<number> {
  const newest = await newestEvent<FloorRaised>(eventStore, floors)
  return newest?.data.floor ?? 0
}

/**
 * Ids reserved from now on lie above `highest`.
 * @returns up to where there may be blocks that were reserved before; 0 where there are none
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
      // Two imports at once: a floor must never come after a higher one.
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
  // What was reserved until now and is in use was reserved under the floor before.
  const reserved = await newestEvent<IdEvent>(eventStore, blocks)
  return reserved === undefined ? 0 : before + (reserved.revision + 1) * size
}
