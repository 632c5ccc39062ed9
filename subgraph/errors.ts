/** The errors that a caller is meant to see: Magento's message and category, and the ecosystem's code. */
import { GraphQLError } from 'graphql'
import { TOKEN_FAULTS, type TokenFault } from '../schema/token-faults.ts'

/** Magento's categories (`extensions.category`). docs/errors.md is made of this table and of {@link CODES}. */
export const CATEGORIES = {
  'graphql-authorization': 'The operation needs a signed-in customer, or another one.',
  'graphql-authentication':
    'The credentials or the token do not count, or the account is locked or unconfirmed. Storefronts sign their visitor out.',
  'graphql-input': 'The input is wrong. The message says what.',
  'graphql-no-such-entity': 'What the operation names does not exist.',
  'graphql-already-exists': 'The e-mail address belongs to another account.',
} as const

export type Category = keyof typeof CATEGORIES

/** What `extensions.code` says, as other GraphQL servers use these codes. */
export const CODES = {
  UNAUTHENTICATED: 'There is no token, it does not count, or e-mail address and password do not match.',
  FORBIDDEN: 'The caller is known, and may not have this.',
  BAD_USER_INPUT: 'The input is wrong. Correct it before you send it again.',
  NOT_FOUND: 'What the operation names does not exist.',
  CONFLICT: 'The e-mail address belongs to another account.',
  SERVICE_UNAVAILABLE:
    'The event store is away or too slow. A mutation may have been carried out: repeat it with the same `Idempotency-Key`.',
  INTERNAL_SERVER_ERROR: 'A fault of the service. The log has the reason.',
} as const

export type Code = keyof typeof CODES

/** An error whose message and extensions reach the caller as they are; every other error is masked. */
export class CustomerError extends GraphQLError {
  constructor(message: string, code: Code, category?: Category) {
    super(message, { extensions: category ? { category, code } : { code } })
    this.name = 'CustomerError'
  }
}

export const invalidInput = (message: string) => new CustomerError(message, 'BAD_USER_INPUT', 'graphql-input')

/** Not signed in. */
export const notAuthorized = () =>
  new CustomerError("The current customer isn't authorized.", 'UNAUTHENTICATED', 'graphql-authorization')

/** A token came, and does not count. As in Magento, storefronts sign their visitor out by this category. */
export class TokenRefused extends CustomerError {
  constructor(fault: TokenFault) {
    super(TOKEN_FAULTS[fault], 'UNAUTHENTICATED', 'graphql-authentication')
    this.name = 'TokenRefused'
  }
}

/** Signed in, but as somebody else. */
export const forbidden = (message: string) => new CustomerError(message, 'FORBIDDEN', 'graphql-authorization')

export const authenticationFailed = (message: string) =>
  new CustomerError(message, 'UNAUTHENTICATED', 'graphql-authentication')

export const accountLocked = () => authenticationFailed('The account is locked.')

export const accountUnconfirmed = () => authenticationFailed("This account isn't confirmed. Verify and try again.")

export const notFound = (message: string) => new CustomerError(message, 'NOT_FOUND', 'graphql-no-such-entity')

export const alreadyExists = (message: string) => new CustomerError(message, 'CONFLICT', 'graphql-already-exists')

/** The category is Magento's: `graphql-input` on registration, `graphql-already-exists` on a change. */
export const emailTaken = (category: Category) =>
  new CustomerError(
    'A customer with the same email address already exists in an associated website.',
    'CONFLICT',
    category,
  )

export const serviceUnavailable = () =>
  new CustomerError('The service is temporarily unavailable. Try again later.', 'SERVICE_UNAVAILABLE')
