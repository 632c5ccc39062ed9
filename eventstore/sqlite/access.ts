/** Reads of the file: while it is open, and behind the lock that another process may hold on it for a moment. */
import { EventStoreUnavailable } from '../port.ts'
import { emptyWal, isBusy, withLock } from './file.ts'
import type { SqliteLog } from './schema.ts'

export interface Access {
  /**
   * A read that waits, as a write does, while another process repairs the file after a crash. That is rare: all others
   * are answered at once, without a promise.
   * @throws what `read` throws | EventStoreUnavailable
   */
  read<T>(read: () => T): T | Promise<T>
  /** A read that can't wait. @throws what `read` throws | EventStoreUnavailable */
  readNow<T>(read: () => T): T
  /**
   * Removes what was deleted from the write-ahead log too. Where others read from it all the time, closing the store does
   * that. @throws EventStoreUnavailable
   */
  scrub(): Promise<void>
}

export function accessTo({ database }: SqliteLog): Access {
  function whileOpen<T>(read: () => T): T {
    if (!database.isOpen) throw new EventStoreUnavailable('The event store is closed.')
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

/** SQLite's own failures (a disk error, a lock held too long) as what a caller expects. */
function unavailable(error: unknown): unknown {
  if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') return error
  return new EventStoreUnavailable(`The event store can't be read: ${(error as Error).message}.`)
}
