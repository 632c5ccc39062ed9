/** A row of Magento's "Customer Addresses" file as an address. */
import { COUNTRIES } from '../../schema/countries.ts'
import type { AddressFields } from '../../schema/events.ts'
import { regionOf, regionsOf } from '../../schema/regions.ts'
import type { Store } from '../../schema/store.ts'
import { readAttributes } from './customer-row.ts'
import { idOf, RejectedRow, type Row, text } from './rows.ts'

export const ADDRESS_ID_COLUMNS = ['_entity_id', 'entity_id']
/** Ids below are the same in every Magento; those of later versions differ between shops. */
const FIRST_LOCAL_REGION = 512

export interface ImportedAddress {
  readonly id: number
  readonly email: string
  readonly fields: AddressFields
  readonly isDefaultBilling: boolean
  readonly isDefaultShipping: boolean
}

/** @throws RejectedRow for what can't be represented */
export function readAddress({ fields }: Row, store: Store): ImportedAddress {
  const email = text(fields, '_email')?.trim()
  if (!email) throw new RejectedRow('_email is missing')
  const id = idOf(fields, ADDRESS_ID_COLUMNS)
  if (id === undefined) throw new RejectedRow('_entity_id is missing or no number above 0')
  const countryId = text(fields, 'country_id')?.toUpperCase()
  if (countryId === undefined || !COUNTRIES.has(countryId)) throw new RejectedRow('country_id is no country')
  const street = (text(fields, 'street') ?? '').split(/\r?\n/)
  return {
    id,
    email,
    fields: {
      prefix: text(fields, 'prefix'),
      firstname: text(fields, 'firstname') ?? '',
      middlename: text(fields, 'middlename'),
      lastname: text(fields, 'lastname') ?? '',
      suffix: text(fields, 'suffix'),
      company: text(fields, 'company'),
      street,
      city: text(fields, 'city') ?? '',
      postcode: text(fields, 'postcode'),
      countryId,
      ...readRegion(fields, countryId),
      telephone: text(fields, 'telephone') ?? '',
      fax: text(fields, 'fax'),
      vatId: text(fields, 'vat_id'),
      customAttributes: readAttributes(fields, store.customAttributes.address),
    },
    isDefaultBilling: fields._address_default_billing_ === '1',
    isDefaultShipping: fields._address_default_shipping_ === '1',
  }
}

/** By id where it is one of every Magento's, else by name or code; free text where the country has no such region. */
function readRegion(
  fields: Row['fields'],
  countryId: string,
): { readonly regionId: number | null; readonly regionCode: string | null; readonly region: string | null } {
  const name = text(fields, 'region')
  const id = Number(text(fields, 'region_id') ?? 0)
  const known =
    (id > 0 && id < FIRST_LOCAL_REGION ? regionOf(countryId, id) : undefined) ??
    (name === null
      ? undefined
      : regionsOf(countryId).find((region) => region.name.toLowerCase() === name.toLowerCase() || region.code === name))
  if (known) return { regionId: known.id, regionCode: known.code, region: known.name }
  if (id > 0 && name === null) throw new RejectedRow('region_id is none that can be told without the name in region')
  return { regionId: null, regionCode: name, region: name }
}
