/** What the commands do with whole streams. */
import { decode, type Recorded } from '../eventstore/codec.ts'
import { type EventStore, StreamNotFound } from '../eventstore/port.ts'
import type { DomainEvent } from '../schema/events.ts'

/** The newest events of a stream up to the revision `from` (default: the end), oldest first; none for a missing stream. */
export async function readNewest<E extends DomainEvent>(
  eventStore: EventStore,
  stream: string,
  maxCount: number,
  from: number | 'end' = 'end',
): Promise<Recorded<E>[]> {
  const events: Recorded<E>[] = []
  try {
    for await (const event of eventStore.readStream(stream, { direction: 'backwards', from, maxCount })) {
      events.push(decode<E>(event))
    }
  } catch (error) {
    if (!(error instanceof StreamNotFound)) throw error
  }
  return events.reverse()
}
