/** The columns of Magento's export files, matched without regard to case, blanks and underscores. */

export interface Columns {
  /** Columns that are read. */
  readonly used: readonly string[]
  /** Magento's own columns without a meaning here: they are not reported as unused. */
  readonly ignored: readonly string[]
  /** Other names of columns that are read, in the form of {@link fold}. */
  readonly aliases: Readonly<Record<string, string>>
}

const NAMES = ['prefix', 'firstname', 'middlename', 'lastname', 'suffix']
const ADDRESS_FIELDS = [
  ...NAMES,
  ...['company', 'street', 'city', 'postcode', 'country_id', 'region', 'region_id', 'telephone', 'fax', 'vat_id'],
]
const DEFAULTS = ['_address_default_billing_', '_address_default_shipping_']
const BOOKKEEPING = ['_store', '_finance_website', 'website_id', 'store_id', 'created_in', 'updated_at']
const OF_VAT = ['vat_is_valid', 'vat_request_date', 'vat_request_id', 'vat_request_success']

/** The columns that an import adds in front of rejected rows (rejected-file.ts). */
export const REJECTED_COLUMNS = ['rejected_line', 'rejected_reason'] as const

/** What only a customer's own row has in a composite file, beside the e-mail address. */
export const OF_PERSON = [
  ...NAMES,
  ...['entity_id', '_entity_id', 'id', 'dob', 'taxvat', 'gender', 'group_id', 'created_at', 'lock_expires'],
  ...['password_hash', 'password', 'confirmation'],
]

/** The prefix of the address columns in a composite file. */
const ADDRESS = '_address_'

const ADDRESS_ALIASES = {
  phone: 'telephone',
  phonenumber: 'telephone',
  zip: 'postcode',
  zipcode: 'postcode',
  postalcode: 'postcode',
  country: 'country_id',
  countrycode: 'country_id',
  state: 'region',
  'state/province': 'region',
  vatnumber: 'vat_id',
}

/**
 * The columns of the customers' file; a composite one has their addresses in the same rows. @param attributes codes of
 * the store's own
 */
export const customerColumns = (attributes: readonly string[], addressAttributes: readonly string[]): Columns => ({
  used: [
    ...OF_PERSON,
    ...['email', '_website', 'is_subscribed', 'reward_update_notification', 'reward_warning_notification'],
    ...attributes,
    ...[...ADDRESS_FIELDS, ...addressAttributes].map((name) => `${ADDRESS}${name}`),
    ...DEFAULTS,
  ],
  ignored: [
    ...REJECTED_COLUMNS,
    ...BOOKKEEPING,
    ...['disable_auto_group_change', 'failures_num', 'first_failure', 'rp_token', 'rp_token_created_at'],
    ...['default_billing', 'default_shipping', 'entity_type_id', 'attribute_set_id', 'increment_id', 'is_active'],
    ...OF_VAT.map((name) => `${ADDRESS}${name}`),
  ],
  aliases: { emailaddress: 'email', dateofbirth: 'dob', taxvatnumber: 'taxvat' },
})

/** The addresses' file. */
export const addressColumns = (attributes: readonly string[]): Columns => ({
  used: ['_email', '_website', '_entity_id', 'entity_id', ...ADDRESS_FIELDS, ...attributes, ...DEFAULTS],
  ignored: [
    ...REJECTED_COLUMNS,
    ...BOOKKEEPING,
    ...OF_VAT,
    'parent_id',
    'entity_type_id',
    'attribute_set_id',
    'increment_id',
    'is_active',
  ],
  aliases: { ...ADDRESS_ALIASES, email: '_email', emailaddress: '_email' },
})

/** Normalises the spelling of a name: `First Name`, `first_name` and `FIRSTNAME` are equal; a leading `_` counts. */
function fold(name: string): string {
  const plain = name.normalize('NFC').trim().toLowerCase()
  return (plain.startsWith('_') ? '_' : '') + plain.replace(/[\s_.-]/g, '')
}

export interface Matched {
  readonly columns: readonly string[]
  readonly unused: readonly string[]
  /** A column that two names in the header row match. */
  readonly twice: string | undefined
}

/** The columns that the names of a header row match; an unknown name is kept. */
export function matchColumns(head: readonly string[], { used, ignored, aliases }: Columns): Matched {
  const known = new Map([...used, ...ignored].map((name) => [fold(name), name]))
  // The exact spelling counts first: `id` and `_id` may be two columns.
  const names = head.map((name) => known.get(fold(name)) ?? aliases[fold(name)])
  const meant = new Set(used)
  const columns = head.map((name, index) => names[index] ?? name.trim())
  const unused = head
    .filter((name, index) => names[index] === undefined && name.trim() !== '')
    .map((name) => name.trim())
  const twice = columns.find((name, index) => meant.has(name) && columns.indexOf(name) !== index)
  // Two unused columns may have the same name: each gets a unique one.
  return { columns: columns.map((name, index) => (meant.has(name) ? name : `${name}#${index}`)), unused, twice }
}

/** Whether a table of customers also has their addresses. */
export const isComposite = (columns: readonly string[]): boolean =>
  columns.some((name) => name.startsWith(ADDRESS) && !DEFAULTS.includes(name))

/** The fields of a composite row's address by the names of the addresses' file; undefined if the row has none. */
export function addressFieldsOf(fields: Readonly<Record<string, string>>): Record<string, string> | undefined {
  const own = Object.entries(fields).filter(([name]) => name.startsWith(ADDRESS))
  if (own.every(([name, value]) => value.trim() === '' || DEFAULTS.includes(name))) return undefined
  return Object.fromEntries(
    own.map(([name, value]) => [DEFAULTS.includes(name) ? name : name.slice(ADDRESS.length), value]),
  )
}
