/**
 * Reads page by page. The statements of a page are finished when it returns, so no read transaction stays open while a
 * slow consumer processes it.
 */
import { InvalidArgument, StreamDeleted, type StreamFilter, StreamNotFound } from '../port.ts'
import {
  DELETED,
  EVENTS_OF_LOG,
  type EventRow,
  firstVisible,
  lastPosition,
  lengthOf,
  metadataOf,
  positionIn,
  prepareRead,
  revisionIn,
  type SqliteLog,
  type StreamRow,
  streamRow,
} from './schema.ts'

/** How many positions one page of the whole log covers, so that a page also ends if few events match the filter. */
const WINDOW = 5_000
/** A page ends early after this many bytes of data and metadata. */
const PAGE_BYTES = 8 * 1024 * 1024
/** How many rows one statement returns: for the first chunk of a page (most streams are not longer), and at most. */
const FIRST_CHUNK = 8
const CHUNK = 64

export interface Page {
  readonly rows: readonly EventRow[]
  /** Whether a limit ended it, so that there may be more. */
  readonly full: boolean
}

interface PageOfAll {
  readonly rows: readonly EventRow[]
  /** Everything up (backwards: down) to and including this position has been read or filtered out. */
  readonly to: number
  readonly more: boolean
}

/**
 * The part of a stream that can be read.
 * @returns `after`: events created at or before that time are too old (milliseconds since 1970; -1: no limit)
 * @throws StreamNotFound | StreamDeleted
 */
function visible(
  log: SqliteLog,
  stream: string,
): { readonly row: StreamRow; readonly first: number; readonly after: number } {
  const row = streamRow(log, stream)
  if (row?.tombstoned) throw new StreamDeleted(stream)
  const metadata = metadataOf(row)
  if (row === undefined || row.revision === -1 || metadata.$tb === DELETED) throw new StreamNotFound(stream)
  const after = metadata.$maxAge === undefined ? -1 : Date.now() - metadata.$maxAge * 1000
  return { row, first: firstVisible(metadata, row.revision), after }
}

/**
 * A page of a stream, from the revision `from` on, inclusive.
 * @throws StreamNotFound | StreamDeleted
 */
export function readPage(log: SqliteLog, stream: string, forwards: boolean, from: number, limit: number): Page {
  const { row, first, after } = visible(log, stream)
  const statement = forwards ? log.sql.forwards : log.sql.backwards
  const low = forwards ? Math.max(from, first) : first
  const high = forwards ? DELETED : from
  return pageOf(limit, (size, before) => {
    const start = before && forwards ? revisionIn(before) + 1 : low
    const end = before && !forwards ? revisionIn(before) - 1 : high
    return statement.all(row.id, start, end, after, size)
  })
}

/** Reads a page from the position `from` on, inclusive. */
export type ReadPageOfAll = (from: number, limit: number) => PageOfAll

/** Makes reads of the log of all streams. SQLite does the filtering, so events that do not match are never decoded. */
export function pagesOfAll(log: SqliteLog) {
  /** Statements for the filters in use. */
  const filtered = new Map<string, ReturnType<typeof prepareRead>>()

  /**
   * @param end the last position to read, forwards
   * @throws InvalidArgument for an empty filter
   */
  return (
    forwards: boolean,
    filter: StreamFilter | undefined,
    systemEvents: boolean,
    end: number = DELETED,
  ): ReadPageOfAll => {
    const { condition, parameters } = conditionOf(filter, systemEvents)
    const text = `${EVENTS_OF_LOG} AND ${condition} ORDER BY e.position ${forwards ? 'ASC' : 'DESC'} LIMIT ?`
    return (from, limit) => {
      const statement = filtered.get(text) ?? prepareRead(log.database, text)
      filtered.set(text, statement)
      const last = Math.min(lastPosition(log), end)
      const window = Math.max(WINDOW, limit)
      const high = forwards ? Math.min(from + window - 1, last) : Math.min(from, last)
      const low = forwards ? from : Math.max(high - window + 1, 1)
      const { rows, full } = pageOf(limit, (size, before) => {
        const start = before && forwards ? positionIn(before) + 1 : low
        const end = before && !forwards ? positionIn(before) - 1 : high
        return statement.all(start, end, ...parameters, size)
      })
      const to = full ? positionIn(rows.at(-1) as EventRow) : forwards ? high : low
      return { rows, to, more: forwards ? to < last : to > 1 }
    }
  }
}

/**
 * Reads rows up to one of the limits. The chunks grow as the sizes seen so far allow (row by row is a third slower), so
 * a page has at most about PAGE_BYTES.
 */
function pageOf(limit: number, read: (limit: number, last: EventRow | undefined) => EventRow[]): Page {
  const rows: EventRow[] = []
  let bytes = 0
  for (let chunk = FIRST_CHUNK; rows.length < limit && bytes < PAGE_BYTES; chunk = Math.min(chunk * 2, CHUNK)) {
    const affordable = Math.ceil(((PAGE_BYTES - bytes) * rows.length) / bytes)
    const size = Math.min(chunk, limit - rows.length, affordable || chunk)
    const found = read(size, rows.at(-1))
    for (const row of found) {
      rows.push(row)
      bytes += lengthOf(row)
    }
    if (found.length < size) return { rows, full: false }
  }
  return { rows, full: true }
}

/** The filter for streams, as SQL over their names. */
function conditionOf(filter: StreamFilter | undefined, systemEvents: boolean) {
  if (filter === undefined) return { condition: systemEvents ? 'TRUE' : "instr(s.name, '$') <> 1", parameters: [] }
  const { streamPrefixes } = filter
  if (streamPrefixes.length === 0) throw new InvalidArgument('A filter needs a prefix.')
  // Not LIKE: it ignores case, and reads some characters as patterns.
  return { condition: `(${streamPrefixes.map(() => 'instr(s.name, ?) = 1').join(' OR ')})`, parameters: streamPrefixes }
}
