/**
 * Searches the whole log for events that match an auditor's criteria. Events are tested as stored, because decrypting
 * and decoding are expensive. The names of an event's fields are visible without its key, except those inside a group
 * of attributes.
 */
import { asStored } from '../eventstore/as-stored.ts'
import { isEncrypted } from '../eventstore/codec.ts'
import { hasKeys } from '../eventstore/encryption/customer-keys.ts'
import { decryptEvent } from '../eventstore/encryption/decryption.ts'
import type { EventStore, RecordedEvent } from '../eventstore/port.ts'
import { rangeBetween, shareBetween } from '../eventstore/times.ts'
import { addressFields, type EventMetadata, eventSchemas, upcast } from '../schema/events.ts'
import { streamsWith } from '../schema/streams.ts'
import { metadataOf } from './timeline.ts'

export interface Criteria {
  /** One of these; a trailing `*` matches any ending. Empty: anybody. */
  readonly actors: readonly string[]
  /** One of these. Empty: any. */
  readonly types: readonly string[]
  /** When the store wrote it, both inclusive. */
  readonly since?: Date | undefined
  readonly until?: Date | undefined
  /** The event changed one of these fields, named as in a timeline. Empty: any. */
  readonly fields: readonly string[]
}

/** Whether an event matches. */
type Matcher = (event: RecordedEvent) => boolean

/**
 * Searches the log in order: all of it, or the part that the times leave.
 * @param found called with each matching event, in clear text; its result is awaited
 * @param onProgress called now and then with the number of events searched, the newest of them, and the share of the
 * part that is done, from 0 to 1
 * @returns how many events were searched
 */
export async function findEvents(
  eventStore: EventStore,
  criteria: Criteria,
  found: (event: RecordedEvent) => void | Promise<void>,
  onProgress: (count: number, event: RecordedEvent, share: number) => void = () => {},
  signal?: AbortSignal,
): Promise<number> {
  const fits = matcherOf(criteria)
  const keys = hasKeys(eventStore) ? eventStore.keys : undefined
  const needsContent = criteria.fields.some((field) => parseField(field)?.name === 'customAttributes')
  const mayFit = needsContent ? matcherOf({ ...criteria, fields: [] }) : fits
  const streamPrefixes = prefixesOf(criteria.types)
  const log = asStored(eventStore)
  const { from, to } = await rangeBetween(log, criteria.since, criteria.until)
  const shareOf = await shareBetween(log, from, to)
  const events = log.readAll({ from, ...(to && { to }), ...(streamPrefixes && { filter: { streamPrefixes } }) })
  let count = 0
  for await (const event of events) {
    if (++count % REPORT_EVERY === 0) {
      onProgress(count, event, shareOf(event.position))
      if (signal?.aborted) break
    }
    if (!(isEncrypted(event) ? mayFit : fits)(event)) continue
    const opened = keys && isEncrypted(event) ? await decryptEvent(keys, event) : event
    if (needsContent && opened !== event && !fits(opened)) continue
    const written = found(opened)
    if (written) await written
  }
  return count
}

const REPORT_EVERY = 1_000

/** The cheapest checks come first. */
function matcherOf({ actors, types, since, until, fields }: Criteria): Matcher {
  const tests: Matcher[] = []
  if (types.length > 0) {
    const wanted = new Set(types)
    tests.push(({ type }) => wanted.has(type))
  }
  if (since) tests.push(({ created }) => created >= since)
  if (until) tests.push(({ created }) => created <= until)
  if (actors.length > 0) {
    const exact = new Set(actors.filter((actor) => !actor.endsWith('*')))
    const prefixes = actors.filter((actor) => actor.endsWith('*')).map((actor) => actor.slice(0, -1))
    tests.push((event) => {
      const { actor } = metadataOf(event)
      if (typeof actor !== 'string') return false
      return exact.has(actor) || prefixes.some((prefix) => actor.startsWith(prefix))
    })
  }
  if (fields.length > 0) {
    const touching = fields.map(touchesField)
    tests.push((event) => touching.some((touches) => touches(event)))
  }
  return (event) => tests.every((test) => test(event))
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

/** The streams that contain events of these types; undefined: all. The store filters out the others. */
function prefixesOf(types: readonly string[]): string[] | undefined {
  const prefixes = types.map(streamsWith)
  if (prefixes.length === 0 || prefixes.some((each) => each.length === 0)) return undefined
  return [...new Set(prefixes.flat())]
}
