/** A copy of an embedded store's file while processes use it, by SQLite's own backup. */
import { chmodSync, closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { SqliteFileError } from '../errors.ts'
import { checkPages, emptyWal, isBusy } from './file.ts'

/** How many pages (of 4 kB) are copied between two looks at the signal. */
const PAGES = 1_000
const LOCK_TIMEOUT_MS = 5_000

/** Where a file is while it is copied: it appears under its name once it is whole. */
export const draftOf = (path: string): string => `${path}.part`

/**
 * Copies the store as it is at one moment. Its processes go on, and are not blocked. The copy is one file that needs no
 * write-ahead log; it appears under its name once it is whole.
 * @param target a path where nothing is yet
 * @param options.report called with the share that is copied, 0 to 1, and the bytes
 * @throws SqliteFileError if the file can't be read, or the copy can't be written; the signal's reason once it is aborted
 */
export async function backUpSqliteFile(
  path: string,
  target: string,
  options: { readonly signal: AbortSignal; readonly report: (share: number, bytes: number) => void },
): Promise<void> {
  const { signal, report } = options
  if (!existsSync(path)) throw new SqliteFileError(`${path} is missing`)
  const draft = draftOf(target)
  // Created first, because SQLite would let everybody read it.
  closeSync(openSync(draft, 'wx', 0o600))
  try {
    await copy(path, draft, (total, remaining, pageSize) => {
      signal.throwIfAborted()
      report(total === 0 ? 1 : (total - remaining) / total, (total - remaining) * pageSize)
    })
    finish(path, draft)
    report(1, statSync(draft).size)
    renameSync(draft, target)
    flush(target)
  } catch (error) {
    for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${draft}${suffix}`, { force: true })
    if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') throw error
    throw new SqliteFileError(`${path} can't be copied to ${target}: ${(error as Error).message}`)
  }
}

async function copy(
  path: string,
  draft: string,
  report: (total: number, remaining: number, pageSize: number) => void,
): Promise<void> {
  const source = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS })
  try {
    const { page_size: pageSize } = source.prepare('PRAGMA page_size').get() as { page_size: number }
    // One read transaction around all steps: otherwise each commit of the service would make the copy begin again.
    source.exec('BEGIN')
    source.prepare('SELECT count(*) FROM sqlite_schema').get()
    await backup(source, draft, {
      rate: PAGES,
      progress: ({ totalPages, remainingPages }) => report(totalPages, remainingPages, pageSize),
    })
    source.exec('COMMIT')
    tidy(source)
  } finally {
    source.close()
  }
}

/** The service could not empty the write-ahead log meanwhile, and it may still have what was deleted. */
function tidy(source: DatabaseSync): void {
  try {
    emptyWal(source)
  } catch (error) {
    if (!isBusy(error)) throw error // the service itself does it with its next deletion
  }
}

/** @throws SqliteFileError if the copy is damaged: so is the store then */
function finish(path: string, draft: string): void {
  const copied = new DatabaseSync(draft)
  try {
    copied.exec('PRAGMA journal_mode = DELETE')
    checkPages(path, copied)
  } finally {
    copied.close()
  }
  chmodSync(draft, 0o600)
}

/** Writes a file to the disk for good. */
export function flush(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
