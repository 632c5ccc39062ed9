/** Magento's own API tests of signing in, passwords and links in mails, and of HTTP around them. */

import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { buildGateway } from '../../gateway/server.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { streamOf } from '../../schema/streams.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import {
  client,
  environment,
  freshEmail,
  PASSWORD,
  signIn,
  signUp,
  startGraph,
  temporaryFolder,
} from '../support/graph.ts'
import {
  authentication,
  changePassword,
  check,
  GUEST,
  gives,
  input,
  LOCKED,
  linkToken,
  lock,
  type Operation,
  QUICK_STORE,
  REVOKED,
  refuses,
  refusesToken,
  SIGN_IN,
  SIGN_IN_REFUSED,
  signUpLocked,
} from '../support/magento.ts'

let now = () => new Date()
const folder = await temporaryFolder(t)
const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
const { send, url, eventStore, app } = await startGraph(t, { folder, store: QUICK_STORE, now: () => now() })

const trySignIn = (email: string, password: string): Operation => ({ query: SIGN_IN, variables: { email, password } })

t.test('generateCustomerToken', async (t) => {
  const { email, token } = await signUp(send)
  const locked = await signUpLocked(send)
  const withoutPassword = freshEmail()
  await send(
    `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "${withoutPassword}" }) { customer { id } } }`,
  )
  await check(t, send, [
    { name: 'a wrong password', ...trySignIn(email, 'invalid_password'), refused: SIGN_IN_REFUSED },
    { name: 'an unknown address', ...trySignIn('invalid_email@example.com', PASSWORD), refused: SIGN_IN_REFUSED },
    { name: 'a locked account', ...trySignIn(locked.email, PASSWORD), refused: SIGN_IN_REFUSED },
    { name: 'an account without a password', ...trySignIn(withoutPassword, PASSWORD), refused: SIGN_IN_REFUSED },
    { name: 'an empty address', ...trySignIn('', PASSWORD), refused: input('Specify the "email" value.') },
    { name: 'an empty password', ...trySignIn(email, ''), refused: input('Specify the "password" value.') },
    { name: 'both empty', ...trySignIn('', ''), refused: input('Specify the "email" value.') },
    {
      name: 'no password argument',
      query: 'mutation { generateCustomerToken(email: "a@example.com") { token } }',
      invalid: /argument "password" of type "String!" is required/,
    },
  ])
  const again = await send(SIGN_IN, { variables: { email: email.toUpperCase(), password: PASSWORD } })
  t.type(again.data.generateCustomerToken.token, 'string', 'capitals do not matter')
  t.not(again.data.generateCustomerToken.token, token, 'each token is another')
  gives(t, await send('{ customer { email } }', { token }), { customer: { email } })
})

t.test('generateCustomerToken: a success starts the count of failures again', async (t) => {
  const { email } = await signUp(send)
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < QUICK_STORE.lockout.failures - 1; i++) t.notOk(await signIn(send, email, 'wrongpassword'))
    t.ok(await signIn(send, email), `round ${round}`)
  }
})

t.test('revokeCustomerToken', async (t) => {
  const { token, email } = await signUp(send)
  const query = 'mutation { revokeCustomerToken { result } }'
  await check(t, send, [
    { name: 'as a guest', query, refused: GUEST },
    { name: 'one’s own', query, token, gives: { revokeCustomerToken: { result: true } } },
  ])
  refusesToken(t, await send('{ customer { email } }', { token }), REVOKED)
  const fresh = await signIn(send, email)
  gives(t, await send('{ customer { email } }', { token: fresh }), { customer: { email } })
})

