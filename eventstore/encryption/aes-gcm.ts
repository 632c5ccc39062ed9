/**
 * AES-256-GCM by node:crypto: for blocks of keys, and for events where it is what is configured, or was written before there
 * was another cipher. What is sealed is nonce (12 bytes), ciphertext and tag (16) in one piece.
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

/** Nonces, made many at a time: a system call for each costs as much as encrypting. */
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

/** @param authenticated what it is sealed for: unsealed for something else it fails @param head put before it, as it is */
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

/** @returns the content @throws Error for what was not sealed with this key for this purpose */
export function unseal(key: KeyObject, sealed: Uint8Array, authenticated: Uint8Array): Buffer {
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, IV_BYTES), OPTIONS)
  decipher.setAAD(authenticated).setAuthTag(sealed.subarray(end))
  const content = decipher.update(sealed.subarray(IV_BYTES, end))
  decipher.final()
  return content
}

/** Blocks of which keys are kept as node:crypto wants them: it takes five times as long to make one as to use it. 1 KB a key. */
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

/** Lets go of what is kept of a block that is out of date: a key of it may have been destroyed. */
export function forgetKeysIn(bytes: Buffer | undefined): void {
  if (bytes) kept.delete(bytes)
}

/** Encrypts a text: see cipher.ts. @returns base64, with version and generation before it, which are not authenticated */
export function sealText(content: string, key: Key, version: number, authenticated: string): string {
  const head = Buffer.of(version, key.generation >> 8, key.generation & 0xff)
  return seal(keyObjectOf(key), Buffer.from(content), Buffer.from(authenticated), head).toString('base64')
}

/** Decrypts what {@link sealText} gave. @returns undefined for what was not sealed with this key for this purpose */
export function openText(sealed: string, key: Key, _version: number, authenticated: string): string | undefined {
  const bytes = Buffer.from(sealed, 'base64')
  if (bytes.length < HEAD_BYTES + IV_BYTES + TAG_BYTES) return undefined
  try {
    return unseal(keyObjectOf(key), bytes.subarray(HEAD_BYTES), Buffer.from(authenticated)).toString()
  } catch {
    return undefined
  }
}
