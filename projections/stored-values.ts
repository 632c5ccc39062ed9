/**
 * Parses the stored values of a read model. They may be anything: a value of another program, a partial write, a
 * document of another release. An invalid value counts as missing, so a damaged one costs one fold of a stream and
 * blocks nobody.
 */
import { type CustomerDocument, DOCUMENT_VERSION } from './customer.ts'
import type { ParkedEvent } from './read-model.ts'

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
const isInteger: Check = (value) => Number.isSafeInteger(value)
const isCount = (value: unknown): boolean => isInteger(value) && (value as number) >= 0
const isFlag: Check = (value) => typeof value === 'boolean'
const isGroup = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText)
/**
 * Whether a value has the members of a type. Written out, field by field: queries wait for it, and V8 reads known names
 * fastest.
 */
type Fields<T> = { readonly [name in keyof T]: unknown }

const isTextOrNull = (value: unknown): boolean => value === null || typeof value === 'string'
const isIntegerOrNull = (value: unknown): boolean => value === null || isInteger(value)

/** A moment as events have it (ISO 8601, UTC), by its form alone: to parse it would cost each query. */
const isMoment = (value: unknown): boolean =>
  typeof value === 'string' && value.length >= SHORTEST_MOMENT && value[10] === 'T' && value.endsWith('Z')
const SHORTEST_MOMENT = '2026-01-01T00:00Z'.length
const areMoments: Check = (value) => Array.isArray(value) && value.every(isMoment)

function isLink(value: unknown): boolean {
  if (value === null) return true
  return isGroup(value) && isText(value.eventId) && isMoment(value.at)
}

function isAddress(value: unknown): boolean {
  if (!isGroup(value)) return false
  const address = value as Fields<CustomerDocument['addresses'][number]>
  return (
    isInteger(address.id) &&
    isTextOrNull(address.prefix) &&
    isText(address.firstname) &&
    isTextOrNull(address.middlename) &&
    isText(address.lastname) &&
    isTextOrNull(address.suffix) &&
    isTextOrNull(address.company) &&
    isTexts(address.street) &&
    isText(address.city) &&
    isTextOrNull(address.postcode) &&
    isText(address.countryId) &&
    isIntegerOrNull(address.regionId) &&
    isTextOrNull(address.regionCode) &&
    isTextOrNull(address.region) &&
    isText(address.telephone) &&
    isTextOrNull(address.fax) &&
    isTextOrNull(address.vatId) &&
    isGroup(address.customAttributes)
  )
}

function areAddresses(value: unknown): boolean {
  if (!Array.isArray(value)) return false
  for (let index = 0; index < value.length; index++) if (!isAddress(value[index])) return false
  return true
}

const STATUSES: readonly unknown[] = ['absent', 'registered', 'deleted']
const NEWSLETTERS: readonly unknown[] = ['none', 'subscribed', 'unconfirmed', 'unsubscribed']

/** What is personal or shown, then what decides. */
function isDocument(value: unknown): value is CustomerDocument {
  if (!isGroup(value)) return false
  const document = value as Fields<CustomerDocument>
  return (
    document.version === DOCUMENT_VERSION &&
    isInteger(document.id) &&
    isInteger(document.revision) &&
    STATUSES.includes(document.status) &&
    isText(document.email) &&
    (document.status === 'registered' ? isMoment(document.createdAt) : isText(document.createdAt)) &&
    isInteger(document.groupId) &&
    NEWSLETTERS.includes(document.newsletter) &&
    isGroup(document.customAttributes) &&
    isTextOrNull(document.prefix) &&
    isText(document.firstname) &&
    isTextOrNull(document.middlename) &&
    isText(document.lastname) &&
    isTextOrNull(document.suffix) &&
    isTextOrNull(document.dob) &&
    isTextOrNull(document.taxvat) &&
    isIntegerOrNull(document.gender) &&
    isFlag(document.allowRemoteShoppingAssistance) &&
    isIntegerOrNull(document.rewardUpdateNotification) &&
    isIntegerOrNull(document.rewardWarningNotification) &&
    isIntegerOrNull(document.defaultBilling) &&
    isIntegerOrNull(document.defaultShipping) &&
    areAddresses(document.addresses) &&
    isInteger(document.lastAddressId) &&
    isCount(document.tokenGeneration) &&
    isTextOrNull(document.keptToken) &&
    isInteger(document.credentialsRevision) &&
    (document.lockedUntil === null || isMoment(document.lockedUntil)) &&
    isLink(document.confirmation) &&
    areMoments(document.confirmationRequests) &&
    isLink(document.passwordReset) &&
    areMoments(document.passwordResetRequests) &&
    isLink(document.newsletterConfirmation) &&
    areMoments(document.newsletterRequests)
  )
}

function isParked(value: unknown): value is ParkedEvent {
  if (!isGroup(value)) return false
  const event = value as Fields<ParkedEvent>
  const { customerId, stream, revision, type, reason, at } = event
  return isInteger(customerId) && isText(stream) && isInteger(revision) && isText(type) && isText(reason) && isText(at)
}

/** The value of a JSON text; undefined for a text that is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The customer's document at that revision; null if the text is not it. */
export function readDocument(text: string, id: number, revision: number): CustomerDocument | null {
  const value = parseJson(text)
  return isDocument(value) && value.id === id && value.revision === revision ? value : null
}

/** A parked event; none if the text is not one. */
export function readParked(text: string): readonly ParkedEvent[] {
  const value = parseJson(text)
  return isParked(value) ? [value] : []
}

const POSITION = /^\d{1,19}$/

/** A position's number as it is stored; undefined for what can't be one. */
export function readPosition(value: unknown): bigint | undefined {
  return typeof value === 'string' && POSITION.test(value) ? BigInt(value) : undefined
}

/** A generation's number, a revision: a whole number in decimal digits. undefined for anything else. */
export function readNumber(text: string | null | undefined): number | undefined {
  return text != null && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
