/** The rules for addresses: required fields, lengths, and regions by country. */
import type { AddressFields } from '../../schema/events.ts'
import { type Region, regionOf, regionsNamed } from '../../schema/regions.ts'
import type { Store } from '../../schema/store.ts'
import { type AttributeInput, applyAttributes, requireAttributes, resolveAttributes } from './attributes.ts'
import { type Fault, type FaultDetails, type Field, fault } from './faults.ts'
import { isCity, isName, isStreet, isTelephone, MAX_TEXT } from './text.ts'

/** CustomerAddressInput of the schema: an absent field stays unchanged, null clears it. */
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
  /** Takes precedence over country_id. */
  readonly country_code?: string | null
  readonly default_shipping?: boolean | null
  readonly default_billing?: boolean | null
  readonly fax?: string | null
  readonly middlename?: string | null
  readonly prefix?: string | null
  readonly suffix?: string | null
  readonly vat_id?: string | null
  readonly custom_attributes?: readonly (AttributeInput | null)[] | null
  readonly custom_attributesV2?: readonly (AttributeInput | null)[] | null
}

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
  customAttributes: {},
}

/** Text fields, in the order in which Magento checks their lengths. */
const TEXTS = [
  'prefix',
  'firstname',
  'middlename',
  'lastname',
  'suffix',
  'company',
  'city',
  'postcode',
  'region',
  'telephone',
  'fax',
  'vatId',
] as const satisfies readonly (keyof AddressFields)[]

/**
 * Merges `input` into `current` (or makes a new address without `current`) and validates the result.
 * @throws Fault: the only fault of the address, or ADDRESS_SEVERAL_FAULTS
 */
export function resolveAddress(input: AddressInput, store: Store, current?: AddressFields): AddressFields {
  const merged = merge(current ?? EMPTY, input, store)
  const faults = [...findFaults(merged, store), ...findInvalid(merged, current)]
  if (faults.length > 1) throw fault('ADDRESS_SEVERAL_FAULTS')
  if (faults[0] !== undefined) throw faults[0]
  if (current === undefined) requireAttributes(store.customAttributes.address, merged.customAttributes)
  return resolveRegion(merged, input, store, current)
}

/** The fields in which `after` differs from `before`. */
export function changedFields(before: AddressFields, after: AddressFields): Partial<AddressFields> {
  const changed = (Object.keys(EMPTY) as (keyof AddressFields)[]).filter(
    (field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]),
  )
  return Object.fromEntries(changed.map((field) => [field, after[field]]))
}

function merge(current: AddressFields, input: AddressInput, store: Store): AddressFields {
  const text = (given: string | null | undefined, kept: string | null) =>
    given === undefined ? kept : (given?.trim() ?? null)
  const required = (given: string | null | undefined, kept: string) =>
    given === undefined ? kept : (given?.trim() ?? '')
  const countryId = required(input.country_code ?? input.country_id, current.countryId)
  // A region belongs to its country, so it is dropped if the country changes.
  const given = input.region ?? (countryId === current.countryId && input.region === undefined ? undefined : null)
  const region =
    given === undefined
      ? {}
      : {
          regionId: given?.region_id || null, // 0 counts as none, as in PHP
          regionCode: given?.region_code?.trim() ?? null,
          region: given?.region?.trim() ?? null,
        }
  return {
    prefix: text(input.prefix, current.prefix),
    firstname: required(input.firstname, current.firstname),
    middlename: text(input.middlename, current.middlename),
    lastname: required(input.lastname, current.lastname),
    suffix: text(input.suffix, current.suffix),
    company: text(input.company, current.company),
    // null is not a line (forms send it for an omitted field); an empty text is one, as in Magento.
    street: input.street === undefined ? current.street : (input.street ?? []).flatMap((line) => line?.trim() ?? []),
    city: required(input.city, current.city),
    postcode: text(input.postcode, current.postcode),
    countryId,
    regionId: current.regionId,
    regionCode: current.regionCode,
    region: current.region,
    ...region,
    telephone: required(input.telephone, current.telephone),
    fax: text(input.fax, current.fax),
    vatId: text(input.vat_id, current.vatId),
    customAttributes: applyAttributes(
      current.customAttributes,
      resolveAttributes(store.customAttributes.address, [
        ...(input.custom_attributes ?? []),
        ...(input.custom_attributesV2 ?? []),
      ]),
    ),
  }
}

