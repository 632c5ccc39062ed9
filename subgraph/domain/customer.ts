/**
 * The customer: what a command changes, as events (`decide`). Every function here is pure: state and command in, events
 * out; ids and times are arguments.
 *
 * `evolve`, events to state, is `project` of projections/customer.ts. It is there because the state is the document
 * that answers queries: the projections, the subgraph and the mail worker fold the same function, so that their answers
 * can't differ, and projections may not import the subgraph.
 */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { CustomAttributes, CustomerDetails, CustomerEvent } from '../../schema/events.ts'
import type { Store } from '../../schema/store.ts'
import { type AddressInput, changedFields, resolveAddress } from './address.ts'
import { type AttributeInput, applyAttributes, requireAttributes, resolveAttributes } from './attributes.ts'
import { parseDate } from './date.ts'
import { isValidEmail } from './email.ts'
import { fault } from './faults.ts'
import { isName, MAX_TEXT } from './text.ts'

/**
 * CustomerInput, CustomerCreateInput and CustomerUpdateInput of the schema: an absent field stays unchanged, null
 * clears it.
 */
export interface CustomerInput {
  readonly prefix?: string | null
  readonly firstname?: string | null
  readonly middlename?: string | null
  readonly lastname?: string | null
  readonly suffix?: string | null
  readonly email?: string | null
  readonly dob?: string | null
  /** Takes precedence over dob. */
  readonly date_of_birth?: string | null
  readonly taxvat?: string | null
  readonly gender?: number | null
  readonly password?: string | null
  readonly is_subscribed?: boolean | null
  readonly allow_remote_shopping_assistance?: boolean | null
  readonly custom_attributes?: readonly (AttributeInput | null)[] | null
}

const GENDERS = new Set([0, 1, 2, 3]) // 0 is accepted, as in Magento

export interface Registration {
  readonly email: string
  readonly details: CustomerDetails
  readonly customAttributes: CustomAttributes
  /** undefined: not in the input. */
  readonly isSubscribed: boolean | undefined
}

/** The guest subscription of the address that a customer takes: see newsletter-subscribers.ts. */
export type GuestStatus = 'none' | 'subscribed' | 'unconfirmed'

/**
 * Checks the input of a registration, except the password and whether the address is free.
 * @throws Fault
 */
export function checkRegistration(input: CustomerInput, store: Store, now: Date): Registration {
  checkNotEmpty(input)
  if (input.email == null) throw fault('EMAIL_REQUIRED')
  const details = checkDetails({ firstname: '', lastname: '', ...input }, now, () => checkEmail(input.email ?? ''))
  const declared = store.customAttributes.customer
  const customAttributes = applyAttributes({}, resolveAttributes(declared, input.custom_attributes))
  requireAttributes(declared, customAttributes)
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
      allowRemoteShoppingAssistance: false,
      ...details,
    },
    customAttributes,
    isSubscribed: input.is_subscribed ?? undefined,
  }
}

export interface RegisterCommand extends Registration {
  readonly customerId: number
  /** -1: an account without a password */
  readonly credentialsRevision: number
  /** Default: none. */
  readonly guest?: GuestStatus
  readonly at: Date
}

/** The first events of a customer. A guest's subscription is kept, unless the input says otherwise. */
export function register(state: CustomerDocument, command: RegisterCommand, store: Store): CustomerEvent[] {
  if (state.revision !== -1) throw fault('EMAIL_TAKEN')
  const { isSubscribed = command.guest === 'subscribed' } = command
  const subscribes = isSubscribed && store.newsletter.active
  const confirmsFirst = store.newsletter.confirmationRequired && command.guest !== 'subscribed'
  return [
    {
      type: 'CustomerRegistered',
      data: {
        customerId: command.customerId,
        email: command.email,
        ...command.details,
        groupId: store.account.defaultGroup,
        isSubscribed: subscribes && !confirmsFirst,
        customAttributes: command.customAttributes,
        rewardUpdateNotification: null,
        rewardWarningNotification: null,
        createdAt: command.at.toISOString(),
        credentialsRevision: command.credentialsRevision,
      },
    },
    ...(store.account.confirmationRequired ? [{ type: 'EmailConfirmationRequested', data: {} } as const] : []),
    ...(subscribes && confirmsFirst ? [{ type: 'NewsletterConfirmationRequested', data: {} } as const] : []),
  ]
}