t.test('changeCustomerPassword', async (t) => {
  const { token, email } = await signUp(send)
  const locked = await signUpLocked(send)
  const weak =
    'Minimum of different classes of characters in password is 3. Classes of characters: Lower Case, Upper Case, Digits, Special Characters.'
  const next = 'anotherPassword1'
  await check(t, send, [
    { name: 'as a guest', ...changePassword(undefined, PASSWORD, next), refused: GUEST },
    {
      name: 'a wrong current password',
      ...changePassword(token, 'password-incorrect', next),
      refused: authentication('Invalid login or password.'),
    },
    {
      name: 'no current password',
      ...changePassword(token, '', next),
      refused: input('Specify the "currentPassword" value.'),
    },
    {
      name: 'no new password',
      ...changePassword(token, PASSWORD, ''),
      refused: input('Specify the "newPassword" value.'),
    },
    { name: 'neither', ...changePassword(token, '', ''), refused: input('Specify the "currentPassword" value.') },
    { name: 'a weak one', ...changePassword(token, PASSWORD, 'weakpass'), refused: input(weak) },
    {
      name: 'a short one',
      ...changePassword(token, PASSWORD, 'aA1#'),
      refused: input('The password needs at least 8 characters. Create a new password and try again.'),
    },
    { name: 'a locked account', ...changePassword(locked.token, PASSWORD, next), refused: LOCKED },
    { name: 'a good one', ...changePassword(token, PASSWORD, next), gives: { changeCustomerPassword: { email } } },
    { name: 'the old one no longer signs in', ...trySignIn(email, PASSWORD), refused: SIGN_IN_REFUSED },
  ])
  t.ok(await signIn(send, email, next))
  gives(t, await send('{ customer { email } }', { token }), { customer: { email } })
})

const request = (email: string): Operation => ({
  query: 'mutation($email: String!) { requestPasswordResetEmail(email: $email) }',
  variables: { email },
})
const reset = (email: string, resetPasswordToken: string, newPassword: string): Operation => ({
  query: `mutation($email: String!, $resetPasswordToken: String!, $newPassword: String!) {
    resetPassword(email: $email, resetPasswordToken: $resetPasswordToken, newPassword: $newPassword) }`,
  variables: { email, resetPasswordToken, newPassword },
})

t.test('requestPasswordResetEmail', async (t) => {
  const { email } = await signUp(send)
  const locked = await signUpLocked(send)
  await check(t, send, [
    { name: 'an account', ...request(email), gives: { requestPasswordResetEmail: true } },
    {
      name: 'no account: the same',
      ...request('customerNotAvalible@example.com'),
      gives: { requestPasswordResetEmail: true },
    },
    { name: 'an empty address', ...request(''), refused: input('You must specify an email address.') },
    { name: 'no address', ...request('invalid-email'), refused: input('The email address has an invalid format.') },
    { name: 'a locked account: the same', ...request(locked.email), gives: { requestPasswordResetEmail: true } },
  ])
  for await (const { type } of eventStore.readStream(`customer-${locked.id}`)) {
    t.not(type, 'PasswordResetRequested', 'but it gets no link')
  }
})

