/** A request that a client repeats with its Idempotency-Key is carried out once, and answered again. */
import t from 'tap'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import {
  CREATE_ADDRESS,
  environment,
  freshEmail,
  PASSWORD,
  signIn,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'

const folder = await temporaryFolder(t)
const { send, eventStore } = await startSubgraph(t, { folder })
const key = (name: string) => ({ 'idempotency-key': name })

const tokens = createMailTokens(loadKeys(loadConfiguration(environment(folder))).emailHashKey)

/** A customer with a link to another password. */
async function withLink() {
  const { id, email } = await signUp(send)
  await send(`mutation { requestPasswordResetEmail(email: "${email}") }`)
  let asked = ''
  for await (const event of eventStore.readStream(`customer-${id}`)) asked = event.id
  return { email, link: tokens.of('reset-password', asked) }
}

const reset = (email: string, link: string, password: string) =>
  `mutation { resetPassword(email: "${email}", resetPasswordToken: "${link}", newPassword: "${password}") }`

t.test('createCustomer', async (t) => {
  const email = freshEmail()
  const query = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id email } } }'
  const input = { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD }
  const first = await send(query, { variables: { input }, headers: key('a') })
  t.same(await send(query, { variables: { input }, headers: key('a') }), first)
  const taken = [{ message: /^A customer with the same email/ }]
  t.match(
    (await send(query, { variables: { input }, headers: key('b') })).errors,
    taken,
    'another key is another request',
  )
  const other = { ...input, password: 'Oth3r-pass' }
  t.match(
    (await send(query, { variables: { input: other }, headers: key('a') })).errors,
    taken,
    'so are other arguments',
  )
  t.ok(await signIn(send, email))
})

t.test('createCustomer again shows what was registered, and nothing that the account got later', async (t) => {
  // Whoever registers an address first need not be the one who has it.
  const email = freshEmail()
  const query = `mutation($input: CustomerInput!) { createCustomer(input: $input) { customer {
    id firstname taxvat default_billing addresses { city } } } }`
  const request = {
    variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD } },
    headers: key('a'),
  }
  const first = await send(query, request)
  t.equal(first.errors, undefined)
  const token = await signIn(send, email)
  const changes = [
    `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`,
    'mutation { updateCustomer(input: { firstname: "Bea", taxvat: "DE1" }) { customer { id } } }',
  ]
  for (const change of changes) t.equal((await send(change, { token })).errors, undefined)
  const input = { ...TEXAN, default_billing: true }
  t.equal((await send(CREATE_ADDRESS, { token, variables: { input } })).errors, undefined)
  t.same(await send(query, request), first)
  const moved = `mutation { updateCustomerEmail(email: "${freshEmail()}", password: "N3w-password") { customer { id } } }`
  t.equal((await send(moved, { token })).errors, undefined)
  t.same(await send(query, request), first, 'and no second account at the address that the customer has left')
  t.equal((await send('mutation { deleteCustomer }', { token })).errors, undefined)
  const anew = await send(query, request)
  t.not(anew.data.createCustomer.customer.id, first.data.createCustomer.customer.id, 'but anew after a deletion')
  t.same(await send(query, request), anew)
  const staffs = query.replace('taxvat', 'admin_assistance_actions { total_count }')
  t.match((await send(staffs, request)).errors, [{ extensions: { category: 'graphql-authorization' } }])
})

t.test('confirmEmail again is answered until the account changes', async (t) => {
  const confirming = await startSubgraph(t, { folder, store: { account: { confirmationRequired: true } } })
  const email = freshEmail()
  const input = { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD }
  const register = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }'
  const { data } = await confirming.send(register, { variables: { input } })
  let asked = ''
  for await (const event of eventStore.readStream(`customer-${data.createCustomer.customer.id}`)) asked = event.id
  const confirm = `mutation { confirmEmail(input: { email: "${email}", confirmation_key: "${tokens.of('confirm-account', asked)}" }) {
    customer { email firstname addresses { city } } } }`
  const first = await confirming.send(confirm, { headers: key('a') })
  t.equal(first.errors, undefined)
  t.same(await confirming.send(confirm, { headers: key('a') }), first)
  const token = await signIn(confirming.send, email)
  await confirming.send(CREATE_ADDRESS, { token, variables: { input: TEXAN } })
  t.match((await confirming.send(confirm, { headers: key('a') })).errors, [
    { message: 'The account is already active.' },
  ])
})

