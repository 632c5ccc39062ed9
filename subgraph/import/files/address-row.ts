/** A row of Magento's "Customer Addresses" file as an address. */
import { COUNTRIES } from '../../../schema/countries.ts'
import type { AddressFields } from '../../../schema/events.ts'
import { regionOf, regionsNamed } from '../../../schema/regions.ts'
import type { Store } from '../../../schema/store.ts'
import { RejectedRow } from '../errors.ts'
import type { Row } from './csv.ts'
import { readAttributes } from './customer-row.ts'
import { idOf, isSet, text } from './fields.ts'

export const ADDRESS_ID_COLUMNS = ['_entity_id', 'entity_id']
/** Region ids below this one are the same in every Magento; later ones differ between shops. */
const FIRST_LOCAL_REGION = 512

export interface ImportedAddress {
  /** undefined: from a composite file, which has no address ids. */
  readonly id: number | undefined
  readonly email: string
  /** The code of the website that the customer's account is of; null: the file does not say. */
  readonly website: string | null
  readonly fields: AddressFields
  readonly isDefaultBilling: boolean
  readonly isDefaultShipping: boolean
}

/** A row of the addresses' file. @throws RejectedRow for what can't be represented */
export function readAddress({ fields }: Row, store: Store): ImportedAddress {
  const email = text(fields, '_email')
  if (!email) throw new RejectedRow('_email is missing')
  const id = idOf(fields, ADDRESS_ID_COLUMNS)
  if (id === undefined) throw new RejectedRow('_entity_id is missing or not a number above 0')
  return { id, ...readFields(fields, email, text(fields, '_website'), store) }
}

/**
 * The address in a row of a composite file.
 * @param fields by the names of the addresses' file
 * @param customer the customer that it is of
 * @throws RejectedRow for what can't be represented
 */
export const readCompositeAddress = (
  fields: Row['fields'],
  { email, website }: { readonly email: string; readonly website: string | null },
  store: Store,
): ImportedAddress => ({ id: undefined, ...readFields(fields, email, website, store) })

function readFields(
  fields: Row['fields'],
  email: string,
  website: string | null,
  store: Store,
): Omit<ImportedAddress, 'id'> {
  const countryId = text(fields, 'country_id')?.toUpperCase()
  if (countryId === undefined || !COUNTRIES.has(countryId)) throw new RejectedRow('country_id is not a country')
  const street = (text(fields, 'street') ?? '').split(/\r?\n/).map((line) => line.trim())
  return {
    email,
    website,
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
    isDefaultBilling: isSet(fields, '_address_default_billing_'),
    isDefaultShipping: isSet(fields, '_address_default_shipping_'),
  }
}

/**
 * Finds the region by id if it is the same in every Magento, otherwise by name or code; free text if the country has no
 * such region. Some shops write the name into the id column.
 * @throws RejectedRow if the fields match several regions, or two different ones
 */
function readRegion(
  fields: Row['fields'],
  countryId: string,
): { readonly regionId: number | null; readonly regionCode: string | null; readonly region: string | null } {
  const given = text(fields, 'region_id')
  const id = given !== null && /^\d+(\.0+)?$/.test(given) ? Number(given) : 0
  const name = text(fields, 'region') ?? (id === 0 && given !== '0' ? given : null)
  const byId = id > 0 && id < FIRST_LOCAL_REGION ? regionOf(countryId, id) : undefined
  const byName = name === null ? [] : regionsNamed(countryId, name)
  if (byId && byName.length > 0 && !byName.includes(byId)) {
    throw new RejectedRow('region and region_id name two different regions')
  }
  const known = byId ?? byName[0]
  if (byId === undefined && byName.length > 1) throw new RejectedRow('region names several regions of the country')
  if (known) return { regionId: known.id, regionCode: known.code, region: known.name }
  if (id > 0 && name === null) throw new RejectedRow('region_id is ambiguous without the name in region')
  return { regionId: null, regionCode: name, region: name }
}