/**
 * A change of details, e-mail address and newsletter subscription. The caller has checked that the address is free and
 * that the password is right.
 * @param guest the guest subscription of the new address
 * @throws Fault
 */
export function update(
  state: CustomerDocument,
  input: CustomerInput,
  store: Store,
  now: Date,
  guest: GuestStatus = 'none',
): CustomerEvent[] {
  const email = input.email ?? undefined
  const emailChanges = email !== undefined && email !== state.email
  const details = checkDetails(input, now, () => emailChanges && checkEmail(email))
  const attributes = resolveAttributes(store.customAttributes.customer, input.custom_attributes)
  const changed = changes(state, details)
  const changedAttributes = changes(state.customAttributes, attributes)
  const events: CustomerEvent[] = []
  if (Object.keys(changed).length > 0) events.push({ type: 'CustomerDetailsChanged', data: changed })
  if (Object.keys(changedAttributes).length > 0) {
    events.push({ type: 'CustomerAttributesChanged', data: { attributes: changedAttributes } })
  }
  if (emailChanges) events.push({ type: 'CustomerEmailChanged', data: { email, previousEmail: state.email } })
  // A change of address invalidates the link that was sent to the previous address: the new one has to be confirmed.
  const after = emailChanges ? { ...state, newsletterConfirmation: null } : state
  const isToBeConfirmed = emailChanges && state.newsletter === 'unconfirmed' && store.newsletter.confirmationRequired
  // The guest's choice counts for a customer who never chose; one who has unsubscribed stays unsubscribed.
  const isTakenOver = emailChanges && guest === 'subscribed' && ['none', 'unconfirmed'].includes(state.newsletter)
  if (input.is_subscribed ?? (isToBeConfirmed || isTakenOver)) {
    events.push(...subscribe(after, store, now, emailChanges ? guest : 'none'))
  }
  if (input.is_subscribed === false) events.push(...unsubscribe(state))
  return events
}

/** The values that differ from before; null or absent means not set. */
function changes<T extends Readonly<Record<string, unknown>>>(before: object, after: T): T {
  const given = before as Record<string, unknown>
  const changed = Object.entries(after).filter(
    ([name, value]) => JSON.stringify(given[name] ?? null) !== JSON.stringify(value),
  )
  return Object.fromEntries(changed) as T
}

/**
 * A subscription to the newsletter; no events if there is one already, if its link is still valid, or after too many
 * requests.
 */
export function subscribe(
  state: CustomerDocument,
  { newsletter }: Store,
  now: Date,
  guest: GuestStatus = 'none',
): CustomerEvent[] {
  if (!newsletter.active || state.newsletter === 'subscribed') return []
  // An address that was confirmed as a guest needs no second mail.
  if (!newsletter.confirmationRequired || guest === 'subscribed') return [{ type: 'NewsletterSubscribed', data: {} }]
  if (state.newsletter === 'unconfirmed' && state.newsletterConfirmation !== null) return []
  if (isTooOften(state.newsletterRequests, now, newsletter.confirmationRequestsPerHour)) return []
  return [{ type: 'NewsletterConfirmationRequested', data: {} }]
}

function unsubscribe(state: CustomerDocument): CustomerEvent[] {
  const isSubscribed = state.newsletter === 'subscribed' || state.newsletter === 'unconfirmed'
  return isSubscribed ? [{ type: 'NewsletterUnsubscribed', data: {} }] : []
}

/** @throws Fault if no field is given */
export function checkNotEmpty(input: object): void {
  if (Object.keys(input).length === 0) throw fault('INPUT_EMPTY')
}

