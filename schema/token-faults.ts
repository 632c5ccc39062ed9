/**
 * Invalid bearer tokens: the messages, and the operations that are still executed. The subgraph and the gateway share
 * these rules. They follow Magento 2.4.8 (AuthorizationRequestValidator), which refuses every operation.
 */
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'

/** `unreadable`: forged, not valid yet, or no token at all; `revoked`: also if the customer no longer exists. */
export type TokenFault = 'unreadable' | 'expired' | 'revoked'

/** Magento's texts. */
export const TOKEN_FAULTS: Readonly<Record<TokenFault, string>> = {
  unreadable: 'Token does not exist',
  expired: 'Consumer key has expired',
  revoked: 'User token has been revoked',
}

/**
 * The header `WWW-Authenticate` of an answer that refuses a token (RFC 6750, section 3). @param description one of the
 * texts above
 */
export const tokenChallenge = (description: string): string =>
  `Bearer error="invalid_token", error_description="${description}"`

/**
 * Mutations that need no token and that a visitor with an invalid one does next. Clients attach a stale token to the
 * sign-in: it is ignored.
 */
const WITHOUT_TOKEN: ReadonlySet<string> = new Set([
  'generateCustomerToken',
  'createCustomer',
  'createCustomerV2',
  'requestPasswordResetEmail',
  'resetPassword',
  'confirmEmail',
])

/** Whether the operation ignores the token: it is a mutation, and all of its root fields need no token. */
export function ignoresToken(document: DocumentNode, operation: OperationDefinitionNode): boolean {
  if (operation.operation !== 'mutation') return false
  const names = rootFields(document, operation)
  return names.size > 0 && [...names].every((name) => WITHOUT_TOKEN.has(name))
}

/** The names of an operation's root fields except `__typename`, including fields that `@skip` leaves out. */
export function rootFields(document: DocumentNode, { selectionSet }: OperationDefinitionNode): ReadonlySet<string> {
  const names = new Set<string>()
  const visited = new Set<string>()
  visit(selectionSet)
  return names

  function visit({ selections }: SelectionSetNode): void {
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) {
        if (selection.name.value !== '__typename') names.add(selection.name.value)
      } else if (selection.kind === Kind.INLINE_FRAGMENT) visit(selection.selectionSet)
      else if (!visited.has(selection.name.value)) {
        visited.add(selection.name.value)
        const fragment = document.definitions.find(
          (each): each is FragmentDefinitionNode =>
            each.kind === Kind.FRAGMENT_DEFINITION && each.name.value === selection.name.value,
        )
        if (fragment) visit(fragment.selectionSet)
      }
    }
  }
}
