/** A row of Magento's "Customers Main File" as a customer's first events. */
import { tidyEmail } from '../../../schema/email-key.ts'
import type { CustomAttributes, CustomerEvent } from '../../../schema/events.ts'
import type { CustomAttribute, Store } from '../../../schema/store.ts'
import type { GuestStatus } from '../../domain/customer.ts'
import { parseDate, parseDateTime } from '../../domain/date.ts'
import { MAX_TEXT } from '../../domain/text.ts'
import { faultOfMagentoHash } from '../../identity/magento-hashes.ts'
import { RejectedRow } from '../errors.ts'
import type { Row } from './csv.ts'
import { idOf, isSet, moment, text } from './fields.ts'

export const CUSTOMER_ID_COLUMNS = ['entity_id', '_entity_id', 'id']

export interface ImportedCustomer {
  /** undefined: the file has no ids. */
  readonly id: number | undefined
  readonly email: string
  /** The code of the website that the account is of; null: the file does not say. */
  readonly website: string | null
  /** Magento's encoding; undefined: an account without a password, or with a plain one. */
  readonly passwordHash: string | undefined
  /** A plain password, to be hashed. */
  readonly password: string | undefined
  /**
   * The events, once the id is known.
   * @param credentialsRevision -1: an account without a password
   * @param guest the guest subscription of the address, used if the file does not say
   */
  events(id: number, credentialsRevision: number, guest: GuestStatus): CustomerEvent[]
}

const GENDERS: Readonly<Record<string, number>> = { male: 1, female: 2, 'not specified': 3, 1: 1, 2: 2, 3: 3, 0: 0 }

/**
 * Magento's values are kept, even if they would not pass today's rules (a name with odd characters, an unusual
 * address).
 * @throws RejectedRow for what can't be represented
 */
export function readCustomer({ fields }: Row, store: Store, now: Date, timeZone: string): ImportedCustomer {
  const email = tidyEmail(text(fields, 'email') ?? '')
  if (email.length > MAX_TEXT || !/^[^\s@]+@[^\s@]+$/.test(email))
    throw new RejectedRow('email is missing or not an address')
  const id = idOf(fields, CUSTOMER_ID_COLUMNS)
  const given = CUSTOMER_ID_COLUMNS.map((column) => fields[column]).find((value) => value?.trim())
  if (given !== undefined && id === undefined) throw new RejectedRow('entity_id is not a number above 0')
  // A new id could collide with that of a later row.
  const hasIds = CUSTOMER_ID_COLUMNS.some((column) => column in fields)
  if (hasIds && id === undefined) throw new RejectedRow('entity_id is missing while other rows have one')
  const passwordHash = text(fields, 'password_hash') ?? undefined
  const fault = passwordHash === undefined ? undefined : faultOfMagentoHash(passwordHash)
  if (fault !== undefined) throw new RejectedRow(`password_hash ${fault}`)
  const dob = text(fields, 'dob')
  const date = dob === null || dob.startsWith('0000') ? null : parseDate(dob)
  if (date === undefined) throw new RejectedRow('dob is not a date')
  if (date !== null && date > now.toISOString().slice(0, 10)) throw new RejectedRow('dob lies in the future')
  const gender = text(fields, 'gender')
  if (gender !== null && GENDERS[gender.toLowerCase()] === undefined) throw new RejectedRow('gender is unknown')
  const group = text(fields, 'group_id')
  const groupId = group === null ? store.account.defaultGroup : groupOf(group, store)
  if (groupId === undefined) throw new RejectedRow('group_id is not a number, and no group of the store has this name')
  const lockedUntil = moment(fields, 'lock_expires', 'UTC')
  const createdAt = moment(fields, 'created_at', timeZone) ?? now
  const customAttributes = readAttributes(fields, store.customAttributes.customer)
  const isSubscribed = text(fields, 'is_subscribed') === null ? undefined : isSet(fields, 'is_subscribed')

  return {
    id,
    email,
    website: text(fields, '_website'),
    passwordHash,
    password: passwordHash === undefined ? fields.password || undefined : undefined,
    events: (customerId, credentialsRevision, guest) => [
      {
        type: 'CustomerRegistered',
        data: {
          customerId,
          email,
          prefix: text(fields, 'prefix'),
          firstname: text(fields, 'firstname') ?? '',
          middlename: text(fields, 'middlename'),
          lastname: text(fields, 'lastname') ?? '',
          suffix: text(fields, 'suffix'),
          dob: date,
          taxvat: text(fields, 'taxvat'),
          gender: gender === null ? null : (GENDERS[gender.toLowerCase()] ?? null),
          allowRemoteShoppingAssistance: false,
          groupId,
          isSubscribed: isSubscribed ?? guest === 'subscribed',
          customAttributes,
          rewardUpdateNotification: flag(fields, 'reward_update_notification'),
          rewardWarningNotification: flag(fields, 'reward_warning_notification'),
          createdAt: createdAt.toISOString(),
          credentialsRevision,
        },
      },
      // Only if the store requires confirmation: otherwise an old key means nothing.
      ...(text(fields, 'confirmation') !== null && store.account.confirmationRequired
        ? [{ type: 'EmailConfirmationRequested', data: {} } as const]
        : []),
      ...(lockedUntil !== null && lockedUntil > now
        ? [{ type: 'CustomerLocked', data: { until: lockedUntil.toISOString() } } as const]
        : []),
    ],
  }
}

