/**
 * The catalogue of the errors that a caller is meant to see: for each code Magento's message and category, and the
 * ecosystem's `extensions.code`. It also translates the faults of the domain. Every other error is masked.
 */
import { GraphQLError } from 'graphql'
import { TOKEN_FAULTS, type TokenFault } from '../schema/token-faults.ts'
import { Fault, type FaultCode, type FaultDetails, type Field, type InputValidation } from './domain/faults.ts'

/** Magento's categories (`extensions.category`). docs/errors.md is generated from this table and {@link CODES}. */
export const CATEGORIES = {
  'graphql-authorization': 'The operation needs a signed-in customer, or another one.',
  'graphql-authentication':
    'The credentials or the token do not count, or the account is locked or unconfirmed. Storefronts sign their visitor out.',
  'graphql-input': 'The input is wrong. The message says what.',
  'graphql-no-such-entity': 'What the operation names does not exist.',
  'graphql-already-exists': 'The e-mail address belongs to another account.',
} as const

/** What `extensions.code` says, as other GraphQL servers use these codes. */
export const CODES = {
  UNAUTHENTICATED: 'There is no token, it does not count, or e-mail address and password do not match.',
  FORBIDDEN: 'The caller is known, and may not have this.',
  BAD_USER_INPUT: 'The input is wrong. Correct it before you send it again.',
  NOT_FOUND: 'What the operation names does not exist.',
  CONFLICT: 'The e-mail address belongs to another account.',
  SERVICE_UNAVAILABLE:
    'The event store is unavailable or too slow. A mutation may have been carried out: repeat it with the same `Idempotency-Key`.',
  SUBSCRIPTION_LIMIT: 'The customer, or all together, have too many subscriptions at once.',
  INTERNAL_SERVER_ERROR: 'A fault of the service. The log has the reason.',
} as const

type None = Record<never, never>

/** The codes beside those of the domain, each with the details of its message. */
interface RefusalDetails {
  SERVICE_UNAVAILABLE: None
  STORE_NOT_FOUND: None

  NOT_SIGNED_IN: None
  NOT_AUTHORIZED: None
  ACCOUNT_HELD: None
  TOKEN_UNREADABLE: None
  TOKEN_EXPIRED: None
  TOKEN_REVOKED: None
  SIGN_IN_REFUSED: None
  PASSWORD_WRONG: None

  /** `most`: characters; `label`: of the argument or input field */
  TEXT_TOO_LONG: { readonly label: string; readonly most: number }
  TEXT_NOT_UNICODE: { readonly label: string }
  LIST_TOO_LONG: { readonly name: string; readonly most: number }
  /** `most`: characters */
  ANSWER_TOO_LARGE: { readonly most: number }
  VALUE_NESTED_TOO_DEEPLY: { readonly name: string }
  VALUE_MISSING: { readonly name: string }
  VALUE_NOT_POSITIVE: { readonly name: string }
  REPRESENTATION_INVALID: None
  CAPTCHA_FAILED: { readonly message: string }
  CAPTCHA_UNAVAILABLE: None
  TOO_MANY_SUBSCRIPTIONS: None
  SUBSCRIPTION_WITHOUT_STREAM: None

  ADDRESS_GONE: { readonly addressId: number }
  ADDRESS_NOT_FOUND_BY_UID: None
  ADDRESS_NOT_OWN_BY_UID: None
  ADDRESS_IS_DEFAULT_BY_UID: { readonly kind: 'billing' | 'shipping' }
  ADDRESS_ID_MISSING: None
  ADDRESS_UID_MISSING: None
  ADDRESS_UID_INVALID: { readonly uid: string }
  ADDRESS_INPUT_MISSING: None

  EMAIL_TAKEN_ON_CHANGE: None
  EMAIL_CLAIMED_TOO_OFTEN: None
  EMAIL_CHANGE_NEEDS_PASSWORD: None
  AVAILABILITY_EMAIL_MISSING: None
  AVAILABILITY_EMAIL_INVALID: None

  RESET_EMAIL_MISSING: None
  RESET_EMAIL_INVALID: None
  RESET_VALUE_MISSING: { readonly name: string }
  RESET_TOKEN_MISMATCHED: None
  RESET_TOKEN_EXPIRED: None

  CONFIRMATION_EMAIL_INVALID: None
  CONFIRMATION_RESEND_EMAIL_INVALID: None
  CONFIRMATION_FAILED: None
  CONFIRMATION_ALREADY_ACTIVE: None
  CONFIRMATION_TOKEN_INVALID: None
  CONFIRMATION_NOT_NEEDED: None
  CONFIRMATION_NO_ACCOUNT: None

