/** The event store that a URL names. */
import type { EventStore } from './port.ts'
import { openSqliteEventStore } from './sqlite.ts'

/**
 * @param url `sqlite:PATH`
 * @throws SqliteFileError where the file can't be used; TypeError for another scheme
 */
export function openEventStore(url: string): EventStore {
  if (url.startsWith('sqlite:')) return openSqliteEventStore({ path: url.slice('sqlite:'.length) })
  throw new TypeError(`Event store URL scheme "${url.split(':')[0]}:" is not supported; accepted: sqlite:PATH.`)
}
