/** Appends as commands make them: many customers at once, each one's events one after the other. */

import { randomUUID } from 'node:crypto'
import type { EventStore } from '../../eventstore/port.ts'
import { streamOf } from '../../schema/streams.ts'
import { createCommand, encodeAll } from '../../subgraph/commands/command.ts'

/** Customers whose commands are under way at a time: the connections of the other benches. */
export const BUSY = 64

/**
 * Appends `count` changes of name of so many customers.
 * @param first the revision of each customer's first one
 */
export async function appendChanges(eventStore: EventStore, count: number, first = 0): Promise<number> {
  const each = Math.ceil(count / BUSY)
  await Promise.all(
    Array.from({ length: BUSY }, async (_, customer) => {
      const stream = streamOf.customer(customer + 1)
      for (let revision = first; revision < first + each; revision++) {
        const command = createCommand({
          operation: 'bench',
          arguments: {},
          actor: `customer:${customer + 1}`,
          correlationId: randomUUID(),
          at: new Date(),
        })
        const events = encodeAll(command, [{ type: 'CustomerDetailsChanged', data: { firstname: `Ann ${revision}` } }])
        await eventStore.append(stream, events, { expected: revision === 0 ? 'no_stream' : revision - 1 })
      }
    }),
  )
  return each * BUSY
}