t.test('subscribeEmailToNewsletter does not tell who is a customer', async (t) => {
  const { email } = await signUp(send)
  const answers = async (email: string) => {
    const subscribe = `mutation { subscribeEmailToNewsletter(email: "${email}") { status } }`
    const given: object[] = []
    for (const headers of [key('a'), key('a'), key('b'), key('b'), undefined]) {
      const { data, errors } = await send(subscribe, headers && { headers })
      given.push(errors?.[0]?.message ?? data)
    }
    return given
  }
  const done = { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } }
  const already = 'This email address is already subscribed.'
  const expected = [done, done, already, already, already]
  t.same(await answers(email), expected)
  t.same(await answers(freshEmail()), expected)
})

t.test(
  'subscribeEmailToNewsletter of a guest, repeated, does not subscribe the customer who has unsubscribed',
  async (t) => {
    const email = freshEmail()
    const subscribe = () =>
      send(`mutation { subscribeEmailToNewsletter(email: "${email}") { status } }`, { headers: key('g') })
    const first = await subscribe()
    t.same(first.data, { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
    const { token } = await signUp(send, email)
    const leave = 'mutation { updateCustomerV2(input: { is_subscribed: false }) { customer { is_subscribed } } }'
    t.same((await send(leave, { token })).data.updateCustomerV2.customer, { is_subscribed: false })
    t.same(await subscribe(), first)
    t.same((await send('{ customer { is_subscribed } }', { token })).data.customer, { is_subscribed: false })
  },
)

t.test('createCustomerAddress, updateCustomer, changeCustomerPassword', async (t) => {
  const { token, id, email } = await signUp(send)
  const length = async () => {
    let count = 0
    for await (const _ of eventStore.readStream(`customer-${id}`)) count++
    return count
  }
  const requests: [string, object?][] = [
    [CREATE_ADDRESS, { input: { ...TEXAN, default_billing: true } }],
    ['mutation { updateCustomer(input: { firstname: "Bea" }) { customer { firstname } } }'],
    [`mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`],
    [`mutation { updateCustomer(input: { email: "new-${email}", password: "N3w-password" }) { customer { email } } }`],
  ]
  for (const [query, variables = {}] of requests) {
    const first = await send(query, { variables, token, headers: key('k') })
    t.equal(first.errors, undefined)
    const written = await length()
    t.same(await send(query, { variables, token, headers: key('k') }), first)
    t.equal(await length(), written, 'nothing is written twice')
  }
  const before = await length()
  await send('mutation { updateCustomer(input: { firstname: "Cleo" }) { customer { id } } }', {
    token,
    headers: key('c'),
  })
  await send('mutation { updateCustomer(input: { firstname: "Dora" }) { customer { id } } }', {
    token,
    headers: key('c'),
  })
  t.equal(await length(), before + 2)
})

t.test('the same mutation twice in one request is two', async (t) => {
  const { token } = await signUp(send)
  const twice = `mutation($input: CustomerAddressInput!) {
    a: createCustomerAddress(input: $input) { id } b: createCustomerAddress(input: $input) { id } }`
  for (let i = 0; i < 3; i++) {
    // Three times: the third runs compiled.
    const { data } = await send(twice, { variables: { input: TEXAN }, token, headers: key('twice') })
    t.not(data.a.id, data.b.id)
  }
  t.equal((await send('{ customer { addresses { id } } }', { token })).data.customer.addresses.length, 2)
})

t.test('revokeCustomerToken, though its own token is revoked; nothing else with it', async (t) => {
  const { token } = await signUp(send)
  const rename = 'mutation { updateCustomer(input: { firstname: "Eve" }) { customer { firstname } } }'
  await send(rename, { token, headers: key('r') })
  const revoke = 'mutation { revokeCustomerToken { result } }'
  for (let i = 0; i < 2; i++) {
    t.same((await send(revoke, { token, headers: key('r') })).data, { revokeCustomerToken: { result: true } })
  }
  const unauthorized = [{ message: 'User token has been revoked' }]
  t.match((await send(revoke, { token })).errors, unauthorized)
  t.match((await send(rename, { token, headers: key('r') })).errors, unauthorized, 'a revoked token gets no old answer')
})

t.test('revokeCustomerToken with a key of an earlier revocation ends the token that asks for it', async (t) => {
  const { token, email } = await signUp(send)
  const revoke = (asking: string) =>
    send('mutation { revokeCustomerToken { result } }', { token: asking, headers: key('r') })
  t.same((await revoke(token)).data, { revokeCustomerToken: { result: true } })
  const next = await signIn(send, email)
  t.same((await revoke(next)).data, { revokeCustomerToken: { result: true } })
  t.match((await send('{ customer { id } }', { token: next })).errors, [{ message: 'User token has been revoked' }])
})

t.test('a change of address, repeated after another one, takes nothing from the customer', async (t) => {
  const { token, email } = await signUp(send)
  const [second, third] = [freshEmail(), freshEmail()]
  const moveTo = (address: string) =>
    send(`mutation { updateCustomerEmail(email: "${address}", password: "${PASSWORD}") { customer { email } } }`, {
      token,
      headers: key('m'),
    })
  t.match((await moveTo(second)).data, { updateCustomerEmail: { customer: { email: second } } })
  t.match((await moveTo(third)).data, { updateCustomerEmail: { customer: { email: third } } })
  t.match((await moveTo(second)).data, { updateCustomerEmail: { customer: { email: third } } })
  t.ok(await signIn(send, third), 'the address is still theirs')
  t.match(
    (
      await send(
        `mutation { createCustomer(input: { firstname: "Bea", lastname: "Lee", email: "${third}", password: "${PASSWORD}" }) { customer { id } } }`,
      )
    ).errors,
    [{ message: /^A customer with the same email/ }],
  )
  t.notOk((await moveTo(email)).errors, 'a former address can be taken again')
})

t.test('attempts of one request that are under way at once, at two instances, are one', async (t) => {
  // Its caches and its blocks of ids are its own.
  const other = await startSubgraph(t, { folder, projection: false })
  const both = (query: string, options: object) =>
    Promise.all([send, other.send, send, other.send].map((at) => at(query, { ...options, headers: key('at once') })))
  const register = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id email } } }'
  for (let round = 0; round < 20; round++) {
    const input = {
      firstname: 'Ann',
      lastname: 'Lee',
      email: freshEmail(),
      ...(round % 4 === 0 && { password: PASSWORD }),
    }
    const answers = await both(register, { variables: { input } })
    t.equal(answers[0]?.errors, undefined)
    for (const answer of answers) t.same(answer, answers[0], 'one customer')
  }
  const { token } = await signUp(send)
  const created: unknown[] = []
  for (let round = 0; round < 20; round++) {
    const input = { ...TEXAN, city: `City ${round}` }
    const answers = await both(CREATE_ADDRESS, { token, variables: { input } })
    t.equal(answers[0]?.errors, undefined)
    for (const answer of answers) t.same(answer, answers[0], 'one address')
    created.push(answers[0]?.data.createCustomerAddress.id)
  }
  for (const at of [send, other.send]) {
    const { data } = await at('{ customer { addresses { id } } }', { token })
    t.same(
      data.customer.addresses.map(({ id }: { id: number }) => id),
      created,
    )
  }
  const change = `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`
  for (let round = 0; round < 4; round++) {
    const { token, id, email } = await signUp(send)
    for (const answer of await both(change, { token })) t.same(answer.data, { changeCustomerPassword: { id } })
    t.ok(await signIn(send, email, 'N3w-password'))
  }
  for (let round = 0; round < 4; round++) {
    const { email, link } = await withLink()
    for (const answer of await both(reset(email, link, 'N3w-password'), {}))
      t.same(answer.data, { resetPassword: true })
    t.ok(await signIn(send, email, 'N3w-password'))
    t.notOk(await signIn(send, email))
  }
})

