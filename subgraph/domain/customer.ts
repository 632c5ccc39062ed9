/**
 * The customer: what a command changes, as events. Every function here is pure: state and command in, events out;
 * ids and times are arguments. The state is the customer document, folded by `project` of projections/customer.ts.
 */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { CustomerDetails, CustomerEvent } from '../../schema/events.ts'
import { accountLocked, emailTaken, invalidInput, notFound } from '../errors.ts'
import { type AddressInput, changedFields, resolveAddress } from './address.ts'
import { parseDate } from './date.ts'
import { isValidEmail } from './email.ts'
import { MAX_TEXT, tooLong } from './text.ts'

/** CustomerInput of the schema: an absent field is left as it is, null clears it. */
export interface CustomerInput {
  readonly prefix?: string | null
  readonly firstname?: string | null
  readonly middlename?: string | null
  readonly lastname?: string | null
  readonly suffix?: string | null
  readonly email?: string | null
  readonly dob?: string | null
  readonly taxvat?: string | null
  readonly gender?: number | null
  readonly password?: string | null
  readonly is_subscribed?: boolean | null
}

/** Magento's group "General". */
const DEFAULT_GROUP = 1
const GENDERS = new Set([0, 1, 2, 3]) // 0 is let through, as Magento does

export interface Registration {
  readonly email: string
  readonly details: CustomerDetails
  readonly isSubscribed: boolean
}

/**
 * Checks the input of a registration, but for the password and whether the address is free.
 * @throws CustomerError (graphql-input)
 */
export function checkRegistration(input: CustomerInput): Registration {
  checkNotEmpty(input)
  if (input.email == null) throw invalidInput('The email address is required to create a customer account.')
  const details = checkDetails({ firstname: '', lastname: '', ...input }, () => checkEmail(input.email ?? ''))
  return {
    email: input.email,
    details: {
      prefix: null,
      firstname: '',
      middlename: null,
      lastname: '',
      suffix: null,
      dob: null,
      taxvat: null,
      gender: null,
      ...details,
    },
    isSubscribed: input.is_subscribed === true,
  }
}

/** A customer's first event. @param credentialsRevision -1: an account without a password */
export function register(
  state: CustomerDocument,
  command: Registration & { readonly customerId: number; readonly credentialsRevision: number },
): CustomerEvent[] {
  if (state.revision !== -1) throw emailTaken('graphql-input')
  return [
    {
      type: 'CustomerRegistered',
      data: {
        customerId: command.customerId,
        email: command.email,
        ...command.details,
        groupId: DEFAULT_GROUP,
        isSubscribed: command.isSubscribed,
        credentialsRevision: command.credentialsRevision,
      },
    },
  ]
}

/**
 * A change of details, e-mail address and newsletter subscription. That the address is free and the password given
 * with it is right has been seen to before.
 * @throws CustomerError (graphql-input)
 */
export function update(state: CustomerDocument, input: CustomerInput): CustomerEvent[] {
  const email = input.email ?? undefined
  const emailChanges = email !== undefined && email !== state.email
  const details = checkDetails(input, () => emailChanges && checkEmail(email))
  const changed = Object.fromEntries(
    Object.entries(details).filter(([field, value]) => state[field as keyof CustomerDetails] !== value),
  )
  const events: CustomerEvent[] = []
  if (Object.keys(changed).length > 0) events.push({ type: 'CustomerDetailsChanged', data: changed })
  if (emailChanges) events.push({ type: 'CustomerEmailChanged', data: { email, previousEmail: state.email } })
  if (input.is_subscribed != null && input.is_subscribed !== state.isSubscribed) {
    events.push({ type: input.is_subscribed ? 'NewsletterSubscribed' : 'NewsletterUnsubscribed', data: {} })
  }
  return events
}

/** @throws CustomerError where no field is given at all */
export function checkNotEmpty(input: object): void {
  if (Object.keys(input).length === 0) throw invalidInput('"input" value should be specified')
}

/** The fact that credentials of this revision now count; nothing where it is known already. */
export function recordPasswordChange(state: CustomerDocument, credentialsRevision: number): CustomerEvent[] {
  if (state.credentialsRevision >= credentialsRevision) return []
  return [{ type: 'CustomerPasswordChanged', data: { credentialsRevision } }]
}

export function revokeTokens(): CustomerEvent[] {
  return [{ type: 'CustomerTokensRevoked', data: {} }]
}

/** Locks the account; nothing where it is locked already. */
export function lock(state: CustomerDocument, now: Date, until: Date): CustomerEvent[] {
  return isLocked(state, now) ? [] : [{ type: 'CustomerLocked', data: { until: until.toISOString() } }]
}

export function isLocked(state: CustomerDocument, now: Date): boolean {
  return state.lockedUntil !== null && Date.parse(state.lockedUntil) > now.getTime()
}

