/** What a change of password or address ends: links that were sent, and the customer's other tokens, on every instance. */
import t from 'tap'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { createMailTokens, type MailPurpose } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import {
  environment,
  freshEmail,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  temporaryFolder,
} from '../support/graph.ts'

const NEXT = 'N3xt-password'
const folder = await temporaryFolder(t)
const tokens = createMailTokens(loadKeys(loadConfiguration(environment(folder))).emailHashKey)
const newsletter = { confirmationRequired: true }
const one = await startSubgraph(t, { folder, store: { newsletter } })
const two = await startSubgraph(t, { folder, projection: false, store: { newsletter } })
const { send, eventStore } = one

async function eventsOf(id: number) {
  const events: { id: string; type: string }[] = []
  for await (const event of eventStore.readStream(`customer-${id}`)) events.push(event)
  return events
}

/** The link of the customer's newest event of the type, as its mail has it. */
async function link(id: number, type: string, purpose: MailPurpose): Promise<string> {
  const event = (await eventsOf(id)).findLast((each) => each.type === type)
  return tokens.of(purpose, event?.id ?? 'none')
}

const ask = (text: string, email: string) => send(`mutation { ${text}(email: "${email}") }`)
const requestReset = (email: string) => ask('requestPasswordResetEmail', email)
const reset = (email: string, resetPasswordToken: string, newPassword = NEXT, headers = {}, via: Send = send) =>
  via(
    'mutation($e: String!, $t: String!, $p: String!) { resetPassword(email: $e, resetPasswordToken: $t, newPassword: $p) }',
    { variables: { e: email, t: resetPasswordToken, p: newPassword }, headers },
  )
const changeEmail = (token: string, email: string, password = PASSWORD) =>
  send(
    'mutation($e: String!, $p: String!) { updateCustomerEmail(email: $e, password: $p) { customer { email is_subscribed } } }',
    { variables: { e: email, p: password }, token },
  )
const updateWithEmail = (token: string, email: string) =>
  send('mutation($i: CustomerInput!) { updateCustomer(input: $i) { customer { email } } }', {
    variables: { i: { email, password: PASSWORD } },
    token,
  })
const changePassword = (token: string, from: string, to: string, headers = {}) =>
  send(
    'mutation($from: String!, $to: String!) { changeCustomerPassword(currentPassword: $from, newPassword: $to) { id } }',
    { variables: { from, to }, token, headers },
  )
const MISMATCH = [{ message: 'The password token is mismatched. Reset and try again.' }]

/** Whether each instance takes the token, for reading and for writing. */
async function isTaken(token: string): Promise<boolean[]> {
  const answers = []
  for (const { send } of [one, two]) {
    answers.push(await send('{ customer { id } }', { token }))
    answers.push(await send('mutation { updateCustomer(input: { suffix: "" }) { customer { id } } }', { token }))
  }
  return answers.map(({ errors }) => errors === undefined)
}
const TAKEN = [true, true, true, true]
const REFUSED = [false, false, false, false]

t.test('a change of address ends the link to reset the password, whatever the order', async (t) => {
  for (const [name, change] of Object.entries({ changeEmail, updateWithEmail })) {
    const { id, email, token } = await signUp(send)
    await requestReset(email)
    const sent = await link(id, 'PasswordResetRequested', 'reset-password')
    const next = freshEmail()
    t.equal((await change(token, next)).errors, undefined, name)
    t.match((await reset(next, sent)).errors, MISMATCH, 'with the new address')
    t.match((await reset(email, sent)).errors, MISMATCH, 'with the old one')
    t.equal((await change(token, email)).errors, undefined, 'and back')
    t.match((await reset(email, sent)).errors, MISMATCH, 'the old address again')
    t.match((await reset(email, sent, NEXT, {}, two.send)).errors, MISMATCH, 'on another instance')
    t.ok(await signIn(send, email), 'the password is what it was')
  }
})

