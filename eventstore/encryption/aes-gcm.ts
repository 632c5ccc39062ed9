/**
 * AES-256-GCM by node:crypto. It wraps blocks of keys, and encrypts events if CIPHER says so; events of releases before 0.2.0
 * are encrypted with it too. Sealed bytes are nonce (12 bytes), ciphertext and tag (16).
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomFillSync } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { KEY_BYTES, type Key } from './keys.ts'

const IV_BYTES = 12
const TAG_BYTES = 16
const HEAD_BYTES = 3

const ALGORITHM = 'aes-256-gcm'
const OPTIONS = { authTagLength: TAG_BYTES }
const NO_HEAD = Buffer.of()

/** Random nonces, generated in batches: a system call for each would cost as much as the encryption. */
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

/** @param authenticated associated data; unsealing needs the same @param head prepended as it is, not authenticated */
export function seal(
  key: KeyObject,
  content: Uint8Array,
  authenticated: Uint8Array,
  head: Uint8Array = NO_HEAD,
): Buffer {
  const iv = nonce()
  const cipher = createCipheriv(ALGORITHM, key, iv, OPTIONS).setAAD(authenticated)
  const ciphertext = cipher.update(content)
  cipher.final() // required, but returns nothing in GCM
  return Buffer.concat([head, iv, ciphertext, cipher.getAuthTag()])
}

/** @returns the content @throws Error if it was not sealed with this key and associated data */
export function unseal(key: KeyObject, sealed: Uint8Array, authenticated: Uint8Array): Buffer {
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, IV_BYTES), OPTIONS)
  decipher.setAAD(authenticated).setAuthTag(sealed.subarray(end))
  const content = decipher.update(sealed.subarray(IV_BYTES, end))
  decipher.final()
  return content
}

/** How many blocks have their keys cached as KeyObjects: creating one takes five times as long as using it. 1 KB each. */
const KEPT_BLOCKS = 64
const kept = new LRUCache<Buffer, (KeyObject | undefined)[]>({ max: KEPT_BLOCKS })

function keyObjectOf({ bytes, start }: Key): KeyObject {
  let keys = kept.get(bytes)
  if (keys === undefined) {
    keys = []
    kept.set(bytes, keys)
  }
  const index = start / KEY_BYTES
  keys[index] ??= createSecretKey(bytes.subarray(start, start + KEY_BYTES))
  return keys[index]
}

/** Removes the keys of an outdated block from the cache: one of them may have been destroyed. */
export function forgetKeysIn(bytes: Buffer | undefined): void {
  if (bytes) kept.delete(bytes)
}

/** Encrypts a text. @returns base64, in the form that cipher.ts describes. Version and generation are not authenticated */
export function sealText(content: string, key: Key, version: number, authenticated: string): string {
  const head = Buffer.of(version, key.generation >> 8, key.generation & 0xff)
  return seal(keyObjectOf(key), Buffer.from(content), Buffer.from(authenticated), head).toString('base64')
}

/** Decrypts the result of {@link sealText}. @returns undefined if it was not sealed with this key and associated data */
export function openText(sealed: string, key: Key, _version: number, authenticated: string): string | undefined {
  const bytes = Buffer.from(sealed, 'base64')
  if (bytes.length < HEAD_BYTES + IV_BYTES + TAG_BYTES) return undefined
  try {
    return unseal(keyObjectOf(key), bytes.subarray(HEAD_BYTES), Buffer.from(authenticated)).toString()
  } catch {
    return undefined
  }
}
