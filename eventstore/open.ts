/** The event store that a URL names. */
import { type Configuration, ConfigurationError, isEmbedded } from '../runtime/configuration.ts'
import { keyFilesOf } from '../runtime/service-keys.ts'
import { chained } from './chain.ts'
import { type CustomerKeys, createCustomerKeys } from './encryption/customer-keys.ts'
import { encryptedLog } from './encryption/encrypted-log.ts'
import { loadMasterKeys } from './encryption/master-key.ts'
import { openKurrentEventStore } from './kurrentdb/event-store.ts'
import type { SubscriptionObserver } from './kurrentdb/subscription.ts'
import { isKurrentDbUrl, KURRENTDB_URLS } from './kurrentdb/url.ts'
import { type EventStore, EventStoreUnavailable } from './port.ts'
import { openSqliteEventStore } from './sqlite/event-store.ts'

/**
 * @param url `sqlite:PATH`, or a connection string of EventStoreDB or KurrentDB
 * @param observer told when a subscription to a server loses its connection
 * @param variable where the URL comes from, for messages
 * @throws SqliteFileError where the file can't be used; ConfigurationError for another URL
 */
export function openEventStore(
  url: string,
  observer: SubscriptionObserver = {},
  variable: 'EVENTSTORE_URL' | 'KEYS_URL' = 'EVENTSTORE_URL',
): EventStore {
  if (isKurrentDbUrl(url)) {
    try {
      return openKurrentEventStore(url, observer)
    } catch (error) {
      throw new ConfigurationError(`${variable}: its value can't be used: ${(error as Error).message}.`)
    }
  }
  const path = url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : ''
  if (path === '') {
    throw new ConfigurationError(`${variable}: its value can't be used; accepted: sqlite:PATH, ${KURRENTDB_URLS}.`)
  }
  return openSqliteEventStore({ path })
}

/** The log with all that belongs to it. */
export interface OpenedLog {
  /** What the service reads and appends: events in clear, stored encrypted and chained. Closes the rest with it. */
  readonly eventStore: EventStore
  /** The events as they are stored: for proofs. */
  readonly stored: EventStore
  readonly keys: CustomerKeys
}

/**
 * Opens the log that the configuration names, and makes sure that its keys are at hand.
 * @param observer told when a subscription to a server loses its connection
 * @param wrap what is between the log, or its keys, and the store that they are in; for tests and measurements
 * @throws ConfigurationError where a URL or a key can't be used, or they do not belong together. A store that can't be
 * reached is no fault yet: what needs it will say so.
 */
export async function openLog(
  configuration: Configuration,
  observer: SubscriptionObserver = {},
  wrap: (eventStore: EventStore, holds: 'events' | 'keys') => EventStore = (eventStore) => eventStore,
): Promise<OpenedLog> {
  const { stored, keys } = await openKeys(configuration, observer, wrap)
  try {
    await keys.check().catch((error: unknown) => {
      if (!(error instanceof EventStoreUnavailable)) throw error
    })
  } catch (error) {
    await keys.close()
    await stored.close()
    throw error
  }
  return { eventStore: encryptedLog(keys, configuration.CIPHER), stored, keys }
}

/**
 * Opens the log as it is stored, and its keys, without a look whether they belong together: for the command that says how to
 * go on where they do not. @throws as `openLog`
 */
export async function openKeys(
  configuration: Configuration,
  observer: SubscriptionObserver = {},
  wrap: (eventStore: EventStore, holds: 'events' | 'keys') => EventStore = (eventStore) => eventStore,
): Promise<Omit<OpenedLog, 'eventStore'>> {
  const { EVENTSTORE_URL } = configuration
  const masterKeys = loadMasterKeys(configuration)
  const opened = wrap(openEventStore(EVENTSTORE_URL, observer), 'events')
  const stored = chained(opened)
  const keysUrl = configuration.KEYS_URL ?? keysUrlOf(EVENTSTORE_URL)
  let keyStore = stored
  try {
    if (keysUrl !== EVENTSTORE_URL) keyStore = wrap(openEventStore(keysUrl, {}, 'KEYS_URL'), 'keys')
    await refuseLostLog(configuration, stored)
    return { stored, keys: createCustomerKeys({ log: stored, keyStore, masterKeys }) }
  } catch (error) {
    await keyStore.close()
    await stored.close()
    throw error
  }
}

/**
 * Opens the log as it is stored, for what needs no key of a customer.
 * @param wrap what is between the log and the store that it is in
 * @throws as `openLog`
 */
export async function openStoredLog(
  configuration: Configuration,
  wrap: (eventStore: EventStore) => EventStore = (eventStore) => eventStore,
): Promise<EventStore> {
  const stored = wrap(openEventStore(configuration.EVENTSTORE_URL))
  try {
    await refuseLostLog(configuration, stored)
    return stored
  } catch (error) {
    await stored.close()
    throw error
  }
}

/** Whether the configured log, an embedded one, has no event yet; false for one on a server. @throws as `openEventStore` */
export async function isEmbeddedLogEmpty(configuration: Configuration): Promise<boolean> {
  if (!isEmbedded(configuration)) return false
  const eventStore = openEventStore(configuration.EVENTSTORE_URL)
  try {
    return await isEmpty(eventStore)
  } finally {
    await eventStore.close()
  }
}

async function isEmpty(eventStore: EventStore): Promise<boolean> {
  for await (const _ of eventStore.readAll({ maxCount: 1 })) return false
  return true
}

/**
 * An empty log beside keys that are in use: customers' ids would begin again, and tokens of before would open the accounts
 * of others. @throws ConfigurationError
 */
async function refuseLostLog(configuration: Configuration, stored: EventStore): Promise<void> {
  const files = keyFilesOf(configuration)
  if (files.length === 0 || !(await isEmpty(stored))) return
  throw new ConfigurationError(
    `EVENTSTORE_URL: the log ${configuration.EVENTSTORE_URL.slice('sqlite:'.length)} is empty or missing, but keys of a log are there: restore it, or, to begin a new one on purpose, move these away: ${files.join(', ')}.`,
  )
}

/** The keys of a log in a file lie in a file beside it: `data/events.db`, `data/events-keys.db`. Those of a server, in its log. */
function keysUrlOf(url: string): string {
  return url.startsWith('sqlite:') ? url.replace(/(\.[^./]*)?$/, '-keys$1') : url
}
