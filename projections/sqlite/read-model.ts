/** The embedded read model: one SQLite file that several processes may share. It can be rebuilt from the log at any time. */
import { statSync } from 'node:fs'
import type { EventPlace } from '../../eventstore/place.ts'
import { comparePositions, type Position } from '../../eventstore/port.ts'
import {
  closeSqliteFile,
  emptyWal,
  isBusy,
  openSqliteFile,
  transaction,
  withLock,
} from '../../eventstore/sqlite/file.ts'
import type { CustomerDocument } from '../customer.ts'
import {
  type Checkpoint,
  type ReadModel,
  type ReadModelEntry,
  ReadModelUnavailable,
  sameCheckpoint,
  UNKNOWN,
} from '../read-model.ts'
import { readDocument, readParked, readPosition } from '../stored.ts'

/** The tables of version 1 had one generation; the documents are made anew. */
const SCHEMA = `
  DROP TABLE IF EXISTS customers;
  DROP TABLE IF EXISTS checkpoint;
  CREATE TABLE IF NOT EXISTS marks (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS generations (number INTEGER PRIMARY KEY, live INTEGER NOT NULL) STRICT;
  INSERT OR IGNORE INTO generations SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM generations);
  CREATE TABLE IF NOT EXISTS documents (
    generation INTEGER NOT NULL,
    id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (generation, id)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS checkpoints (
    generation INTEGER PRIMARY KEY,
    "commit" TEXT NOT NULL,
    prepare TEXT NOT NULL,
    origin TEXT NOT NULL,
    complete INTEGER NOT NULL
  ) STRICT;
  -- The events at the checkpoints, and the newest ones that documents reflect.
  CREATE TABLE IF NOT EXISTS places (
    generation INTEGER NOT NULL,
    kind TEXT NOT NULL,
    "commit" TEXT NOT NULL,
    prepare TEXT NOT NULL,
    id TEXT NOT NULL,
    stream TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (generation, kind)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS parked (
    generation INTEGER NOT NULL,
    customer INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (generation, customer)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS owed_scrubs (id TEXT PRIMARY KEY) STRICT;
  CREATE TABLE IF NOT EXISTS incarnation (id TEXT NOT NULL) STRICT;
  INSERT INTO incarnation SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM incarnation);
`
const APPLICATION_ID = 0x43_75_52_6d // "CuRm"
const VERSION = 2
/** Ids that one look at the documents gives. */
const PAGE = 1_000

/**
 * Opens the read model, creating the file where it is missing.
 * @param options.generation the one to work on; default: the live one, as of now and of each `follow`
 * @throws SqliteFileError for a file that is not a read model or can't be opened
 */
