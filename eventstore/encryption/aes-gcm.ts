/** AES-256-GCM in the format that is used everywhere here: nonce (12 bytes), ciphertext and tag (16) in one buffer. */
import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync } from 'node:crypto'

export const KEY_BYTES = 32
const IV_BYTES = 12
const TAG_BYTES = 16
/** The overhead of sealing, in bytes. */
export const SEAL_BYTES = IV_BYTES + TAG_BYTES

const ALGORITHM = 'aes-256-gcm'
const OPTIONS = { authTagLength: TAG_BYTES }
const NO_HEAD = Buffer.of()

/** Nonces, generated in bulk: a system call for each would cost as much as encrypting. */
const nonces = Buffer.alloc(IV_BYTES * 512)
let nextNonce = nonces.length

function nonce(): Buffer {
  if (nextNonce === nonces.length) {
    randomFillSync(nonces)
    nextNonce = 0
  }
  nextNonce += IV_BYTES
  return nonces.subarray(nextNonce - IV_BYTES, nextNonce)
}

/** @param authenticated the context; unsealing under another one fails @param head prepended unchanged */
export function seal(
  key: KeyObject,
  content: Uint8Array,
  authenticated: Uint8Array,
  head: Uint8Array = NO_HEAD,
): Buffer {
  const iv = nonce()
  const cipher = createCipheriv(ALGORITHM, key, iv, OPTIONS).setAAD(authenticated)
  const ciphertext = cipher.update(content)
  cipher.final() // GCM has no bytes left to give
  return Buffer.concat([head, iv, ciphertext, cipher.getAuthTag()])
}

/** @returns the content @throws Error for data that was not sealed with this key and context */
export function unseal(key: KeyObject, sealed: Uint8Array, authenticated: Uint8Array): Buffer {
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, IV_BYTES), OPTIONS)
  decipher.setAAD(authenticated).setAuthTag(sealed.subarray(end))
  const content = decipher.update(sealed.subarray(IV_BYTES, end))
  decipher.final()
  return content
}
