/**
 * Events that can't be applied and that an operator decided to skip. The decision is an event in a stream beside the
 * customer's, so every fold honours it (queries, commands, projections, rebuilds), and the log records who decided it
 * and why. It is read only if an event can't be applied, so it costs nothing otherwise.
 */

import { decode, encode } from '../eventstore/codec.ts'
import { chained } from '../eventstore/hash-chain.ts'
import type { EventStore } from '../eventstore/port.ts'
import { orNone } from '../eventstore/read.ts'
import type { SkipEvent } from '../schema/events.ts'
import { streamOf } from '../schema/streams.ts'

/** Whether the event at this revision is skipped. @throws EventStoreUnavailable */
export async function isSkipped(eventStore: EventStore, customerId: number, revision: number): Promise<boolean> {
  for await (const event of orNone(eventStore.readStream(streamOf.skips(customerId)))) {
    if (decode<SkipEvent>(event).data.revision === revision) return true
  }
  return false
}

/**
 * Skips an event of a customer that can't be applied.
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
