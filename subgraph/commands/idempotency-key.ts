/** Idempotency keys: a retried request becomes the same command, on every instance. */
import { createHmac, createSecretKey, hkdfSync } from 'node:crypto'
import { toUuid, uuidOf } from '../../eventstore/derived-uuid.ts'

/** Derives the same id for a retried request on every instance; see {@link createCommandIds}. */
export type CommandIds = (request: string) => { readonly id: string; readonly formerId: string }

/**
 * The ids of commands that come with an Idempotency-Key. They depend on all arguments, including passwords, and are
 * stored in the log in clear text. So they are keyed hashes, and nobody can check a guess against them.
 * @param emailHashKey the service's key that never changes
 */
export function createCommandIds(emailHashKey: string): CommandIds {
  // As an object: with a key as bytes, createHmac costs twenty times as much.
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', emailHashKey, '', 'command ids', 32)))
  return (request) => ({
    id: toUuid(createHmac('sha256', key).update(request).digest()),
    formerId: uuidOf(request),
  })
}
