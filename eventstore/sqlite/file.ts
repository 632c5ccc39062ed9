/** Shared by the embedded stores: opens a SQLite file that several processes use, and waits for its write lock. */

import { closeSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { inBytes } from '../../runtime/bytes.ts'
import { SqliteFileError } from '../errors.ts'
import type { StoreFact } from '../port.ts'

/** SQLite's primary result codes (https://sqlite.org/rescode.html). */
const BUSY = 5
const LOCKED = 6
const CORRUPT = 11
const NOT_A_DATABASE = 26

/** Larger files are not checked at every start. Bytes. */
const CHECKED_SIZE = 64 * 1024 * 1024

const OPEN_TIMEOUT_MS = 5_000
/** How long a statement may block the event loop because of another process's write. */
const LOCK_TIMEOUT_MS = 2
const RETRY_LIMIT_MS = 5_000

export interface SqliteFileOptions {
  /** What the file is, for messages: `an event store`. */
  readonly kind: string
  /** Marks the file as ours (PRAGMA application_id). */
  readonly applicationId: number
  readonly version: number
  /** The statements that initialise an empty file. */
  readonly schema: string
  /** FULL: durable when a commit returns; NORMAL: a power failure may lose the last commits. */
  readonly synchronous: 'FULL' | 'NORMAL'
}

/**
 * Opens a file in WAL mode, creating it (and its folder) if it is missing.
 * @throws SqliteFileError for a folder that can't be written, or a file that is damaged or something else
 */
export function openSqliteFile(path: string, options: SqliteFileOptions): DatabaseSync {
  for (const started = performance.now(); ; ) {
    try {
      mkdirSync(dirname(path), { recursive: true })
      createFile(path)
      return openOnce(path, options)
    } catch (error) {
      if (error instanceof SqliteFileError) throw error
      const code = primaryCode(error)
      if (code === NOT_A_DATABASE || code === CORRUPT) {
        throw new SqliteFileError(`${path} is not ${options.kind} file, or is damaged: ${(error as Error).message}`)
      }
      // SQLite itself does not wait while another process switches a new file to WAL mode, or closes its last
      // connection.
      if (!isBusy(error) || performance.now() - started > OPEN_TIMEOUT_MS) {
        throw new SqliteFileError(`${path} can't be opened: ${(error as Error).message}`)
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
  }
}

/**
 * Opens a copy that nobody writes to, without changing a byte of it or writing beside it.
 * @throws SqliteFileError for a file that is damaged or something else
 */
export function openSqliteCopy(
  path: string,
  { kind, applicationId, version }: Pick<SqliteFileOptions, 'kind' | 'applicationId' | 'version'>,
): DatabaseSync {
  const url = pathToFileURL(resolve(path))
  url.searchParams.set('immutable', '1')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(url, { readOnly: true })
    if (pragma(database, 'application_id') !== applicationId) throw new SqliteFileError(`${path} is not ${kind} file`)
    checkVersion(path, database, { kind, version })
    checkPages(path, database)
    return database
  } catch (error) {
    database?.close()
    if (error instanceof SqliteFileError) throw error
    throw new SqliteFileError(`${path} can't be read: ${(error as Error).message}`)
  }
}

function checkVersion(
  path: string,
  database: DatabaseSync,
  { kind, version }: Pick<SqliteFileOptions, 'kind' | 'version'>,
): void {
  if (pragma(database, 'user_version') <= version) return
  throw new SqliteFileError(
    `${path} was written by a newer release; this one reads ${kind} files up to version ${version}`,
  )
}

/** @throws SqliteFileError if the file is damaged */
export function checkPages(path: string, database: DatabaseSync): void {
  const { quick_check } = database.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }
  if (quick_check !== 'ok') throw new SqliteFileError(`${path} is damaged: ${quick_check.replace(/\s+/g, ' ')}`)
}

/**
 * The file has personal data, so only its owner may read it. An existing file is not touched: closing any descriptor of
 * it would release the locks of other connections of this process (POSIX advisory locks belong to the process).
 */
function createFile(path: string): void {
  try {
    closeSync(openSync(path, 'ax', 0o600))
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error
  }
}

function openOnce(
  path: string,
  { kind, applicationId, version, schema, synchronous }: SqliteFileOptions,
): DatabaseSync {
  // Resolved, because SQLite gives `:memory:` and `file:…` a special meaning.
  const database = new DatabaseSync(resolve(path), { timeout: OPEN_TIMEOUT_MS })
  try {
    database.exec('BEGIN') // one snapshot: another process may be making the file what it is to be
    const found = pragma(database, 'application_id')
    if (found !== applicationId) {
      const { tables } = database.prepare('SELECT count(*) AS tables FROM sqlite_schema').get() as { tables: number }
      if (found !== 0 || tables > 0)
        throw new SqliteFileError(`${path} is not ${kind} file: another program's database`)
    } else checkVersion(path, database, { kind, version })
    database.exec('COMMIT')
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}; PRAGMA secure_delete = ON`)
    database.exec(
      `BEGIN IMMEDIATE; ${schema}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version}; COMMIT`,
    )
    if (statSync(path).size < CHECKED_SIZE) checkPages(path, database)
    database.exec(`PRAGMA busy_timeout = ${LOCK_TIMEOUT_MS}`)
    // A killed process may have left deleted data in it. If another process is running, that one cleans up.
    try {
      emptyWal(database)
    } catch (error) {
      if (!isBusy(error)) throw error
    }
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** In SQL: a number of a column, or the nearest one within the limits. The driver throws for those that JavaScript can't hold. */
export const bounded = (column: string, least: number, most = Number.MAX_SAFE_INTEGER): string =>
  `max(${least}, min(${column}, ${most}))`

/** The write-ahead log of a file, and its index, which all processes that use the file share. */
const COMPANIONS = ['-wal', '-shm']
/** How often reads compare the files; a lease on documents lasts longer. Milliseconds. */
const COMPARED_MS = 250

/** An open file, or one of its companions, is no longer the one at its path. */
export class FileLost extends Error {}

/** Compares an open file and its companions with what is at their paths. */
export interface FileWatch {
  /** @throws FileLost if one of them was removed, moved away or replaced */
  check(): void
  /** The same, if they were not compared a moment ago. */
  checkNowAndThen(): void
}

/**
 * Notices that an open file, its write-ahead log or the index of that is no longer the one at its path: what is written to
 * it then is lost with the process, and other processes do not see it. What is in a removed write-ahead log is moved into the
 * file first, unless another process may have begun a new one.
 * @param isFileWatched whether the file itself is, too
 */
export function fileWatch(database: DatabaseSync, path: string, isFileWatched = true): FileWatch {
  const idOf = (at: string) => {
    const found = statSync(at, { bigint: true, throwIfNoEntry: false })
    return found && `${found.dev}:${found.ino}`
  }
  const opened = new Map(['', ...COMPANIONS].map((suffix) => [suffix, idOf(path + suffix)]))
  const watched = isFileWatched ? ['', ...COMPANIONS] : COMPANIONS
  let lost: string | undefined
  let comparedAt = performance.now()

  function rescue(): void {
    const isFile = idOf(path) === opened.get('')
    const isAlone = COMPANIONS.every((suffix) => [undefined, opened.get(suffix)].includes(idOf(path + suffix)))
    if (isFile && isAlone) emptyWal(database)
  }

  function check(): void {
    comparedAt = performance.now()
    if (lost === undefined) {
      const suffix = watched.find((each) => idOf(path + each) !== opened.get(each))
      if (suffix === undefined) return
      lost = path + suffix
      try {
        rescue()
      } catch {
        // The disk is full, or another process reads from it, which does the same.
      }
    }
    throw new FileLost(`${lost} was removed, moved away or replaced while it was in use`)
  }

  return {
    check,
    checkNowAndThen() {
      if (lost !== undefined || performance.now() - comparedAt > COMPARED_MS) check()
    },
  }
}

/** Another connection to a file that this process has open, as durable as that of a log. */
export function openConnection(path: string): DatabaseSync {
  const database = new DatabaseSync(resolve(path), { timeout: LOCK_TIMEOUT_MS })
  database.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON')
  return database
}

/** Whether another connection holds the lock that the statement needed. */
export function isBusy(error: unknown): boolean {
  const code = primaryCode(error)
  return code === BUSY || code === LOCKED
}

/**
 * Runs a write. While another process holds the lock, it retries after short random waits, without blocking the event
 * loop.
 * @throws what `write` throws; the last "busy" after 5 s
 */
export async function withLock<T>(write: () => T): Promise<T> {
  const started = performance.now()
  for (let wait = 1; ; wait = Math.min(wait * 2, 20)) {
    try {
      return write()
    } catch (error) {
      if (!isBusy(error) || performance.now() - started > RETRY_LIMIT_MS) throw error
      await delay(wait * (0.5 + Math.random()))
    }
  }
}

/** Runs `work` in one atomic write transaction. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/**
 * Moves everything from the write-ahead log into the file and empties the log: then nothing is left of deleted or
 * overwritten data (it is zeroed: see `secure_delete`).
 * @throws SQLite's "busy" while another connection reads from the log
 */
export function emptyWal(database: DatabaseSync): void {
  const { busy } = database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy: number }
  if (busy !== 0) throw Object.assign(new Error('the write-ahead log is in use'), { errcode: BUSY })
}

/**
 * Moves everything from the write-ahead log into the file, empties the log, and closes. If that fails, because another
 * process reads from the log or the disk is full, nothing is lost: the next process that opens the file does it. A
 * command that failed for the same reason says why, and must not be interrupted here.
 */
export function closeSqliteFile(database: DatabaseSync, watch?: FileWatch): void {
  if (!database.isOpen) return
  try {
    watch?.check() // what another process may have written to the file since must not be overwritten
    emptyWal(database)
  } catch (error) {
    if (!(error instanceof FileLost) && primaryCode(error) === undefined) throw error
  } finally {
    database.close()
  }
}

function pragma(database: DatabaseSync, name: string): number {
  return Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0] as number
}

/** Extended codes keep the primary one in their low byte. */
function primaryCode(error: unknown): number | undefined {
  const { errcode } = error as { errcode?: number }
  return errcode === undefined ? undefined : errcode & 0xff
}

/** What an operator may want to know of a file. */
export function describeFile(database: DatabaseSync): StoreFact[] {
  const one = (sql: string) => String(Object.values(database.prepare(sql).get() ?? {})[0])
  const bytes = Number(one('PRAGMA page_count')) * Number(one('PRAGMA page_size'))
  return [
    { name: 'Kind', value: 'SQLite, embedded: for one machine' },
    { name: 'SQLite version', value: one('SELECT sqlite_version()') },
    { name: 'Journal', value: one('PRAGMA journal_mode') },
    { name: 'Size of the file', value: inBytes(bytes) },
  ]
}