/** By its id, or by its name, which some exports have. */
function groupOf(text: string, { groups }: Store): number | undefined {
  if (/^\d{1,9}(\.0+)?$/.test(text)) return Number(text)
  return groups.find(({ name }) => name.toLowerCase() === text.toLowerCase())?.id
}

const YES_NO: Readonly<Record<string, number>> = { 1: 1, 0: 0, '1.0': 1, '0.0': 0, yes: 1, no: 0, true: 1, false: 0 }

function flag(fields: Row['fields'], column: string): number | null {
  return YES_NO[text(fields, column)?.toLowerCase() ?? ''] ?? null
}

/**
 * Values of declared attributes from columns named by their codes; for options the value or, as Magento exports it, the
 * label.
 */
export function readAttributes(fields: Row['fields'], declared: readonly CustomAttribute[]): CustomAttributes {
  const attributes: CustomAttributes = {}
  for (const attribute of declared) {
    const value = text(fields, attribute.code)
    if (value !== null) attributes[attribute.code] = readAttribute(value, attribute)
  }
  return attributes
}

function readAttribute(value: string, attribute: CustomAttribute): string | string[] {
  const { code, type } = attribute
  switch (type) {
    case 'select':
    case 'multiselect':
      return readOptions(value, attribute)
    case 'boolean': {
      const flag = YES_NO[value.toLowerCase()]
      if (flag === undefined) throw new RejectedRow(`${code} is neither yes nor no`)
      return String(flag)
    }
    case 'date':
    case 'datetime': {
      const date = type === 'date' ? parseDate(value) : parseDateTime(value)
      if (date === undefined) throw new RejectedRow(`${code} is not a date`)
      return date
    }
    default:
      return value
  }
}

function readOptions(value: string, { code, type, options }: CustomAttribute): string[] {
  const find = (given: string) =>
    options.find((option) => option.value === given) ??
    options.find((option) => option.label.toLowerCase() === given.toLowerCase())
  const chosen = new Set<string>()
  const parts = type === 'select' ? [value] : value.split(',')
  // A label may contain commas, so the longest match wins.
  const most = Math.max(...options.map((option) => `${option.value}${option.label}`.split(',').length))
  const end = (from: number) => Math.min(from + most, parts.length)
  for (let from = 0, to = end(0); from < parts.length; from = to, to = end(from)) {
    let option = find(parts.slice(from, to).join(',').trim())
    while (option === undefined && --to > from) option = find(parts.slice(from, to).join(',').trim())
    if (option === undefined) throw new RejectedRow(`${code} has an option that the store does not have`)
    chosen.add(option.value)
  }
  return options.map((option) => option.value).filter((each) => chosen.has(each))
}
