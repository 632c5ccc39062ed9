/**
 * Masks personal data: the names of fields stay visible, their values do not. A field that is not known to be harmless
 * counts as personal, so a new field is hidden until somebody has decided about it.
 */
import type { Json } from '../eventstore/port.ts'
import type { CustomerDocument } from '../projections/customer.ts'
import { isErased } from '../schema/events.ts'
import type { Change } from './changes.ts'

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
])

/** These are never shown, whatever the reason. */
const WITHHELD: ReadonlySet<string> = new Set(['passwordHash'])
const WITHHELD_VALUE = '(withheld)'

const MASK = '•••'
/** A shorter text could be guessed from its first letter. */
const SHORTEST_HINT = 4

/** `Ann Lee` becomes `A•••`. Lists and groups keep their structure; null stays, because there is nothing to hide. */
function maskValue(value: Json | undefined): Json {
  if (value === null || value === undefined || value === '' || isErased(value)) return value ?? null
  if (typeof value === 'string') {
    const first = String.fromCodePoint(value.codePointAt(0) ?? 0)
    return value.length < SHORTEST_HINT ? MASK : first + MASK
  }
  if (Array.isArray(value)) return value.map(maskValue)
  if (typeof value === 'object') return mapValues(value as JsonObject, (each) => maskValue(each))
  return MASK
}

/** An event's data as it may be shown. @param reveal with personal data */
export function shownData(data: unknown, reveal: boolean): Json {
  // Malformed JSON or bytes: the content is unknown.
  if (typeof data !== 'object' || data === null || data instanceof Uint8Array || Array.isArray(data)) {
    return reveal && !(data instanceof Uint8Array) ? (data as Json) : maskValue(String(data))
  }
  return mapValues(data as JsonObject, (value, name) =>
    WITHHELD.has(name) ? WITHHELD_VALUE : reveal || HARMLESS.has(name) ? (value ?? null) : maskValue(value),
  )
}

/** @param reveal with personal data */
export function shownChange(change: Change, reveal: boolean): Change {
  const [name = ''] = change.field.split('.')
  if (reveal || HARMLESS.has(name)) return change
  return { field: change.field, from: maskValue(change.from), to: maskValue(change.to) }
}

/** A document as it may be shown. @param reveal with personal data */
export function shownDocument(document: CustomerDocument, reveal: boolean): Json {
  if (reveal) return document as unknown as Json
  const { addresses, ...fields } = document
  const shown = mapValues(fields as unknown as JsonObject, (value, name) =>
    HARMLESS.has(name) ? (value ?? null) : maskValue(value),
  )
  const masked = addresses.map(({ id, ...address }) => ({ id, ...(maskValue(address) as JsonObject) }))
  return { ...shown, addresses: masked }
}

interface JsonObject {
  readonly [key: string]: Json | undefined
}

/** Sets an own property, even one named `__proto__`. */
function mapValues(data: JsonObject, change: (value: Json | undefined, name: string) => Json): { [key: string]: Json } {
  return Object.fromEntries(Object.entries(data).map(([name, value]) => [name, change(value, name)]))
}
