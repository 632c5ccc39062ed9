/**
 * XChaCha20-Poly1305 by libsodium, compiled to WebAssembly: for short texts three to four times as fast as node:crypto, which
 * makes several objects for each (docs/decisions/0008-how-events-are-encrypted.md).
 *
 * The library's functions are called on its own memory, without its wrappers: text, key and nonce are written where they are
 * needed, encrypted in place, and read from there as base64. All of it happens in one turn, so one piece of memory serves all.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import createLibsodium from 'libsodium'
import { KEY_BYTES, type Key } from './keys.ts'

const NONCE_BYTES = 24
const TAG_BYTES = 16
/** A version and the generation of the key. */
const HEAD_BYTES = 3
/** What is longer than its content by so many bytes is sealed. */
const SEAL_BYTES = HEAD_BYTES + NONCE_BYTES + TAG_BYTES
/** UTF-8 has at most so many bytes for a UTF-16 code unit. */
const UTF8_BYTES = 3

const sodium = await createLibsodium({ getRandomValue: () => randomBytes(4).readUInt32LE() })
if (sodium._sodium_init() < 0) throw new Error('libsodium can not be used.')

/** The piece of the module's memory that is worked in: the key, then what is authenticated, then what is sealed. */
let address = 0
let memory = Buffer.alloc(0)

function reserve(size: number): void {
  if (size <= memory.length) return
  if (address !== 0) sodium._free(address)
  const rounded = 2 ** Math.ceil(Math.log2(Math.max(size, 65_536)))
  address = sodium._malloc(rounded)
  if (address === 0) {
    memory = Buffer.alloc(0)
    throw new Error(`No memory for ${size} bytes to encrypt.`)
  }
  memory = Buffer.from(sodium.HEAPU8.buffer as ArrayBuffer, address, rounded)
}

/** Random nonces, made many at a time: a system call for each costs as much as encrypting. None is used twice. */
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

/** Writes the key, and after it what is authenticated. @returns where that ends */
function writeContext(key: Key, version: number, authenticated: string): number {
  key.bytes.copy(memory, 0, key.start, key.start + KEY_BYTES)
  writeHead(KEY_BYTES, version, key.generation)
  return KEY_BYTES + HEAD_BYTES + memory.write(authenticated, KEY_BYTES + HEAD_BYTES)
}

/**
 * Encrypts a text.
 * @param version one byte, authenticated with the key's generation
 * @param authenticated what it is sealed for: opened for something else it fails
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
 * Decrypts what {@link sealText} gave.
 * @returns the text; undefined for what was not sealed with this key for this purpose in this version
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