  NEWSLETTER_EMAIL_MISSING: None
  NEWSLETTER_EMAIL_INVALID: None
  NEWSLETTER_NO_GUESTS: None
  NEWSLETTER_REFUSED: None
  NEWSLETTER_ALREADY_SUBSCRIBED: None
  NEWSLETTER_CODE_INVALID: None

  GROUPS_NOT_SHARED: None
  COUNTRY_ID_MISSING: None
  COUNTRY_UNAVAILABLE: None

  /** `most`: items */
  PAGE_TOO_LARGE: { readonly most: number }
  AUDIT_REASON_MISSING: None
  AUDIT_PAGE_SIZE_INVALID: { readonly most: number }
  AUDIT_CURSOR_INVALID: None
  AUDIT_MOMENT_INVALID: { readonly accepted: string }
}

type RefusalCode = keyof RefusalDetails
export type ErrorCode = FaultCode | RefusalCode
interface Details extends FaultDetails, RefusalDetails {}

/** How Magento and the GraphQL ecosystem classify an error. */
const KINDS = {
  invalid: { category: 'graphql-input', code: 'BAD_USER_INPUT' },
  'not signed in': { category: 'graphql-authorization', code: 'UNAUTHENTICATED' },
  'not authenticated': { category: 'graphql-authentication', code: 'UNAUTHENTICATED' },
  forbidden: { category: 'graphql-authorization', code: 'FORBIDDEN' },
  'not found': { category: 'graphql-no-such-entity', code: 'NOT_FOUND' },
  'already exists': { category: 'graphql-already-exists', code: 'CONFLICT' },
  taken: { category: 'graphql-input', code: 'CONFLICT' },
  unavailable: { code: 'SERVICE_UNAVAILABLE' },
  'too many': { code: 'SUBSCRIPTION_LIMIT' },
} as const satisfies Record<string, { readonly code: keyof typeof CODES; readonly category?: keyof typeof CATEGORIES }>

type Entry<D> = readonly [kind: keyof typeof KINDS, message: string | ((details: D) => string)]

/** Magento's labels of fields. */
const LABELS: Readonly<Record<Field, string>> = {
  prefix: 'Name Prefix',
  firstname: 'First Name',
  middlename: 'Middle Name/Initial',
  lastname: 'Last Name',
  suffix: 'Name Suffix',
  taxvat: 'Tax/VAT Number',
  company: 'Company',
  street: 'Street Address',
  city: 'City',
  postcode: 'Zip/Postal Code',
  countryId: 'Country',
  region: 'State/Province',
  telephone: 'Phone Number',
  fax: 'Fax',
  vatId: 'VAT Number',
}

const INVALID_FIELDS: Readonly<Record<FaultDetails['FIELD_INVALID']['field'], string>> = {
  firstname: 'First Name is not valid!',
  lastname: 'Last Name is not valid!',
  middlename: 'Middle Name is not valid!',
  telephone: 'Invalid Phone Number. Please use 0-9, +, -, (, ), ., / and space.',
  city: "Invalid City. Please use letters, numbers, spaces, and the following characters: - _ ' ’ . , & ( )",
  street: 'Invalid Street Address. The street address contains invalid characters.',
}

const INVALID_INPUTS: Readonly<Record<InputValidation, string>> = {
  alphanumeric: 'contains non-alphabetic or non-numeric characters.',
  'alphanum-with-spaces': 'contains non-alphabetic or non-numeric characters.',
  numeric: 'contains non-numeric characters.',
  alpha: 'contains non-alphabetic characters.',
  email: 'is not a valid email address.',
  url: 'is not a valid URL.',
}

const tooLong = ({ label, most }: { readonly label: string; readonly most: number }) =>
  `"${label}" length must be equal or less than ${most} characters.`

const EMAIL_TAKEN = 'A customer with the same email address already exists in an associated website.'
const CONFIRMATION_TOKEN_INVALID = 'The confirmation token is invalid. Verify the token and try again.'
const UNAUTHORIZED = "The current customer isn't authorized."

