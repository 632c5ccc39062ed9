/**
 * The embedded event store: one SQLite file that several processes may share, with EventStoreDB's semantics.
 *
 * Appends made at the same time go into one transaction, so that one flush to disk serves all of them. Writers of several
 * processes take turns (BEGIN IMMEDIATE), so positions become visible in order and no gap is ever filled later.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
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
} from './port.ts'
import { closeSqliteFile, openSqliteFile, transaction, withLock } from './sqlite-file.ts'

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
/** Events that one transaction takes at most. */
const GROUP = 2_000
/** Ids that `any` and `stream_exists` are remembered by. */
const REMEMBERED_IDS = 20_000
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

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

interface EncodedEvent {
  readonly id: string
  readonly type: string
  readonly data: string | Uint8Array
  readonly metadata: string | Uint8Array | null
}

/** A write that waits for its transaction. */
interface Pending {
  readonly events: number
  /** Runs inside the transaction; throws before it has written anything, or not at all. */
  readonly write: () => AppendResult
  readonly resolve: (result: AppendResult) => void
  readonly reject: (error: unknown) => void
}

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
  const ofAll = `SELECT ${COLUMNS} FROM events e JOIN streams s ON s.id = e.stream`
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
    ids: database.prepare(
      'SELECT id, position FROM events WHERE stream = ? AND revision BETWEEN ? AND ? ORDER BY revision',
    ),
    forwards: database.prepare(`${ofStream} ORDER BY e.revision LIMIT ?`),
    backwards: database.prepare(`${ofStream} ORDER BY e.revision DESC LIMIT ?`),
    allForwards: database.prepare(`${ofAll} WHERE e.position >= ? ORDER BY e.position LIMIT ?`),
    allBackwards: database.prepare(`${ofAll} WHERE e.position <= ? ORDER BY e.position DESC LIMIT ?`),
    last: database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'events'"),
    dataVersion: database.prepare('PRAGMA data_version'),
  }

  const remembered = new LRUCache<string, AppendResult>({ max: REMEMBERED_IDS })
  /** Of the transaction under way: remembered once it is committed. */
  const written = new Map<string, AppendResult>()
  const changes = createChanges(() => (sql.dataVersion.get() as { data_version: number }).data_version)
  const subscriptions = new Set<Subscription>()
  const pending: Pending[] = []
  let flushing: Promise<void> | undefined
  let closing: Promise<void> | undefined

  const streamRow = (name: string) => sql.stream.get(name) as StreamRow | undefined
  const metadataOf = (row: StreamRow | undefined) => JSON.parse(row?.metadata ?? '{}') as StreamMetadata
  const isDeleted = (row: StreamRow | undefined) => metadataOf(row).$tb === DELETED
  const lastPosition = () => guard(() => (sql.last.get() as { seq: number } | undefined)?.seq ?? 0)

  // Writing

  function enqueue(events: number, write: () => AppendResult): Promise<AppendResult> {
    if (closing) return Promise.reject(new EventStoreUnavailable('The event store is closed.'))
    return new Promise((resolve, reject) => {
      pending.push({ events, write, resolve, reject })
      // At the end of this turn of the event loop: what arrives in one turn shares a transaction.
      flushing ??= nextTurn().then(flush)
    })
  }

  async function flush(): Promise<void> {
    while (pending.length > 0) {
      let events = 0
      const overflow = pending.findIndex((write, index) => {
        events += write.events
        return index > 0 && events > GROUP
      })
      const group = pending.splice(0, overflow === -1 ? pending.length : overflow)
      try {
        const outcomes = await withLock(() => {
          written.clear()
          return transaction(database, () => group.map(attempt))
        })
        for (const [key, result] of written) remembered.set(key, result)
        changes.announce()
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

  type Outcome = { readonly result?: AppendResult; readonly error?: unknown }

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
    return enqueue(1, () => {
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

  function readPage(stream: string, forwards: boolean, from: number, limit: number): EventRow[] {
    const { row, first, after } = visible(stream)
    return forwards
      ? (sql.forwards.all(row.id, Math.max(from, first), DELETED, after, limit) as unknown as EventRow[])
      : (sql.backwards.all(row.id, first, from, after, limit) as unknown as EventRow[])
  }

  /** Where a read of all streams starts; a position that never was an event's is a broken checkpoint. */
  function startOf(position: Position): number {
    const { commit, prepare } = position
    if (commit !== prepare || commit < 0n || commit > BigInt(lastPosition())) {
      throw new InvalidArgument(`Position ${commit}/${prepare} is not one of this log.`)
    }
    return Number(commit)
  }

  async function* follow(
    read: () => { readonly batch: SubscriptionBatch; readonly full: boolean },
    state: { ended: boolean },
  ): AsyncGenerator<SubscriptionBatch> {
    let last: SubscriptionBatch | undefined
    while (!state.ended) {
      const seen = guard(changes.now)
      const { batch, full } = guard(read)
      // The first batch says how things stand; after it, only what is new.
      if (batch.checkpoint.commit !== last?.checkpoint.commit || batch.caughtUp !== last.caughtUp) yield batch
      last = batch
      if (full) await nextTurn()
      else if (!state.ended) await changes.after(seen)
    }
  }

  function subscription(read: () => { readonly batch: SubscriptionBatch; readonly full: boolean }): Subscription {
    const state = { ended: closing !== undefined }
    const batches = follow(read, state)
    const subscribed: Subscription = {
      [Symbol.asyncIterator]: () => batches,
      async unsubscribe() {
        state.ended = true
        subscriptions.delete(subscribed)
        changes.announce()
        await nextTurn() // a batch that is on its way to the consumer arrives before this resolves
      },
    }
    subscriptions.add(subscribed)
    return subscribed
  }

  const store: EventStore = {
    async append(stream, events, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      if (events.length === 0) {
        const row = guard(() => streamRow(stream))
        return { revision: isDeleted(row) ? -1 : (row?.revision ?? -1) }
      }
      const encoded = encodeEvents(events)
      return enqueue(events.length, () => writeEvents(stream, encoded, expected))
    },

    async *readStream(stream, { direction = 'forwards', from, maxCount = DELETED } = {}) {
      const forwards = direction === 'forwards'
      let next = from === undefined ? (forwards ? 0 : DELETED) : from === 'start' ? 0 : from === 'end' ? DELETED : from
      if (!Number.isSafeInteger(next) || next < 0)
        throw new InvalidArgument(`A stream can't be read from revision ${next}.`)
      checkCount(maxCount, 'maxCount')
      for (let left = maxCount; left > 0; ) {
        const size = Math.min(PAGE, left)
        const page = guard(() => readPage(stream, forwards, next, size))
        for (const row of page) yield recorded(row)
        if (page.length < size) return
        left -= page.length
        const { revision } = page.at(-1) as EventRow
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
      const wanted = matcher(filter, systemEvents)
      for (let left = maxCount; left > 0; ) {
        const page = guard(
          () => (forwards ? sql.allForwards : sql.allBackwards).all(next, PAGE) as unknown as EventRow[],
        )
        for (const row of page) {
          if (!wanted(row.name)) continue
          yield recorded(row)
          if (--left === 0) return
        }
        if (page.length < PAGE) return
        const { position } = page.at(-1) as EventRow
        next = forwards ? position + 1 : position - 1
        await nextTurn()
      }
    },

    subscribeToAll({ from, filter, batchSize = BATCH }) {
      checkCount(batchSize, 'batchSize')
      const wanted = matcher(filter, false)
      let done = from === 'start' ? 0 : from === 'end' ? lastPosition() : startOf(from)
      return subscription(() => {
        const page = sql.allForwards.all(done + 1, batchSize) as unknown as EventRow[]
        done = page.at(-1)?.position ?? done
        const full = page.length === batchSize
        const events = page.filter(({ name }) => wanted(name)).map(recorded)
        return { batch: { events, checkpoint: positionOf(done), caughtUp: !full }, full }
      })
    },

    subscribeToStream(stream, { from, batchSize = BATCH }) {
      checkStreamName(stream)
      checkCount(batchSize, 'batchSize')
      if (typeof from === 'number') checkExpectedRevision(from)
      let done = from === 'start' ? -1 : from === 'end' ? (guard(() => streamRow(stream))?.revision ?? -1) : from
      let checkpoint = positionOf(0)
      return subscription(() => {
        let page: EventRow[] = []
        try {
          page = readPage(stream, true, done + 1, batchSize)
        } catch (error) {
          if (!(error instanceof StreamNotFound)) throw error
        }
        const last = page.at(-1)
        if (last) {
          done = last.revision
          checkpoint = positionOf(last.position)
        }
        const full = page.length === batchSize
        return { batch: { events: page.map(recorded), checkpoint, caughtUp: !full }, full }
      })
    },

    async deleteStream(stream, { expected }) {
      await remove(stream, expected, (row) => {
        if (row.revision === -1) throw new WrongExpectedRevision(stream, expected, 'no_stream')
        return writeMetadata(stream, row, { ...metadataOf(row), $tb: DELETED })
      })
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
      await enqueue(1, () => {
        const row = streamRow(stream) ?? (sql.addStream.get(stream) as unknown as StreamRow)
        if (row.tombstoned) throw new StreamDeleted(stream)
        // As EventStoreDB: new metadata takes back a deletion, but what was deleted stays hidden.
        const kept = isDeleted(row) ? { $tb: Math.max(metadata.$tb ?? 0, row.revision + 1) } : {}
        return writeMetadata(stream, row, { ...metadata, ...kept })
      })
    },

    async getStreamMetadata(stream) {
      const row = guard(() => streamRow(stream))
      if (row?.tombstoned) throw new StreamDeleted(stream)
      return metadataOf(row)
    },

    async ping() {
      guard(() => sql.last.get())
    },

    close() {
      closing ??= finish()
      return closing
    },
  }
  return store

  async function finish(): Promise<void> {
    await flushing
    await Promise.all([...subscriptions].map((each) => each.unsubscribe()))
    changes.close()
    closeSqliteFile(database)
  }

  /** SQLite's own failures (a full disk, a lock held too long, a closed file) as what a caller expects. */
  function guard<T>(read: () => T): T {
    if (!database.isOpen) throw new EventStoreUnavailable('The event store is closed.')
    try {
      return read()
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') throw error
      throw new EventStoreUnavailable(`The event store can't be read: ${(error as Error).message}.`)
    }
  }
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
    if (waiting.length === 0) {
      clearInterval(timer)
      timer = undefined
      return
    }
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
    now: () => {
      look()
      return count
    },
    /** Resolves when there was a change after `seen`. */
    async after(seen: number): Promise<void> {
      if (count !== seen) return
      timer ??= setInterval(poll, POLL_MS)
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

function encodeEvents(events: readonly NewEvent[]): EncodedEvent[] {
  let size = 0
  const encoded = events.map(({ id, type, data, metadata }) => {
    if (!UUID.test(id)) throw new InvalidArgument(`Event id ${JSON.stringify(id)} is not a UUID.`)
    if (type === '') throw new InvalidArgument('An event needs a type.')
    const event = {
      id: id.toLowerCase(),
      type,
      data: encode(data),
      metadata: metadata === undefined ? null : encode(metadata),
    }
    size += 2 * Buffer.byteLength(type) + bytes(event.data) + bytes(event.metadata)
    return event
  })
  if (size > MAX_APPEND_SIZE) throw new AppendTooLarge(MAX_APPEND_SIZE)
  return encoded
}

const encode = (content: Json | Uint8Array) => (content instanceof Uint8Array ? content : JSON.stringify(content))
const bytes = (content: string | Uint8Array | null) => (content === null ? 0 : Buffer.byteLength(content))
const positionOf = (position: number): Position => ({ commit: BigInt(position), prepare: BigInt(position) })

function firstVisible({ $tb = 0, $maxCount }: StreamMetadata, last: number): number {
  return Math.max($tb, $maxCount === undefined ? 0 : last - $maxCount + 1)
}

function matcher(filter: StreamFilter | undefined, systemEvents: boolean): (stream: string) => boolean {
  if (filter === undefined) return systemEvents ? () => true : (stream) => !stream.startsWith('$')
  const { streamPrefixes } = filter
  if (streamPrefixes.length === 0) throw new InvalidArgument('A filter needs a prefix.')
  return (stream) => streamPrefixes.some((prefix) => stream.startsWith(prefix))
}

function checkStreamName(stream: string): void {
  if (stream === '' || stream.startsWith('$$')) {
    throw new InvalidArgument(`${JSON.stringify(stream)} is not a stream's name.`)
  }
}

function checkExpectedRevision(expected: ExpectedRevision): void {
  if (typeof expected === 'number' && (!Number.isSafeInteger(expected) || expected < 0)) {
    throw new InvalidArgument(`${expected} is not a revision: a whole number, 0 or more.`)
  }
}

function checkCount(count: number, name: string): void {
  if (!Number.isSafeInteger(count) || count < 1)
    throw new InvalidArgument(`${name} is ${count}: a whole number, 1 or more.`)
}

function checkMetadata(metadata: StreamMetadata): void {
  for (const [key, least] of [
    ['$maxCount', 1],
    ['$maxAge', 1],
    ['$tb', 0],
  ] as const) {
    const value = metadata[key]
    if (value !== undefined && (!Number.isSafeInteger(value) || (value as number) < least)) {
      throw new InvalidArgument(`Metadata ${key} is ${JSON.stringify(value)}: a whole number, ${least} or more.`)
    }
  }
}
