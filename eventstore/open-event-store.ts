/** Opens the event store that a URL names. */
import { existsSync } from 'node:fs'
import { type Configuration, isEmbedded } from '../runtime/configuration.ts'
import { ConfigurationError } from '../runtime/errors.ts'
import { keyFilesOf } from '../runtime/service-keys.ts'
import { type CustomerKeys, createCustomerKeys } from './encryption/customer-keys.ts'
import { encryptedLog } from './encryption/encrypted-log.ts'
import { refuseKeysOfLostLog } from './encryption/key-store-identity.ts'
import { loadMasterKeys } from './encryption/master-key.ts'
import { chained } from './hash-chain.ts'
import { isKurrentDbUrl, KURRENTDB_URLS } from './kurrentdb/connection/scheme.ts'
import type { SubscriptionObserver } from './kurrentdb/subscription.ts'
import { type EventStore, EventStoreUnavailable } from './port.ts'
import { draftOf } from './sqlite/backup.ts'
import { openSqliteEventStore } from './sqlite/event-store.ts'

/**
 * The driver of a server is loaded with the first URL of one: processes on the embedded store start sooner without it.
 * @param url `sqlite:PATH`, or a connection string of EventStoreDB or KurrentDB
 * @param observer notified when a subscription to a server loses its connection
 * @param variable where the URL comes from, for messages
 * @throws SqliteFileError if the file can't be used; ConfigurationError for another URL
 */
