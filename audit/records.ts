/** Events for auditors: one flat record each. */
import { decode } from '../eventstore/codec.ts'
import type { Json, RecordedEvent } from '../eventstore/port.ts'
import { metadataOf } from './criteria.ts'
import { type Shown, scopeOf, shownData } from './masking.ts'

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

export function recordOf(event: RecordedEvent, shown: Shown): EventRecord {
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
    data: shownData(dataOf(event), shown, scopeOf(event.stream)),
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
