/** The event store that a URL names. */
import type { EventStore } from './port.ts'
import { openSqliteEventStore } from './sqlite.ts'

/**
 * @param url `sqlite:PATH`
 * @throws SqliteFileError where the file can't be used; TypeError for another scheme, or no path
 */
export function openEventStore(url: string): EventStore {
  if (!url.startsWith('sqlite:')) {
    throw new TypeError(`Event store URL scheme "${url.split(':')[0]}:" is not supported; accepted: sqlite:PATH.`)
  }
  const path = url.slice('sqlite:'.length)
  if (path === '') throw new TypeError('Event store URL "sqlite:" names no file; accepted: sqlite:PATH.')
  return openSqliteEventStore({ path })
}