t.test('a spelling of the same address is a change, too', async (t) => {
  const { id, email, token } = await signUp(send)
  await requestReset(email)
  const sent = await link(id, 'PasswordResetRequested', 'reset-password')
  t.equal((await changeEmail(token, email.toUpperCase())).errors, undefined)
  t.match((await reset(email, sent)).errors, MISMATCH)
})

t.test('a deletion ends links, also for who has the address next', async (t) => {
  const { id, email, token } = await signUp(send)
  await requestReset(email)
  const sent = await link(id, 'PasswordResetRequested', 'reset-password')
  await send('mutation { deleteCustomer }', { token })
  t.match((await reset(email, sent)).errors, MISMATCH)
  await signUp(send, email)
  t.match((await reset(email, sent)).errors, MISMATCH)
})

t.test('a newsletter that waits to be confirmed: by a link to the new address alone', async (t) => {
  const { id, email, token } = await signUp(send)
  await send(`mutation { subscribeEmailToNewsletter(email: "${email}") { status } }`, { token })
  const sent = await link(id, 'NewsletterConfirmationRequested', 'confirm-newsletter')
  const next = freshEmail()
  await changeEmail(token, next)
  const confirm = (address: string, key: string) =>
    send(`mutation { confirmNewsletterSubscription(email: "${address}", confirmation_key: "${key}") { status } }`)
  for (const address of [email, next]) {
    t.match((await confirm(address, sent)).errors, [{ message: /invalid subscription confirmation code/ }])
  }
  const fresh = await link(id, 'NewsletterConfirmationRequested', 'confirm-newsletter')
  t.not(fresh, sent, 'a new link was asked for')
  t.match((await confirm(next, fresh)).data, { confirmNewsletterSubscription: { status: 'SUBSCRIBED' } })
})

t.test('an account that waits to be confirmed: a change of address ends its link', async (t) => {
  // The setting has been turned on since the customer registered, and is turned off for a while.
  const folder = await temporaryFolder(t)
  const key = createMailTokens(loadKeys(loadConfiguration(environment(folder))).emailHashKey)
  const strict = await startSubgraph(t, { folder, store: { account: { confirmationRequired: true } } })
  const lax = await startSubgraph(t, { folder, projection: false })
  const { id, email } = await signUp(strict.send)
  let eventId = ''
  for await (const event of strict.eventStore.readStream(`customer-${id}`)) eventId = event.id
  const sent = key.of('confirm-account', eventId)
  const next = freshEmail()
  const token = await signIn(lax.send, email)
  await lax.send(`mutation { updateCustomerEmail(email: "${next}", password: "${PASSWORD}") { customer { id } } }`, {
    token,
  })
  const confirm = (address: string) =>
    strict.send(
      `mutation { confirmEmail(input: { email: "${address}", confirmation_key: "${sent}" }) { customer { id } } }`,
    )
  t.match((await confirm(next)).errors, [{ message: /^The confirmation token is invalid/ }])
  t.notOk((await confirm(email)).data?.confirmEmail)
  t.match((await strict.send(`mutation { resendConfirmationEmail(email: "${next}") }`)).data, {
    resendConfirmationEmail: true,
  })
})

t.test('another password ends all tokens but the one that asked', async (t) => {
  const { email, token } = await signUp(send)
  const [second, third] = [await signIn(send, email), await signIn(two.send, email)]
  t.equal((await changePassword(token, PASSWORD, NEXT)).errors, undefined)
  t.same(await isTaken(token), TAKEN, 'the one that asked')
  for (const other of [second, third]) t.same(await isTaken(other), REFUSED)

  const fresh = await signIn(send, email, NEXT)
  t.same(await isTaken(fresh), TAKEN, 'a new one beside it')
  t.equal((await changePassword(token, NEXT, PASSWORD)).errors, undefined, 'the same token asks again')
  t.same(await isTaken(token), TAKEN)
  t.same(await isTaken(fresh), REFUSED)

  const last = await signIn(send, email)
  t.equal((await changePassword(last, PASSWORD, NEXT)).errors, undefined, 'another one asks')
  t.same(await isTaken(last), TAKEN)
  t.same(await isTaken(token), REFUSED, 'what was kept before ends')
  await send('mutation { revokeCustomerToken { result } }', { token: last })
  t.same(await isTaken(last), REFUSED, 'a revocation keeps none')
})