t.test('resetPassword, what happens while it hashes', async (t) => {
  /** How many reads of such streams are still to come before one is held. */
  let left = { stream: 'customerCredentials-', reads: Number.POSITIVE_INFINITY }
  let count = 0
  let held = Promise.withResolvers<void>()
  let goOn = Promise.withResolvers<void>()
  const hold = (stream: string, reads: number) => {
    left = { stream, reads }
    held = Promise.withResolvers()
    goOn = Promise.withResolvers()
  }
  const slow = await startSubgraph(t, {
    folder,
    projection: false,
    wrapEventStore: (store) => ({
      ...store,
      async *readStream(stream, options) {
        if (stream.startsWith('customerEmail-')) count++
        if (stream.startsWith(left.stream) && left.reads-- === 0) {
          held.resolve()
          await goOn.promise
        }
        yield* store.readStream(stream, options)
      },
    }),
  })

  await t.test('another attempt of the same request is done: so is this one', async (t) => {
    const { email, link } = await withLink()
    const [query, headers] = [reset(email, link, 'N3w-password'), key('slow')]
    hold('customerCredentials-', 1) // it reads the credentials before it hashes, and again to replace them
    const attempt = slow.send(query, { headers })
    await held.promise
    t.same((await send(query, { headers })).data, { resetPassword: true })
    goOn.resolve()
    t.same((await attempt).data, { resetPassword: true })
    t.ok(await signIn(send, email, 'N3w-password'))
  })

  await t.test('the address changes: its link is worth nothing', async (t) => {
    const { email, link } = await withLink()
    count = 0
    t.ok((await slow.send(reset(email, 'x'.repeat(32), 'N3w-password'))).errors)
    hold('customerEmail-', count) // as many as it takes to find who has the address
    const attempt = slow.send(reset(email, link, 'N3w-password'))
    await Promise.race([held.promise, attempt])
    const other = freshEmail()
    const change = `mutation { updateCustomerEmail(email: "${other}", password: "${PASSWORD}") { customer { email } } }`
    t.match(await send(change, { token: (await signIn(send, email)) ?? '' }), {
      data: { updateCustomerEmail: { customer: { email: other } } },
    })
    goOn.resolve()
    t.match((await attempt).errors, [{ message: /mismatched/ }])
    t.ok(await signIn(send, other))
  })
})

