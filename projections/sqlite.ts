/** The embedded read model: one SQLite file that several processes may share. It can be rebuilt from the log at any time. */
import { closeSqliteFile, isBusy, openSqliteFile, transaction, withLock } from '../eventstore/sqlite-file.ts'
import type { CustomerDocument } from './customer.ts'
import {
  type Checkpoint,
  type ReadModel,
  type ReadModelEntry,
  ReadModelUnavailable,
  sameCheckpoint,
} from './read-model.ts'

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY,
    acknowledged INTEGER NOT NULL DEFAULT -1,
    revision INTEGER NOT NULL DEFAULT -1,
    document TEXT
  ) STRICT;
  CREATE TABLE IF NOT EXISTS checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    "commit" TEXT NOT NULL,
    prepare TEXT NOT NULL,
    origin TEXT NOT NULL,
    complete INTEGER NOT NULL
  ) STRICT;
`
const APPLICATION_ID = 0x43_75_52_6d // "CuRm"
const VERSION = 1

const UNKNOWN: ReadModelEntry = { document: null, acknowledged: -1 }

/**
 * Opens the read model, creating the file where it is missing.
 * @throws SqliteFileError for a file that is not a read model or can't be opened
 */
export function openSqliteReadModel({ path }: { readonly path: string }): ReadModel {
  const database = openSqliteFile(path, {
    kind: 'a read model',
    applicationId: APPLICATION_ID,
    version: VERSION,
    schema: SCHEMA,
    synchronous: 'NORMAL',
  })
  const sql = {
    get: database.prepare(
      `SELECT acknowledged, CASE WHEN (SELECT complete FROM checkpoint) = 1 THEN document END AS document
       FROM customers WHERE id = ?`,
    ),
    document: database.prepare('SELECT document FROM customers WHERE id = ?'),
    revision: database.prepare('SELECT revision FROM customers WHERE id = ?'),
    acknowledge: database.prepare(
      `INSERT INTO customers (id, acknowledged) VALUES (?, ?)
       ON CONFLICT (id) DO UPDATE SET acknowledged = max(acknowledged, excluded.acknowledged)`,
    ),
    put: database.prepare(
      `INSERT INTO customers (id, revision, document) VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, document = excluded.document`,
    ),
    checkpoint: database.prepare('SELECT "commit", prepare, origin, complete FROM checkpoint'),
    setCheckpoint: database.prepare('INSERT OR REPLACE INTO checkpoint VALUES (1, ?, ?, ?, ?)'),
    ping: database.prepare('SELECT 1'),
  }
  let marks: { readonly id: number; readonly revision: number }[] = []
  let marking: Promise<void> | undefined
  /** Writes that wait for the lock: `close` lets them finish. */
  const writing = new Set<Promise<unknown>>()
  let closing: Promise<void> | undefined

  function entry(id: number): ReadModelEntry {
    const row = sql.get.get(id) as { acknowledged: number; document: string | null } | undefined
    if (row === undefined) return UNKNOWN
    return { document: parse(row.document), acknowledged: row.acknowledged }
  }

  function checkpoint(): Checkpoint | null {
    const row = sql.checkpoint.get() as
      | { commit: string; prepare: string; origin: string; complete: number }
      | undefined
    if (row === undefined) return null
    const { commit, prepare, origin, complete } = row
    return { position: { commit: BigInt(commit), prepare: BigInt(prepare) }, origin, complete: complete === 1 }
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
    get: (ids) => read(() => ids.map(entry)),

    documents: (ids) =>
      read(() =>
        ids.map((id) => {
          const row = sql.document.get(id) as { document: string | null } | undefined
          return parse(row?.document)
        }),
      ),

    acknowledge(id, revision) {
      // Marks of one turn of the event loop share a transaction.
      marks.push({ id, revision })
      marking ??= Promise.resolve().then(() => {
        const group = marks
        marks = []
        marking = undefined
        return write(() => {
          for (const mark of group) sql.acknowledge.run(mark.id, mark.revision)
        })
      })
      return marking
    },

    put: (writes) =>
      write(() =>
        writes.map(({ document, expected }) => {
          const stored = (sql.revision.get(document.id) as { revision: number } | undefined)?.revision ?? -1
          if (stored !== expected) return stored
          sql.put.run(document.id, document.revision, JSON.stringify(document))
          return document.revision
        }),
      ),

    getCheckpoint: () => read(checkpoint),

    setCheckpoint: (next, expected) =>
      write(() => {
        const stored = checkpoint()
        if (!sameCheckpoint(stored, expected)) return stored
        const { position, origin, complete } = next
        sql.setCheckpoint.run(String(position.commit), String(position.prepare), origin, complete ? 1 : 0)
        return next
      }),

    async reset() {
      await write(() => database.exec('DELETE FROM customers; DELETE FROM checkpoint'))
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

function parse(document: string | null | undefined): CustomerDocument | null {
  return document == null ? null : (JSON.parse(document) as CustomerDocument)
}
