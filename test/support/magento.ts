/** What the conformance tests of test/magento share: cases in tables, and the store's customers. */
import type { Test } from 'tap'
import type { EventStore } from '../../eventstore/port.ts'
import { createMailTokens, type MailPurpose } from '../../schema/mail-tokens.ts'
import { type GraphQLAnswer, type Send, signUp } from './graph.ts'

/** Settings that make no case slower than it has to be: a lock after three wrong passwords, reset mails without a pause. */
export const QUICK_STORE = {
  lockout: { failures: 3, minutes: 10 },
  password: { resetRequestsPerHour: 0, resetMinutesBetween: 0 },
}

type Refusal = readonly [message: string, category: string]

export const input = (message: string): Refusal => [message, 'graphql-input']
export const authentication = (message: string): Refusal => [message, 'graphql-authentication']
export const noSuchEntity = (message: string): Refusal => [message, 'graphql-no-such-entity']
export const alreadyExists = (message: string): Refusal => [message, 'graphql-already-exists']
export const forbidden = (message: string): Refusal => [message, 'graphql-authorization']

export const GUEST = forbidden("The current customer isn't authorized.")
export const REVOKED = 'User token has been revoked'
export const LOCKED = authentication('The account is locked.')
export const SIGN_IN_REFUSED = authentication(
  'The account sign-in was incorrect or your account is disabled temporarily. Please wait and try again later.',
)
export const UNCONFIRMED = authentication("This account isn't confirmed. Verify and try again.")
export const TAKEN = 'A customer with the same email address already exists in an associated website.'

export interface Operation {
  readonly query: string
  readonly variables?: object
  readonly token?: string | undefined
}

/** One case of Magento's tests: what is sent, and either the data, the refusal, or what the library says of the document. */
export type Case = Operation & { readonly name: string } & (
    | { readonly gives: object }
    | { readonly refused: Refusal }
    | { readonly invalid: RegExp }
  )

/** Runs the cases in order, each as a test of its own. */
export async function check(t: Test, send: Send, cases: readonly Case[]): Promise<void> {
  for (const each of cases) {
    await t.test(each.name, async (t) => {
      const answer = await send(each.query, each)
      if ('gives' in each) gives(t, answer, each.gives)
      else if ('refused' in each) refuses(t, answer, each.refused)
      else invalid(t, answer, each.invalid)
    })
  }
}

/** No error, and in the data what is expected: lists and values as they are, objects with at least these fields. */
export function gives(t: Test, answer: GraphQLAnswer, data: object): void {
  t.same(answer.errors, undefined)
  t.equal(answer.status, 200)
  t.strictSame(like(answer.data, data), data)
}

/** What of `value` the pattern names: fields of objects; a list keeps its length. */
function like(value: unknown, pattern: unknown): unknown {
  if (Array.isArray(value)) return Array.isArray(pattern) ? value.map((item, i) => like(item, pattern[i])) : value
  if (typeof pattern !== 'object' || pattern === null || typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(pattern).map(([name, inner]) => [name, like((value as Record<string, unknown>)[name], inner)]),
  )
}

/** Exactly one error, at the root field, which is null. */
export function refuses(t: Test, answer: GraphQLAnswer, [message, category]: Refusal): void {
  t.equal(answer.status, 200)
  t.equal(answer.errors?.length, 1, JSON.stringify(answer))
  const [error] = answer.errors ?? []
  t.equal(error?.message, message)
  t.equal(error?.extensions?.category, category)
  t.equal(error?.path?.length, 1)
  t.notOk(answer.data?.[error?.path?.[0]])
}

/** Nothing was executed: the token does not count. */
export function refusesToken(t: Test, answer: GraphQLAnswer, message: string): void {
  t.equal(answer.status, 401)
  t.equal(answer.data, undefined)
  t.match(answer.errors, [{ message, extensions: { category: 'graphql-authentication' } }])
}

/** Nothing was executed; the library's message. */
function invalid(t: Test, answer: GraphQLAnswer, message: RegExp): void {
  t.equal(answer.status, 400)
  t.notOk(answer.data)
  t.match(answer.errors?.[0]?.message, message)
}

export type Customer = Awaited<ReturnType<typeof signUp>>

export const changePassword = (token: string | undefined, currentPassword: string, newPassword: string): Operation => ({
  query: `mutation($currentPassword: String!, $newPassword: String!) {
    changeCustomerPassword(currentPassword: $currentPassword, newPassword: $newPassword) { id email firstname lastname } }`,
  variables: { currentPassword, newPassword },
  token,
})

/** A customer whose account is locked (with {@link QUICK_STORE}); the token is from before. */
export async function signUpLocked(send: Send): Promise<Customer> {
  const customer = await signUp(send)
  await lock(send, customer)
  return customer
}

export async function lock(send: Send, { token }: Customer): Promise<void> {
  for (let failure = 0; failure < QUICK_STORE.lockout.failures; failure++) {
    const { query, variables } = changePassword(token, 'wrong', 'Other-pass-1')
    await send(query, { variables: variables ?? {}, token })
  }
}

const REQUESTS: Record<MailPurpose, string> = {
  'reset-password': 'PasswordResetRequested',
  'confirm-account': 'EmailConfirmationRequested',
  'confirm-newsletter': 'NewsletterConfirmationRequested',
}

/** The token of the last link that the customer was sent. */
export async function linkToken(
  eventStore: EventStore,
  emailHashKey: string,
  purpose: MailPurpose,
  customerId: number,
): Promise<string> {
  let token = ''
  for await (const { id, type } of eventStore.readStream(`customer-${customerId}`)) {
    if (type === REQUESTS[purpose]) token = createMailTokens(emailHashKey).of(purpose, id)
  }
  return token
}

export const SIGN_IN =
  'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }'
