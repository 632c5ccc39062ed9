/**
 * The embedded event store: one SQLite file that several processes may share, with EventStoreDB's semantics.
 *
 * Appends made at the same time go into one transaction, so that one flush to disk serves all of them. Writers of several
 * processes take turns (BEGIN IMMEDIATE), so positions become visible in order and no gap is ever filled later.
 */
import { realpathSync } from 'node:fs'
import type { StatementSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { checkCount, checkEvent, checkExpectedRevision, checkMetadata, checkStreamName } from '../checks.ts'
import {
  type AppendResult,
  AppendTooLarge,
  type EventStore,
  EventStoreUnavailable,
  type ExpectedRevision,
  InvalidArgument,
  type Json,
  MAX_APPEND_SIZE,
  type NewEvent,
  type Position,
  type RecordedEvent,
  StreamDeleted,
  type StreamFilter,
  type StreamMetadata,
  StreamNotFound,
  type Subscription,
  type SubscriptionBatch,
  WrongExpectedRevision,
} from '../port.ts'
import { closeSqliteFile, emptyWal, isBusy, openSqliteFile, transaction, withLock } from './file.ts'

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

/** `$tb` of a soft-deleted stream: everything before the end of time is hidden. */
const DELETED = Number.MAX_SAFE_INTEGER
const PAGE = 500
const BATCH = 500
/** How often other processes' commits are looked for while a subscription waits. Milliseconds. */
const POLL_MS = 10
/** Positions that one page of the whole log looks at: where the filter lets little through, a page still ends. */
const WINDOW = 5_000
/** A page ends early after so many bytes of data and metadata. */
const PAGE_BYTES = 8 * 1024 * 1024
/** Rows that one statement unpacks at once: the first of a page (most streams are not longer), and at most. */
const FIRST_CHUNK = 8
const CHUNK = 64
/** What one transaction takes at most, unless a single append is larger: it holds up the event loop. */
const GROUP = 1_000
const GROUP_BYTES = 4 * 1024 * 1024
/** Ids that `any` and `stream_exists` are remembered by. */
const REMEMBERED_IDS = 20_000

interface StreamRow {
  readonly id: number
  readonly revision: number
  readonly tombstoned: number
  readonly metadata: string | null
}

interface EventRow {
  readonly position: number
  readonly name: string
  readonly revision: number
  readonly id: string
  readonly type: string
  readonly data: string | Uint8Array
  readonly metadata: string | Uint8Array | null
  readonly created: number
}

interface Subscribed extends Subscription {
  ended: boolean
}

interface EncodedEvent {
  readonly id: string
  readonly type: string
  readonly data: string | Uint8Array
  readonly metadata: string | Uint8Array | null
}

interface Page {
  readonly rows: readonly EventRow[]
  /** Whether a limit ended it, so that there may be more. */
  readonly full: boolean
}

interface PageOfAll {
  readonly rows: readonly EventRow[]
  /** Everything up (backwards: down) to and including this position was looked at. */
  readonly to: number
  readonly more: boolean
}

/** A write that waits for its transaction. */
interface Pending {
  readonly size: Size
  /** Runs inside the transaction; throws before it has written anything, or not at all. */
  readonly write: () => AppendResult
  readonly resolve: (result: AppendResult) => void
  readonly reject: (error: unknown) => void
}

interface Size {
  readonly events: number
  readonly bytes: number
}

/** The stores of this process by file: a commit of one is told to the others at once, not at their next poll. */
const storesOfFile = new Map<string, Set<() => void>>()

/**
 * Opens the store, creating the file where it is missing.
 * @throws SqliteFileError for a file that is not an event store or can't be opened
 */
export function openSqliteEventStore({ path }: { readonly path: string }): EventStore {
  const database = openSqliteFile(path, {
    kind: 'an event store',
    applicationId: APPLICATION_ID,
    version: VERSION,
    schema: SCHEMA,
    synchronous: 'FULL',
  })
  const COLUMNS = 's.name, e.position, e.revision, e.id, e.type, e.data, e.metadata, e.created'
  const ofStream = `SELECT ${COLUMNS} FROM events e JOIN streams s ON s.id = e.stream WHERE e.stream = ?
    AND e.revision BETWEEN ? AND ? AND e.created > ?`
  const ofAll = `SELECT ${COLUMNS} FROM events e JOIN streams s ON s.id = e.stream WHERE e.position BETWEEN ? AND ?`
  const sql = {
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
    forwards: database.prepare(`${ofStream} ORDER BY e.revision LIMIT ?`),
    backwards: database.prepare(`${ofStream} ORDER BY e.revision DESC LIMIT ?`),
    last: database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'events'"),
    dataVersion: database.prepare('PRAGMA data_version'),
  }

  const remembered = new LRUCache<string, AppendResult>({ max: REMEMBERED_IDS })
  /** Of the transaction under way: remembered once it is committed. */
  const written = new Map<string, AppendResult>()
  const changes = createChanges(() => (sql.dataVersion.get() as { data_version: number }).data_version)
  const neighbours = joinStores(realpathSync(path), changes.hear)
  const subscriptions = new Set<Subscribed>()
  /** Statements for the filters in use. */
  const filtered = new Map<string, StatementSync>()
  const pending: Pending[] = []
  let flushing: Promise<void> | undefined
  let closing: Promise<void> | undefined

  const streamRow = (name: string) => sql.stream.get(name) as StreamRow | undefined
  const metadataOf = (row: StreamRow | undefined) => JSON.parse(row?.metadata ?? '{}') as StreamMetadata
  const isDeleted = (row: StreamRow | undefined) => metadataOf(row).$tb === DELETED
  const lastPosition = () => (sql.last.get() as { seq: number } | undefined)?.seq ?? 0

  // Writing

  function enqueue(size: Size, write: () => AppendResult): Promise<AppendResult> {
    if (closing) return Promise.reject(new EventStoreUnavailable('The event store is closed.'))
    return new Promise((resolve, reject) => {
      pending.push({ size, write, resolve, reject })
      // At the end of this turn of the event loop: what arrives in one turn shares a transaction.
      flushing ??= nextTurn().then(flush)
    })
  }

  async function flush(): Promise<void> {
    while (pending.length > 0) {
      let events = 0
      let bytes = 0
      const overflow = pending.findIndex(({ size }, index) => {
        events += size.events
        bytes += size.bytes
        return index > 0 && (events > GROUP || bytes > GROUP_BYTES)
      })
      const group = pending.splice(0, overflow === -1 ? pending.length : overflow)
      try {
        const outcomes = await withLock(() => {
          written.clear()
          return transaction(database, () => group.map(attempt))
        })
        for (const [key, result] of written) remembered.set(key, result)
        changes.announce()
        neighbours.tell()
        for (const [index, { resolve, reject }] of group.entries()) {
          const { result, error } = outcomes[index] as Outcome
          if (result) resolve(result)
          else reject(error)
        }
      } catch (error) {
        const reason = new EventStoreUnavailable(`The event store can't be written: ${(error as Error).message}.`)
        for (const { reject } of group) reject(reason)
      }
      if (pending.length > 0) await nextTurn()
    }
    flushing = undefined
  }

  interface Outcome {
    readonly result?: AppendResult
    readonly error?: unknown
  }

  /** A refusal is one append's own; a failure of SQLite's is the whole group's. */
  function attempt({ write }: Pending): Outcome {
    try {
      return { result: write() }
    } catch (error) {
      if (error instanceof WrongExpectedRevision || error instanceof StreamDeleted) return { error }
      throw error
    }
  }

  function writeEvents(stream: string, events: readonly EncodedEvent[], expected: ExpectedRevision): AppendResult {
    const found = streamRow(stream)
    const repeated = checkExpected(stream, found, expected, events)
    if (repeated) return repeated
    const row = found ?? (sql.addStream.get(stream) as unknown as StreamRow)
    const metadata = metadataOf(row)
    if (metadata.$tb === DELETED) {
      // The stream comes back; what was there before stays hidden.
      writeMetadata(stream, row, { ...metadata, $tb: row.revision + 1 })
    }
    const result = insert(stream, row, events)
    const kept = firstVisible(metadataOf(row.metadata === null ? row : streamRow(stream)), result.revision)
    if (kept > 0) sql.purge.run(row.id, kept)
    return result
  }

  function insert(stream: string, row: StreamRow, events: readonly EncodedEvent[]): AppendResult {
    const created = Date.now()
    let revision = row.revision
    let position = 0
    for (const { id, type, data, metadata } of events) {
      position = Number(sql.addEvent.run(row.id, ++revision, id, type, data, metadata, created).lastInsertRowid)
      written.set(`${stream} ${id}`, { revision, position: positionOf(position) })
    }
    sql.setRevision.run(revision, row.id)
    return { revision, position: positionOf(position) }
  }

  /** The original result where the events are there already; undefined where they are to be written. */
  function checkExpected(
    stream: string,
    row: StreamRow | undefined,
    expected: ExpectedRevision,
    events: readonly EncodedEvent[],
  ): AppendResult | undefined {
    if (row?.tombstoned) throw new StreamDeleted(stream)
    const current = row?.revision ?? -1
    const refusal = () => new WrongExpectedRevision(stream, expected, current === -1 ? 'no_stream' : current)
    const deleted = isDeleted(row)
    const known = events.map(({ id }) => written.get(`${stream} ${id}`) ?? remembered.get(`${stream} ${id}`))
    const knownFrom = (first: number) => known.every((each, index) => each?.revision === first + index)
    if (expected === 'any' || expected === 'stream_exists') {
      if (expected === 'stream_exists') {
        if (deleted) throw new StreamDeleted(stream)
        if (current === -1 && row?.metadata == null) throw refusal()
      }
      const first = known[0]?.revision
      if (first === undefined) return undefined
      if (!knownFrom(first)) throw refusal()
      return known.at(-1)
    }
    const after = expected === 'no_stream' ? -1 : expected
    if (after === current) return undefined
    if (row === undefined || after > current) throw refusal()
    if (events.length > 0) {
      if (knownFrom(after + 1)) return known.at(-1) // also where `$maxCount` has removed some since
      const there = sql.ids.all(row.id, after + 1, after + events.length) as { id: string; position: number }[]
      if (there.length === events.length && there.every(({ id }, index) => id === events[index]?.id)) {
        return { revision: after + events.length, position: positionOf(there.at(-1)?.position ?? 0) }
      }
    }
    if (expected === 'no_stream' && deleted) return undefined
    throw refusal()
  }

  /** Metadata is an event of the stream `$$<name>`, and stands beside the stream for a quick look. */
  function writeMetadata(stream: string, row: StreamRow, metadata: StreamMetadata): AppendResult {
    const text = JSON.stringify(metadata)
    const name = `$$${stream}`
    const own = streamRow(name) ?? (sql.addStream.get(name) as unknown as StreamRow)
    const event = { id: crypto.randomUUID(), type: '$metadata', data: text, metadata: null }
    sql.setMetadata.run(text, row.id)
    const result = insert(name, own, [event])
    sql.purge.run(own.id, result.revision) // as EventStoreDB: only the newest counts
    return result
  }

  /** `write` on the stream if it is where `expected` says. A delete of nothing is refused, a tombstone is not. */
  function remove(
    stream: string,
    expected: ExpectedRevision,
    write: (row: StreamRow) => AppendResult,
  ): Promise<AppendResult> {
    checkStreamName(stream)
    checkExpectedRevision(expected)
    return enqueue({ events: 1, bytes: 0 }, () => {
      const row = streamRow(stream)
      checkExpected(stream, row, expected, [])
      return write(row ?? (sql.addStream.get(stream) as unknown as StreamRow))
    })
  }

  // Reading

  /** The visible part of a stream. */
  function visible(stream: string): { readonly row: StreamRow; readonly first: number; readonly after: number } {
    const row = streamRow(stream)
    if (row?.tombstoned) throw new StreamDeleted(stream)
    const metadata = metadataOf(row)
    if (row === undefined || row.revision === -1 || metadata.$tb === DELETED) throw new StreamNotFound(stream)
    const after = metadata.$maxAge === undefined ? -1 : Date.now() - metadata.$maxAge * 1000
    return { row, first: firstVisible(metadata, row.revision), after }
  }

  function readPage(stream: string, forwards: boolean, from: number, limit: number): Page {
    const { row, first, after } = visible(stream)
    const statement = forwards ? sql.forwards : sql.backwards
    const low = forwards ? Math.max(from, first) : first
    const high = forwards ? DELETED : from
    return pageOf(limit, (size, before) => {
      const start = before && forwards ? before.revision + 1 : low
      const end = before && !forwards ? before.revision - 1 : high
      return statement.all(row.id, start, end, after, size) as unknown as EventRow[]
    })
  }

  /** Makes what reads the log of all streams page by page. The filter is SQLite's work: what it drops is never unpacked. */
  function pagesOfAll(forwards: boolean, filter: StreamFilter | undefined, systemEvents: boolean) {
    const { condition, parameters } = conditionOf(filter, systemEvents)
    const text = `${ofAll} AND ${condition} ORDER BY e.position ${forwards ? 'ASC' : 'DESC'} LIMIT ?`
    return (from: number, limit: number): PageOfAll => {
      const statement = filtered.get(text) ?? database.prepare(text)
      filtered.set(text, statement)
      const last = lastPosition()
      const window = Math.max(WINDOW, limit)
      const high = forwards ? Math.min(from + window - 1, last) : Math.min(from, last)
      const low = forwards ? from : Math.max(high - window + 1, 1)
      const { rows, full } = pageOf(limit, (size, before) => {
        const start = before && forwards ? before.position + 1 : low
        const end = before && !forwards ? before.position - 1 : high
        return statement.all(start, end, ...parameters, size) as unknown as EventRow[]
      })
      const to = full ? (rows.at(-1) as EventRow).position : forwards ? high : low
      return { rows, to, more: forwards ? to < last : to > 1 }
    }
  }

  /** Where a read of all streams starts; a position that never was an event's is a broken checkpoint. */
  function startOf(position: Position): number {
    const { commit, prepare } = position
    if (commit !== prepare || commit < 0n || commit > BigInt(guard(lastPosition))) {
      throw new InvalidArgument(`Position ${commit}/${prepare} is not one of this log.`)
    }
    return Number(commit)
  }

  async function* follow(read: () => SubscriptionBatch, subscribed: Subscribed): AsyncGenerator<SubscriptionBatch> {
    let last: SubscriptionBatch | undefined
    try {
      while (!subscribed.ended) {
        // `seen` first: a commit that comes between the two is then read twice over, not missed.
        const { batch, seen } = await patiently(() => ({ seen: changes.now(), batch: read() }))
        if (subscribed.ended) return
        // The first batch says how things stand; after it, only what is new.
        if (batch.checkpoint.commit !== last?.checkpoint.commit || batch.caughtUp !== last.caughtUp) yield batch
        last = batch
        if (!batch.caughtUp) await nextTurn()
        else if (!subscribed.ended) await changes.after(seen)
      }
    } finally {
      subscriptions.delete(subscribed)
    }
  }

  function subscription(read: () => SubscriptionBatch): Subscription {
    const subscribed: Subscribed = {
      ended: closing !== undefined,
      [Symbol.asyncIterator]: () => batches,
      async unsubscribe() {
        subscribed.ended = true
        subscriptions.delete(subscribed)
        changes.announce()
        await nextTurn() // a batch that is on its way to the consumer arrives before this resolves
      },
    }
    const batches = follow(read, subscribed)
    subscriptions.add(subscribed)
    return subscribed
  }

  const store: EventStore = {
    async append(stream, events, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      if (events.length === 0) {
        const row = await patiently(() => streamRow(stream))
        return { revision: isDeleted(row) ? -1 : (row?.revision ?? -1) }
      }
      const { encoded, bytes } = encodeEvents(events)
      return enqueue({ events: events.length, bytes }, () => writeEvents(stream, encoded, expected))
    },

    async *readStream(stream, { direction = 'forwards', from, maxCount = DELETED } = {}) {
      const forwards = direction === 'forwards'
      let next = from === undefined ? (forwards ? 0 : DELETED) : from === 'start' ? 0 : from === 'end' ? DELETED : from
      if (!Number.isSafeInteger(next) || next < 0)
        throw new InvalidArgument(`A stream can't be read from revision ${next}.`)
      checkCount(maxCount, 'maxCount')
      for (let left = maxCount; left > 0; ) {
        const { rows, full } = await patiently(() => readPage(stream, forwards, next, Math.min(PAGE, left)))
        for (const row of rows) yield recorded(row)
        if (!full) return
        left -= rows.length
        const { revision } = rows.at(-1) as EventRow
        next = forwards ? revision + 1 : revision - 1
        if (next < 0) return
        await nextTurn() // a long read lets others have their turn
      }
    },

    async *readAll({ direction = 'forwards', from, maxCount = DELETED, filter, systemEvents = false } = {}) {
      const forwards = direction === 'forwards'
      const start = from ?? (forwards ? 'start' : 'end')
      let next = start === 'start' ? 0 : start === 'end' ? DELETED : startOf(start)
      checkCount(maxCount, 'maxCount')
      const readPage = pagesOfAll(forwards, filter, systemEvents)
      for (let left = maxCount; left > 0; ) {
        const { rows, to, more } = await patiently(() => readPage(next, Math.min(PAGE, left)))
        for (const row of rows) yield recorded(row)
        if (!more) return
        left -= rows.length
        next = forwards ? to + 1 : to - 1
        await nextTurn()
      }
    },

    subscribeToAll({ from, filter, batchSize = BATCH }) {
      checkCount(batchSize, 'batchSize')
      const readPage = pagesOfAll(true, filter, false)
      let done = from === 'start' ? 0 : from === 'end' ? guard(lastPosition) : startOf(from)
      return subscription(() => {
        const { rows, to, more } = readPage(done + 1, batchSize)
        done = to
        return { events: rows.map(recorded), checkpoint: positionOf(to), caughtUp: !more }
      })
    },

    subscribeToStream(stream, { from, batchSize = BATCH }) {
      checkStreamName(stream)
      checkCount(batchSize, 'batchSize')
      if (typeof from === 'number') checkExpectedRevision(from)
      let done = from === 'start' ? -1 : from === 'end' ? (guard(() => streamRow(stream))?.revision ?? -1) : from
      let checkpoint = positionOf(0)
      return subscription(() => {
        let page: Page = { rows: [], full: false }
        try {
          page = readPage(stream, true, done + 1, batchSize)
        } catch (error) {
          if (!(error instanceof StreamNotFound)) throw error
        }
        const last = page.rows.at(-1)
        if (last) {
          done = last.revision
          checkpoint = positionOf(last.position)
        }
        return { events: page.rows.map(recorded), checkpoint, caughtUp: !page.full }
      })
    },

    async deleteStream(stream, { expected }) {
      await remove(stream, expected, (row) => {
        if (row.revision === -1) throw new WrongExpectedRevision(stream, expected, 'no_stream')
        sql.purge.run(row.id, DELETED)
        return writeMetadata(stream, row, { ...metadataOf(row), $tb: DELETED })
      })
      await scrub()
    },

    async tombstoneStream(stream, { expected }) {
      await remove(stream, expected, (row) => {
        sql.setTombstoned.run(row.id)
        sql.purge.run(row.id, DELETED)
        return insert(stream, row, [{ id: crypto.randomUUID(), type: '$streamDeleted', data: '{}', metadata: null }])
      })
    },

    async setStreamMetadata(stream, metadata) {
      checkStreamName(stream)
      checkMetadata(metadata)
      // Now, and a copy: what JSON can't hold must not fail the transaction that others share.
      const wanted = JSON.parse(JSON.stringify(metadata)) as StreamMetadata
      await enqueue({ events: 1, bytes: 0 }, () => {
        const row = streamRow(stream) ?? (sql.addStream.get(stream) as unknown as StreamRow)
        if (row.tombstoned) throw new StreamDeleted(stream)
        // As EventStoreDB: new metadata takes back a deletion, but what was deleted stays hidden.
        const kept = isDeleted(row) ? { $tb: Math.max(wanted.$tb ?? 0, row.revision + 1) } : {}
        // What is no longer readable need not lie in the file until somebody reads it there: a server is scavenged for that.
        if (wanted.$maxAge !== undefined) sql.purgeOlder.run(row.id, Date.now() - wanted.$maxAge * 1000)
        if (wanted.$tb !== undefined) sql.purge.run(row.id, wanted.$tb)
        return writeMetadata(stream, row, { ...wanted, ...kept })
      })
      if (metadata.$tb !== undefined) await scrub()
    },

    async getStreamMetadata(stream) {
      const row = await patiently(() => streamRow(stream))
      if (row?.tombstoned) throw new StreamDeleted(stream)
      return metadataOf(row)
    },

    async ping() {
      await patiently(lastPosition)
    },

    close() {
      closing ??= finish()
      return closing
    },
  }
  return store

  /** What was deleted is not to lie about in the write-ahead log. Where others read from it all the time, `close` does it. */
  async function scrub(): Promise<void> {
    await withLock(() => {
      if (database.isOpen) emptyWal(database)
    }).catch((error: unknown) => {
      if (!isBusy(error)) throw unavailable(error)
    })
  }

  async function finish(): Promise<void> {
    await flushing
    await Promise.all([...subscriptions].map((each) => each.unsubscribe()))
    changes.close()
    neighbours.leave()
    closeSqliteFile(database)
  }

  /**
   * A read that meets a lock (another process repairs the file after a crash) waits for it, as a write does. That is rare,
   * so all others are answered at once.
   */
  function patiently<T>(read: () => T): T | Promise<T> {
    try {
      return whileOpen(read)
    } catch (error) {
      if (!isBusy(error)) throw unavailable(error)
      return withLock(() => whileOpen(read)).catch((later) => {
        throw unavailable(later)
      })
    }
  }

  /** A read where nothing can be waited for. */
  function guard<T>(read: () => T): T {
    try {
      return whileOpen(read)
    } catch (error) {
      throw unavailable(error)
    }
  }

  function whileOpen<T>(read: () => T): T {
    if (!database.isOpen) throw new EventStoreUnavailable('The event store is closed.')
    return read()
  }
}

/** SQLite's own failures (a disk error, a lock held too long) as what a caller expects. */
function unavailable(error: unknown): unknown {
  if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') return error
  return new EventStoreUnavailable(`The event store can't be read: ${(error as Error).message}.`)
}

/** Adds a store to those of its file. `hear` is called when another of them has committed. */
function joinStores(file: string, hear: () => void) {
  const stores = storesOfFile.get(file) ?? new Set()
  storesOfFile.set(file, stores.add(hear))
  return {
    tell() {
      for (const each of stores) if (each !== hear) each()
    },
    leave() {
      stores.delete(hear)
      if (stores.size === 0) storesOfFile.delete(file)
    },
  }
}

/**
 * Rows until one of the limits. Read in chunks that grow as the sizes seen so far allow (row by row is a third slower), so
 * a page is about PAGE_BYTES at most; each statement is finished when it returns, so no read transaction stays open.
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
      bytes += row.data.length + (row.metadata?.length ?? 0)
    }
    if (found.length < size) return { rows, full: false }
  }
  return { rows, full: true }
}

/** Which streams' events are wanted, as SQL over their names. */
function conditionOf(filter: StreamFilter | undefined, systemEvents: boolean) {
  if (filter === undefined) return { condition: systemEvents ? 'TRUE' : "instr(s.name, '$') <> 1", parameters: [] }
  const { streamPrefixes } = filter
  if (streamPrefixes.length === 0) throw new InvalidArgument('A filter needs a prefix.')
  // Not LIKE: it takes no account of case, and reads some characters as patterns.
  return { condition: `(${streamPrefixes.map(() => 'instr(s.name, ?) = 1').join(' OR ')})`, parameters: streamPrefixes }
}

/**
 * Tells waiting subscriptions that something may have been committed: by this store at once, by others (each commit of
 * another connection changes SQLite's data_version) within a poll.
 */
function createChanges(dataVersion: () => number) {
  let count = 0
  let version = dataVersion()
  let waiting: (() => void)[] = []
  let timer: NodeJS.Timeout | undefined

  function announce(): void {
    count++
    const woken = waiting
    waiting = []
    for (const wake of woken) wake()
  }

  function poll(): void {
    if (waiting.length > 0) {
      hear()
      return
    }
    clearInterval(timer)
    timer = undefined
  }

  function hear(): void {
    try {
      look()
    } catch {
      // the next poll looks again; a read would tell what is wrong
    }
  }

  /** Whoever sees a change tells all: the next look finds nothing new. */
  function look(): void {
    const now = dataVersion()
    if (now === version) return
    version = now
    announce()
  }

  return {
    announce,
    hear,
    now: () => {
      look()
      return count
    },
    /** Resolves when there was a change after `seen`. */
    async after(seen: number): Promise<void> {
      if (count !== seen) return
      timer ??= setInterval(poll, POLL_MS).unref() // to wait for events is no reason for a process to stay
      await new Promise<void>((resolve) => {
        waiting.push(resolve)
      })
    },
    close: () => {
      clearInterval(timer)
      announce()
    },
  }
}

function recorded(row: EventRow): RecordedEvent {
  const isJson = typeof row.data === 'string'
  return {
    stream: row.name,
    revision: row.revision,
    position: positionOf(row.position),
    id: row.id,
    type: row.type,
    isJson,
    data: decode(row.data),
    metadata: row.metadata === null ? undefined : decode(row.metadata),
    created: new Date(row.created),
  }
}

function decode(stored: string | Uint8Array): Json | Uint8Array {
  if (typeof stored !== 'string') return stored
  try {
    return JSON.parse(stored) as Json
  } catch {
    return stored
  }
}

function encodeEvents(events: readonly NewEvent[]) {
  let size = 0
  const encoded = events.map((event): EncodedEvent => {
    checkEvent(event)
    const { id, type, data, metadata } = event
    const row = {
      id: id.toLowerCase(),
      type,
      data: encode(data),
      metadata: metadata === undefined ? null : encode(metadata),
    }
    size += 2 * Buffer.byteLength(type) + bytes(row.data) + bytes(row.metadata)
    return row
  })
  if (size > MAX_APPEND_SIZE) throw new AppendTooLarge(MAX_APPEND_SIZE)
  return { encoded, bytes: size }
}

/** Bytes are copied: they are the caller's to change before the transaction comes. */
const encode = (content: Json | Uint8Array) =>
  content instanceof Uint8Array ? new Uint8Array(content) : JSON.stringify(content)
const bytes = (content: string | Uint8Array | null) => (content === null ? 0 : Buffer.byteLength(content))
const positionOf = (position: number): Position => ({ commit: BigInt(position), prepare: BigInt(position) })

function firstVisible({ $tb = 0, $maxCount }: StreamMetadata, last: number): number {
  return Math.max($tb, $maxCount === undefined ? 0 : last - $maxCount + 1)
}