export async function openEventStore(
  url: string,
  observer: SubscriptionObserver = {},
  variable: 'EVENTSTORE_URL' | 'KEYS_URL' = 'EVENTSTORE_URL',
): Promise<EventStore> {
  if (isKurrentDbUrl(url)) {
    const { openKurrentEventStore } = await import('./kurrentdb/event-store.ts')
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

/** The log with its keys. */
export interface OpenedLog {
  /** For the service: events in clear text, stored encrypted and chained. Closing it closes the rest. */
  readonly eventStore: EventStore
  /** For proofs: the events as stored. */
  readonly stored: EventStore
  readonly keys: CustomerKeys
  /** Whether the stores answered when they were opened. */
  readonly isReachable: boolean
}

/**
 * Opens the configured log, and makes sure that its keys are available.
 * @param observer notified when a subscription to a server loses its connection
 * @param wrap wraps the stores of the log and of its keys, for retries, tests and measurements
 * @throws ConfigurationError if a URL or a key can't be used, or if they do not belong together. An unreachable store
 * does not fail yet: the first call that needs it does.
 */
export async function openLog(
  configuration: Configuration,
  observer: SubscriptionObserver = {},
  wrap: (eventStore: EventStore, holds: 'events' | 'keys') => EventStore = (eventStore) => eventStore,
): Promise<OpenedLog> {
  const { stored, keys } = await openKeys(configuration, observer, wrap)
  let isReachable = true
  try {
    await keys.check().catch((error: unknown) => {
      if (!(error instanceof EventStoreUnavailable)) throw error
      isReachable = false
    })
  } catch (error) {
    await keys.close()
    await stored.close()
    throw error
  }
  return { eventStore: encryptedLog(keys, configuration.CIPHER), stored, keys, isReachable }
}

/**
 * Opens the stored log and its keys without checking that they belong together, for the command that handles the case
 * if they do not. @throws as `openLog`
 */
export async function openKeys(
  configuration: Configuration,
  observer: SubscriptionObserver = {},
  wrap: (eventStore: EventStore, holds: 'events' | 'keys') => EventStore = (eventStore) => eventStore,
): Promise<Pick<OpenedLog, 'stored' | 'keys'>> {
  const { EVENTSTORE_URL } = configuration
  refuseInterruptedRestore(configuration)
  const masterKeys = loadMasterKeys(configuration)
  const opened = wrap(await openEventStore(EVENTSTORE_URL, observer), 'events')
  const stored = chained(opened)
  const keysUrl = keyStoreUrl(configuration)
  let keyStore = stored
  try {
    if (keysUrl !== EVENTSTORE_URL) keyStore = wrap(await openEventStore(keysUrl, {}, 'KEYS_URL'), 'keys')
    await refuseLostLog(configuration, stored)
    return { stored, keys: createCustomerKeys({ log: stored, keyStore, masterKeys }) }
  } catch (error) {
    await keyStore.close()
    await stored.close()
    throw error
  }
}

/**
 * Opens the stored log without the keys of customers.
 * @param wrap wraps the store
 * @throws as `openLog`
 */
export async function openStoredLog(
  configuration: Configuration,
  wrap: (eventStore: EventStore) => EventStore = (eventStore) => eventStore,
): Promise<EventStore> {
  refuseInterruptedRestore(configuration)
  const stored = wrap(await openEventStore(configuration.EVENTSTORE_URL))
  try {
    await refuseLostLog(configuration, stored)
    await refuseLostLogOfKeyStore(configuration, stored)
    return stored
  } catch (error) {
    await stored.close()
    throw error
  }
}

/**
 * `openLog` compares the log with the customers' keys. Callers that do not need those keys only have to know that an empty
 * log is not a lost one, even where the service's other keys are not in files.
 * @throws ConfigurationError; EventStoreUnavailable
 */
async function refuseLostLogOfKeyStore(configuration: Configuration, stored: EventStore): Promise<void> {
  const url = keyStoreUrl(configuration)
  if (url === configuration.EVENTSTORE_URL || !(await isEmpty(stored))) return
  if (url.startsWith('sqlite:') && !existsSync(url.slice('sqlite:'.length))) return
  const keyStore = await openEventStore(url, {}, 'KEYS_URL')
  try {
    await refuseKeysOfLostLog(keyStore)
  } finally {
    await keyStore.close()
  }
}

/** Whether the configured log is embedded and has no events yet. @throws as `openLog` */
export async function isEmbeddedLogEmpty(configuration: Configuration): Promise<boolean> {
  if (!isEmbedded(configuration)) return false
  refuseInterruptedRestore(configuration)
  const eventStore = await openEventStore(configuration.EVENTSTORE_URL)
  try {
    return await isEmpty(eventStore)
  } finally {
    await eventStore.close()
  }
}

/**
 * Refuses to begin a new log where one was about to be restored: its customers would be gone, and their ids would be
 * given out again. Checked before the log's file is made. @throws ConfigurationError
 */
function refuseInterruptedRestore({ EVENTSTORE_URL }: Configuration): void {
  const path = EVENTSTORE_URL.replace(/^sqlite:/, '')
  if (path === EVENTSTORE_URL || existsSync(path) || !existsSync(draftOf(path))) return
  throw new ConfigurationError(
    `EVENTSTORE_URL: ${draftOf(path)} is there, so a restore was interrupted: run the same restore again, or remove that file to begin a new log on purpose.`,
  )
}

/**
 * For commands about what is in a log: a path that is wrong would be a new, empty log, in which nothing is wrong, and a token
 * would be on record where nobody looks.
 * @throws ConfigurationError for an embedded log that is not there, unless opening it says more of that
 */
export function requireLog(configuration: Configuration): void {
  const { EVENTSTORE_URL } = configuration
  const path = EVENTSTORE_URL.replace(/^sqlite:/, '')
  if (path === EVENTSTORE_URL || path === '' || existsSync(path) || existsSync(draftOf(path))) return
  if (keyFilesOf(configuration).length > 0) return
  throw new ConfigurationError(
    `EVENTSTORE_URL: there is no ${path}: name the log of the service, or run this in the folder where the service runs.`,
  )
}

async function isEmpty(eventStore: EventStore): Promise<boolean> {
  for await (const _ of eventStore.readAll({ maxCount: 1 })) return false
  return true
}

/**
 * Refuses an empty log beside keys that are in use: customer ids would start over, and old tokens would open the
 * accounts of others. @throws ConfigurationError, with the files to move away for a new log
 */
async function refuseLostLog(configuration: Configuration, stored: EventStore): Promise<void> {
  const files = keyFilesOf(configuration)
  if (files.length === 0 || !(await isEmpty(stored))) return
  const [log, keyStore] = [configuration.EVENTSTORE_URL, keyStoreUrl(configuration)].map((url) =>
    url.replace(/^sqlite:/, ''),
  ) as [string, string]
  if (keyStore !== log && existsSync(keyStore)) files.push(keyStore)
  throw new ConfigurationError(
    `EVENTSTORE_URL: the log ${log} is empty or missing, but keys of a log are there: restore it, or, to begin a new one on purpose, move these away: ${files.join(', ')}.`,
  )
}

/** Where the keys of customers are; the log itself, if it is the URL of the log. */
export const keyStoreUrl = ({ KEYS_URL, EVENTSTORE_URL }: Configuration): string =>
  KEYS_URL ?? keysUrlOf(EVENTSTORE_URL)

/**
 * The keys of an embedded log are in a file beside it: `data/events.db`, `data/events-keys.db`. Those of a log on a
 * server are in the log itself.
 */
function keysUrlOf(url: string): string {
  return url.startsWith('sqlite:') ? url.replace(/(\.[^./]*)?$/, '-keys$1') : url
}
