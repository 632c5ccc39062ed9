/** Appends, deletions and metadata changes inside the transaction that they share. */
import {
  type AppendResult,
  type ExpectedRevision,
  type Position,
  StreamDeleted,
  type StreamMetadata,
  WrongExpectedRevision,
} from '../port.ts'
import { checkExpected } from './idempotence.ts'
import { createKnownEvents } from './known-events.ts'
import { type EncodedEvent, positionOf } from './rows.ts'
import {
  addStream,
  DELETED,
  firstVisible,
  isDeleted,
  metadataOf,
  type SqliteLog,
  type StreamRow,
  streamRow,
} from './schema.ts'

/** The result of an append that was no repetition. */
class Written implements AppendResult {
  readonly revision: number
  readonly position: Position
  constructor(revision: number, position: Position) {
    this.revision = revision
    this.position = position
  }
  get isWritten(): boolean {
    return true
  }
}

export interface Writes {
  /** Call it at the beginning of a transaction. */
  begin(): void
  /** Call it when the transaction is committed: from then on the ids of its events are known. */
  commit(): void
  /** @throws WrongExpectedRevision | StreamDeleted, before anything is written */
  append(stream: string, events: readonly EncodedEvent[], expected: ExpectedRevision): AppendResult
  /** Soft-deletes the stream. @throws WrongExpectedRevision (also for a stream without events) | StreamDeleted */
  delete(stream: string, expected: ExpectedRevision): AppendResult
  /** Tombstones the stream: it can never be written again. @throws WrongExpectedRevision | StreamDeleted */
  tombstone(stream: string, expected: ExpectedRevision): AppendResult
  /** Replaces the stream's metadata. @throws StreamDeleted */
  setMetadata(stream: string, metadata: StreamMetadata): AppendResult
}

export function createWrites(log: SqliteLog): Writes {
  const { sql } = log
  const known = createKnownEvents()

  function insert(row: StreamRow, events: readonly EncodedEvent[]): AppendResult {
    const created = Date.now()
    let revision = row.revision
    let position = 0
    for (const { id, type, data, metadata } of events) {
      position = Number(sql.addEvent.run(row.id, ++revision, id, type, data, metadata, created).lastInsertRowid)
      known.add(row.id, id, revision, position)
    }
    sql.setRevision.run(revision, row.id)
    return new Written(revision, positionOf(position))
  }

  /** Metadata is an event of the stream `$$<name>`; a copy in the row of the stream is used for reads. */
  function writeMetadata(stream: string, row: StreamRow, metadata: StreamMetadata): AppendResult {
    const text = JSON.stringify(metadata)
    const name = `$$${stream}`
    const own = streamRow(log, name) ?? addStream(log, name)
    const event = { id: crypto.randomUUID(), type: '$metadata', data: text, metadata: null }
    sql.setMetadata.run(text, row.id)
    const result = insert(own, [event])
    sql.purge.run(own.id, result.revision) // as EventStoreDB: only the newest counts
    return result
  }

  return {
    begin: known.begin,
    commit: known.commit,

    append(stream, events, expected) {
      const found = streamRow(log, stream)
      const repeated = checkExpected(log, known, stream, found, expected, events)
      if (repeated) return repeated
      const row = found ?? addStream(log, stream)
      const metadata = metadataOf(row)
      if (metadata.$tb === DELETED) {
        // The stream is created again; its earlier events stay hidden.
        writeMetadata(stream, row, { ...metadata, $tb: row.revision + 1 })
      }
      const result = insert(row, events)
      const kept = firstVisible(metadataOf(row.metadata === null ? row : streamRow(log, stream)), result.revision)
      if (kept > 0) sql.purge.run(row.id, kept)
      return result
    },

    delete(stream, expected) {
      const row = streamRow(log, stream)
      checkExpected(log, known, stream, row, expected, [])
      // Deleting a missing stream is refused; tombstoning it is not.
      if (row === undefined || row.revision === -1) throw new WrongExpectedRevision(stream, expected, 'no_stream')
      sql.purge.run(row.id, DELETED)
      return writeMetadata(stream, row, { ...metadataOf(row), $tb: DELETED })
    },

    tombstone(stream, expected) {
      const found = streamRow(log, stream)
      checkExpected(log, known, stream, found, expected, [])
      const row = found ?? addStream(log, stream)
      sql.setTombstoned.run(row.id)
      sql.purge.run(row.id, DELETED)
      return insert(row, [{ id: crypto.randomUUID(), type: '$streamDeleted', data: '{}', metadata: null }])
    },

    setMetadata(stream, metadata) {
      const row = streamRow(log, stream) ?? addStream(log, stream)
      if (row.tombstoned) throw new StreamDeleted(stream)
      // As in EventStoreDB: new metadata undoes a deletion, but the deleted events stay hidden.
      const kept = isDeleted(row) ? { $tb: Math.max(metadata.$tb ?? 0, row.revision + 1) } : {}
      // Events that are no longer readable are removed from the file; a server has to be scavenged for that.
      if (metadata.$maxAge !== undefined) sql.purgeOlder.run(row.id, Date.now() - metadata.$maxAge * 1000)
      if (metadata.$tb !== undefined) sql.purge.run(row.id, metadata.$tb)
      return writeMetadata(stream, row, { ...metadata, ...kept })
    },
  }
}
