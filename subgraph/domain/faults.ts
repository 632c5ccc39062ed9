/**
 * The faults of the domain. A fault has a code and the values that describe it; subgraph/errors.ts translates it to
 * Magento's message and category.
 */
import type { CustomAttribute } from '../../schema/store.ts'

/** A field of a customer or an address, by its name in the events. */
export type Field =
  | 'prefix'
  | 'firstname'
  | 'middlename'
  | 'lastname'
  | 'suffix'
  | 'taxvat'
  | 'company'
  | 'street'
  | 'city'
  | 'postcode'
  | 'countryId'
  | 'region'
  | 'telephone'
  | 'fax'
  | 'vatId'

type None = Record<never, never>

/** The codes, each with what describes such a fault. */
export interface FaultDetails {
  ACCOUNT_LOCKED: None
  ACCOUNT_UNCONFIRMED: None
  INPUT_EMPTY: None

  EMAIL_REQUIRED: None
  EMAIL_INVALID: { readonly email: string }
  EMAIL_TAKEN: None

  NAMES_REQUIRED: { readonly fields: readonly ('firstname' | 'lastname')[] }
  GENDER_INVALID: { readonly gender: number }
  DATE_INVALID: None
  DATE_OF_BIRTH_IN_FUTURE: None
  /** `most`: characters */
  FIELD_TOO_LONG: { readonly field: Field; readonly most: number }
  FIELD_INVALID: { readonly field: 'firstname' | 'middlename' | 'lastname' | 'telephone' | 'city' | 'street' }

  PASSWORD_IS_EMAIL: None
  PASSWORD_TOO_LONG: { readonly most: number }
  PASSWORD_TOO_SHORT: { readonly least: number }
  /** The password begins or ends with white space. */
  PASSWORD_PADDED: None
  PASSWORD_TOO_SIMPLE: { readonly classes: number }

  ADDRESS_FIELD_REQUIRED: { readonly field: Field }
  ADDRESS_COUNTRY_NOT_ALLOWED: { readonly countryId: string }
  ADDRESS_TOO_MANY_LINES: { readonly most: number }
  /** More than one of an address's fields is at fault. */
  ADDRESS_SEVERAL_FAULTS: None
  ADDRESS_REGION_REQUIRED: None
  ADDRESS_REGION_OF_ANOTHER_COUNTRY: None
  ADDRESS_REGION_MISMATCH: None
  ADDRESS_LIMIT_REACHED: { readonly most: number }
  ADDRESS_NOT_FOUND: { readonly addressId: number }
  ADDRESS_NOT_OWN: { readonly addressId: number }
  ADDRESS_IS_DEFAULT: { readonly addressId: number; readonly kind: 'billing' | 'shipping' }

  /** `label`: the attribute's, from the store's settings. */
  ATTRIBUTE_REQUIRED: { readonly label: string }
  ATTRIBUTE_OPTION_UNKNOWN: { readonly attribute: string; readonly value: string }
  ATTRIBUTE_TOO_LONG: { readonly label: string; readonly most: number }
  ATTRIBUTE_TOO_SHORT: { readonly label: string; readonly least: number }
  ATTRIBUTE_TOO_MANY_LINES: { readonly label: string; readonly most: number }
  ATTRIBUTE_INVALID: { readonly label: string; readonly input: InputValidation }
  /** YYYY-MM-DD; at least one of the two is set. */
  ATTRIBUTE_DATE_OUT_OF_RANGE: { readonly minDate: string | undefined; readonly maxDate: string | undefined }
}

export type InputValidation = NonNullable<CustomAttribute['validate']['input']>

export type FaultCode = keyof FaultDetails

/** The message is the code alone, because the details may be personal data. */
export class Fault<C extends FaultCode = FaultCode> extends Error {
  override readonly name = 'Fault'
  readonly code: C
  readonly details: FaultDetails[C]

  constructor(code: C, details: FaultDetails[C]) {
    super(code)
    this.code = code
    this.details = details
  }
}

export function fault<C extends FaultCode>(
  code: C,
  ...[details]: None extends FaultDetails[C] ? [] : [details: FaultDetails[C]]
): Fault<C> {
  return new Fault(code, details ?? ({} as FaultDetails[C]))
}
