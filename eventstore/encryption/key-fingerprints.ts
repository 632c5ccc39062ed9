/**
 * Fingerprints of the keys that the log depends on, in its stream `keyFingerprints`: a process with another key reports
 * that and does not start. (The fingerprint of the master key is in the key store: customer-keys.ts.) The first process
 * that uses a key records it. The token and the audit key can be changed on purpose: `npm run keys -- accept token`
 * records the new one.
 */

import { createPublicKey } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { ConfigurationError } from '../../runtime/errors.ts'
import { emailHashKeyId, readSigningKey, thumbprint } from '../../runtime/service-keys.ts'
import { allEmailKeysOf } from '../../schema/email-key.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_NAMES, STREAM_PREFIXES, streamOf } from '../../schema/streams.ts'
import { decode, encode } from '../codec.ts'
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from '../port.ts'
import { newestEvent, orNone } from '../read.ts'
import type { CustomerKeys } from './customer-keys.ts'

const STREAM = STREAM_NAMES.keyFingerprints
const RETRY_MS = 1_000
/** How many customer events are searched for a registration on which to try an e-mail key. */
const TRIED_EVENTS = 500

type FingerprintSet = Extract<KeyEvent, { type: 'KeyFingerprintSet' }>
type KeyName = FingerprintSet['data']['key']

/** The configured keys; one that is undefined is not checked. */
export interface ServiceKeys {
  readonly emailHashKey?: string | undefined
  /** Ed25519 private keys, PEM or JWK. */
  readonly tokenSigningKey?: string | undefined
  readonly auditSigningKey?: string | undefined
}

const VARIABLES = {
  'email-hash': 'EMAIL_HASH_KEY',
  'token-signing': 'TOKEN_SIGNING_KEY',
  'audit-signing': 'AUDIT_SIGNING_KEY',
} as const
const CONSEQUENCES: Record<KeyName, string> = {
  'email-hash': 'no address would be found: put the right one back',
  'token-signing': 'put it back, or change it on purpose, which signs everybody out: npm run keys -- accept token',
  'audit-signing': 'put it back, or change it on purpose: npm run keys -- accept audit',
}

/** @throws ConfigurationError for anything but an Ed25519 key */
function fingerprintsOf({ emailHashKey, tokenSigningKey, auditSigningKey }: ServiceKeys): [KeyName, string][] {
  const signing = (text: string, variable: 'TOKEN_SIGNING_KEY' | 'AUDIT_SIGNING_KEY') =>
    thumbprint(createPublicKey(readSigningKey(text, variable)))
  const found: [KeyName, string][] = []
  if (emailHashKey !== undefined) found.push(['email-hash', emailHashKeyId(emailHashKey)])
  if (tokenSigningKey !== undefined) found.push(['token-signing', signing(tokenSigningKey, 'TOKEN_SIGNING_KEY')])
  if (auditSigningKey !== undefined) found.push(['audit-signing', signing(auditSigningKey, 'AUDIT_SIGNING_KEY')])
  return found
}

/** The newest fingerprint of each name. */
async function recorded(eventStore: EventStore) {
  const fingerprints = new Map<KeyName, string>()
  let revision: number | 'no_stream' = 'no_stream'
  for await (const event of orNone(eventStore.readStream(STREAM))) {
    const { type, data } = decode<KeyEvent>(event)
    if (type === 'KeyFingerprintSet') fingerprints.set(data.key, data.fingerprint)
    revision = event.revision
  }
  return { fingerprints, revision }
}

/**
 * Compares the keys with the log.
 * @param eventStore returns events in clear text
 * @param options.record records the fingerprint of a key if the log has none of it yet
 * @throws ConfigurationError for a wrong key | EventStoreUnavailable
 */
export async function checkKeys(
  eventStore: EventStore,
  keys: ServiceKeys,
  { record }: { readonly record: boolean },
): Promise<void> {
  const own = fingerprintsOf(keys)
  for (;;) {
    const { fingerprints, revision } = await recorded(eventStore)
    for (const [key, fingerprint] of own) {
      const expected = fingerprints.get(key)
      if (expected !== undefined && expected !== fingerprint) throw wrong(key, expected, fingerprint)
    }
    const missing = own.filter(([key]) => !fingerprints.has(key))
    if (keys.emailHashKey !== undefined && missing.some(([key]) => key === 'email-hash')) {
      if (!(await fitsAddresses(eventStore, keys.emailHashKey))) {
        throw new ConfigurationError('EMAIL_HASH_KEY: the addresses in this log were hashed with another key.')
      }
    }
    if (!record || missing.length === 0) return
    if (await write(eventStore, missing, revision)) return
  }
}

