/** What an address must be like: required fields, lengths, and regions by country. */
import type { AddressFields } from '../../schema/events.ts'
import { isPostcodeOptional, isRegionRequired, regionOf } from '../../schema/regions.ts'
import { invalidInput } from '../errors.ts'
import { MAX_TEXT, tooLong } from './text.ts'

/** CustomerAddressInput of the schema: an absent field is left as it is, null clears it. */
export interface AddressInput {
  readonly firstname?: string | null
  readonly lastname?: string | null
  readonly company?: string | null
  readonly telephone?: string | null
  readonly street?: readonly (string | null)[] | null
  readonly city?: string | null
  readonly region?: {
    readonly region_code?: string | null
    readonly region?: string | null
    readonly region_id?: number | null
  } | null
  readonly postcode?: string | null
  readonly country_id?: string | null
  readonly default_shipping?: boolean | null
  readonly default_billing?: boolean | null
  readonly fax?: string | null
  readonly middlename?: string | null
  readonly prefix?: string | null
  readonly suffix?: string | null
  readonly vat_id?: string | null
}

const MAX_STREET_LINES = 2

const EMPTY: AddressFields = {
  prefix: null,
  firstname: '',
  middlename: null,
  lastname: '',
  suffix: null,
  company: null,
  street: [],
  city: '',
  postcode: null,
  countryId: '',
  regionId: null,
  regionCode: null,
  region: null,
  telephone: '',
  fax: null,
  vatId: null,
}

/** Labels as Magento's messages have them. */
const LABELS = {
  prefix: 'Name Prefix',
  firstname: 'First Name',
  middlename: 'Middle Name/Initial',
  lastname: 'Last Name',
  suffix: 'Name Suffix',
  company: 'Company',
  city: 'City',
  postcode: 'Zip/Postal Code',
  region: 'State/Province',
  telephone: 'Phone Number',
  fax: 'Fax',
  vatId: 'VAT Number',
} as const satisfies Partial<Record<keyof AddressFields, string>>

/**
 * The address that comes of `input` laid over `current` (a new one without `current`), checked whole.
 * @throws CustomerError (graphql-input): the fault's own text for one fault, Magento's collective one for several
 */
export function resolveAddress(input: AddressInput, current: AddressFields = EMPTY): AddressFields {
  const merged = merge(current, input)
  const faults = findFaults(merged)
  if (faults.length > 1) throw invalidInput('One or more input exceptions have occurred.')
  if (faults[0] !== undefined) throw invalidInput(faults[0])
  return resolveRegion(merged)
}

/** The fields in which `after` differs from `before`. */
export function changedFields(before: AddressFields, after: AddressFields): Partial<AddressFields> {
  const changed = (Object.keys(EMPTY) as (keyof AddressFields)[]).filter(
    (field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]),
  )
  return Object.fromEntries(changed.map((field) => [field, after[field]]))
}

function merge(current: AddressFields, input: AddressInput): AddressFields {
  const text = (given: string | null | undefined, kept: string | null) => (given === undefined ? kept : given)
  const required = (given: string | null | undefined, kept: string) => (given === undefined ? kept : (given ?? ''))
  const region =
    input.region === undefined
      ? {}
      : {
          regionId: input.region?.region_id || null, // 0 counts as none, as in PHP
          regionCode: input.region?.region_code ?? null,
          region: input.region?.region ?? null,
        }
  return {
    prefix: text(input.prefix, current.prefix),
    firstname: required(input.firstname, current.firstname),
    middlename: text(input.middlename, current.middlename),
    lastname: required(input.lastname, current.lastname),
    suffix: text(input.suffix, current.suffix),
    company: text(input.company, current.company),
    street: input.street === undefined ? current.street : (input.street ?? []).map((line) => line ?? ''),
    city: required(input.city, current.city),
    postcode: text(input.postcode, current.postcode),
    countryId: required(input.country_id, current.countryId),
    regionId: current.regionId,
    regionCode: current.regionCode,
    region: current.region,
    ...region,
    telephone: required(input.telephone, current.telephone),
    fax: text(input.fax, current.fax),
    vatId: text(input.vat_id, current.vatId),
  }
}

function findFaults(address: AddressFields): string[] {
  const missing = (value: string | null | undefined) => value == null || value.trim() === ''
  const faults: string[] = []
  const require = (name: string, value: string | null | undefined) => {
    if (missing(value)) faults.push(`"${name}" is required. Enter and try again.`)
  }
  require('firstname', address.firstname)
  require('lastname', address.lastname)
  require('street', address.street[0])
  require('city', address.city)
  require('telephone', address.telephone)
  require('countryId', address.countryId)
  if (!isPostcodeOptional(address.countryId)) require('postcode', address.postcode)

  if (address.street.length > MAX_STREET_LINES) {
    faults.push(`"Street Address" cannot contain more than ${MAX_STREET_LINES} lines.`)
  }
  for (const [field, label] of Object.entries(LABELS) as [keyof typeof LABELS, string][]) {
    if ((address[field]?.length ?? 0) > MAX_TEXT) faults.push(tooLong(label))
  }
  if (address.street.some((line) => line.length > MAX_TEXT)) faults.push(tooLong('Street Address'))
  return faults
}

/** Only an id resolves to a region of the list; where none is required, free text is kept as it was given. */
function resolveRegion(address: AddressFields): AddressFields {
  const required = isRegionRequired(address.countryId)
  if (address.regionId === null) {
    if (required) throw invalidInput('A region_id is required for the specified country code')
    return address
  }
  const region = regionOf(address.countryId, address.regionId)
  // A code that names another region is a contradiction; one left over from the stored address can't be, it came with the id.
  if (region === undefined || (required && address.regionCode && address.regionCode !== region.code)) {
    throw invalidInput(
      required
        ? 'The specified region is not a part of the selected country or region'
        : 'The region_id does not match the selected country or region',
    )
  }
  return { ...address, regionCode: region.code, region: region.name }
}
