/**
 * Classifies root fields: which count for the strict rate limit (password checks, mail, new accounts), and which revoke
 * tokens.
 */
import {
  type DocumentNode,
  type FieldNode,
  Kind,
  type OperationDefinitionNode,
  type ValueNode,
  visit as visitDocument,
} from 'graphql'
import { eachRootField } from './root-fields.ts'

type Values = Readonly<Record<string, unknown>>

/** Whatever their arguments. */
const ALWAYS = new Set([
  'changeCustomerPassword',
  'confirmEmail',
  'confirmNewsletterSubscription',
  'createCustomer',
  'createCustomerV2',
  'generateCustomerToken',
  'isEmailAvailable',
  'requestPasswordResetEmail',
  'resendConfirmationEmail',
  'resetPassword',
  'subscribeEmailToNewsletter',
  'updateCustomerEmail',
])
/** With a password, which is checked, or a subscription, for which a mail may be sent. */
const BY_INPUT = new Set(['updateCustomer', 'updateCustomerV2'])

/**
 * Returns how many of the operation's root fields are sensitive, with these variables. Each alias counts, and each
 * spread of a fragment; also what `@skip` leaves out.
 */
export function countSensitiveFields(
  document: DocumentNode,
  operation: OperationDefinitionNode,
): (values: Values) => number {
  let always = 0
  const byInput: FieldNode[] = []
  eachRootField(document, operation, (field) => {
    if (ALWAYS.has(field.name.value)) always++
    else if (BY_INPUT.has(field.name.value)) byInput.push(field)
  })
  if (byInput.length === 0) return () => always
  return (values) => always + byInput.filter((field) => isSensitive(field, values)).length
}

/** Root fields that may revoke the caller's token. */
const ENDING = new Set(['deleteCustomer', 'revokeCustomerToken'])

/** Whether the operation may revoke the caller's token. */
export function mayEndToken(document: DocumentNode, { operation }: OperationDefinitionNode): boolean {
  if (operation !== 'mutation') return false
  let found = false
  // Checks the whole document: a false positive does no harm.
  visitDocument(document, {
    Field({ name }) {
      found ||= ENDING.has(name.value)
    },
  })
  return found
}

function isSensitive(field: FieldNode, values: Values): boolean {
  const input = field.arguments?.find(({ name }) => name.value === 'input')?.value
  const given = (name: string) => (input === undefined ? undefined : member(input, name, values))
  return given('password') != null || given('is_subscribed') === true
}

/** What an input object has under that name; of a literal, anything but null will do, and a Boolean as it is. */
function member(input: ValueNode, name: string, values: Values): unknown {
  if (input.kind === Kind.VARIABLE) return (values[input.name.value] as Values | null | undefined)?.[name]
  const value = input.kind === Kind.OBJECT ? input.fields.find((each) => each.name.value === name)?.value : undefined
  if (value?.kind === Kind.VARIABLE) return values[value.name.value]
  if (value === undefined || value.kind === Kind.NULL) return undefined
  return value.kind === Kind.BOOLEAN ? value.value : ''
}
