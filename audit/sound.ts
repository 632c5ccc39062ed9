/** Events that are what the catalogue says: whoever can write to the log can also write others. */
import { check, decode, type Recorded } from '../eventstore/codec.ts'
import type { RecordedEvent } from '../eventstore/port.ts'
import type { DomainEvent } from '../schema/events.ts'

/** The event, if it fits the catalogue; undefined: it was forged, damaged, or is of a newer release. */
export function soundEvent<E extends DomainEvent>(stored: RecordedEvent): Recorded<E> | undefined {
  try {
    const event = decode<E>(stored)
    check(event.type, event.data)
    return typeof event.metadata.actor === 'string' ? event : undefined
  } catch {
    return undefined
  }
}
