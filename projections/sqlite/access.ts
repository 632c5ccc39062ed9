/** Reads and writes of the file, which wait for the short locks of other processes. */
import type { DatabaseSync } from 'node:sqlite'
import { FileLost, type FileWatch, isBusy, transaction, withLock } from '../../eventstore/sqlite/file.ts'
import { ReadModelUnavailable } from '../read-model.ts'

export interface Access {
  /** @throws what `work` throws | ReadModelUnavailable */
  read<T>(work: () => T): Promise<T>
  /** Runs `work` in one transaction. @throws what `work` throws | ReadModelUnavailable */
  write<T>(work: () => T): Promise<T>
  /** Resolves when all writes that wait for the lock are done. */
  settled(): Promise<unknown>
}

export function accessTo(database: DatabaseSync, watch: FileWatch): Access {
  const writing = new Set<Promise<unknown>>()

  /** Translates SQLite's failures to the errors of the port. */
  function unavailable(error: unknown): unknown {
    if (!database.isOpen) return closed()
    if (error instanceof FileLost) return new ReadModelUnavailable(`The read model can't be used: ${error.message}.`)
    if ((error as { code?: string }).code !== 'ERR_SQLITE_ERROR') return error
    return new ReadModelUnavailable(`The read model can't be used: ${(error as Error).message}.`)
  }

  return {
    async read(work) {
      if (!database.isOpen) throw closed()
      try {
        watch.checkNowAndThen()
        return work()
      } catch (error) {
        if (!isBusy(error)) throw unavailable(error)
      }
      try {
        return await withLock(work) // a read is refused for moments only: while another process recovers the file
      } catch (error) {
        throw unavailable(error)
      }
    },

    async write(work) {
      if (!database.isOpen) throw closed()
      const written = withLock(() => {
        watch.checkNowAndThen()
        return transaction(database, work)
      })
      writing.add(written)
      try {
        return await written
      } catch (error) {
        throw unavailable(error)
      } finally {
        writing.delete(written)
      }
    },

    settled: () => Promise.allSettled(writing),
  }
}

const closed = () => new ReadModelUnavailable('The read model is closed.')