t.test('resetPassword', async (t) => {
  const customer = await signUp(send)
  const { email, id } = customer
  await send(request(email).query, request(email))
  const token = await linkToken(eventStore, emailHashKey, 'reset-password', id)
  t.match(token, /^\w{32}$/)
  const mismatched = input('The password token is mismatched. Reset and try again.')
  const next = 'new_password123'
  await check(t, send, [
    { name: 'an empty address', ...reset('', token, next), refused: input('You must specify an email address.') },
    {
      name: 'no address',
      ...reset('invalid-email', token, next),
      refused: input('The email address has an invalid format.'),
    },
    { name: 'an empty token', ...reset(email, '', next), refused: input('resetPasswordToken must be specified') },
    { name: 'an empty password', ...reset(email, token, ''), refused: input('newPassword must be specified') },
    { name: 'a wrong token', ...reset(email, '1234567890XYZ', next), refused: mismatched },
    { name: 'no account: the same', ...reset('customerNotAvalible@example.com', token, next), refused: mismatched },
    {
      name: 'a short password',
      ...reset(email, token, 'aA1#'),
      refused: input('The password needs at least 8 characters. Create a new password and try again.'),
    },
    { name: 'the token', ...reset(email, token, next), gives: { resetPassword: true } },
    { name: 'the old password no longer signs in', ...trySignIn(email, PASSWORD), refused: SIGN_IN_REFUSED },
    { name: 'the token again', ...reset(email, token, 'Other-pass-1'), refused: mismatched },
  ])
  t.ok(await signIn(send, email, next))

  const forgetful = await signUp(send)
  for (let failure = 1; failure < QUICK_STORE.lockout.failures; failure++) {
    const { query, variables = {} } = changePassword(forgetful.token, 'wrong', next)
    await send(query, { variables, token: forgetful.token })
  }
  await send(request(forgetful.email).query, request(forgetful.email))
  const link = await linkToken(eventStore, emailHashKey, 'reset-password', forgetful.id)
  gives(t, await send(reset(forgetful.email, link, next).query, reset(forgetful.email, link, next)), {
    resetPassword: true,
  })
  const mistyped = trySignIn(forgetful.email, 'wrong')
  refuses(t, await send(mistyped.query, mistyped), SIGN_IN_REFUSED)
  t.ok(await signIn(send, forgetful.email, next), 'wrong passwords from before count no more')

  const never = await signUp(send)
  refuses(t, await send(reset(never.email, token, next).query, reset(never.email, token, next)), mismatched)

  const { email: lockedEmail } = customer
  await send(request(lockedEmail).query, request(lockedEmail))
  const fresh = await linkToken(eventStore, emailHashKey, 'reset-password', id)
  t.not(fresh, token, 'each request has a token of its own')
  await lock(send, { ...customer, token: await signIn(send, email, next) })
  const answer = await send(reset(lockedEmail, fresh, next).query, reset(lockedEmail, fresh, next))
  refuses(t, answer, mismatched)
})

t.test('a lock: nothing prolongs it, and a crash does not spare anybody', async (t) => {
  const { failures, minutes } = QUICK_STORE.lockout
  const locked = await signUpLocked(send)
  const wrong = trySignIn(locked.email, 'wrong')
  for (let failure = 0; failure < failures; failure++) await send(wrong.query, wrong)
  now = () => new Date(Date.now() + minutes * 60_000 + 1_000)
  t.ok(await signIn(send, locked.email), 'it is over')
  now = () => new Date()

  const { id, email } = await signUp(send)
  const events = Array.from({ length: failures }, () => ({
    id: crypto.randomUUID(),
    type: 'WrongPasswordGiven',
    data: { reason: 'change' },
    metadata: {
      $correlationId: 'c',
      $causationId: 'c',
      actor: 'guest',
      at: new Date().toISOString(),
      schemaVersion: 1,
    },
  }))
  await eventStore.append(streamOf.signIns(id), events, { expected: 'any' }) // and no lock
  const right = trySignIn(email, PASSWORD)
  refuses(t, await send(right.query, right), SIGN_IN_REFUSED)
})

t.test('resetPassword: a token holds for two hours', async (t) => {
  const { email, id } = await signUp(send)
  await send(request(email).query, request(email))
  const token = await linkToken(eventStore, emailHashKey, 'reset-password', id)
  now = () => new Date(Date.now() + 2 * 3_600_000 + 1_000)
  const answer = await send(reset(email, token, 'Other-pass-1').query, reset(email, token, 'Other-pass-1'))
  now = () => new Date()
  refuses(t, answer, input('The password token is expired. Reset and try again.'))
})

