/** Who was shown personal data, and why, and who exported events: recorded before anything is shown. */

import { encode } from '../eventstore/codec.ts'
import { chained } from '../eventstore/hash-chain.ts'
import type { EventStore } from '../eventstore/port.ts'
import type { DomainEvent } from '../schema/events.ts'
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
  const { customerId, emailKeys, command, reason } = reveal
  await write(eventStore, REVEALS_STREAM, reveal, {
    type: 'PersonalDataRevealed',
    data: { customerId, ...(emailKeys && { emailKeys: [...emailKeys] }), command, reason },
  })
}

/**
 * Records that a file of events is given out.
 * @param reveal.reason undefined: its personal data is masked
 * @throws EventStoreUnavailable: then nothing may be given out
 */
export async function recordExport(
  eventStore: EventStore,
  { reason, ...given }: Omit<Reveal, 'reason'> & { readonly reason: string | undefined },
): Promise<void> {
  const { customerId, command, correlationId = crypto.randomUUID() } = given
  const asked = { ...given, correlationId }
  if (reason !== undefined) await recordReveal(eventStore, { ...asked, reason })
  const data = { customerId, command, revealed: reason !== undefined }
  await write(eventStore, STREAM_NAMES.exports, asked, { type: 'EventsExported', data })
}

async function write(
  eventStore: EventStore,
  stream: string,
  { actor, correlationId }: Pick<Reveal, 'actor' | 'correlationId'>,
  event: Extract<DomainEvent, { readonly type: 'PersonalDataRevealed' | 'EventsExported' }>,
): Promise<void> {
  const id = crypto.randomUUID()
  const metadata = { $correlationId: correlationId ?? id, $causationId: id, actor, at: new Date().toISOString() }
  await chained(eventStore).append(stream, [encode(event, id, metadata)], { expected: 'any' })
}