t.test('another address ends all tokens but the one that asked', async (t) => {
  for (const change of [changeEmail, updateWithEmail]) {
    const { email, token } = await signUp(send)
    const other = await signIn(send, email)
    t.equal((await change(token, freshEmail())).errors, undefined)
    t.same(await isTaken(token), TAKEN)
    t.same(await isTaken(other), REFUSED)
  }
})

t.test('what is not a change ends nothing', async (t) => {
  const { email, token } = await signUp(send)
  const other = await signIn(send, email)
  t.ok((await changePassword(token, 'Wr0ng-password', NEXT)).errors)
  t.ok((await changePassword(token, PASSWORD, 'short')).errors)
  t.ok((await changeEmail(token, freshEmail(), 'Wr0ng-password')).errors)
  t.equal((await changeEmail(token, email)).errors, undefined, 'the address that it is')
  t.same(await isTaken(other), TAKEN)
})

t.test('a reset ends all tokens', async (t) => {
  const { id, email, token } = await signUp(send)
  await requestReset(email)
  const sent = await link(id, 'PasswordResetRequested', 'reset-password')
  t.match((await reset(email, sent)).data, { resetPassword: true })
  t.same(await isTaken(token), REFUSED)
  t.same(await isTaken(await signIn(send, email, NEXT)), TAKEN)
})

t.test('a repetition with an idempotency key is answered as at first, and ends nothing more', async (t) => {
  const { id, email, token } = await signUp(send)
  const headers = { 'idempotency-key': 'change' }
  const first = await changePassword(token, PASSWORD, NEXT, headers)
  const since = await signIn(send, email, NEXT)
  t.same(await changePassword(token, PASSWORD, NEXT, headers), first)
  t.same(await isTaken(since), TAKEN)
  t.same(await isTaken(token), TAKEN)

  await requestReset(email)
  const sent = await link(id, 'PasswordResetRequested', 'reset-password')
  const again = { 'idempotency-key': 'reset' }
  t.match((await reset(email, sent, PASSWORD, again)).data, { resetPassword: true })
  const later = await signIn(send, email)
  t.match((await reset(email, sent, PASSWORD, again, two.send)).data, { resetPassword: true }, 'on another instance')
  t.match((await reset(email, sent, NEXT, again)).errors, MISMATCH, 'other arguments are another request')
  t.same(await isTaken(later), TAKEN)
})

t.test('a change that is cut off between its two appends: completed, the token that asked goes on', async (t) => {
  const folder = await temporaryFolder(t)
  let cut = false
  const cutOff = await startSubgraph(t, {
    folder,
    wrapEventStore: (store) => ({
      ...store,
      append(stream, events, options) {
        if (cut && events.some(({ type }) => type === 'CustomerPasswordChanged')) throw new Error('killed')
        return store.append(stream, events, options)
      },
    }),
  })
  const { email, token } = await signUp(cutOff.send)
  const other = await signIn(cutOff.send, email)
  cut = true
  const query = `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "${NEXT}") { id } }`
  const headers = { 'idempotency-key': 'cut' }
  t.ok((await cutOff.send(query, { token, headers })).errors)
  const next = await startSubgraph(t, { folder, projection: false })
  t.equal((await next.send(query, { token, headers })).errors, undefined, 'a retry elsewhere')
  t.ok((await next.send('{ customer { id } }', { token })).data.customer)
  t.equal((await next.send('{ customer { id } }', { token: other })).status, 401)

  // Another one, who signs out everywhere before the change is completed.
  cut = false
  const second = await signUp(cutOff.send)
  cut = true
  t.ok((await cutOff.send(query, { token: second.token })).errors)
  t.equal((await next.send('mutation { revokeCustomerToken { result } }', { token: second.token })).errors, undefined)
  const fresh = await signIn(next.send, second.email, NEXT) // completes the change
  t.ok((await next.send('{ customer { id } }', { token: fresh })).data?.customer, 'who completes it is signed in')
  t.equal((await next.send('{ customer { id } }', { token: second.token })).status, 401, 'what was revoked stays so')
})