t.test('HTTP', async (t) => {
  const graph = new URL('/graphql', url)
  const ask = async (path: URL, init?: RequestInit) => {
    const response = await fetch(path, init)
    return {
      status: response.status,
      ...((await response.json()) as { data?: unknown; errors?: { message: string }[] }),
    }
  }
  const query = '{ isEmailAvailable(email: "a@example.com") { is_email_available } }'
  const withQuery = (text: string) => {
    const path = new URL(graph)
    path.searchParams.set('query', text)
    return path
  }
  const post = (headers: Record<string, string>, body = JSON.stringify({ query })) =>
    ask(graph, { method: 'POST', headers, body })

  await t.test('a query by GET', async (t) => {
    const answer = await ask(withQuery(query), { headers: { 'content-type': 'application/json' } })
    t.match(answer, { status: 200, data: { isEmailAvailable: { is_email_available: true } } })
  })
  await t.test('a mutation by GET', async (t) => {
    const answer = await ask(withQuery('mutation { revokeCustomerToken { result } }'), {
      headers: { 'content-type': 'application/json' },
    })
    t.equal(answer.errors?.[0]?.message, 'Mutation requests allowed only for POST requests')
  })
  await t.test('another content type', async (t) => {
    const answer = await post({ 'content-type': 'text/plain' })
    t.equal(answer.errors?.[0]?.message, 'Request content type must be application/json')
  })
  await t.test('a content type with a charset', async (t) => {
    t.equal((await post({ 'content-type': 'application/json; charset=utf-8' })).status, 200)
  })
  await t.test('a body that is no JSON', async (t) => {
    const answer = await post({ 'content-type': 'application/json' }, '{')
    t.equal(answer.status, 400)
    t.equal(answer.errors?.length, 1)
  })
  await t.test('a document that can not be read', async (t) => {
    const answer = await send('{ customer { ')
    t.equal(answer.status, 400)
    t.match(answer.errors?.[0].message, /^Syntax Error/)
  })
  await t.test('a field that there is not', async (t) => {
    const answer = await send('{ customer { shoe } }')
    t.equal(answer.status, 400)
    t.match(answer.errors?.[0].message, /Cannot query field "shoe" on type "Customer"/)
  })
  await t.test('a header Store changes nothing', async (t) => {
    t.equal((await send(query, { headers: { store: 'default' } })).errors, undefined)
  })

  const { token, email } = await signUp(send)
  for (const authorization of [`bearer ${token}`, `Bearer ${token}`]) {
    await t.test(`the scheme ${authorization.slice(0, 6)}`, async (t) => {
      gives(t, await send('{ customer { email } }', { headers: { authorization } }), { customer: { email } })
    })
  }
  for (const authorization of [`Basic ${token}`, token, `Bearer ${token} x`]) {
    await t.test(`no bearer token: ${authorization.replaceAll(token, '…')}`, async (t) => {
      refuses(t, await send('{ customer { email } }', { headers: { authorization } }), GUEST)
    })
  }

  const { port } = app.server.address() as AddressInfo
  const subgraph = `http://127.0.0.1:${port}`
  const gateway = await buildGateway({
    supergraph: join(import.meta.dirname, '../../schema/supergraph.graphql'),
    subgraphUrls: { customers: `${subgraph}/graphql` },
    tokenKeys: { jwksUrl: `${subgraph}/.well-known/jwks.json` },
  })
  t.teardown(() => gateway.close())
  const guarded = client(`${await gateway.listen({ port: 0, host: '127.0.0.1' })}/graphql`)
  await t.test('a gateway that knows the keys refuses a forged token on every request', async (t) => {
    for (const forged of ['invalid_token', `${token}x`]) {
      for (const text of [query, '{ customer { email } }']) {
        const answer = await guarded(text, { token: forged })
        t.equal(answer.status, 401)
        t.equal(answer.errors?.[0].message, 'Token does not exist')
      }
    }
  })
  await t.test('and lets a true one and none pass', async (t) => {
    t.equal((await guarded('{ customer { email } }', { token })).status, 200)
    t.equal((await guarded(query)).status, 200)
  })
  await t.test('a revoked token is refused', async (t) => {
    await guarded('mutation { revokeCustomerToken { result } }', { token })
    for (const text of [query, '{ customer { email } }']) refusesToken(t, await guarded(text, { token }), REVOKED)
  })
})
