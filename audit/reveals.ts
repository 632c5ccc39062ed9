/** Who was shown personal data, and why: recorded before anything is shown. */

import { encode } from '../eventstore/codec.ts'
import { chained } from '../eventstore/hash-chain.ts'
import type { EventStore } from '../eventstore/port.ts'
import { STREAM_NAMES } from '../schema/streams.ts'

export const REVEALS_STREAM = STREAM_NAMES.reveals

export interface Reveal {
  /** null: about more than one customer. */
  readonly customerId: number | null
  /** Instead: about an address that is no customer's, by its keyed hashes. */
  readonly emailKeys?: readonly string[]
  /** The query, without personal data. */
  readonly command: string
  readonly reason: string
  /** `operator:<user>` or `service:<name>` */
  readonly actor: string
  /** Default: a new one. */
  readonly correlationId?: string
}

/** @throws EventStoreUnavailable: then nothing may be shown */
export async function recordReveal(eventStore: EventStore, reveal: Reveal): Promise<void> {
  const { customerId, emailKeys, command, reason, actor } = reveal
  const id = crypto.randomUUID()
  const metadata = {
    $correlationId: reveal.correlationId ?? id,
    $causationId: id,
    actor,
    at: new Date().toISOString(),
  }
  const data = { customerId, ...(emailKeys && { emailKeys: [...emailKeys] }), command, reason }
  const event = encode({ type: 'PersonalDataRevealed', data }, id, metadata)
  await chained(eventStore).append(REVEALS_STREAM, [event], { expected: 'any' })
}
