/** The event store that a URL names. */
import { ConfigurationError } from '../schema/configuration.ts'
import { openKurrentEventStore } from './kurrentdb.ts'
import type { SubscriptionObserver } from './kurrentdb-subscription.ts'
import { isKurrentDbUrl, KURRENTDB_URLS } from './kurrentdb-url.ts'
import type { EventStore } from './port.ts'
import { openSqliteEventStore } from './sqlite.ts'

/**
 * @param url `sqlite:PATH`, or a connection string of EventStoreDB or KurrentDB
 * @param observer told when a subscription to a server loses its connection
 * @throws SqliteFileError where the file can't be used; ConfigurationError for another URL
 */
export function openEventStore(url: string, observer: SubscriptionObserver = {}): EventStore {
  if (isKurrentDbUrl(url)) {
    try {
      return openKurrentEventStore(url, observer)
    } catch (error) {
      throw new ConfigurationError(`EVENTSTORE_URL: its value can't be used: ${(error as Error).message}.`)
    }
  }
  const path = url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : ''
  if (path === '') {
    throw new ConfigurationError(`EVENTSTORE_URL: its value can't be used; accepted: sqlite:PATH, ${KURRENTDB_URLS}.`)
  }
  return openSqliteEventStore({ path })
}
