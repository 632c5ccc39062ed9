/** The errors that a caller is meant to see: Magento's message and category, and the ecosystem's code. */
import { GraphQLError } from 'graphql'
import { TOKEN_FAULTS, type TokenFault } from '../schema/token-faults.ts'

export type Category =
  | 'graphql-authorization'
  | 'graphql-authentication'
  | 'graphql-input'
  | 'graphql-no-such-entity'
  | 'graphql-already-exists'

export type Code =
  | 'UNAUTHENTICATED'
  | 'FORBIDDEN'
  | 'BAD_USER_INPUT'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'SERVICE_UNAVAILABLE'
  | 'INTERNAL_SERVER_ERROR'

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
