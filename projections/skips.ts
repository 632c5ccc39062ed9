/**
 * Events that can't be applied and that an operator dropped. The decision is an event itself, beside the customer's
 * stream: so every fold heeds it (queries, commands, projections, rebuilds), and the log says who took it and why.
 * It is looked up only where an event can't be applied, so it costs nothing otherwise.
 */

import { decode, encode } from '../eventstore/codec.ts'
import { chained } from '../eventstore/hash-chain.ts'
import type { EventStore } from '../eventstore/port.ts'
import { orNone } from '../eventstore/read.ts'
import type { SkipEvent } from '../schema/events.ts'
import { streamOf } from '../schema/streams.ts'

/** Whether the customer goes on without the event at this revision. @throws EventStoreUnavailable */
export async function isSkipped(eventStore: EventStore, customerId: number, revision: number): Promise<boolean> {
  for await (const event of orNone(eventStore.readStream(streamOf.skips(customerId)))) {
    if (decode<SkipEvent>(event).data.revision === revision) return true
  }
  return false
}

/**
 * Lets a customer go on without an event that can't be applied.
 * @param actor who decided it, as in other events' metadata
 * @throws EventStoreUnavailable
 */
export async function skipEvent(
  eventStore: EventStore,
  {
    customerId,
    revision,
    reason,
    actor,
  }: {
    readonly customerId: number
    readonly revision: number
    readonly reason: string
    readonly actor: string
  },
): Promise<void> {
  if (await isSkipped(eventStore, customerId, revision)) return
  const id = crypto.randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor, at: new Date().toISOString() }
  const event = encode({ type: 'EventSkipped', data: { revision, reason } }, id, metadata)
  await chained(eventStore).append(streamOf.skips(customerId), [event], { expected: 'any' })
}