const CATALOGUE: { readonly [C in ErrorCode]: Entry<Details[C]> } = {
  SERVICE_UNAVAILABLE: ['unavailable', 'The service is temporarily unavailable. Try again later.'],
  STORE_NOT_FOUND: ['invalid', 'Requested store is not found'],

  NOT_SIGNED_IN: ['not signed in', UNAUTHORIZED],
  NOT_AUTHORIZED: ['forbidden', UNAUTHORIZED],
  ACCOUNT_HELD: ['forbidden', "The account can't be deleted at the moment. Please contact us."],
  TOKEN_UNREADABLE: ['not authenticated', TOKEN_FAULTS.unreadable],
  TOKEN_EXPIRED: ['not authenticated', TOKEN_FAULTS.expired],
  TOKEN_REVOKED: ['not authenticated', TOKEN_FAULTS.revoked],
  ACCOUNT_LOCKED: ['not authenticated', 'The account is locked.'],
  ACCOUNT_UNCONFIRMED: ['not authenticated', "This account isn't confirmed. Verify and try again."],
  SIGN_IN_REFUSED: [
    'not authenticated',
    'The account sign-in was incorrect or your account is disabled temporarily. Please wait and try again later.',
  ],
  PASSWORD_WRONG: ['not authenticated', 'Invalid login or password.'],

  TEXT_TOO_LONG: ['invalid', tooLong],
  TEXT_NOT_UNICODE: [
    'invalid',
    ({ label }) => `"${label}" has half a character (a lone surrogate); accepted: Unicode text.`,
  ],
  LIST_TOO_LONG: ['invalid', ({ name, most }) => `"${name}" can have at most ${most} items.`],
  ANSWER_TOO_LARGE: [
    'invalid',
    ({ most }) => `The lists of the answer have more than ${most} characters: ask for fewer of them in one request.`,
  ],
  VALUE_NESTED_TOO_DEEPLY: ['invalid', ({ name }) => `"${name}" is nested too deeply.`],
  VALUE_MISSING: ['invalid', ({ name }) => `Specify the "${name}" value.`],
  VALUE_NOT_POSITIVE: ['invalid', ({ name }) => `${name} value must be greater than 0.`],
  REPRESENTATION_INVALID: [
    'invalid',
    'A representation needs the "__typename" of an entity of this subgraph, and its key.',
  ],
  INPUT_EMPTY: ['invalid', '"input" value should be specified'],
  CAPTCHA_FAILED: ['invalid', ({ message }) => message],
  SUBSCRIPTION_WITHOUT_STREAM: ['invalid', 'Send subscriptions with the header "Accept: text/event-stream".'],
  TOO_MANY_SUBSCRIPTIONS: ['too many', 'There are too many subscriptions. End others first.'],
  CAPTCHA_UNAVAILABLE: ['invalid', 'Something went wrong with reCAPTCHA. Please contact the store owner.'],

  EMAIL_REQUIRED: ['invalid', 'The email address is required to create a customer account.'],
  EMAIL_INVALID: ['invalid', ({ email }) => `"${email}" is not a valid email address.`],
  EMAIL_TAKEN: ['taken', EMAIL_TAKEN],
  EMAIL_TAKEN_ON_CHANGE: ['already exists', EMAIL_TAKEN],
  EMAIL_CLAIMED_TOO_OFTEN: ['invalid', 'This email address was used too often lately. Try again in an hour.'],
  EMAIL_CHANGE_NEEDS_PASSWORD: ['invalid', 'Provide the current "password" to change "email".'],
  AVAILABILITY_EMAIL_MISSING: ['invalid', 'Email must be specified'],
  AVAILABILITY_EMAIL_INVALID: ['invalid', 'Email is invalid'],

  NAMES_REQUIRED: [
    'invalid',
    ({ fields }) => {
      const labels = fields.map((field) => LABELS[field])
      return labels.length === 1
        ? `"${labels[0]}" is a required value.`
        : `Required parameters are missing: ${labels.join(', ')}`
    },
  ],
  GENDER_INVALID: ['invalid', ({ gender }) => `"${gender}" is not a valid gender value.`],
  DATE_INVALID: ['invalid', 'Invalid date'],
  DATE_OF_BIRTH_IN_FUTURE: ['invalid', 'The Date of Birth should not be greater than today.'],
  FIELD_TOO_LONG: ['invalid', ({ field, most }) => tooLong({ label: LABELS[field], most })],
  FIELD_INVALID: ['invalid', ({ field }) => INVALID_FIELDS[field]],

  PASSWORD_IS_EMAIL: [
    'invalid',
    "The password can't be the same as the email address. Create a new password and try again.",
  ],
  PASSWORD_TOO_LONG: ['invalid', ({ most }) => `Please enter a password with at most ${most} characters.`],
  PASSWORD_TOO_SHORT: [
    'invalid',
    ({ least }) => `The password needs at least ${least} characters. Create a new password and try again.`,
  ],
  PASSWORD_PADDED: ['invalid', "The password can't begin or end with a space. Verify the password and try again."],
  PASSWORD_TOO_SIMPLE: [
    'invalid',
    ({ classes }) =>
      `Minimum of different classes of characters in password is ${classes}. ` +
      'Classes of characters: Lower Case, Upper Case, Digits, Special Characters.',
  ],

  ADDRESS_FIELD_REQUIRED: ['invalid', ({ field }) => `"${field}" is required. Enter and try again.`],
  ADDRESS_COUNTRY_NOT_ALLOWED: [
    'invalid',
    ({ countryId }) => `Invalid value of "${countryId}" provided for the countryId field.`,
  ],
  ADDRESS_TOO_MANY_LINES: ['invalid', ({ most }) => `"Street Address" cannot contain more than ${most} lines.`],
  ADDRESS_SEVERAL_FAULTS: ['invalid', 'One or more input exceptions have occurred.'],
  ADDRESS_REGION_REQUIRED: ['invalid', 'A region_id is required for the specified country code'],
  ADDRESS_REGION_OF_ANOTHER_COUNTRY: [
    'invalid',
    'The specified region is not a part of the selected country or region',
  ],
  ADDRESS_REGION_MISMATCH: ['invalid', 'The region_id does not match the selected country or region'],
  ADDRESS_LIMIT_REACHED: [
    'invalid',
    ({ most }) => `A customer can have at most ${most} addresses. Delete one to add another.`,
  ],
  ADDRESS_NOT_FOUND: ['not found', ({ addressId }) => `Could not find a address with ID "${addressId}"`],
  ADDRESS_GONE: ['not found', ({ addressId }) => `Could not find a address with ID "${addressId}"`],
  ADDRESS_NOT_FOUND_BY_UID: ['not found', 'Could not find an address with the specified ID'],
  ADDRESS_NOT_OWN: [
    'forbidden',
    ({ addressId }) => `Current customer does not have permission to address with ID "${addressId}"`,
  ],
  ADDRESS_NOT_OWN_BY_UID: [
    'forbidden',
    'Current customer does not have permission to get address with the specified ID',
  ],
  ADDRESS_IS_DEFAULT: [
    'invalid',
    ({ addressId, kind }) => `Customer Address ${addressId} is set as default ${kind} address and can not be deleted`,
  ],
  ADDRESS_IS_DEFAULT_BY_UID: [
    'invalid',
    ({ kind }) => `Customer Address with the specified ID is set as default ${kind} address and can not be deleted`,
  ],
  ADDRESS_ID_MISSING: ['invalid', 'Address "id" value must be specified'],
  ADDRESS_UID_MISSING: ['invalid', 'Address "uid" value must be specified'],
  ADDRESS_UID_INVALID: ['invalid', ({ uid }) => `Value of uid "${uid}" is incorrect.`],
  ADDRESS_INPUT_MISSING: ['invalid', '"input" value must be specified'],

  ATTRIBUTE_REQUIRED: ['invalid', ({ label }) => `"${label}" is a required value.`],
  ATTRIBUTE_OPTION_UNKNOWN: [
    'invalid',
    ({ attribute, value }) => `Attribute ${attribute} does not contain option with Id ${value}`,
  ],
  ATTRIBUTE_TOO_LONG: ['invalid', tooLong],
  ATTRIBUTE_TOO_SHORT: [
    'invalid',
    ({ label, least }) => `"${label}" length must be equal or greater than ${least} characters.`,
  ],
  ATTRIBUTE_TOO_MANY_LINES: ['invalid', ({ label, most }) => `"${label}" cannot contain more than ${most} lines.`],
  ATTRIBUTE_INVALID: ['invalid', ({ label, input }) => `"${label}" ${INVALID_INPUTS[input]}`],
  ATTRIBUTE_DATE_OUT_OF_RANGE: [
    'invalid',
    ({ minDate, maxDate }) => {
      const shown = (iso = '') => iso.split('-').reverse().join('/')
      if (minDate && maxDate) return `Please enter a valid date between ${shown(minDate)} and ${shown(maxDate)}`
      return minDate
        ? `Please enter a valid date equal to or greater than ${shown(minDate)}`
        : `Please enter a valid date less than or equal to ${shown(maxDate)}`
    },
  ],

  RESET_EMAIL_MISSING: ['invalid', 'You must specify an email address.'],
  RESET_EMAIL_INVALID: ['invalid', 'The email address has an invalid format.'],
  RESET_VALUE_MISSING: ['invalid', ({ name }) => `${name} must be specified`],
  RESET_TOKEN_MISMATCHED: ['invalid', 'The password token is mismatched. Reset and try again.'],
  RESET_TOKEN_EXPIRED: ['invalid', 'The password token is expired. Reset and try again.'],

  CONFIRMATION_EMAIL_INVALID: ['invalid', 'Email is invalid'],
  CONFIRMATION_RESEND_EMAIL_INVALID: ['invalid', 'Email address is not valid'],
  CONFIRMATION_FAILED: ['invalid', 'There was an error confirming the account'],
  CONFIRMATION_ALREADY_ACTIVE: ['invalid', 'The account is already active.'],
  CONFIRMATION_TOKEN_INVALID: ['invalid', CONFIRMATION_TOKEN_INVALID],
  CONFIRMATION_NOT_NEEDED: ['invalid', "Confirmation isn't needed."],
  CONFIRMATION_NO_ACCOUNT: ['invalid', 'There is no user registered with that email address.'],

  NEWSLETTER_EMAIL_MISSING: ['invalid', 'You must specify an email address to subscribe to a newsletter.'],
  NEWSLETTER_EMAIL_INVALID: ['invalid', 'Enter a valid email address.'],
  NEWSLETTER_NO_GUESTS: [
    'invalid',
    'Guests can not subscribe to the newsletter. You must create an account to subscribe.',
  ],
  NEWSLETTER_REFUSED: ['invalid', 'Cannot create a newsletter subscription.'],
  NEWSLETTER_ALREADY_SUBSCRIBED: ['already exists', 'This email address is already subscribed.'],
  NEWSLETTER_CODE_INVALID: ['invalid', 'This is an invalid subscription confirmation code.'],

  GROUPS_NOT_SHARED: ['invalid', 'Sharing customer group information is disabled or not configured.'],
  COUNTRY_ID_MISSING: ['invalid', 'Country "id" value should be specified'],
  COUNTRY_UNAVAILABLE: ['not found', "The country isn't available."],

  PAGE_TOO_LARGE: ['invalid', ({ most }) => `Maximum pageSize is ${most}.`],
  AUDIT_REASON_MISSING: ['invalid', '"reason" value must be specified'],
  AUDIT_PAGE_SIZE_INVALID: ['invalid', ({ most }) => `first value must be greater than 0 and at most ${most}.`],
  AUDIT_CURSOR_INVALID: ['invalid', 'after value must be a cursor of this connection.'],
  AUDIT_MOMENT_INVALID: ['invalid', ({ accepted }) => `at value must be ${accepted}.`],
}

