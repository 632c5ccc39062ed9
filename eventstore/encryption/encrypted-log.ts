/**
 * The log with encrypted personal fields: appends encrypt (cipher.ts), reads decrypt (decryption.ts), so no other code
 * needs to know about it. The hash chain covers the stored form.
 */

import {
  type BulkAppend,
  type BulkAppends,
  bulkAppendsOf,
  offerBulkAppends,
  type Sequence,
  writePrepared,
} from '../bulk-appends.ts'
import { hasPersonal } from '../codec.ts'
import { countAsChained } from '../hash-chain.ts'
import { WrongExpectedRevision } from '../port.ts'
import { type Cipher, encrypt } from './cipher.ts'
import { guarded, refusalOfEvent } from './clear-text-guard.ts'
import type { CustomerKeys, EncryptedLog } from './customer-keys.ts'
import {
  concernsPersonal,
  decryptGroups,
  decryptLogRead,
  decryptStream,
  decryptSubscription,
  subjectOf,
} from './decryption.ts'
import type { Key } from './keys.ts'

/**
 * The log of the service.
 * @param keys of the log as it is stored, with its hash chain; both are closed with it
 * @param cipher what is written is encrypted with
 */
export function encryptedLog(keys: CustomerKeys, cipher: Cipher): EncryptedLog {
  const { log } = keys
  const guardedLog = guarded(log)
  /** The streams with an append that waits for its key. */
  const awaited = new Map<string, Promise<void>>()

  const store: EncryptedLog = {
    ...log,
    keys,
    ...(log.persistentSubscriptions && { persistentSubscriptions: decryptGroups(keys, log.persistentSubscriptions) }),

    append(stream, events, options) {
      const first = awaited.get(stream)
      if (first) return first.then(() => store.append(stream, events, options)) // appends keep their order
      const subject = subjectOf(stream)
      if (subject === undefined || !events.some(hasPersonal)) return guardedLog.append(stream, events, options)
      const write = (key: Key) =>
        guardedLog.append(
          stream,
          events.map((event) => encrypt(stream, event, key, cipher)),
          options,
        )
      const known = keys.peekToWrite(subject)
      if (known) return write(known)
      const coming = keys.toWrite(subject)
      const over = coming.then(
        () => void awaited.delete(stream),
        () => void awaited.delete(stream),
      )
      awaited.set(stream, over)
      return coming.then((key) => {
        // The key was destroyed: the customer was deleted in the meantime, so the command has to be decided again.
        if (key === undefined) throw new WrongExpectedRevision(stream, options.expected, 'no_stream')
        return write(key)
      })
    },

    readStream(stream, options = {}) {
      const events = log.readStream(stream, options)
      if (subjectOf(stream) === undefined) return events
      const { direction = 'forwards', from = 0 } = options
      return decryptStream(keys, events, direction === 'forwards' && (from === 0 || from === 'start'))
    },

    readAll(options = {}) {
      const { direction = 'forwards', from = 'start', maxCount, filter } = options
      const events = log.readAll(options)
      const isWhole = direction === 'forwards' && from === 'start' && maxCount === undefined
      return concernsPersonal(filter) ? decryptLogRead(keys, events, isWhole) : events
    },

    subscribeToAll(options) {
      const inner = log.subscribeToAll(options)
      return concernsPersonal(options.filter) ? decryptSubscription(keys, inner, options.from === 'start') : inner
    },

    subscribeToStream(stream, options) {
      const inner = log.subscribeToStream(stream, options)
      return subjectOf(stream) === undefined ? inner : decryptSubscription(keys, inner, false)
    },

    async ping() {
      await Promise.all([log.ping(), keys.keyStore.ping()]) // neither is useful without the other
    },

    async close() {
      await log.close()
      await keys.close()
    },
  }
  const bulk = bulkAppendsOf(log)
  if (bulk) offerBulkAppends(store, { write: encryptedBulk(bulk, keys, cipher, (stream) => awaited.has(stream)) })
  return countAsChained(store)
}

/** @param isAwaited whether an append to the stream waits for its key: it comes first */
function encryptedBulk(
  bulk: BulkAppends,
  keys: CustomerKeys,
  cipher: Cipher,
  isAwaited: (stream: string) => boolean,
): BulkAppends['write'] {
  function prepare({ stream, events, expected }: BulkAppend): BulkAppend | undefined {
    if (isAwaited(stream)) return undefined
    const subject = subjectOf(stream)
    let stored = events
    if (subject !== undefined && events.some(hasPersonal)) {
      const key = keys.peekToWrite(subject)
      if (key === undefined) return undefined // destroyed, or an address's
      stored = events.map((event) => encrypt(stream, event, key, cipher))
    }
    return stored.some((event) => refusalOfEvent(stream, event)) ? undefined : { stream, events: stored, expected }
  }

  return async (sequences) => {
    const missing = new Set<string>()
    for (const sequence of sequences) {
      for (const { stream, events } of sequence) {
        const subject = subjectOf(stream)
        if (subject !== undefined && !keys.peekToWrite(subject) && events.some(hasPersonal)) missing.add(subject)
      }
    }
    if (missing.size > 0) await Promise.all(Array.from(missing, keys.toWrite))
    const prepareAll = (sequence: Sequence) => {
      const prepared: BulkAppend[] = []
      for (const append of sequence) {
        const ready = prepare(append)
        if (ready === undefined) return undefined
        prepared.push(ready)
      }
      return prepared
    }
    return writePrepared(sequences, prepareAll, bulk.write)
  }
}