/** Records that the credentials of this revision are now in use; no events if that is recorded already. */
export function recordPasswordChange(state: CustomerDocument, credentialsRevision: number): CustomerEvent[] {
  if (state.credentialsRevision >= credentialsRevision) return []
  return [{ type: 'CustomerPasswordChanged', data: { credentialsRevision } }]
}

/** Like {@link recordPasswordChange}, for a stronger hash of the same password. */
export function recordHashUpgrade(state: CustomerDocument, credentialsRevision: number): CustomerEvent[] {
  if (state.credentialsRevision >= credentialsRevision) return []
  return [{ type: 'PasswordHashUpgraded', data: { credentialsRevision } }]
}

/** Like {@link recordPasswordChange}, and revokes all tokens except `keptToken`, the one that asked for the change. */
export function passwordChanged(
  state: CustomerDocument,
  credentialsRevision: number,
  keptToken: string | undefined,
): CustomerEvent[] {
  const changed = recordPasswordChange(state, credentialsRevision)
  return changed.length === 0 ? [] : [...changed, ...revokeTokens(keptToken)]
}

/** @param keptToken the id of a token that stays valid */
export function revokeTokens(keptToken?: string): CustomerEvent[] {
  return [{ type: 'CustomerTokensRevoked', data: { ...(keptToken !== undefined && { keptToken }) } }]
}

/** Locks the account; no events if it is locked already. */
export function lock(state: CustomerDocument, now: Date, until: Date): CustomerEvent[] {
  return isLocked(state, now) ? [] : [{ type: 'CustomerLocked', data: { until: until.toISOString() } }]
}

export function isLocked(state: CustomerDocument, now: Date): boolean {
  return state.lockedUntil !== null && Date.parse(state.lockedUntil) > now.getTime()
}

/** @throws Fault, also if the customer has as many addresses as the store allows */
export function addAddress(
  state: CustomerDocument,
  addressId: number,
  input: AddressInput,
  store: Store,
): CustomerEvent[] {
  const fields = resolveAddress(input, store)
  const { maxPerCustomer } = store.address
  if (state.addresses.length >= maxPerCustomer) throw fault('ADDRESS_LIMIT_REACHED', { most: maxPerCustomer })
  return [{ type: 'CustomerAddressAdded', data: { addressId, ...fields } }, ...moveDefaults(state, addressId, input)]
}

/** @throws Fault, also if the customer has no such address */
export function changeAddress(
  state: CustomerDocument,
  addressId: number,
  input: AddressInput,
  store: Store,
): CustomerEvent[] {
  const current = state.addresses.find((address) => address.id === addressId)
  if (current === undefined) throw fault('ADDRESS_NOT_FOUND', { addressId })
  const changed = changedFields(current, resolveAddress(input, store, current))
  return [
    ...(Object.keys(changed).length > 0
      ? [{ type: 'CustomerAddressChanged', data: { addressId, ...changed } } as const]
      : []),
    ...moveDefaults(state, addressId, input),
  ]
}

/** @throws Fault for a default address, or if the customer has no such address */
export function removeAddress(state: CustomerDocument, addressId: number): CustomerEvent[] {
  if (!state.addresses.some((address) => address.id === addressId)) throw fault('ADDRESS_NOT_FOUND', { addressId })
  for (const [kind, id] of [
    ['billing', state.defaultBilling],
    ['shipping', state.defaultShipping],
  ] as const) {
    if (id === addressId) throw fault('ADDRESS_IS_DEFAULT', { addressId, kind })
  }
  return [{ type: 'CustomerAddressRemoved', data: { addressId } }]
}

/** Requests a link to set a new password; no events if the store's limits are reached. */
export function requestPasswordReset(state: CustomerDocument, now: Date, { password }: Store): CustomerEvent[] {
  const { resetRequestsPerHour, resetMinutesBetween } = password
  if (isTooOften(state.passwordResetRequests, now, resetRequestsPerHour, resetMinutesBetween)) return []
  return [{ type: 'PasswordResetRequested', data: {} }]
}