export function openSqliteReadModel({
  path,
  generation,
}: {
  readonly path: string
  readonly generation?: number | undefined
}): ReadModel {
  const database = openSqliteFile(path, {
    kind: 'a read model',
    applicationId: APPLICATION_ID,
    version: VERSION,
    schema: SCHEMA,
    synchronous: 'NORMAL',
  })
  const sql = {
    live: database.prepare('SELECT number FROM generations WHERE live = 1'),
    generations: database.prepare('SELECT number FROM generations'),
    addGeneration: database.prepare('INSERT OR IGNORE INTO generations VALUES (?, 0)'),
    switchGeneration: database.prepare('UPDATE generations SET live = number = ?'),
    mark: database.prepare('SELECT revision FROM marks WHERE id = ?'),
    /** Of a generation that is complete. */
    visible: database.prepare(
      `SELECT revision, document FROM documents
       WHERE generation = ?1 AND id = ?2 AND (SELECT complete FROM checkpoints WHERE generation = ?1) = 1`,
    ),
    document: database.prepare('SELECT revision, document FROM documents WHERE generation = ? AND id = ?'),
    revision: database.prepare('SELECT revision FROM documents WHERE generation = ? AND id = ?'),
    dropDocument: database.prepare('DELETE FROM documents WHERE generation = ? AND id = ?'),
    ids: database.prepare('SELECT id FROM documents WHERE generation = ? AND id > ? ORDER BY id LIMIT ?'),
    differing: database.prepare(
      `SELECT value AS id FROM json_each(?1) WHERE
       (SELECT document FROM documents WHERE generation = ?2 AND id = value) IS NOT
       (SELECT document FROM documents WHERE generation = ?3 AND id = value)`,
    ),
    lacking: database.prepare(
      `SELECT value AS id FROM json_each(?1) WHERE
       NOT EXISTS (SELECT 1 FROM documents WHERE generation = ?2 AND id = value)`,
    ),
    forget: database.prepare(
      `DELETE FROM documents WHERE id IN (SELECT value FROM json_each(?)) AND generation <> ?
       AND CASE WHEN json_valid(document) THEN document ->> '$.status' IS NOT 'deleted' ELSE TRUE END`,
    ),
    acknowledge: database.prepare(
      `INSERT INTO marks VALUES (?, ?)
       ON CONFLICT (id) DO UPDATE SET revision = max(revision, excluded.revision)`,
    ),
    put: database.prepare(
      `INSERT INTO documents (generation, id, revision, document) VALUES (?, ?, ?, ?)
       ON CONFLICT (generation, id) DO UPDATE SET revision = excluded.revision, document = excluded.document`,
    ),
    checkpoint: database.prepare('SELECT "commit", prepare, origin, complete FROM checkpoints WHERE generation = ?'),
    setCheckpoint: database.prepare('INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)'),
    park: database.prepare('INSERT OR REPLACE INTO parked VALUES (?, ?, ?)'),
    unpark: database.prepare('DELETE FROM parked WHERE generation = ? AND customer = ?'),
    parked: database.prepare('SELECT event FROM parked WHERE generation = ? ORDER BY customer'),
    distrust: database.prepare('UPDATE checkpoints SET complete = 0 WHERE generation = ?'),
    place: database.prepare(
      'SELECT "commit", prepare, id, stream, revision FROM places WHERE generation = ? AND kind = ?',
    ),
    setPlace: database.prepare('INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?, ?, ?)'),
    drop: ['documents', 'checkpoints', 'places', 'parked'].map((table) =>
      database.prepare(`DELETE FROM ${table} WHERE generation = ?`),
    ),
    dropGeneration: database.prepare('DELETE FROM generations WHERE number = ?'),
    dropMarks: database.prepare('DELETE FROM marks'),
    oweScrub: database.prepare('INSERT INTO owed_scrubs VALUES (?)'),
    owedScrubs: database.prepare('SELECT id FROM owed_scrubs'),
    settleScrub: database.prepare('DELETE FROM owed_scrubs WHERE id = ?'),
    touch: database.prepare('UPDATE incarnation SET id = id'),
    ping: database.prepare('SELECT 1'),
  }
  if (generation !== undefined) sql.addGeneration.run(generation)
  const live = () => (sql.live.get() as { number: number } | undefined)?.number ?? 1
  let current = generation ?? live()
  let marks: { readonly id: number; readonly revision: number }[] = []
  let marking: Promise<string> | undefined
  /** Writes that wait for the lock: `close` lets them finish. */
  const writing = new Set<Promise<unknown>>()
  let closing: Promise<void> | undefined

  /** A file that was put in this one's place, from a backup say, is another one. */
  const { id: fileId } = database.prepare('SELECT id FROM incarnation').get() as { id: string }
  const incarnation = `${fileId}.${statSync(path).ino}`

  function entry(id: number, trusted: ReadonlySet<string> | undefined): ReadModelEntry {
    if (trusted && !trusted.has(incarnation)) return UNKNOWN
    const mark = sql.mark.get(id) as { revision: number } | undefined
    const row = sql.visible.get(current, id) as DocumentRow | undefined
    return { document: parse(id, row), acknowledged: mark?.revision ?? -1 }
  }

  /** Whether what is stored of a customer, if anything is, is a document. */
  function isReadable(id: number): boolean {
    const row = sql.document.get(current, id) as DocumentRow | undefined
    return row === undefined || parse(id, row) !== null
  }

  function checkpointOf(of: number): Checkpoint | null {
    const row = sql.checkpoint.get(of) as
      | { commit: string; prepare: string; origin: string; complete: number }
      | undefined
    if (row === undefined) return null
    const { origin, complete } = row
    const position = positionOf(row)
    if (position === undefined) return null
    const place = placeAt(of, 'checkpoint')
    // An earlier release stores the position alone: then it is not known which event stood there.
    const isKnown = place !== null && comparePositions(place.position, position) === 0
    const { id, stream, revision } = isKnown ? place : { id: '', stream: '', revision: -1 }
    return { position, id, stream, revision, origin, complete: complete === 1 }
  }

  /** null where there is none, or it can't be read. */
  function placeAt(of: number, kind: 'checkpoint' | 'newest'): EventPlace | null {
    const row = sql.place.get(of, kind) as
      | { commit: string; prepare: string; id: string; stream: string; revision: number }
      | undefined
    const position = row && positionOf(row)
    if (row === undefined || position === undefined) return null
    const { id, stream, revision } = row
    return { position, id, stream, revision }
  }

  function setPlace(kind: 'checkpoint' | 'newest', { position, id, stream, revision }: EventPlace): void {
    const { commit, prepare } = position
    sql.setPlace.run(current, kind, String(commit), String(prepare), id, stream, revision)
  }

  async function read<T>(work: () => T): Promise<T> {
    if (!database.isOpen) throw closed()
    try {
      return work()
    } catch (error) {
      if (!isBusy(error)) throw unavailable(error)
    }
    try {
      return await withLock(work) // a read is refused for moments only: while another process recovers the file
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** SQLite's own failures as what a caller expects. */
  function unavailable(error: unknown): unknown {
    if (!database.isOpen) return closed()
    if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') return error
    return new ReadModelUnavailable(`The read model can't be used: ${(error as Error).message}.`)
  }

  async function write<T>(work: () => T): Promise<T> {
    if (!database.isOpen) throw closed()
    const written = withLock(() => transaction(database, work))
    writing.add(written)
    try {
      return await written
    } catch (error) {
      throw unavailable(error)
    } finally {
      writing.delete(written)
    }
  }

  return {
    generation: () => read(() => current),

    wanted: () => read(() => generation ?? live()),

    follow: () =>
      read(() => {
        current = generation ?? live()
        return current
      }),

    generations: () =>
      read(() => {
        const liveOne = live()
        const numbers = new Set((sql.generations.all() as { number: number }[]).map(({ number }) => number)).add(
          liveOne,
        )
        return [...numbers]
          .sort((a, b) => a - b)
          .map((number) => ({ number, live: number === liveOne, checkpoint: checkpointOf(number) }))
      }),

    switchGeneration: (from, to) =>
      write(() => {
        if (live() !== from) return false
        for (const number of [from, to]) sql.addGeneration.run(number)
        sql.switchGeneration.run(to)
        return true
      }),

    dropGeneration: (number) =>
      write(() => {
        if (number === live()) throw new RangeError(`Generation ${number} is live; it can't be dropped.`)
        for (const statement of sql.drop) statement.run(number)
        sql.dropGeneration.run(number)
      }),

    async *customers() {
      for (let last = 0; ; ) {
        const rows = await read(() => sql.ids.all(current, last, PAGE) as { id: number }[])
        if (rows.length === 0) return
        yield rows.map(({ id }) => id)
        last = rows.at(-1)?.id ?? last
      }
    },

    differing: (ids, other) =>
      read(() => (sql.differing.all(JSON.stringify(ids), current, other) as { id: number }[]).map(({ id }) => id)),

    lacking: (ids) =>
      read(() => (sql.lacking.all(JSON.stringify(ids), current) as { id: number }[]).map(({ id }) => id)),

    park: (event) => write(() => void sql.park.run(current, event.customerId, JSON.stringify(event))),

    unpark: (customerId) => write(() => void sql.unpark.run(current, customerId)),

    parked: () =>
      read(() => (sql.parked.all(current) as { event: string }[]).flatMap(({ event }) => readParked(event))),

    get: (ids, trusted) => read(() => ids.map((id) => entry(id, trusted))),

    documents: (ids) =>
      read(() => ids.map((id) => parse(id, sql.document.get(current, id) as DocumentRow | undefined))),

    acknowledge(id, revision) {
      // Marks of one turn of the event loop share a transaction.
      marks.push({ id, revision })
      marking ??= Promise.resolve().then(() => {
        const group = marks
        marks = []
        marking = undefined
        return write(() => {
          for (const mark of group) sql.acknowledge.run(mark.id, mark.revision)
          return incarnation
        })
      })
      return marking
    },

    incarnations: () => read(() => ({ reached: [incarnation], isWhole: true })),

    probe: () =>
      write(() => {
        sql.touch.run()
        return [incarnation]
      }),

    put: (writes, newest) =>
      write(() => {
        if (newest) {
          const stored = placeAt(current, 'newest')
          if (stored === null || comparePositions(stored.position, newest.position) < 0) setPlace('newest', newest)
        }
        return writes.map(({ document, expected }) => {
          const stored = (sql.revision.get(current, document.id) as { revision: number } | undefined)?.revision ?? -1
          if (stored !== expected) {
            if (isReadable(document.id)) return stored
            sql.dropDocument.run(current, document.id)
            if (expected !== -1) return -1
          }
          sql.put.run(current, document.id, document.revision, JSON.stringify(document))
          return document.revision
        })
      }),

    newest: () => read(() => placeAt(current, 'newest')),

    distrust: () => write(() => void sql.distrust.run(current)),

    getCheckpoint: () => read(() => checkpointOf(current)),

    setCheckpoint: (next, expected) =>
      write(() => {
        const stored = checkpointOf(current)
        if (!sameCheckpoint(stored, expected)) return stored
        const { position, origin, complete } = next
        sql.setCheckpoint.run(current, String(position.commit), String(position.prepare), origin, complete ? 1 : 0)
        setPlace('checkpoint', next)
        return next
      }),

    async reset() {
      await write(() => {
        for (const statement of sql.drop) statement.run(current)
        if (current === live()) sql.dropMarks.run()
      })
    },

    forget: (ids) => write(() => void sql.forget.run(JSON.stringify(ids), current)),

    oweScrub: () => write(() => void sql.oweScrub.run(crypto.randomUUID())),

    isScrubOwed: () => read(() => sql.owedScrubs.get() !== undefined),

    async scrub() {
      const owed = await read(() => sql.owedScrubs.all() as { id: string }[])
      await read(() => emptyWal(database))
      if (owed.length > 0) await write(() => owed.forEach(({ id }) => void sql.settleScrub.run(id)))
    },

    async ping() {
      await read(() => sql.ping.get())
    },

    close() {
      closing ??= (async () => {
        await marking?.catch(() => {}) // its callers are told
        await Promise.allSettled(writing)
        closeSqliteFile(database)
      })()
      return closing
    },
  }
}

const closed = () => new ReadModelUnavailable('The read model is closed.')

interface DocumentRow {
  readonly revision: number
  readonly document: string
}

/** null where there is none, and for one that can't be read. */
function parse(id: number, row: DocumentRow | undefined): CustomerDocument | null {
  return row === undefined ? null : readDocument(row.document, id, row.revision)
}

/** undefined for what can't be a position. */
function positionOf(row: { readonly commit: unknown; readonly prepare: unknown }): Position | undefined {
  const [commit, prepare] = [readPosition(row.commit), readPosition(row.prepare)]
  return commit === undefined || prepare === undefined ? undefined : { commit, prepare }
}
