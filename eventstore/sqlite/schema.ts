/** The tables of the embedded event store, its statements, and their rows. */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import type { StreamMetadata } from '../port.ts'
import { bounded, openSqliteCopy, openSqliteFile } from './file.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL DEFAULT -1,
    tombstoned INTEGER NOT NULL DEFAULT 0,
    metadata TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL REFERENCES streams (id),
    revision INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    data ANY NOT NULL,
    metadata ANY,
    created INTEGER NOT NULL,
    UNIQUE (stream, revision)
  ) STRICT;
`
const APPLICATION_ID = 0x45_76_53_74 // "EvSt"
const VERSION = 1

/** `$tb` of a soft-deleted stream, which hides everything. It also means "no limit" as a count or a revision. */
export const DELETED = Number.MAX_SAFE_INTEGER

export interface StreamRow {
  readonly id: number
  readonly revision: number
  readonly tombstoned: number
  readonly metadata: string | null
}

/** An event's columns in the order of EVENTS, as an array: SQLite's driver needs twice as long for an object. */
export type EventRow = readonly [
  stream: string,
  position: number,
  revision: number,
  id: string,
  type: string,
  data: string | Uint8Array,
  metadata: string | Uint8Array | null,
  created: number,
]

export const positionIn = (row: EventRow): number => row[1]
export const revisionIn = (row: EventRow): number => row[2]
/** The length of its data and metadata. */
export const lengthOf = (row: EventRow): number => row[5].length + (row[6]?.length ?? 0)

/** The open file and its prepared statements, which all parts of the store use. */
export interface SqliteLog {
  readonly database: DatabaseSync
  readonly sql: Statements
}

/** The first and the last moment of a Date, in milliseconds. */
const TIME_LIMIT_MS = 8.64e15
/** Bounded, because a damaged number that the driver or a Date can't hold would fail the reads of everybody. */
const EVENTS = `SELECT s.name, e.position, ${bounded('e.revision', -1)}, e.id, e.type, e.data, e.metadata,
    ${bounded('e.created', -TIME_LIMIT_MS, TIME_LIMIT_MS)}
  FROM events e JOIN streams s ON s.id = e.stream`
const EVENTS_OF_STREAM = `${EVENTS} WHERE e.stream = ? AND e.revision BETWEEN ? AND ? AND e.created > ?`
/** The events between two positions; callers append a condition on the streams' names, an order and a limit. */
export const EVENTS_OF_LOG = `${EVENTS} WHERE e.position BETWEEN ? AND ?`

/**
 * Opens the file, creating it if it is missing.
 * @param isCopy whether it is a copy that nobody writes to: then it is not changed, and writes fail
 * @throws SqliteFileError for a file that is not an event store or can't be opened
 */
export function openLog(path: string, isCopy = false): SqliteLog {
  const file = { kind: 'an event store', applicationId: APPLICATION_ID, version: VERSION }
  const database = isCopy
    ? openSqliteCopy(path, file)
    : openSqliteFile(path, { ...file, schema: SCHEMA, synchronous: 'FULL' })
  return { database, sql: prepareStatements(database) }
}

type Statements = ReturnType<typeof prepareStatements>

function prepareStatements(database: DatabaseSync) {
  return {
    stream: database.prepare('SELECT id, revision, tombstoned, metadata FROM streams WHERE name = ?'),
    addStream: database.prepare('INSERT INTO streams (name) VALUES (?) RETURNING id, revision, tombstoned, metadata'),
    setRevision: database.prepare('UPDATE streams SET revision = ? WHERE id = ?'),
    setMetadata: database.prepare('UPDATE streams SET metadata = ? WHERE id = ?'),
    setTombstoned: database.prepare('UPDATE streams SET tombstoned = 1 WHERE id = ?'),
    addEvent: database.prepare(
      'INSERT INTO events (stream, revision, id, type, data, metadata, created) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
    purge: database.prepare('DELETE FROM events WHERE stream = ? AND revision < ?'),
    purgeOlder: database.prepare('DELETE FROM events WHERE stream = ? AND created <= ?'),
    ids: database.prepare(
      'SELECT id, position FROM events WHERE stream = ? AND revision BETWEEN ? AND ? ORDER BY revision',
    ),
    metadataAt: database.prepare(
      'SELECT e.metadata FROM streams s JOIN events e ON e.stream = s.id WHERE s.name = ? AND e.revision = ?',
    ),
    forwards: prepareRead(database, `${EVENTS_OF_STREAM} ORDER BY e.revision LIMIT ?`),
    backwards: prepareRead(database, `${EVENTS_OF_STREAM} ORDER BY e.revision DESC LIMIT ?`),
    last: database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'events'"),
    dataVersion: database.prepare('PRAGMA data_version'),
  }
}

/** A statement that selects EVENTS. */
export function prepareRead(database: DatabaseSync, sql: string): { all(...parameters: SQLInputValue[]): EventRow[] } {
  const statement = database.prepare(sql)
  statement.setReturnArrays(true)
  return { all: (...parameters) => statement.all(...parameters) as unknown as EventRow[] }
}

export function streamRow({ sql }: SqliteLog, stream: string): StreamRow | undefined {
  return sql.stream.get(stream) as StreamRow | undefined
}

/** The row of a stream, created if there is none; inside a write transaction. */
export function addStream({ sql }: SqliteLog, stream: string): StreamRow {
  return sql.addStream.get(stream) as unknown as StreamRow
}

/** The position of the newest event that was ever written; 0 in an empty log. */
export function lastPosition({ sql }: SqliteLog): number {
  return (sql.last.get() as { seq: number } | undefined)?.seq ?? 0
}

/** Changes with each commit of another connection to the file. */
export function dataVersion({ sql }: SqliteLog): number {
  return (sql.dataVersion.get() as { data_version: number }).data_version
}

const NONE: StreamMetadata = Object.freeze({})

export function metadataOf(row: StreamRow | undefined): StreamMetadata {
  return row?.metadata == null ? NONE : (JSON.parse(row.metadata) as StreamMetadata)
}

/** Whether the stream is soft-deleted. */
export function isDeleted(row: StreamRow | undefined): boolean {
  return metadataOf(row).$tb === DELETED
}

/** The first revision that `$tb` and `$maxCount` leave visible in a stream whose newest one is `last`. */
export function firstVisible({ $tb = 0, $maxCount }: StreamMetadata, last: number): number {
  return Math.max($tb, $maxCount === undefined ? 0 : last - $maxCount + 1)
}
