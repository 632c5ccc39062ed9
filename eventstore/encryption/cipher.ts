/**
 * Encrypts and decrypts the personal fields of an event with the person's own key.
 *
 * In the stored data each personal field (schema/events.ts) is `null`, and the field `encrypted` contains all their values,
 * as a JSON array in the order of the fields. It is the base64 of
 *
 *     version (1 byte) | generation of the key (2) | nonce | ciphertext | tag (16)
 *
 * There are two versions. CIPHER selects the one that is written; both are read.
 *
 *     1  AES-256-GCM, nonce of 12 bytes; associated data: `<stream> <type> <id>` (the id in lower case)
 *     2  XChaCha20-Poly1305, nonce of 24 bytes; associated data: version, generation, and the same text
 *
 * Because of the associated data no ciphertext can be moved to another event. Events from before encryption are in plain
 * text and are read as they are.
 *
 * If the key was destroyed, placeholders replace the values (`erasedValue`). An event that can't be decrypted is returned as
 * it is stored, and the codec then rejects it with an error that names the event.
 */
import { erasedValue, PERSONAL_FIELDS } from '../../schema/events.ts'
import type { Json, NewEvent, RecordedEvent } from '../port.ts'
import { openText as openAes, sealText as sealAes } from './aes-gcm.ts'
import type { CustomerKey } from './blocks.ts'
import type { Key } from './keys.ts'
import { openText as openXChaCha, sealText as sealXChaCha } from './xchacha20-poly1305.ts'

/** The ciphers that events can be written with, by their names in CIPHER. */
export type Cipher = 'xchacha20-poly1305' | 'aes-256-gcm'

interface Members {
  readonly [name: string]: Json | undefined
}

interface Version {
  readonly number: number
  /** @returns base64, as it is stored */
  seal(content: string, key: Key, version: number, authenticated: string): string
  /** @returns undefined if it was not sealed with this key for this event */
  open(sealed: string, key: Key, version: number, authenticated: string): string | undefined
}

const AES: Version = { number: 1, seal: sealAes, open: openAes }
const XCHACHA: Version = { number: 2, seal: sealXChaCha, open: openXChaCha }
const VERSIONS: readonly (Version | undefined)[] = [undefined, AES, XCHACHA]
const WRITTEN: Readonly<Record<Cipher, Version>> = { 'aes-256-gcm': AES, 'xchacha20-poly1305': XCHACHA }

const authenticated = (stream: string, { type, id }: { readonly type: string; readonly id: string }) =>
  `${stream} ${type} ${id.toLowerCase()}`

const isGroup = (data: unknown): data is Members =>
  typeof data === 'object' && data !== null && !Array.isArray(data) && !(data instanceof Uint8Array)

/** The event as it is stored. */
export function encrypt(stream: string, event: NewEvent, key: Key, cipher: Cipher): NewEvent {
  const { id, type, data, metadata } = event
  const fields = PERSONAL_FIELDS.get(type)
  if (fields === undefined || !isGroup(data)) return event
  const stored: Record<string, Json | undefined> = {}
  const values: Json[] = []
  for (const name in data) {
    const value = data[name]
    const isPersonal = value !== undefined && fields.has(name)
    if (isPersonal) values.push(value)
    stored[name] = isPersonal ? null : value
  }
  if (values.length === 0) return event
  const version = WRITTEN[cipher]
  stored.encrypted = version.seal(JSON.stringify(values), key, version.number, authenticated(stream, event))
  return metadata === undefined ? { id, type, data: stored } : { id, type, data: stored, metadata }
}

/** Whether the event was encrypted with a later generation of the key than this one. */
export const isLaterThan = (event: RecordedEvent, { generation }: CustomerKey): boolean =>
  generationOf(event) > generation

/** Which generation of the key an event was encrypted with; -1 if it can't be decrypted by any. */
export function generationOf(event: RecordedEvent): number {
  const head = headOf((event.data as Members).encrypted as string)
  return head === -1 || VERSIONS[head >> 16] === undefined ? -1 : head & 0xffff
}

/** The event in plain text, or as it is stored if it can't be decrypted. */
export function decrypt(event: RecordedEvent, key: CustomerKey): RecordedEvent {
  const sealed = (event.data as Members).encrypted as string
  const head = headOf(sealed)
  const version = VERSIONS[head >> 16]
  if (version === undefined) return event
  if (key.bytes === undefined || (head & 0xffff) !== key.generation) return withValues(event, undefined)
  const text = version.open(sealed, key as Key, version.number, authenticated(event.stream, event))
  return text === undefined ? event : withValues(event, text)
}

const BASE64 = new Map(
  [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].map((digit, value) => [
    digit.charCodeAt(0),
    value,
  ]),
)

/** Version and generation, 24 bits: the first four characters of the base64. -1 if there are fewer. */
function headOf(sealed: string): number {
  let head = 0
  for (let index = 0; index < 4; index++) {
    const value = BASE64.get(sealed.charCodeAt(index))
    if (value === undefined) return -1
    head = (head << 6) | value
  }
  return head
}

/** @param text the values in the order of the fields, as JSON; undefined: the key was destroyed */
function withValues(event: RecordedEvent, text: string | undefined): RecordedEvent {
  const stored = event.data as Members
  const values = text === undefined ? undefined : (JSON.parse(text) as Json[])
  const fields = PERSONAL_FIELDS.get(event.type)
  const data: Record<string, Json | undefined> = {}
  let index = 0
  for (const name in stored) {
    const field = fields?.get(name)
    if (field === undefined) {
      if (name !== 'encrypted') data[name] = stored[name]
    } else data[name] = values ? values[index++] : (erasedValue(field, event.revision) as Json)
  }
  return { ...event, data }
}
