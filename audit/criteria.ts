/**
 * What an auditor looks for. Every command that shows events takes the same criteria. Events are tested as stored where
 * that is possible, because decrypting and decoding are expensive: the names of an event's fields are visible without
 * its key, except those inside a group of attributes.
 */
import type { RecordedEvent } from '../eventstore/port.ts'
import type { AccessKind } from '../schema/audit-events.ts'
import { addressFields, type EventMetadata, eventSchemas, upcast } from '../schema/events.ts'
import type { Place } from './places.ts'

export interface Criteria {
  /** Only events of this customer. Default: everybody's. */
  readonly customerId?: number | undefined
  /** One of these; a trailing `*` matches any ending. Empty: anybody. */
  readonly actors?: readonly string[] | undefined
  /** One of these. Empty: any. */
  readonly types?: readonly string[] | undefined
  /** When the store wrote it, both inclusive. */
  readonly since?: Date | undefined
  readonly until?: Date | undefined
  /** The event changed one of these fields, named as in a timeline. Empty: any. */
  readonly fields?: readonly string[] | undefined
  /** Written on behalf of one of these requests (correlation ids). Empty: any. */
  readonly requests?: readonly string[] | undefined
  /** One of these events. Empty: any. */
  readonly events?: readonly ({ readonly id: string } | Place)[] | undefined
  /** Records of access: only those of these kinds; `any`: all of them and nothing else; `none`: all but them. */
  readonly access?: readonly (AccessKind | 'any' | 'none')[] | undefined
}

const METADATA_TEXTS = ['actor', '$correlationId', '$causationId', 'at'] as const

/**
 * The metadata, if present: auditors also see events that this service did not write. What should be a text and is none is
 * given as JSON.
 */
export function metadataOf({ metadata }: Pick<RecordedEvent, 'metadata'>): Partial<EventMetadata> {
  if (typeof metadata !== 'object' || metadata === null) return {}
  const given = metadata as Partial<Record<keyof EventMetadata, unknown>>
  const odd = METADATA_TEXTS.filter((name) => given[name] !== undefined && typeof given[name] !== 'string')
  if (odd.length === 0) return given as Partial<EventMetadata>
  return {
    ...given,
    ...Object.fromEntries(odd.map((name) => [name, JSON.stringify(given[name])])),
  } as Partial<EventMetadata>
}

/** Whether an event matches. */
export type Matcher = (event: RecordedEvent) => boolean

export interface Matchers {
  /** For an event in clear text. */
  readonly fits: Matcher
  /** For an event as stored: whether it has to be decrypted for {@link Matchers.fits}. */
  readonly mayFit: Matcher
}

/** `customerId` is not among the tests: it chooses the streams that are read. The cheapest tests come first. */
export function matchersOf(criteria: Criteria): Matchers {
  const { actors = [], types = [], fields = [], requests = [], events = [], access = [] } = criteria
  const tests: Matcher[] = []
  if (types.length > 0) {
    const wanted = new Set(types)
    tests.push(({ type }) => wanted.has(type))
  }
  if (events.length > 0) tests.push(isOneOf(events))
  const { since, until } = criteria
  if (since) tests.push(({ created }) => created >= since)
  if (until) tests.push(({ created }) => created <= until)
  if (access.length > 0) tests.push(hasAccess(access))
  if (requests.length > 0) {
    const wanted = new Set(requests)
    tests.push((event) => wanted.has(metadataOf(event).$correlationId ?? ''))
  }
  if (actors.length > 0) tests.push(isBy(actors))
  const all = (event: RecordedEvent) => tests.every((test) => test(event))
  if (fields.length === 0) return { fits: all, mayFit: all }
  const touching = fields.map(touchesField)
  const fits = (event: RecordedEvent) => all(event) && touching.some((touches) => touches(event))
  const needsContent = fields.some((field) => parseField(field)?.name === 'customAttributes')
  return { fits, mayFit: needsContent ? all : fits }
}

function isOneOf(events: NonNullable<Criteria['events']>): Matcher {
  const ids = new Set(events.flatMap((event) => ('id' in event ? [event.id.toLowerCase()] : [])))
  const places = events.filter((event) => 'stream' in event)
  return ({ id, stream, revision }) =>
    ids.has(id.toLowerCase()) || places.some((place) => place.stream === stream && place.revision === revision)
}

function isBy(actors: readonly string[]): Matcher {
  const exact = new Set(actors.filter((actor) => !actor.endsWith('*')))
  const prefixes = actors.filter((actor) => actor.endsWith('*')).map((actor) => actor.slice(0, -1))
  return (event) => {
    const { actor } = metadataOf(event)
    if (typeof actor !== 'string') return false
    return exact.has(actor) || prefixes.some((prefix) => actor.startsWith(prefix))
  }
}