/**
 * An error whose message and extensions reach the caller unchanged. Made by {@link refusal} or {@link translateFault}.
 */
export class CustomerError extends GraphQLError {
  /** The code in the catalogue. `extensions.code` is the ecosystem's. */
  readonly code: ErrorCode

  constructor(code: ErrorCode, details: object) {
    const [kind, message] = CATALOGUE[code] as Entry<never>
    super(typeof message === 'string' ? message : message(details as never), { extensions: { ...KINDS[kind] } })
    this.name = 'CustomerError'
    this.code = code
  }
}

/** The request has a token that is not valid. As in Magento, this category makes storefronts sign their visitor out. */
export class TokenRefused extends CustomerError {
  constructor(fault: TokenFault) {
    super(`TOKEN_${fault.toUpperCase() as Uppercase<TokenFault>}`, {})
    this.name = 'TokenRefused'
  }
}

export function refusal<C extends ErrorCode>(
  code: C,
  ...[details]: None extends Details[C] ? [] : [details: Details[C]]
): CustomerError {
  return new CustomerError(code, details ?? {})
}

export const serviceUnavailable = () => refusal('SERVICE_UNAVAILABLE')

/** Whether a store was unavailable, as the caller is told. */
export const isUnavailable = (error: unknown): boolean =>
  error instanceof CustomerError && error.extensions.code === 'SERVICE_UNAVAILABLE'

/** Whether the caller is meant to see the error: a fault of the domain's, or an error of the catalogue. */
export const isRefusal = (error: unknown): error is Fault | CustomerError =>
  error instanceof Fault || error instanceof CustomerError

/** Translates a fault of the domain to Magento's message and category; returns any other error unchanged. */
export const translateFault = (error: unknown): unknown =>
  error instanceof Fault ? new CustomerError(error.code, error.details) : error