/** @throws CustomerError (graphql-input) */
export function addAddress(state: CustomerDocument, addressId: number, input: AddressInput): CustomerEvent[] {
  const fields = resolveAddress(input)
  return [{ type: 'CustomerAddressAdded', data: { addressId, ...fields } }, ...moveDefaults(state, addressId, input)]
}

/** @throws CustomerError (graphql-input; graphql-no-such-entity where the customer has no such address) */
export function changeAddress(state: CustomerDocument, addressId: number, input: AddressInput): CustomerEvent[] {
  const current = state.addresses.find((address) => address.id === addressId)
  if (current === undefined) throw addressNotFound(addressId)
  const changed = changedFields(current, resolveAddress(input, current))
  return [
    ...(Object.keys(changed).length > 0
      ? [{ type: 'CustomerAddressChanged', data: { addressId, ...changed } } as const]
      : []),
    ...moveDefaults(state, addressId, input),
  ]
}

/** @throws CustomerError (graphql-input for a default address; graphql-no-such-entity where the customer has no such address) */
export function removeAddress(state: CustomerDocument, addressId: number): CustomerEvent[] {
  if (!state.addresses.some((address) => address.id === addressId)) throw addressNotFound(addressId)
  for (const [kind, id] of [
    ['billing', state.defaultBilling],
    ['shipping', state.defaultShipping],
  ] as const) {
    if (id === addressId) {
      throw invalidInput(`Customer Address ${addressId} is set as default ${kind} address and can not be deleted`)
    }
  }
  return [{ type: 'CustomerAddressRemoved', data: { addressId } }]
}

export const addressNotFound = (addressId: number) => notFound(`Could not find a address with ID "${addressId}"`)

/** @throws CustomerError where the account is locked or not in use */
export function checkUsable(state: CustomerDocument, now: Date): void {
  if (isLocked(state, now)) throw accountLocked()
}

/** `true` moves a default to the address, `false` clears it where the address has it; anything else leaves it. */
function moveDefaults(state: CustomerDocument, addressId: number, input: AddressInput): CustomerEvent[] {
  const move = (current: number | null, wanted: boolean | null | undefined) => {
    if (wanted === true && current !== addressId) return addressId
    if (wanted === false && current === addressId) return null
    return undefined
  }
  const billing = move(state.defaultBilling, input.default_billing)
  const shipping = move(state.defaultShipping, input.default_shipping)
  const events: CustomerEvent[] = []
  if (billing !== undefined) events.push({ type: 'DefaultBillingAddressSet', data: { addressId: billing } })
  if (shipping !== undefined) events.push({ type: 'DefaultShippingAddressSet', data: { addressId: shipping } })
  return events
}

function checkEmail(email: string): void {
  if (!isValidEmail(email)) throw invalidInput(`"${email}" is not a valid email address.`)
}

const NAME = /^[\p{L}\p{M}\p{Nd} ,\-_.'’`]+$/u
const NAME_LABELS = { firstname: 'First Name', lastname: 'Last Name', middlename: 'Middle Name' } as const
const TEXT_LABELS = {
  prefix: 'Name Prefix',
  firstname: 'First Name',
  middlename: 'Middle Name/Initial',
  lastname: 'Last Name',
  suffix: 'Name Suffix',
  taxvat: 'Tax/VAT Number',
} as const

/** The details that the input names, in Magento's order of checks: required names, e-mail address, gender, date, text. */
function checkDetails(input: CustomerInput, checkEmail: () => void): Partial<CustomerDetails> {
  const missing = (['firstname', 'lastname'] as const)
    .filter((field) => input[field] !== undefined && (input[field] ?? '').trim() === '')
    .map((field) => NAME_LABELS[field])
  if (missing.length === 1) throw invalidInput(`"${missing[0]}" is a required value.`)
  if (missing.length > 1) throw invalidInput(`Required parameters are missing: ${missing.join(', ')}`)
  checkEmail()
  if (input.gender != null && !GENDERS.has(input.gender)) {
    throw invalidInput(`"${input.gender}" is not a valid gender value.`)
  }
  const details: Partial<CustomerDetails> = {}
  if (input.gender !== undefined) details.gender = input.gender
  if (input.dob !== undefined) details.dob = checkDate(input.dob)
  for (const [field, label] of Object.entries(TEXT_LABELS) as [keyof typeof TEXT_LABELS, string][]) {
    const text = input[field]
    if (text === undefined) continue
    if (text !== null && text.length > MAX_TEXT) throw invalidInput(tooLong(label))
    if (text && field in NAME_LABELS && !NAME.test(text)) {
      throw invalidInput(`${NAME_LABELS[field as keyof typeof NAME_LABELS]} is not valid!`)
    }
    if (field === 'firstname' || field === 'lastname') details[field] = text ?? ''
    else details[field] = text
  }
  return details
}

function checkDate(text: string | null): string | null {
  if (text === null || text === '') return null
  const date = parseDate(text)
  if (date === undefined) throw invalidInput('Invalid date')
  return date
}
