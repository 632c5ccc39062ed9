/** A row of Magento's "Customers Main File" as a customer's first events. */
import type { CustomAttributes, CustomerEvent } from '../../schema/events.ts'
import type { CustomAttribute, Store } from '../../schema/store.ts'
import { parseDate } from '../domain/date.ts'
import { isMagentoHash } from '../identity/magento-hashes.ts'
import { idOf, moment, RejectedRow, type Row, text } from './rows.ts'

export const CUSTOMER_ID_COLUMNS = ['entity_id', '_entity_id', 'id']

export interface ImportedCustomer {
  /** undefined: the file has no ids. */
  readonly id: number | undefined
  readonly email: string
  /** Magento's encoding; undefined: an account without a password, or with a plain one. */
  readonly passwordHash: string | undefined
  /** To be hashed. */
  readonly password: string | undefined
  /** The events, once it is known under which id. */
  events(id: number): CustomerEvent[]
}

const GENDERS: Readonly<Record<string, number>> = { male: 1, female: 2, 'not specified': 3, 1: 1, 2: 2, 3: 3, 0: 0 }

/**
 * What Magento holds is kept, also where it would not pass today's rules (a name with odd characters, an unusual address).
 * @throws RejectedRow for what can't be represented
 */
export function readCustomer({ fields }: Row, store: Store, now: Date): ImportedCustomer {
  const email = text(fields, 'email')
  if (email === null || !/^[^\s@]+@[^\s@]+$/.test(email)) throw new RejectedRow('email is missing or no address')
  const id = idOf(fields, CUSTOMER_ID_COLUMNS)
  const given = CUSTOMER_ID_COLUMNS.map((column) => fields[column]).find((value) => value)
  if (given !== undefined && id === undefined) throw new RejectedRow('entity_id is no number above 0')
  // A new id could be one that a later row brings.
  const hasIds = CUSTOMER_ID_COLUMNS.some((column) => column in fields)
  if (hasIds && id === undefined) throw new RejectedRow('entity_id is missing while other rows have one')
  const passwordHash = text(fields, 'password_hash') ?? undefined
  if (passwordHash !== undefined && !isMagentoHash(passwordHash)) {
    throw new RejectedRow("password_hash is not in one of Magento's formats")
  }
  const dob = text(fields, 'dob')
  const date = dob === null || dob.startsWith('0000') ? null : parseDate(dob)
  if (date === undefined) throw new RejectedRow('dob is no date')
  const gender = text(fields, 'gender')
  if (gender !== null && GENDERS[gender.toLowerCase()] === undefined) throw new RejectedRow('gender is unknown')
  const group = text(fields, 'group_id')
  if (group !== null && !/^\d{1,9}$/.test(group)) throw new RejectedRow('group_id is no number')
  const lockedUntil = moment(fields, 'lock_expires')
  const createdAt = moment(fields, 'created_at') ?? now
  const customAttributes = readAttributes(fields, store.customAttributes.customer)

  return {
    id,
    email,
    passwordHash,
    password: passwordHash === undefined ? (text(fields, 'password') ?? undefined) : undefined,
    events: (customerId) => [
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
          groupId: group === null ? store.account.defaultGroup : Number(group),
          isSubscribed: fields.is_subscribed === '1',
          customAttributes,
          rewardUpdateNotification: flag(fields, 'reward_update_notification'),
          rewardWarningNotification: flag(fields, 'reward_warning_notification'),
          createdAt: createdAt.toISOString(),
          credentialsRevision: passwordHash === undefined && !text(fields, 'password') ? -1 : 0,
        },
      },
      // Only where the store wants it: elsewhere an old key would keep nobody out.
      ...(text(fields, 'confirmation') !== null && store.account.confirmationRequired
        ? [{ type: 'EmailConfirmationRequested', data: {} } as const]
        : []),
      ...(lockedUntil !== null && lockedUntil > now
        ? [{ type: 'CustomerLocked', data: { until: lockedUntil.toISOString() } } as const]
        : []),
    ],
  }
}

function flag(fields: Row['fields'], column: string): number | null {
  const value = text(fields, column)
  return value === '0' || value === '1' ? Number(value) : null
}

/** Values of declared attributes from columns of their codes: of options the value or, as Magento exports it, the label. */
export function readAttributes(fields: Row['fields'], declared: readonly CustomAttribute[]): CustomAttributes {
  const attributes: CustomAttributes = {}
  for (const { code, type, options } of declared) {
    const value = text(fields, code)
    if (value === null) continue
    if (type !== 'select' && type !== 'multiselect') {
      attributes[code] = value
      continue
    }
    const given = type === 'select' ? [value] : value.split(/[,|\n]/).map((each) => each.trim())
    const chosen = options.filter((option) => given.some((each) => each === option.value || each === option.label))
    if (chosen.length < given.length) throw new RejectedRow(`${code} has an option that the store does not have`)
    attributes[code] = chosen.map((option) => option.value)
  }
  return attributes
}