/** Requests a new link to confirm the account, which replaces the previous one; no events after too many requests. */
export function requestConfirmation(state: CustomerDocument, now: Date, { account }: Store): CustomerEvent[] {
  if (isTooOften(state.confirmationRequests, now, account.confirmationRequestsPerHour)) return []
  return [{ type: 'EmailConfirmationRequested', data: {} }]
}

/** @param perHour 0: any number */
function isTooOften(requests: readonly string[], now: Date, perHour: number, minutesBetween = 0): boolean {
  const ages = requests.map((at) => now.getTime() - Date.parse(at))
  const lately = ages.filter((age) => age < HOUR_MS).length
  return (perHour > 0 && lately >= perHour) || ages.some((age) => age < minutesBetween * 60_000)
}

/** Whether the latest link is still valid. */
export function isResetExpired(state: CustomerDocument, now: Date, { password }: Store): boolean {
  const { passwordReset } = state
  return passwordReset === null || now.getTime() - Date.parse(passwordReset.at) > password.resetLinkHours * HOUR_MS
}

const HOUR_MS = 3_600_000

/** @throws Fault if the account is locked or not confirmed yet */
export function checkUsable(state: CustomerDocument, now: Date, store: Store): void {
  if (isLocked(state, now)) throw fault('ACCOUNT_LOCKED')
  if (isUnconfirmed(state, store)) throw fault('ACCOUNT_UNCONFIRMED')
}

/** Whether the account is unusable until its address is confirmed. */
export function isUnconfirmed(state: CustomerDocument, { account }: Store): boolean {
  return account.confirmationRequired && state.confirmation !== null
}

/**
 * `true` makes the address the default, `false` removes the default if the address has it; anything else changes
 * nothing.
 */
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
  if (!isValidEmail(email)) throw fault('EMAIL_INVALID', { email })
}

const NAMES: ReadonlySet<string> = new Set(['firstname', 'middlename', 'lastname'] satisfies Name[])
type Name = 'firstname' | 'middlename' | 'lastname'
const TEXTS = ['prefix', 'firstname', 'middlename', 'lastname', 'suffix', 'taxvat'] as const

/**
 * The details that the input names, in Magento's order of checks: required names, e-mail address, gender, date, text.
 */
function checkDetails(input: CustomerInput, now: Date, checkEmail: () => void): Partial<CustomerDetails> {
  const missing = (['firstname', 'lastname'] as const).filter(
    (field) => input[field] !== undefined && (input[field] ?? '').trim() === '',
  )
  if (missing.length > 0) throw fault('NAMES_REQUIRED', { fields: missing })
  checkEmail()
  if (input.gender != null && !GENDERS.has(input.gender)) throw fault('GENDER_INVALID', { gender: input.gender })
  const details: Partial<CustomerDetails> = {}
  if (input.gender !== undefined) details.gender = input.gender
  // As in Magento, null beside a date does not count.
  const dob = input.date_of_birth ?? (input.dob === undefined ? input.date_of_birth : input.dob)
  if (dob !== undefined) details.dob = checkBirthday(dob, now)
  if (input.allow_remote_shopping_assistance != null) {
    details.allowRemoteShoppingAssistance = input.allow_remote_shopping_assistance
  }
  for (const field of TEXTS) {
    const text = input[field] == null ? input[field] : input[field].trim()
    if (text === undefined) continue
    if (text !== null && text.length > MAX_TEXT) throw fault('FIELD_TOO_LONG', { field, most: MAX_TEXT })
    if (text && NAMES.has(field) && !isName(text)) throw fault('FIELD_INVALID', { field: field as Name })
    if (field === 'firstname' || field === 'lastname') details[field] = text ?? ''
    else details[field] = text
  }
  return details
}

function checkBirthday(text: string | null, now: Date): string | null {
  if (text === null || text === '') return null
  const date = parseDate(text)
  if (date === undefined) throw fault('DATE_INVALID')
  if (date > now.toISOString().slice(0, 10)) throw fault('DATE_OF_BIRTH_IN_FUTURE')
  return date
}