function findFaults(address: AddressFields, { address: settings, countries }: Store): Fault[] {
  const missing = (value: string | null | undefined) => value == null || value.trim() === ''
  const faults: Fault[] = []
  const require = (field: Field, value: string | null | undefined) => {
    if (missing(value)) faults.push(fault('ADDRESS_FIELD_REQUIRED', { field }))
  }
  require('firstname', address.firstname)
  require('lastname', address.lastname)
  require('street', address.street[0])
  require('city', address.city)
  if (settings.telephone === 'required') require('telephone', address.telephone)
  if (settings.company === 'required') require('company', address.company)
  if (settings.fax === 'required') require('fax', address.fax)
  require('countryId', address.countryId)
  if (!countries.postcodeOptional.includes(address.countryId)) require('postcode', address.postcode)
  if (!missing(address.countryId) && countries.allowed !== 'all' && !countries.allowed.includes(address.countryId)) {
    faults.push(fault('ADDRESS_COUNTRY_NOT_ALLOWED', { countryId: address.countryId }))
  }

  if (address.street.length > settings.streetLines) {
    faults.push(fault('ADDRESS_TOO_MANY_LINES', { most: settings.streetLines }))
  }
  const tooLong = (field: Field) => fault('FIELD_TOO_LONG', { field, most: MAX_TEXT })
  for (const field of TEXTS) if ((address[field]?.length ?? 0) > MAX_TEXT) faults.push(tooLong(field))
  if (address.street.some((line) => line.length > MAX_TEXT)) faults.push(tooLong('street'))
  return faults
}

/** Checks formats only of what changes: imported values must not keep customers from correcting something else. */
function findInvalid(address: AddressFields, current: AddressFields | undefined): Fault[] {
  const faults: Fault[] = []
  const check = (field: FaultDetails['FIELD_INVALID']['field'], isValid: (text: string) => boolean) => {
    const values = [address[field] ?? ''].flat()
    if (String(values) === String(current?.[field] ?? '')) return
    const areValid = values.every((value) => value === '' || value.length > MAX_TEXT || isValid(value))
    if (!areValid) faults.push(fault('FIELD_INVALID', { field }))
  }
  check('firstname', isName)
  check('middlename', isName)
  check('lastname', isName)
  check('telephone', isTelephone)
  check('city', isCity)
  check('street', isStreet)
  return faults
}

/**
 * Finds the region by its id, otherwise by code or name, ignoring case. If the country requires no region, free text is
 * kept as given.
 */
function resolveRegion(
  address: AddressFields,
  input: AddressInput,
  { countries }: Store,
  current: AddressFields | undefined,
): AddressFields {
  const required = countries.regionRequired.includes(address.countryId)
  if (address.regionId === null) {
    const found = findRegion(address)
    if (found) return { ...address, regionId: found.id, regionCode: found.code, region: found.name }
    // The region of an existing address is not checked if region and country do not change.
    const isKept = current !== undefined && input.region === undefined && address.countryId === current.countryId
    if (required && !isKept) throw fault('ADDRESS_REGION_REQUIRED')
    return address
  }
  const region = regionOf(address.countryId, address.regionId)
  const byCode = input.country_code != null
  // A given code that names another region is a contradiction. One from the stored address is not, because it was
  // stored with the id.
  const contradicts =
    (required || byCode) && address.regionCode && address.regionCode.toUpperCase() !== region?.code.toUpperCase()
  if (region === undefined || contradicts) {
    throw fault(required && !byCode ? 'ADDRESS_REGION_OF_ANOTHER_COUNTRY' : 'ADDRESS_REGION_MISMATCH')
  }
  return { ...address, regionCode: region.code, region: region.name }
}

/**
 * The region that code and name identify; undefined if it is none, or more than one.
 * @throws Fault if they identify two different regions
 */
function findRegion({ countryId, regionCode, region }: AddressFields): Region | undefined {
  const byCode = regionCode ? regionsNamed(countryId, regionCode) : []
  const byName = region ? regionsNamed(countryId, region) : []
  const both = byCode.filter((each) => byName.includes(each))
  if (byCode.length > 0 && byName.length > 0 && both.length === 0) {
    throw fault('ADDRESS_REGION_MISMATCH')
  }
  const found = byCode.length === 0 ? byName : byName.length === 0 ? byCode : both
  return found.length === 1 ? found[0] : undefined
}
