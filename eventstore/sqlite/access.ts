/** Reads of the file while it is open, which wait for short locks of other processes. */
import { EventStoreUnavailable } from '../port.ts'
import { emptyWal, FileLost, type FileWatch, isBusy, withLock } from './file.ts'
import type { SqliteLog } from './schema.ts'

export interface Access {
  /**
   * A read that waits, like a write, while another process recovers the file after a crash. That is rare: usually the
   * result is returned at once, without a promise.
   * @throws what `read` throws | EventStoreUnavailable
   */
  read<T>(read: () => T): T | Promise<T>
  /** A read that can't wait. @throws what `read` throws | EventStoreUnavailable */
  readNow<T>(read: () => T): T
  /**
   * Removes deleted data from the write-ahead log, too. If others read from it all the time, closing the store does
   * that. @throws EventStoreUnavailable
   */
  scrub(): Promise<void>
}

/** @param watch of the file; none for a copy that nobody writes to */
export function accessTo({ database }: SqliteLog, watch?: FileWatch): Access {
  function whileOpen<T>(read: () => T): T {
    if (!database.isOpen) throw new EventStoreUnavailable('The event store is closed.')
    watch?.checkNowAndThen()
    return read()
  }

  return {
    read(read) {
      try {
        return whileOpen(read)
      } catch (error) {
        if (!isBusy(error)) throw unavailable(error)
        return withLock(() => whileOpen(read)).catch((later) => {
          throw unavailable(later)
        })
      }
    },

    readNow(read) {
      try {
        return whileOpen(read)
      } catch (error) {
        throw unavailable(error)
      }
    },

    async scrub() {
      await withLock(() => {
        if (database.isOpen) emptyWal(database)
      }).catch((error: unknown) => {
        if (!isBusy(error)) throw unavailable(error)
      })
    },
  }
}

/** Translates SQLite's failures (a disk error, a lock held too long) to the errors of the port. */
function unavailable(error: unknown): unknown {
  if (error instanceof FileLost) return new EventStoreUnavailable(`The event store can't be read: ${error.message}.`)
  if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') return error
  return new EventStoreUnavailable(`The event store can't be read: ${(error as Error).message}.`)
}
