/**
 * Ensures that a log, its key store and the master key belong together: the key store names itself and the master key
 * in the stream `keyStore`, and the log names its key store in the stream `keyStoreOfLog`, before the first key is
 * made.
 */

import { ConfigurationError } from '../../runtime/errors.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { type EventStore, WrongExpectedRevision } from '../port.ts'
import { newestEvent } from '../read.ts'
import { allBlocks, encoded } from './blocks.ts'
import type { MasterKeys } from './master-key.ts'

const IDENTITY = STREAM_NAMES.keyStore
const CHOICE = STREAM_NAMES.keyStoreOfLog

type MasterKeySet = Extract<KeyEvent, { type: 'MasterKeySet' }>

/** The parts that belong together. */
export interface KeyStorePair {
  readonly log: EventStore
  readonly keyStore: EventStore
  readonly masterKeys: MasterKeys
}

/**
 * Checks that log, key store and master key belong together.
 * @throws ConfigurationError if they do not; EventStoreUnavailable
 */
export async function checkTogether({ log, keyStore, masterKeys }: KeyStorePair): Promise<void> {
  const identity = await newestEvent<KeyEvent>(keyStore, IDENTITY)
  const choice = await newestEvent<KeyEvent>(log, CHOICE)
  if (keyStore !== log) {
    if (choice === undefined && (await newestEvent<KeyEvent>(log, IDENTITY))) {
      throw new ConfigurationError('EVENTSTORE_URL: this is a key store, and no log.')
    }
    if (identity === undefined && (await newestEvent<KeyEvent>(keyStore, CHOICE))) {
      throw new ConfigurationError('KEYS_URL: this is a log, and no key store.')
    }
  }
  if (identity === undefined) {
    if (choice === undefined) return // there are no keys yet
    throw new ConfigurationError('KEYS_URL: the key store is empty, but this log has one with its keys already.')
  }
  // The log names its key store before the first key is created.
  if (choice === undefined && keyStore !== log) await refuseKeysOfLostLog(keyStore)
  checkIdentity(identity, masterKeys)
  checkChoice(identity, choice)
}

/** @throws ConfigurationError if a store that no log names has keys; EventStoreUnavailable */
export async function refuseKeysOfLostLog(keyStore: EventStore): Promise<void> {
  for await (const _ of allBlocks(keyStore)) {
    throw new ConfigurationError(
      'KEYS_URL: the key store has the keys of a log, but this log is new: the log was lost, or is another one. Restore it, or begin a new one on purpose with a new key store.',
    )
  }
}

function checkIdentity(identity: KeyEvent, masterKeys: MasterKeys): asserts identity is MasterKeySet {
  if (identity.type !== 'MasterKeySet') throw new Error(`The stream ${IDENTITY} holds something else.`)
  const { masterKeyId } = identity.data
  if (!masterKeys.some(({ id }) => id === masterKeyId)) {
    throw new ConfigurationError(
      `MASTER_KEY: the keys are wrapped by the master key ${masterKeyId}, which is not configured (${masterKeys.map(({ id }) => id).join(', ')} is); for a rotation it goes into MASTER_KEY_PREVIOUS.`,
    )
  }
}

function checkChoice({ data }: MasterKeySet, choice: KeyEvent | undefined): void {
  if (choice === undefined) return // interrupted between the two, or nothing has been encrypted in this log yet
  if (choice.type !== 'KeyStoreChosen' || choice.data.keyStoreId !== data.keyStoreId) {
    throw new ConfigurationError('KEYS_URL: the key store is that of another log.')
  }
}

/**
 * Makes log and key store name each other, unless they do.
 * @throws ConfigurationError if they name others by now; EventStoreUnavailable
 */
export async function nameEachOther({ log, keyStore, masterKeys }: KeyStorePair): Promise<void> {
  const data = { keyStoreId: crypto.randomUUID(), masterKeyId: masterKeys[0].id }
  const identity = await appendOnce(keyStore, IDENTITY, { type: 'MasterKeySet', data })
  checkIdentity(identity, masterKeys)
  const { keyStoreId } = identity.data
  checkChoice(identity, await appendOnce(log, CHOICE, { type: 'KeyStoreChosen', data: { keyStoreId } }))
}

/** From now on every process must have the current master key. @throws EventStoreUnavailable */
export async function setMasterKey({ keyStore, masterKeys: [current] }: KeyStorePair): Promise<void> {
  const last = await newestEvent<KeyEvent>(keyStore, IDENTITY)
  if (last?.type !== 'MasterKeySet' || last.data.masterKeyId === current.id) return
  const data = { keyStoreId: last.data.keyStoreId, masterKeyId: current.id }
  await keyStore.append(IDENTITY, [encoded({ type: 'MasterKeySet', data })], { expected: last.revision })
}

/** Writes a stream's first event if it has none. @returns the newest one */
async function appendOnce(eventStore: EventStore, stream: string, event: KeyEvent): Promise<KeyEvent> {
  const there = await newestEvent<KeyEvent>(eventStore, stream)
  if (there) return there
  try {
    await eventStore.append(stream, [encoded(event)], { expected: 'no_stream' })
    return event
  } catch (error) {
    if (!(error instanceof WrongExpectedRevision)) throw error
  }
  return (await newestEvent<KeyEvent>(eventStore, stream)) ?? event
}
