/** Files as Magento exports them, made up. */
import { createHash } from 'node:crypto'

const CUSTOMER_COLUMNS =
  'email,_website,_store,confirmation,created_at,created_in,disable_auto_group_change,dob,entity_id,failures_num,firstname,first_failure,gender,group_id,lastname,lock_expires,middlename,password_hash,prefix,reward_update_notification,reward_warning_notification,rp_token,rp_token_created_at,store_id,suffix,taxvat,updated_at,website_id,password'.split(
    ',',
  )
const ADDRESS_COLUMNS =
  '_website,_email,_entity_id,city,company,country_id,fax,firstname,lastname,middlename,postcode,prefix,region,region_id,street,suffix,telephone,vat_id,vat_is_valid,_address_default_billing_,_address_default_shipping_'.split(
    ',',
  )

type Fields = Readonly<Record<string, string>>

const field = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

function csv(columns: readonly string[], rows: Iterable<Fields>): string {
  const all = [...rows]
  const extra = [...new Set(all.flatMap((row) => Object.keys(row)))].filter((column) => !columns.includes(column))
  // Magento's own export has no ids of customers.
  const head = [...columns, ...extra].filter((column) => column !== 'entity_id' || all.some((row) => row.entity_id))
  return `\uFEFF${[head, ...all.map((row) => head.map((column) => row[column] ?? ''))].map((row) => row.map(field).join(',')).join('\n')}\n`
}

export const customersFile = (rows: Iterable<Fields>) => csv(CUSTOMER_COLUMNS, rows)
export const addressesFile = (rows: Iterable<Fields>) => csv(ADDRESS_COLUMNS, rows)

const SHA256_SALT = 'DLX5pfEnbEFMlrY2DQBhzDhOxoUkCDv4'

/** A password's hash as Magento 2.0 to 2.3 stores it. */
export const sha256Hash = (password: string, salt = SHA256_SALT) =>
  `${createHash('sha256')
    .update(salt + password)
    .digest('hex')}:${salt}:1`

/** A customer row; what is given counts. */
export const aCustomer = (id: number, fields: Fields = {}): Fields => ({
  email: `moved${id}@example.com`,
  _website: 'base',
  _store: 'default',
  created_at: '2019-03-04 05:06:07',
  entity_id: String(id),
  firstname: 'Ann',
  lastname: 'Lee',
  gender: 'Female',
  group_id: '1',
  ...fields,
})

/** A row of a customer's address. */
export const anAddress = (id: number, customerId: number, fields: Fields = {}): Fields => ({
  _website: 'base',
  _email: `moved${customerId}@example.com`,
  _entity_id: String(id),
  city: 'Austin',
  country_id: 'US',
  firstname: 'Ann',
  lastname: 'Lee',
  postcode: '78701',
  region: 'Texas',
  region_id: '57',
  street: '1 Main St\n2nd floor',
  telephone: '555-0100',
  ...fields,
})