t.test('a locked account: asked for a link, it is answered like nobody’s address, and gets none', async (t) => {
  const { id, email, token } = await signUp(send)
  await requestReset(email)
  const sent = await link(id, 'PasswordResetRequested', 'reset-password')
  for (let i = 0; i < 10; i++) await changePassword(token, 'Wr0ng-password', NEXT)
  t.match((await send('{ customer { id } }', { token })).errors, [{ message: 'The account is locked.' }])
  const nobody = freshEmail()
  t.same((await requestReset(email)).data, (await requestReset(nobody)).data)
  for (const given of [sent, 'wrong']) {
    t.same(await reset(email, given), await reset(nobody, given))
  }
  t.same(await reset(email, sent, 'short'), await reset(nobody, sent, 'short'), 'before the password is looked at')
})

t.test('who has an account: by default as in Magento, by a setting nobody is told', async (t) => {
  const account = { confirmationRequired: true, revealConfirmation: false }
  const { send, eventStore } = await startSubgraph(t, { store: { account } })
  const waiting = await signUp(send)
  const confirmed = await signUp(send)
  const types = async (id: number) => {
    const found: string[] = []
    for await (const { type } of eventStore.readStream(`customer-${id}`)) found.push(type)
    return found
  }
  const confirm = (email: string) =>
    send(`mutation { confirmEmail(input: { email: "${email}", confirmation_key: "wrong" }) { customer { id } } }`)
  const resend = (email: string) => send(`mutation { resendConfirmationEmail(email: "${email}") }`)
  const addresses = [waiting.email, confirmed.email, freshEmail()]
  const [first, ...others] = await Promise.all(addresses.map(confirm))
  t.match(first?.errors, [{ message: /^The confirmation token is invalid/ }])
  for (const other of others) t.same(other, first)
  for (const answer of await Promise.all(addresses.map(resend))) {
    t.same(answer, { status: 200, data: { resendConfirmationEmail: true } })
  }
  t.same(await types(waiting.id), ['CustomerRegistered', ...Array(2).fill('EmailConfirmationRequested')])
})

t.test('mails that confirm: at most so many an hour for one account', async (t) => {
  let at = Date.now()
  const store = { account: { confirmationRequired: true }, newsletter }
  const { send, eventStore } = await startSubgraph(t, { store, now: () => new Date(at) })
  const { id, email } = await signUp(send)
  const count = async (id: number, wanted: string) => {
    let found = 0
    for await (const { type } of eventStore.readStream(`customer-${id}`)) if (type === wanted) found++
    return found
  }
  const aliases = Array.from({ length: 50 }, (_, i) => `a${i}: resendConfirmationEmail(email: "${email}")`)
  const { data } = await send(`mutation { ${aliases.join(' ')} }`)
  t.ok(Object.values(data).every((each) => each === true))
  t.equal(await count(id, 'EmailConfirmationRequested'), 5)
  at += 3_600_001
  await send(`mutation { resendConfirmationEmail(email: "${email}") }`)
  t.equal(await count(id, 'EmailConfirmationRequested'), 6, 'an hour later')

  const lax = await startSubgraph(t, { store: { newsletter } })
  const subscriber = await signUp(lax.send)
  const turn = (is: boolean, i: number) =>
    `t${i}${is}: updateCustomer(input: { is_subscribed: ${is} }) { customer { is_subscribed } }`
  const turns = Array.from({ length: 20 }, (_, i) => [turn(true, i), turn(false, i)]).flat()
  t.equal((await lax.send(`mutation { ${turns.join(' ')} }`, { token: subscriber.token })).errors, undefined)
  let requested = 0
  for await (const { type } of lax.eventStore.readStream(`customer-${subscriber.id}`)) {
    if (type === 'NewsletterConfirmationRequested') requested++
  }
  t.equal(requested, 5)
})
