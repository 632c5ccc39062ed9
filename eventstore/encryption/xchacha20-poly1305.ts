/**
 * XChaCha20-Poly1305 by libsodium, compiled to WebAssembly. For short texts it is three to four times as fast as node:crypto,
 * which allocates several objects for each call (docs/decisions/0008-how-events-are-encrypted.md).
 *
 * This module calls libsodium's functions directly on its WebAssembly memory, without the wrappers: key, nonce and text are
 * written to the memory, encrypted in place, and read from there as base64. Each call is synchronous, so all of them can
 * share one region of the memory.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import createLibsodium from 'libsodium'
import { KEY_BYTES, type Key } from './keys.ts'

const NONCE_BYTES = 24
const TAG_BYTES = 16
/** The version (1 byte) and the generation of the key (2). */
const HEAD_BYTES = 3
/** How many bytes longer a sealed text is than its content. */
const SEAL_BYTES = HEAD_BYTES + NONCE_BYTES + TAG_BYTES
/** The most bytes of UTF-8 for one UTF-16 code unit. */
const UTF8_BYTES = 3

const sodium = await createLibsodium({ getRandomValue: () => randomBytes(4).readUInt32LE() })
if (sodium._sodium_init() < 0) throw new Error("libsodium can't be initialised.")

/** The region of the WebAssembly memory that is used: the key, then the associated data, then the sealed text. */
let address = 0
let memory = Buffer.alloc(0)

function reserve(size: number): void {
  if (size <= memory.length) return
  if (address !== 0) sodium._free(address)
  const rounded = 2 ** Math.ceil(Math.log2(Math.max(size, 65_536)))
  address = sodium._malloc(rounded)
  if (address === 0) {
    memory = Buffer.alloc(0)
    throw new Error(`There is not enough memory to encrypt or decrypt ${size} bytes.`)
  }
  memory = Buffer.from(sodium.HEAPU8.buffer as ArrayBuffer, address, rounded)
}

/** Random nonces, generated in batches: a system call for each would cost as much as the encryption. None is used twice. */
const nonces = Buffer.allocUnsafeSlow(NONCE_BYTES * 512)
let nextNonce = nonces.length

function writeNonce(at: number): void {
  if (nextNonce === nonces.length) {
    randomFillSync(nonces)
    nextNonce = 0
  }
  nonces.copy(memory, at, nextNonce, nextNonce + NONCE_BYTES)
  nextNonce += NONCE_BYTES
}

function writeHead(at: number, version: number, generation: number): void {
  memory[at] = version
  memory[at + 1] = generation >> 8
  memory[at + 2] = generation & 0xff
}

/** Writes the key and, after it, the associated data. @returns where that ends */
function writeContext(key: Key, version: number, authenticated: string): number {
  key.bytes.copy(memory, 0, key.start, key.start + KEY_BYTES)
  writeHead(KEY_BYTES, version, key.generation)
  return KEY_BYTES + HEAD_BYTES + memory.write(authenticated, KEY_BYTES + HEAD_BYTES)
}

/**
 * Encrypts a text.
 * @param version one byte, authenticated with the key's generation
 * @param authenticated further associated data; the text can only be opened with the same
 * @returns the base64 of: version (1 byte) | generation (2) | nonce (24) | ciphertext | tag (16)
 */
export function sealText(content: string, key: Key, version: number, authenticated: string): string {
  reserve(KEY_BYTES + SEAL_BYTES + HEAD_BYTES + UTF8_BYTES * (authenticated.length + content.length))
  const start = writeContext(key, version, authenticated)
  writeHead(start, version, key.generation)
  writeNonce(start + HEAD_BYTES)
  const text = start + HEAD_BYTES + NONCE_BYTES
  const length = memory.write(content, text)
  const failed = sodium._crypto_aead_xchacha20poly1305_ietf_encrypt(
    address + text,
    0,
    address + text,
    length,
    0,
    address + KEY_BYTES,
    start - KEY_BYTES,
    0,
    0,
    address + start + HEAD_BYTES,
    address,
  )
  if (failed !== 0) throw new Error('The text could not be encrypted.')
  return memory.toString('base64', start, text + length + TAG_BYTES)
}

/**
 * Decrypts the result of {@link sealText}.
 * @returns the text; undefined if it was not sealed with this key, version and associated data
 */
export function openText(sealed: string, key: Key, version: number, authenticated: string): string | undefined {
  reserve(KEY_BYTES + HEAD_BYTES + UTF8_BYTES * authenticated.length + sealed.length)
  const start = writeContext(key, version, authenticated)
  const length = memory.write(sealed, start, 'base64')
  const text = start + HEAD_BYTES + NONCE_BYTES
  if (length < SEAL_BYTES) return undefined
  const failed = sodium._crypto_aead_xchacha20poly1305_ietf_decrypt(
    address + text,
    0,
    0,
    address + text,
    length - HEAD_BYTES - NONCE_BYTES,
    0,
    address + KEY_BYTES,
    start - KEY_BYTES,
    0,
    address + start + HEAD_BYTES,
    address,
  )
  return failed === 0 ? memory.toString('utf8', text, start + length - TAG_BYTES) : undefined
}
