/** Bulk appends whose personal fields are encrypted, as `append` of the encrypted log does. */
import { type BulkAppend, bulkAppendsOf, offerBulkAppends, type Sequence, writeConverted } from '../bulk-appends.ts'
import { hasPersonal } from '../codec.ts'
import { type Cipher, encrypt } from './cipher.ts'
import { refusalOfEvent } from './clear-text-guard.ts'
import type { EncryptedLog } from './customer-keys.ts'
import { subjectOf } from './decryption.ts'

/**
 * Offers bulk appends for the encrypted log, if the log below has them.
 * @param options.isAwaited whether an append to the stream waits for its key: it comes first
 */
export function offerEncryptedBulk(
  store: EncryptedLog,
  { cipher, isAwaited }: { readonly cipher: Cipher; readonly isAwaited: (stream: string) => boolean },
): void {
  const { keys } = store
  const bulk = bulkAppendsOf(keys.log)
  if (bulk === undefined) return

  function encryptAppend({ stream, events, expected }: BulkAppend): BulkAppend | undefined {
    if (isAwaited(stream)) return undefined
    const subject = subjectOf(stream)
    let stored = events
    if (subject !== undefined && events.some(hasPersonal)) {
      const key = keys.peekToWrite(subject)
      if (key === undefined) return undefined // not there, destroyed, or an address's
      stored = events.map((event) => encrypt(stream, event, key, cipher))
    }
    return stored.some((event) => refusalOfEvent(stream, event)) ? undefined : { stream, events: stored, expected }
  }

  function encryptSequence(sequence: Sequence): Sequence | undefined {
    const encrypted: BulkAppend[] = []
    for (const append of sequence) {
      const ready = encryptAppend(append)
      if (ready === undefined) return undefined
      encrypted.push(ready)
    }
    return encrypted
  }

  offerBulkAppends(store, {
    ...bulk,
    write: (sequences) => writeConverted(sequences, encryptSequence, bulk.write),

    async prepare(streams) {
      const missing = new Set<string>()
      for (const stream of streams) {
        const subject = subjectOf(stream)
        if (subject !== undefined && !keys.peekToWrite(subject)) missing.add(subject)
      }
      if (missing.size > 0) await Promise.all(Array.from(missing, (subject) => keys.toWrite(subject)))
      await bulk.prepare(streams)
    },
  })
}
