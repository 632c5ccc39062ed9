/**
 * What a read model has stored, as far as it can be read. Anything may stand there: another program's value, half a write, a
 * document of another release. What is not whole counts as not there, so one damaged value costs one fold of a stream, and
 * holds nobody up.
 */
import { type CustomerDocument, DOCUMENT_VERSION } from './customer.ts'
import type { ParkedEvent } from './read-model.ts'

type Check = (value: unknown) => boolean
type Shape = readonly (readonly [name: string, check: Check])[]

const isText: Check = (value) => typeof value === 'string'
const isInteger: Check = (value) => Number.isSafeInteger(value)
const isFlag: Check = (value) => typeof value === 'boolean'
const isGroup = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText)
const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string)
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)

/** A plain loop: queries wait for it. */
function fits(value: unknown, shape: Shape): boolean {
  if (!isGroup(value)) return false
  for (let index = 0; index < shape.length; index++) {
    const field = shape[index] as Shape[number]
    if (!field[1](value[field[0]])) return false
  }
  return true
}

const isLink = orNull((value) => fits(value, LINK))
const LINK: Shape = Object.entries({ eventId: isText, at: isText })

const ADDRESS: Shape = Object.entries({
  id: isInteger,
  prefix: orNull(isText),
  firstname: isText,
  middlename: orNull(isText),
  lastname: isText,
  suffix: orNull(isText),
  company: orNull(isText),
  street: isTexts,
  city: isText,
  postcode: orNull(isText),
  countryId: isText,
  regionId: orNull(isInteger),
  regionCode: orNull(isText),
  region: orNull(isText),
  telephone: isText,
  fax: orNull(isText),
  vatId: orNull(isText),
  customAttributes: isGroup,
} satisfies Record<keyof CustomerDocument['addresses'][number], Check>)

const DOCUMENT: Shape = Object.entries({
  version: (value) => value === DOCUMENT_VERSION,
  id: isInteger,
  revision: isInteger,
  status: oneOf('absent', 'registered', 'deleted'),
  email: isText,
  createdAt: isText,
  groupId: isInteger,
  newsletter: oneOf('none', 'subscribed', 'unconfirmed', 'unsubscribed'),
  customAttributes: isGroup,
  prefix: orNull(isText),
  firstname: isText,
  middlename: orNull(isText),
  lastname: isText,
  suffix: orNull(isText),
  dob: orNull(isText),
  taxvat: orNull(isText),
  gender: orNull(isInteger),
  allowRemoteShoppingAssistance: isFlag,
  rewardUpdateNotification: orNull(isInteger),
  rewardWarningNotification: orNull(isInteger),
  defaultBilling: orNull(isInteger),
  defaultShipping: orNull(isInteger),
  addresses: (value) => Array.isArray(value) && value.every((each) => fits(each, ADDRESS)),
  lastAddressId: isInteger,
  tokenGeneration: isInteger,
  keptToken: orNull(isText),
  credentialsRevision: isInteger,
  lockedUntil: orNull(isText),
  confirmation: isLink,
  confirmationRequests: isTexts,
  passwordReset: isLink,
  passwordResetRequests: isTexts,
  newsletterConfirmation: isLink,
  newsletterRequests: isTexts,
} satisfies Record<keyof CustomerDocument, Check>)

const PARKED: Shape = Object.entries({
  customerId: isInteger,
  stream: isText,
  revision: isInteger,
  type: isText,
  reason: isText,
  at: isText,
} satisfies Record<keyof ParkedEvent, Check>)

/** The value of a JSON text; undefined for a text that is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The customer's document at that revision; null where the text is not it. */
export function readDocument(text: string, id: number, revision: number): CustomerDocument | null {
  const value = parseJson(text)
  if (!fits(value, DOCUMENT)) return null
  const document = value as CustomerDocument
  return document.id === id && document.revision === revision ? document : null
}

/** A parked event; none where the text is not one. */
export function readParked(text: string): readonly ParkedEvent[] {
  const value = parseJson(text)
  return fits(value, PARKED) ? [value as ParkedEvent] : []
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
