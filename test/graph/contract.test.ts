/** The seed operations of Magento's customer contract, over HTTP through the gateway. */
import t from 'tap'
import { CREATE_ADDRESS, freshEmail, PASSWORD, type Send, signIn, signUp, startGraph, TEXAN } from '../support/graph.ts'
import { REVOKED, refusesToken } from '../support/magento.ts'
import { refusesField as refuses } from '../support/refuses-field.ts'

let now = () => new Date()
const { send } = await startGraph(t, { now: () => now() })

const UNAUTHORIZED = ["The current customer isn't authorized.", 'graphql-authorization', 'UNAUTHENTICATED'] as const
const SIGN_IN_REFUSED = [
  'The account sign-in was incorrect or your account is disabled temporarily. Please wait and try again later.',
  'graphql-authentication',
  'UNAUTHENTICATED',
] as const

const createCustomer = (input: object, fields = 'id') =>
  send(`mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { ${fields} } } }`, {
    variables: { input },
  })

const updateCustomer = (token: string | undefined, input: object, fields = 'id') =>
  send(`mutation($input: CustomerInput!) { updateCustomer(input: $input) { customer { ${fields} } } }`, {
    variables: { input },
    token,
  })

const CUSTOMER_FIELDS = `id created_at group_id prefix firstname middlename lastname suffix email default_billing default_shipping
  dob taxvat gender is_subscribed reward_update_notification reward_warning_notification`