function hasAccess(access: NonNullable<Criteria['access']>): Matcher {
  const kinds: ReadonlySet<unknown> = new Set(access)
  return ({ type, data }) => {
    if (type !== 'AccessRecorded') return kinds.has('none')
    return kinds.has('any') || kinds.has((data as { readonly kind?: unknown } | null)?.kind)
  }
}

/** Fields that events change without naming them in their data. */
const IMPLIED: Readonly<Record<string, readonly string[]>> = {
  CustomerRegistered: ['status', 'newsletter'],
  CustomerDeleted: ['status'],
  CustomerTokensRevoked: ['tokenGeneration', 'keptToken'],
  CustomerEmailChanged: ['passwordReset', 'confirmation', 'newsletterConfirmation'],
  CustomerLocked: ['lockedUntil'],
  CustomerPasswordChanged: ['passwordReset'],
  PasswordResetRequested: ['passwordReset'],
  EmailConfirmationRequested: ['confirmation'],
  EmailConfirmed: ['confirmation'],
  NewsletterSubscribed: ['newsletter', 'newsletterConfirmation'],
  NewsletterConfirmationRequested: ['newsletter', 'newsletterConfirmation'],
  NewsletterUnsubscribed: ['newsletter', 'newsletterConfirmation'],
  DefaultBillingAddressSet: ['defaultBilling'],
  DefaultShippingAddressSet: ['defaultShipping'],
}
const OF_ADDRESS: ReadonlySet<string> = new Set(Object.keys(addressFields.shape))

/** The names that {@link touchesField} knows, except address ids and attribute codes. */
const FIELD_NAMES: ReadonlySet<string> = new Set([
  ...Object.values(eventSchemas).flatMap(({ shape }) => Object.keys(shape)),
  ...Object.values(IMPLIED).flat(),
  'addresses',
])

/**
 * The parts of a field's name as in a timeline: `city`, `addresses.city`, `addresses.11.city`, `customAttributes.club`.
 */
export function parseField(field: string): FieldName | undefined {
  const parts = field.split('.')
  const ofAddress = parts[0] === 'addresses'
  if (ofAddress) parts.shift()
  const addressId = ofAddress && /^\d+$/.test(parts[0] ?? '') ? Number(parts.shift()) : undefined
  const [name, ...rest] = parts
  const code = name === 'customAttributes' && rest.length > 0 ? rest.join('.') : undefined
  if (rest.length > 0 && code === undefined) return undefined
  if (name === undefined) return ofAddress ? { ofAddress, addressId, name, code } : undefined
  return (ofAddress ? OF_ADDRESS : FIELD_NAMES).has(name) ? { ofAddress, addressId, name, code } : undefined
}

/**
 * Whether a change, named as in a timeline, is of one of the fields that were asked for. Where none of an event's changes
 * is, the event touched the field under another name.
 */
export function isOfFields(fields: readonly string[]): (change: string) => boolean {
  const asked = fields.flatMap((field) => parseField(field) ?? [])
  return (change) => {
    const parts = change.split('.')
    const isAddress = parts[0] === 'addresses'
    const [first, ...rest] = isAddress ? parts.slice(2) : parts
    return asked.some(({ ofAddress, addressId, name, code }) => {
      if (ofAddress && (!isAddress || (addressId !== undefined && String(addressId) !== parts[1]))) return false
      if (name === undefined || name === 'addresses') return isAddress
      return first === name && (code === undefined || rest.join('.') === code)
    })
  }
}

interface FieldName {
  readonly ofAddress: boolean
  readonly addressId: number | undefined
  readonly name: string | undefined
  readonly code: string | undefined
}

function touchesField(field: string): Matcher {
  const { ofAddress, addressId, name, code } = parseField(field) ?? {}
  return (event) => {
    const { type } = event
    const metadata = metadataOf(event)
    // For an older version, with the fields after upcasting.
    const isVersioned = typeof metadata.schemaVersion === 'number'
    const data = isVersioned ? upcast(type, event.data, metadata as EventMetadata) : event.data
    if (typeof data !== 'object' || data === null) return false
    const values = data as Readonly<Record<string, unknown>>
    if (ofAddress) {
      if (!type.startsWith('CustomerAddress')) return false
      if (addressId !== undefined && values.addressId !== addressId) return false
      // A removal changes all fields of an address.
      if (name === undefined || type === 'CustomerAddressRemoved') return true
    }
    if (name === undefined || name === 'addresses') return type.startsWith('CustomerAddress')
    if (name === 'customAttributes') {
      const attributes = values[type === 'CustomerAttributesChanged' ? 'attributes' : name]
      if (typeof attributes !== 'object' || attributes === null) return false
      return code === undefined ? Object.keys(attributes).length > 0 : Object.hasOwn(attributes, code)
    }
    return Object.hasOwn(values, name) || IMPLIED[type]?.includes(name) === true
  }
}
