/**
 * The log with encrypted personal fields: appends encrypt (cipher.ts), reads decrypt (decryption.ts), so no other code
 * needs to know about it. The hash chain covers the stored form.
 */

import { hasPersonal } from '../codec.ts'
import { countAsChained } from '../hash-chain.ts'
import { type AppendOptions, type NewEvent, WrongExpectedRevision } from '../port.ts'
import { type Cipher, encrypt } from './cipher.ts'
import { guarded } from './clear-text-guard.ts'
import type { CustomerKeys, EncryptedLog } from './customer-keys.ts'
import {
  concernsPersonal,
  decryptGroups,
  decryptLogRead,
  decryptStream,
  decryptSubscription,
  subjectOf,
} from './decryption.ts'
import { offerEncryptedBulk } from './encrypted-bulk.ts'
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

  const write = (stream: string, events: readonly NewEvent[], options: AppendOptions, key: Key) =>
    guardedLog.append(
      stream,
      events.map((event) => encrypt(stream, event, key, cipher)),
      options,
    )

  const store: EncryptedLog = {
    ...log,
    keys,
    ...(log.persistentSubscriptions && { persistentSubscriptions: decryptGroups(keys, log.persistentSubscriptions) }),

    append(stream, events, options) {
      const first = awaited.get(stream)
      if (first) return first.then(() => store.append(stream, events, options)) // appends keep their order
      const subject = subjectOf(stream)
      if (subject === undefined || !events.some(hasPersonal)) return guardedLog.append(stream, events, options)
      const known = keys.peekToWrite(subject)
      if (known) return write(stream, events, options, known)
      const coming = keys.toWrite(subject)
      const over = coming.then(
        () => void awaited.delete(stream),
        () => void awaited.delete(stream),
      )
      awaited.set(stream, over)
      return coming.then(async (key) => {
        // The key was destroyed: the customer was deleted in the meantime, so the command has to be decided again.
        if (key === undefined) throw new WrongExpectedRevision(stream, options.expected, 'no_stream')
        const result = await write(stream, events, options, key)
        // Nobody can read what was encrypted with a key that was destroyed in between, so that is decided again, too.
        const isLost = options.expected !== 'any' && !(await keys.isNewest(subject, key))
        if (isLost) throw new WrongExpectedRevision(stream, options.expected, result.revision)
        return result
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
  offerEncryptedBulk(store, { cipher, isAwaited: (stream) => awaited.has(stream) })
  return countAsChained(store)
}
