/**
 * Masks personal data: the names of fields stay visible, their values do not. A field that is not known to be harmless
 * counts as personal, so a new field is hidden until somebody has decided about it.
 *
 * In the place of a value stands a mark: a short keyed hash of it. Of one person the same value has the same mark, so it
 * is seen that a value changed, or came back. Marks of different persons say nothing about each other. Nobody can find a
 * value by trying all of them (a date of birth, a gender) without the service's key.
 */
import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import type { Json } from '../eventstore/port.ts'
import type { CustomerDocument } from '../projections/customer.ts'
import { isErased } from '../schema/events.ts'
import { ownerOf } from '../schema/streams.ts'
import type { Change } from './changes.ts'
import type { TimelineEntry } from './timeline.ts'

/** Fields of documents and events that reveal nothing about the person. */
const HARMLESS: ReadonlySet<string> = new Set([
  // of the document
  'version',
  'id',
  'revision',
  'status',
  'createdAt',
  'groupId',
  'newsletter',
  'allowRemoteShoppingAssistance',
  'rewardUpdateNotification',
  'rewardWarningNotification',
  'defaultBilling',
  'defaultShipping',
  'lastAddressId',
  'tokenGeneration',
  'keptToken',
  'credentialsRevision',
  'lockedUntil',
  'confirmation',
  'confirmationRequests',
  'passwordReset',
  'passwordResetRequests',
  'newsletterConfirmation',
  'newsletterRequests',
  // of events
  'customerId',
  'addressId',
  'isSubscribed',
  'until',
  'emailKey',
  'emailKeys',
  'floor',
  'commit',
  'prepare',
  'unsent',
  'upgrade',
  'holder',
  'reason',
  'command',
  'kind',
  'subject',
  'scope',
  'jti',
  'expiresAt',
  'keyStoreId',
  'masterKeyId',
  'generation',
  'destroyed',
  'by',
  'at',
  'events',
  'streams',
  'faults',
  'uncovered',
  'checkpoints',
  'request',
  'note',
  'channel',
  'receivedOn',
  'how',
  'ground',
  'toldOn',
  'dueOn',
  'approval',
  'outcome',
  'sha256',
  'eventsInClear',
  'step',
  'revealed',
])

/** These are never shown, whatever the reason. */
const WITHHELD: ReadonlySet<string> = new Set(['passwordHash'])
const WITHHELD_VALUE = '(withheld)'

const MASK = '•••'
/** 25 bits: by chance, two values of a field have the same mark once in 33 million times. */
const MARK_LENGTH = 5
const LETTERS = '0123456789abcdefghjkmnpqrstvwxyz'

/** How personal data is shown: in clear, or as the marks of a {@link Masker}. */
export type Shown = 'revealed' | Masker

/** Makes the mark of a value of a person. */
export interface Masker {
  /**
   * @param scope whose value it is: marks are the same only within one
   * @param field the last part of its name, such as `city`
   */
  mark(scope: string, field: string, value: string | number | boolean): string
}

/**
 * @param key the service's key (EMAIL_HASH_KEY), from which the key of the marks is derived; undefined: a random one, so
 * marks can only be compared within this process
 */
export function createMasker(key: string | undefined): Masker {
  // As an object: with a key as bytes, createHmac costs twenty times as much.
  const markKey = createSecretKey(
    createHmac('sha256', key ?? randomBytes(32))
      .update('key of the marks of masked values, v1')
      .digest(),
  )
  return {
    mark(scope, field, value) {
      const hash = createHmac('sha256', markKey)
        .update(JSON.stringify([scope, field, value]))
        .digest()
      return MASK + Array.from(hash.subarray(0, MARK_LENGTH), (byte) => LETTERS[byte & 31]).join('')
    },
  }
}

/** Fields that hold the same thing as another one. */
const SAME_AS: Readonly<Record<string, string>> = { previousEmail: 'email' }

/** Masks the values of one person. */
type Mask = (value: Json | undefined, field: string) => Json

/** Lists and groups keep their structure; null stays, because there is nothing to hide. */
function maskOf(masker: Masker, scope: string): Mask {
  return function mask(value, field): Json {
    if (value === null || value === undefined || value === '' || isErased(value)) return value ?? null
    if (Array.isArray(value)) return value.map((each) => mask(each, field))
    if (typeof value === 'object') return mapValues(value as JsonObject, mask)
    return masker.mark(scope, SAME_AS[field] ?? field, value as string | number | boolean)
  }
}

/** An event's data as it may be shown. @param scope whose event it is ({@link scopeOf}) */
export function shownData(data: unknown, shown: Shown, scope: string): Json {
  const isRevealed = shown === 'revealed'
  // Malformed JSON or bytes: the content is unknown.
  if (typeof data !== 'object' || data === null || data instanceof Uint8Array || Array.isArray(data)) {
    if (isRevealed && !(data instanceof Uint8Array)) return data as Json
    return isRevealed ? MASK : shown.mark(scope, '', String(data))
  }
  const mask = isRevealed ? (value: Json | undefined) => value ?? null : maskOf(shown, scope)
  return mapValues(data as JsonObject, (value, name) =>
    WITHHELD.has(name) ? WITHHELD_VALUE : HARMLESS.has(name) ? (value ?? null) : mask(value, name),
  )
}

/** A change as it may be shown. @param scope whose it is ({@link scopeOf}) */
export function shownChange(change: Change, shown: Shown, scope: string): Change {
  const parts = change.field.split('.')
  if (shown === 'revealed' || HARMLESS.has(parts[0] ?? '')) return change
  const mask = maskOf(shown, scope)
  const name = nameOf(parts)
  return { field: change.field, from: mask(change.from, name), to: mask(change.to, name) }
}

/** The name of the same field in an event's data: without the address, and of an attribute its code. */
function nameOf(parts: readonly string[]): string {
  const [name = '', ...rest] = parts[0] === 'addresses' ? parts.slice(2) : parts
  return name === 'customAttributes' ? rest.join('.') : name
}

/** A document as it may be shown. */
export function shownDocument(document: CustomerDocument, shown: Shown): Json {
  if (shown === 'revealed') return document as unknown as Json
  const mask = maskOf(shown, String(document.id))
  const { addresses, ...fields } = document
  const masked = mapValues(fields as unknown as JsonObject, (value, name) =>
    HARMLESS.has(name) ? (value ?? null) : mask(value, name),
  )
  const rest = addresses.map(({ id, ...address }) => ({ id, ...(mask(address as JsonObject, '') as JsonObject) }))
  return { ...masked, addresses: rest }
}

/** Whose events a stream has: a customer's number, the hash of an address, or, of nobody, the stream. */
export const scopeOf = (stream: string): string => ownerOf(stream) ?? stream

interface JsonObject {
  readonly [key: string]: Json | undefined
}

/** Sets an own property, even one named `__proto__`. */
function mapValues(data: JsonObject, change: (value: Json | undefined, name: string) => Json): { [key: string]: Json } {
  return Object.fromEntries(Object.entries(data).map(([name, value]) => [name, change(value, name)]))
}

/** A timeline entry, masked if necessary. */
export function shownEntry(entry: TimelineEntry, shown: Shown): TimelineEntry {
  const scope = scopeOf(entry.stream)
  return {
    ...entry,
    changes: entry.changes.map((change) => shownChange(change, shown, scope)),
    details: shownData(entry.details, shown, scope) as TimelineEntry['details'],
  }
}
