/** Converts between events of the catalogue and stored events: validates on writing, upcasts on reading. */

import {
  type DomainEvent,
  type EventMetadata,
  eventSchemas,
  PERSONAL_FIELDS,
  SCHEMA_VERSION,
  upcast,
} from '../schema/events.ts'
import { InvalidEvent } from './errors.ts'
import type { Json, NewEvent, RecordedEvent } from './port.ts'

/** A catalogue event as read from a stream. */
export type Recorded<E extends DomainEvent> = E & {
  readonly id: string
  readonly revision: number
  readonly metadata: EventMetadata
  readonly created: Date
}

/**
 * Makes a catalogue event ready to append.
 * @param id a UUID, made once for the command
 * @throws InvalidEvent if the data does not fit the event's schema
 */
export function encode(event: DomainEvent, id: string, metadata: Omit<EventMetadata, 'schemaVersion'>): NewEvent {
  check(event.type, event.data)
  return {
    id,
    type: event.type,
    data: event.data as Json,
    metadata: { ...metadata, schemaVersion: SCHEMA_VERSION } as Json,
  }
}

/**
 * Returns a stored event in the current version of the catalogue.
 * @throws InvalidEvent for an unknown type, a missing schema version, or an event that could not be decrypted
 */
export function decode<E extends DomainEvent = DomainEvent>(stored: RecordedEvent): Recorded<E> {
  schemaOf(stored.type)
  const metadata = stored.metadata as unknown as EventMetadata | null | undefined
  if (typeof metadata?.schemaVersion !== 'number')
    throw new InvalidEvent(`Event "${stored.type}" has no schemaVersion in its metadata.`)
  // Its encrypted fields are null, so it must not be used.
  if (isEncrypted(stored)) throw new InvalidEvent(`Event "${stored.type}" can't be decrypted.`)
  return {
    type: stored.type,
    data: upcast(stored.type, stored.data, metadata),
    id: stored.id,
    revision: stored.revision,
    metadata,
    created: stored.created,
  } as unknown as Recorded<E> // the catalogue holds what is written, so a stored type stands for its data
}

/** Whether an event has personal fields. */
export function hasPersonal({ type, data }: Pick<NewEvent, 'type' | 'data'>): boolean {
  const fields = PERSONAL_FIELDS.get(type)
  if (fields === undefined || typeof data !== 'object' || data === null) return false
  for (const name in data) if (fields.has(name)) return true
  return false
}

/** Whether a stored event has encrypted fields: see encryption/cipher.ts. */
export function isEncrypted({ type, data }: Pick<RecordedEvent, 'type' | 'data'>): boolean {
  return (
    PERSONAL_FIELDS.has(type) &&
    typeof data === 'object' &&
    data !== null &&
    'encrypted' in data &&
    typeof data.encrypted === 'string'
  )
}

/** Checks data against its event's schema. @throws InvalidEvent */
export function check(type: DomainEvent['type'], data: unknown): void {
  const result = schemaOf(type).safeParse(data)
  if (result.success) return
  const faults = result.error.issues.flatMap((issue) => {
    const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path]
    return paths.map((path) => `${path.join('.') || 'data'} (${issue.code})`)
  })
  throw new InvalidEvent(`Event "${type}" does not fit its schema: ${faults.join(', ')}.`)
}

function schemaOf(type: string) {
  if (!Object.hasOwn(eventSchemas, type)) throw new InvalidEvent(`Event type "${type}" is not in the catalogue.`)
  return eventSchemas[type as DomainEvent['type']]
}
