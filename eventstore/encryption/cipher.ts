/**
 * Encrypts the personal fields of an event with the person's own key (AES-256-GCM).
 *
 * Stored, an event's data has `null` in the place of each personal field (schema/events.ts), and `encrypted`: the
 * base64 of
 *
 *     version (1 byte: 1) | generation of the key (2) | nonce (12) | ciphertext | tag (16)
 *
 * of the fields' values as a JSON array, in the order of the fields. `<stream> <type> <id>` (the id in lower case) is
 * authenticated with it, so no ciphertext can be moved to another event. Events from before encryption are read
 * unchanged.
 *
 * If the key was destroyed, placeholders replace the values (`erasedValue`). An event that fails to decrypt is returned
 * as stored, and the codec refuses it, so applying it fails with an error that names the event.
 */
import type { KeyObject } from 'node:crypto'
import { erasedValue, PERSONAL_FIELDS } from '../../schema/events.ts'
import type { Json, NewEvent, RecordedEvent } from '../port.ts'
import { SEAL_BYTES, seal, unseal } from './aes-gcm.ts'
import type { CustomerKey } from './blocks.ts'
import type { WritingKey } from './customer-keys.ts'
import { decryptBeside, type Sealed } from './decryption-thread.ts'

interface Members {
  readonly [name: string]: Json | undefined
}

const VERSION = 1
const HEAD_BYTES = 3
/** Batches with at least this many encrypted events are decrypted in a worker thread. */
const MANY = 64
const ASCII = /^[\x20-\x7e]*$/
const authenticated = (stream: string, { type, id }: { readonly type: string; readonly id: string }) =>
  `${stream} ${type} ${id.toLowerCase()}`

const isGroup = (data: unknown): data is Members =>
  typeof data === 'object' && data !== null && !Array.isArray(data) && !(data instanceof Uint8Array)

/** Encrypts an event for storage. */
export function encrypt(stream: string, event: NewEvent, { generation, key }: WritingKey): NewEvent {
  const fields = PERSONAL_FIELDS.get(event.type)
  if (fields === undefined || !isGroup(event.data)) return event
  const stored: Record<string, Json | undefined> = {}
  const values: Json[] = []
  for (const [name, value] of Object.entries(event.data)) {
    const isPersonal = value !== undefined && fields.has(name)
    if (isPersonal) values.push(value)
    stored[name] = isPersonal ? null : value
  }
  if (values.length === 0) return event
  const head = Buffer.of(VERSION, generation >> 8, generation & 0xff)
  const content = Buffer.from(JSON.stringify(values))
  stored.encrypted = seal(key, content, Buffer.from(authenticated(stream, event)), head).toString('base64')
  return { ...event, data: stored }
}

/** The sealed part of an event, without its head; `erased`: its key is destroyed. */
function sealedIn({ data }: RecordedEvent, { generation, bytes: key }: CustomerKey): Buffer | 'erased' | 'broken' {
  const bytes = Buffer.from((data as Members).encrypted as string, 'base64')
  if (bytes[0] !== VERSION || bytes.length < HEAD_BYTES + SEAL_BYTES) return 'broken'
  return key === undefined || bytes.readUInt16BE(1) !== generation ? 'erased' : bytes.subarray(HEAD_BYTES)
}

/** Decrypts an event; returns it as stored if it can't be decrypted. */
export function decrypt(event: RecordedEvent, key: CustomerKey): RecordedEvent {
  const bytes = sealedIn(event, key)
  if (bytes === 'broken') return event
  if (bytes === 'erased') return withValues(event, undefined)
  let content: Buffer
  try {
    content = unseal(key.key as KeyObject, bytes, Buffer.from(authenticated(event.stream, event)))
  } catch {
    return event
  }
  return withValues(event, content.toString())
}

/** Like {@link decrypt}, for many events. @param keys the key of each; without one, the event is returned as stored */
export async function decryptAll(
  events: readonly RecordedEvent[],
  keys: readonly (CustomerKey | undefined)[],
): Promise<RecordedEvent[]> {
  const one = (event: RecordedEvent, index: number) => {
    const key = keys[index]
    return key ? decrypt(event, key) : event
  }
  if (events.length < MANY) return events.map(one)
  const items: Sealed[] = []
  const places: number[] = []
  const opened = events.map((event, index) => {
    const key = keys[index]
    const bytes = key && sealedIn(event, key)
    const text = authenticated(event.stream, event)
    if (!key?.bytes || bytes === undefined || typeof bytes === 'string' || !ASCII.test(text)) return one(event, index)
    items.push({ key: key.bytes, authenticated: text, bytes })
    places.push(index)
    return event
  })
  try {
    const texts = await decryptBeside(items)
    for (const [number, index] of places.entries()) {
      const text = texts[number]
      if (text !== undefined) opened[index] = withValues(events[index] as RecordedEvent, text)
    }
    return opened
  } catch {
    return events.map(one) // the thread has ended; the next call starts a new one
  }
}

/** @param text the values in the fields' order, as JSON; undefined: erased */
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