/** Records the keys as the log's, whatever they were before. @throws EventStoreUnavailable */
export async function acceptKeys(
  eventStore: EventStore,
  keys: Pick<ServiceKeys, 'tokenSigningKey' | 'auditSigningKey'>,
): Promise<void> {
  while (!(await write(eventStore, fingerprintsOf(keys), (await recorded(eventStore)).revision)));
}

/** The fingerprint of the log's key; undefined if no such key was in use. @throws EventStoreUnavailable */
export async function recordedFingerprint(eventStore: EventStore, key: KeyName): Promise<string | undefined> {
  return (await recorded(eventStore)).fingerprints.get(key)
}

/**
 * The same for a starting process, including the keys of customers. If the event store can't be reached yet, they are
 * compared as soon as it can, and again after each lost connection, because the store may return with another log.
 * @param log its customer keys are checked first, so that nothing is written to a log that they do not belong to. If it
 * was not reachable a moment ago, the start does not wait for it again.
 * @param work compares the process's own keys
 * @param onWrong ends the process
 * @throws ConfigurationError for a wrong key
 */
export async function checkKeysAtStart(
  {
    eventStore,
    keys,
    isReachable,
  }: { readonly eventStore: EventStore; readonly keys: CustomerKeys; readonly isReachable: boolean },
  work: () => Promise<void>,
  onWrong: (error: unknown) => void,
): Promise<void> {
  let isRunning = false
  /** How often the comparison was postponed; a comparison from before the last time does not count. */
  let asked = 0
  const compare = async () => {
    await keys.check()
    await work()
  }
  eventStore.onDisconnect?.(() => void later())
  if (keys.keyStore !== keys.log) keys.keyStore.onDisconnect?.(() => void later())
  try {
    if (isReachable) await compare()
    else void later()
  } catch (error) {
    if (!(error instanceof EventStoreUnavailable)) throw error
    void later()
  }

  async function later(): Promise<void> {
    asked++
    if (isRunning) return
    isRunning = true
    for (let compared = 0; compared < asked; ) {
      await delay(RETRY_MS, undefined, { ref: false })
      const before = asked
      try {
        await compare()
        compared = before
      } catch (error) {
        if (!(error instanceof EventStoreUnavailable)) return onWrong(error)
      }
    }
    isRunning = false
  }
}

/** @returns false if another process was faster */
async function write(
  eventStore: EventStore,
  fingerprints: readonly [KeyName, string][],
  expected: number | 'no_stream',
): Promise<boolean> {
  const events = fingerprints.map(([key, fingerprint]) => {
    const id = crypto.randomUUID()
    const metadata = { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() }
    return encode({ type: 'KeyFingerprintSet', data: { key, fingerprint } }, id, metadata)
  })
  try {
    await eventStore.append(STREAM, events, { expected })
    return true
  } catch (error) {
    if (error instanceof WrongExpectedRevision) return false
    throw error
  }
}

function wrong(key: KeyName, expected: string, found: string): ConfigurationError {
  return new ConfigurationError(
    `${VARIABLES[key]}: this log was written with the key ${expected}, but ${found} is configured; ${CONSEQUENCES[key]}.`,
  )
}

/** For a log from before fingerprints: whether the address of a registration is found with the key. */
async function fitsAddresses(eventStore: EventStore, hashKey: string): Promise<boolean> {
  const exists = async (filter: string) => {
    for await (const _ of eventStore.readAll({ filter: { streamPrefixes: [filter] }, maxCount: 1 })) return true
    return false
  }
  if (!(await exists(STREAM_PREFIXES.email))) return true
  let tried = 0
  const events = eventStore.readAll({ filter: { streamPrefixes: [STREAM_PREFIXES.customer] }, maxCount: TRIED_EVENTS })
  for await (const event of events) {
    if (event.type !== 'CustomerRegistered') continue
    const { email } = event.data as { email?: unknown }
    if (typeof email !== 'string' || !email.includes('@')) continue // erased
    for (const key of allEmailKeysOf(hashKey, email)) {
      if (await newestEvent(eventStore, streamOf.email(key))) return true
    }
    tried++
  }
  return tried === 0
}
