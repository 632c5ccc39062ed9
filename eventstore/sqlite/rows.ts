/** Converts between events in the file and events of the port. JSON is stored as text, bytes as a blob. */
import { checkEvent } from '../argument-checks.ts'
import {
  AppendTooLarge,
  type Json,
  MAX_APPEND_SIZE,
  type NewEvent,
  type Position,
  type RecordedEvent,
} from '../port.ts'
import type { EventRow } from './schema.ts'

/** An event ready to be written. */
export interface EncodedEvent {
  readonly id: string
  readonly type: string
  readonly data: string | Uint8Array
  readonly metadata: string | Uint8Array | null
}

/**
 * Encodes the events of one append before it waits for its transaction.
 * @throws InvalidArgument | AppendTooLarge
 */
export function encodeEvents(events: readonly NewEvent[]): {
  readonly encoded: EncodedEvent[]
  readonly bytes: number
} {
  let size = 0
  const encoded = events.map((event): EncodedEvent => {
    checkEvent(event)
    const { id, type, data, metadata, json } = event
    const row = {
      id: id.toLowerCase(),
      type,
      data: json?.data ?? encode(data),
      metadata: json?.metadata ?? (metadata === undefined ? null : encode(metadata)),
    }
    size += 2 * Buffer.byteLength(type) + bytes(row.data) + bytes(row.metadata)
    return row
  })
  if (size > MAX_APPEND_SIZE) throw new AppendTooLarge(MAX_APPEND_SIZE)
  return { encoded, bytes: size }
}

export function recorded(row: EventRow): RecordedEvent {
  const data = row[5]
  const metadata = row[6]
  return {
    stream: row[0],
    revision: row[2],
    position: positionOf(row[1]),
    id: row[3],
    type: row[4],
    isJson: typeof data === 'string',
    data: decode(data),
    metadata: metadata === null ? undefined : decode(metadata),
    created: new Date(row[7]),
  }
}

export function positionOf(position: number): Position {
  const number = BigInt(position)
  return { commit: number, prepare: number }
}

function decode(stored: string | Uint8Array): Json | Uint8Array {
  if (typeof stored !== 'string') return stored
  try {
    return JSON.parse(stored) as Json
  } catch {
    return stored
  }
}

/** Bytes are copied, because the caller may change them before the transaction. */
const encode = (content: Json | Uint8Array) =>
  content instanceof Uint8Array ? new Uint8Array(content) : JSON.stringify(content)
const bytes = (content: string | Uint8Array | null) => (content === null ? 0 : Buffer.byteLength(content))