t.test('createCustomer answers every field, and signs nobody in', async (t) => {
  const email = freshEmail()
  const { data, errors } = await createCustomer(
    {
      prefix: 'Ms',
      firstname: 'Ann',
      middlename: 'B',
      lastname: 'Lee',
      suffix: 'Jr',
      email,
      dob: '3/11/1972',
      taxvat: 'DE1',
      gender: 2,
      password: PASSWORD,
      is_subscribed: true,
    },
    `${CUSTOMER_FIELDS} addresses { id }`,
  )
  t.equal(errors, undefined)
  const { customer } = data.createCustomer
  t.type(customer.id, 'number')
  t.match(customer.created_at, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
  t.match(customer, {
    group_id: 1,
    prefix: 'Ms',
    firstname: 'Ann',
    middlename: 'B',
    lastname: 'Lee',
    suffix: 'Jr',
    email,
    dob: '1972-03-11',
    taxvat: 'DE1',
    gender: 2,
    is_subscribed: true,
  })
  for (const field of [
    'default_billing',
    'default_shipping',
    'reward_update_notification',
    'reward_warning_notification',
  ]) {
    t.equal(customer[field], null, field)
  }
  t.same(customer.addresses, [])

  refuses(t, await send('{ customer { id } }'), 'customer', UNAUTHORIZED)
  const token = await signIn(send, email)
  const read = await send(`{ customer { ${CUSTOMER_FIELDS} addresses { id } } }`, { token })
  t.same(read.data.customer, customer, 'a query gives the same')
})

t.test('createCustomer refuses', async (t) => {
  const valid = { firstname: 'A', lastname: 'B', email: freshEmail(), password: PASSWORD }
  const cases: [object, string][] = [
    [{}, '"input" value should be specified'],
    [{ firstname: 'A', lastname: 'B' }, 'The email address is required to create a customer account.'],
    [{ ...valid, email: 'plain' }, '"plain" is not a valid email address.'],
    [{ ...valid, firstname: '' }, '"First Name" is a required value.'],
    [{ ...valid, gender: 5 }, '"5" is not a valid gender value.'],
    [{ ...valid, dob: 'bla' }, 'Invalid date'],
    [{ ...valid, password: '' }, 'The password needs at least 8 characters. Create a new password and try again.'],
    [{ ...valid, password: 'short' }, 'The password needs at least 8 characters. Create a new password and try again.'],
  ]
  for (const [input, message] of cases) {
    refuses(t, await createCustomer(input), 'createCustomer', [message, 'graphql-input', 'BAD_USER_INPUT'])
  }
  t.equal((await createCustomer(valid)).errors, undefined)
  refuses(t, await createCustomer({ ...valid, email: valid.email.toUpperCase() }), 'createCustomer', [
    'A customer with the same email address already exists in an associated website.',
    'graphql-input',
  ])
  const unknown = await createCustomer({ ...valid, test123: 'x' })
  t.equal(unknown.status, 400)
  t.match(unknown.errors?.[0].message, /Field "test123" is not defined by type "CustomerInput"/)
})

t.test('an account without a password can not sign in', async (t) => {
  const email = freshEmail()
  t.equal((await createCustomer({ firstname: 'A', lastname: 'B', email })).errors, undefined)
  refuses(t, await tryToSignIn(send, email, PASSWORD), 'generateCustomerToken', SIGN_IN_REFUSED)
})

const tryToSignIn = (send: Send, email: string, password: string) =>
  send('mutation($e: String!, $p: String!) { generateCustomerToken(email: $e, password: $p) { token } }', {
    variables: { e: email, p: password },
  })

t.test('generateCustomerToken', async (t) => {
  const { email, token, id } = await signUp(send)
  t.not(await signIn(send, email.toUpperCase()), token, 'each sign-in makes a new token; case does not matter')
  t.match((await send('{ customer { id } }', { token })).data, { customer: { id } }, 'and the older stays valid')
  for (const empty of ['', '0']) {
    const specify = ['Specify the "email" value.', 'graphql-input'] as const
    refuses(t, await tryToSignIn(send, empty, 'x'), 'generateCustomerToken', specify)
  }
  refuses(t, await tryToSignIn(send, email, ''), 'generateCustomerToken', [
    'Specify the "password" value.',
    'graphql-input',
  ])
  refuses(t, await tryToSignIn(send, email, 'wrong'), 'generateCustomerToken', SIGN_IN_REFUSED)
  refuses(t, await tryToSignIn(send, 'nobody@example.com', PASSWORD), 'generateCustomerToken', SIGN_IN_REFUSED)
})

t.test('a bad or foreign token is refused', async (t) => {
  const { token } = await signUp(send)
  const [head, body] = token.split('.')
  for (const bad of ['x', `${head}.${body}.AAAA`, `${token}x`, 'eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIiwiZ2VuIjowfQ.']) {
    refusesToken(t, await send('{ customer { id } }', { token: bad }), 'Token does not exist')
  }
  for (const authorization of [`Basic ${token}`, `Bearer  ${token}`, `Bearer ${token} x`, token]) {
    refuses(t, await send('{ customer { id } }', { headers: { authorization } }), 'customer', UNAUTHORIZED)
  }
  t.ok((await send('{ customer { id } }', { headers: { authorization: `bearer ${token}` } })).data.customer)
  const anonymous = await createCustomer({ firstname: 'A', lastname: 'B', email: freshEmail() })
  t.equal(anonymous.errors, undefined, 'what a guest may do, a bad token may do too')
})

t.test('every customer operation needs a customer', async (t) => {
  const operations: Record<string, string> = {
    customer: '{ customer { id } }',
    updateCustomer: 'mutation { updateCustomer(input: { firstname: "A" }) { customer { id } } }',
    changeCustomerPassword: 'mutation { changeCustomerPassword(currentPassword: "a", newPassword: "b") { id } }',
    revokeCustomerToken: 'mutation { revokeCustomerToken { result } }',
    createCustomerAddress: 'mutation { createCustomerAddress(input: { city: "A" }) { id } }',
    updateCustomerAddress: 'mutation { updateCustomerAddress(id: 1, input: { city: "A" }) { id } }',
    deleteCustomerAddress: 'mutation { deleteCustomerAddress(id: 1) }',
  }
  for (const [field, query] of Object.entries(operations)) refuses(t, await send(query), field, UNAUTHORIZED)
})

t.test('revokeCustomerToken ends all tokens of the customer', async (t) => {
  const { email, token } = await signUp(send)
  const other = await signIn(send, email)
  t.same((await send('mutation { revokeCustomerToken { result } }', { token })).data, {
    revokeCustomerToken: { result: true },
  })
  for (const dead of [token, other]) refusesToken(t, await send('{ customer { id } }', { token: dead }), REVOKED)
  const fresh = await signIn(send, email)
  t.ok((await send('{ customer { id } }', { token: fresh })).data.customer, 'a sign-in right after it counts')
})

t.test('updateCustomer', async (t) => {
  const { email, token } = await signUp(send)
  const updated = await updateCustomer(
    token,
    { firstname: 'Eve', dob: '3/11/1972', gender: 3, is_subscribed: true },
    CUSTOMER_FIELDS,
  )
  t.match(updated.data.updateCustomer.customer, {
    firstname: 'Eve',
    lastname: 'Lee',
    dob: '3/11/1972',
    gender: 3,
    is_subscribed: true,
    email,
  })
  const read = await send('{ customer { firstname lastname dob is_subscribed } }', { token })
  t.same(read.data.customer, { firstname: 'Eve', lastname: 'Lee', dob: '1972-03-11', is_subscribed: true })

  refuses(t, await updateCustomer(token, {}), 'updateCustomer', ['"input" value should be specified', 'graphql-input'])
  refuses(t, await updateCustomer(token, { lastname: '' }), 'updateCustomer', [
    '"Last Name" is a required value.',
    'graphql-input',
  ])
  t.equal(
    (await updateCustomer(token, { email, is_subscribed: false }, 'is_subscribed')).data.updateCustomer.customer
      .is_subscribed,
    false,
  )
})

t.test('a change of e-mail address', async (t) => {
  const { email, token } = await signUp(send)
  const taken = (await signUp(send)).email
  const next = freshEmail()
  const refused: [object, string, string][] = [
    [{ email: next }, 'Provide the current "password" to change "email".', 'graphql-input'],
    [{ email: next, password: '' }, 'Provide the current "password" to change "email".', 'graphql-input'],
    [{ email: next, password: 'wrong' }, 'Invalid login or password.', 'graphql-authentication'],
    [{ email: 'bad', password: PASSWORD }, '"bad" is not a valid email address.', 'graphql-input'],
    [
      { email: taken, password: PASSWORD },
      'A customer with the same email address already exists in an associated website.',
      'graphql-already-exists',
    ],
  ]
  for (const [input, message, category] of refused) {
    refuses(t, await updateCustomer(token, input), 'updateCustomer', [message, category])
  }
  const changed = await updateCustomer(token, { email: next, password: PASSWORD }, 'email')
  t.same(changed.data, { updateCustomer: { customer: { email: next } } })
  t.ok(await signIn(send, next))
  t.notOk(await signIn(send, email))
  t.equal((await createCustomer({ firstname: 'A', lastname: 'B', email })).errors, undefined, 'the old address is free')
  const upper = await updateCustomer(token, { email: next.toUpperCase(), password: PASSWORD }, 'email')
  t.same(
    upper.data,
    { updateCustomer: { customer: { email: next.toUpperCase() } } },
    'another case is no other address',
  )
})

t.test('changeCustomerPassword', async (t) => {
  const { email, token } = await signUp(send)
  const change = (currentPassword: string, newPassword: string) =>
    send(
      'mutation($c: String!, $n: String!) { changeCustomerPassword(currentPassword: $c, newPassword: $n) { id email } }',
      {
        variables: { c: currentPassword, n: newPassword },
        token,
      },
    )
  const refused: [string, string, string, string][] = [
    [' ', 'x', 'Specify the "currentPassword" value.', 'graphql-input'],
    [PASSWORD, '', 'Specify the "newPassword" value.', 'graphql-input'],
    ['wrong', 'N3w-password', 'Invalid login or password.', 'graphql-authentication'],
    [
      PASSWORD,
      'short',
      'The password needs at least 8 characters. Create a new password and try again.',
      'graphql-input',
    ],
    [
      PASSWORD,
      email,
      "The password can't be the same as the email address. Create a new password and try again.",
      'graphql-input',
    ],
  ]
  for (const [current, next, message, category] of refused) {
    refuses(t, await change(current, next), 'changeCustomerPassword', [message, category])
  }
  t.match((await change(PASSWORD, 'N3w-password')).data.changeCustomerPassword, { email })
  t.notOk(await signIn(send, email, PASSWORD))
  t.ok(await signIn(send, email, 'N3w-password'))
  t.ok((await send('{ customer { id } }', { token })).data.customer, 'tokens stay valid')
})

t.test('ten wrong passwords lock the account for ten minutes', async (t) => {
  const { email, token } = await signUp(send)
  const guess = () =>
    send('mutation { changeCustomerPassword(currentPassword: "guess", newPassword: "N3w-password") { id } }', { token })
  for (let i = 1; i < 10; i++) {
    refuses(t, await guess(), 'changeCustomerPassword', ['Invalid login or password.', 'graphql-authentication'])
  }
  const locked = ['The account is locked.', 'graphql-authentication', 'UNAUTHENTICATED'] as const
  refuses(t, await guess(), 'changeCustomerPassword', locked)
  refuses(t, await send('{ customer { id } }', { token }), 'customer', locked)
  refuses(t, await updateCustomer(token, { firstname: 'X' }), 'updateCustomer', locked)
  refuses(t, await updateCustomer(token, { email: freshEmail(), password: PASSWORD }), 'updateCustomer', locked)
  refuses(t, await tryToSignIn(send, email, PASSWORD), 'generateCustomerToken', SIGN_IN_REFUSED)
  t.ok(
    (await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })).data.createCustomerAddress,
    'addresses are not locked',
  )
  refuses(
    t,
    await send(
      `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`,
      { token },
    ),
    'changeCustomerPassword',
    locked,
  )
  now = () => new Date(Date.now() + 10 * 60_000)
  t.ok((await send('{ customer { id } }', { token })).data.customer, 'after ten minutes it is open')
  refuses(t, await guess(), 'changeCustomerPassword', ['Invalid login or password.', 'graphql-authentication'])
  t.ok(await signIn(send, email), 'and the password is the old one')
  now = () => new Date()
})

t.test('six failed sign-ins refuse further ones for half an hour, for any address', async (t) => {
  const { email, token } = await signUp(send)
  for (const address of [email, freshEmail()]) {
    for (let i = 0; i < 6; i++) t.notOk(await signIn(send, address, 'guess'))
  }
  refuses(t, await tryToSignIn(send, email, PASSWORD), 'generateCustomerToken', SIGN_IN_REFUSED)
  t.ok((await send('{ customer { id } }', { token })).data.customer, 'the account is not locked')
  now = () => new Date(Date.now() + 1_801_000)
  t.ok(await signIn(send, email))
  now = () => new Date()
})

t.test('several operations in one document, several mutations in order', async (t) => {
  const { token } = await signUp(send)
  const { data } = await send(
    `mutation { a: updateCustomer(input: { firstname: "One" }) { customer { firstname } }
       b: updateCustomer(input: { firstname: "Two" }) { customer { firstname } } }`,
    { token },
  )
  t.same([data.a.customer.firstname, data.b.customer.firstname], ['One', 'Two'])
  t.equal((await send('{ customer { firstname } }', { token })).data.customer.firstname, 'Two')
})