t.test(
  'resetPassword whose answer the store lost: one of two passwords is set, and the same attempt is told',
  async (t) => {
    /** The stream whose next append is written, and not acknowledged. */
    let losing: string | undefined
    const lossy = await startSubgraph(t, {
      folder,
      projection: false,
      wrapEventStore: (store) => ({
        ...store,
        async append(stream, ...args) {
          const written = await store.append(stream, ...args)
          if (losing === undefined || !stream.startsWith(losing)) return written
          losing = undefined
          throw new EventStoreUnavailable('lost')
        },
      }),
    })
    for (const stream of ['customerCredentials-', 'customer-', 'customerCredentials-', 'customer-']) {
      const { email, link } = await withLink()
      losing = stream
      const attempts = [
        { at: lossy.send, password: 'F1rst-password', headers: key('first') },
        { at: send, password: 'Sec0nd-password', headers: key('second') },
      ]
      const tries = () =>
        Promise.all(attempts.map(({ at, password, headers }) => at(reset(email, link, password), { headers })))
      const first = await tries()
      for (const { errors } of first) {
        if (errors) t.match(errors[0], { message: /mismatched|unavailable/i })
      }
      losing = undefined
      const again = await tries()
      for (const [index, { data }] of first.entries()) {
        if (data?.resetPassword) t.same(again[index]?.data, { resetPassword: true }, 'what was said stays so')
      }
      const signedIn = await Promise.all(attempts.map(({ password }) => signIn(send, email, password)))
      t.equal(signedIn.filter(Boolean).length, 1, `${stream}: one of them`)
      t.same(
        again.map(({ data }) => data?.resetPassword === true),
        signedIn.map((token) => token !== undefined),
        'and whose it was is told',
      )
      t.notOk(await signIn(send, email))
    }
  },
)
