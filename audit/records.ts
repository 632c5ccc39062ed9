/** Events for auditors: one flat record each, as JSON or as a line of CSV. */
import { decode } from '../eventstore/codec.ts'
import type { Json, RecordedEvent } from '../eventstore/port.ts'
import { shownData } from './masking.ts'
import { metadataOf } from './timeline.ts'

export interface EventRecord {
  /** The position in the log of all streams. */
  readonly position: string
  readonly stream: string
  readonly revision: number
  readonly id: string
  readonly type: string
  /** When the store wrote it. */
  readonly time: string
  readonly decidedAt: string | null
  readonly actor: string | null
  readonly requestId: string | null
  readonly causationId: string | null
  readonly schemaVersion: number | null
  /** The data in the catalogue's current version. */
  readonly data: Json
}

/** @param reveal with personal data */
export function recordOf(event: RecordedEvent, reveal: boolean): EventRecord {
  const { actor, at, $correlationId, $causationId, schemaVersion } = metadataOf(event)
  return {
    position: String(event.position.commit),
    stream: event.stream,
    revision: event.revision,
    id: event.id,
    type: event.type,
    time: event.created.toISOString(),
    decidedAt: at ?? null,
    actor: actor ?? null,
    requestId: $correlationId ?? null,
    causationId: $causationId ?? null,
    schemaVersion: schemaVersion ?? null,
    data: shownData(dataOf(event), reveal),
  }
}

/** An event that can't be decoded is returned as stored. */
function dataOf(event: RecordedEvent): unknown {
  try {
    return decode(event).data
  } catch {
    return event.data
  }
}

const COLUMNS: readonly (keyof EventRecord)[] = [
  'position',
  'stream',
  'revision',
  'id',
  'type',
  'time',
  'decidedAt',
  'actor',
  'requestId',
  'causationId',
  'schemaVersion',
  'data',
]

export const CSV_HEADER = `${COLUMNS.join(',')}\r\n`

/** RFC 4180, with the data as JSON in one cell. */
export function csvLine(record: EventRecord): string {
  const cells = COLUMNS.map((column) => {
    const value = record[column]
    return csvCell(typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? ''))
  })
  return `${cells.join(',')}\r\n`
}

/**
 * A text that a spreadsheet would interpret as a formula gets a leading apostrophe, as spreadsheets write it
 * themselves.
 */
function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
