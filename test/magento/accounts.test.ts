/** Magento's own API tests of accounts, on a store with its default settings: registration, changes, e-mail, deletion. */
import t from 'tap'
import { freshEmail, PASSWORD, signIn, signUp, startGraph } from '../support/graph.ts'
import {
  alreadyExists,
  authentication,
  type Case,
  check,
  GUEST,
  gives,
  input,
  LOCKED,
  type Operation,
  QUICK_STORE,
  REVOKED,
  refuses,
  refusesToken,
  SIGN_IN_REFUSED,
  signUpLocked,
  TAKEN,
} from '../support/magento.ts'

const { send } = await startGraph(t, { store: QUICK_STORE })

const DETAILS = 'id firstname lastname email is_subscribed'
const CREATES = [
  ['createCustomer', 'CustomerInput'],
  ['createCustomerV2', 'CustomerCreateInput'],
] as const
const UPDATES = [
  ['updateCustomer', 'CustomerInput'],
  ['updateCustomerV2', 'CustomerUpdateInput'],
] as const

/** A mutation of one `input` that answers a customer. */
const mutation = (field: string, type: string, input: object, token?: string, fields = DETAILS): Operation => ({
  query: `mutation($input: ${type}!) { ${field}(input: $input) { customer { ${fields} } } }`,
  variables: { input },
  token,
})

/** Each of these addresses Magento refuses, with the address in the message. */
const BAD_EMAILS = [
  'plainaddress',
  '#@%^%#$@#$@#.com',
  '@example.com',
  'Joe Smith <email@example.com>',
  'email.example.com',
  'email@example@example.com',
  'email@example.com (Joe Smith)',
  'email@example',
]
const badEmail = (email: string) => input(`"${email}" is not a valid email address.`)

const registered = await signUp(send)

for (const [field, type] of CREATES) {
  const rowe = () => ({ firstname: 'Richard', lastname: 'Rowe', email: freshEmail(), password: 'test123#' })
  const create = (given: object, fields?: string) => mutation(field, type, given, undefined, fields)
  const accepts = (name: string, given: object, extra: object = {}): Case => {
    const wanted = { ...given, ...extra } as Record<string, unknown>
    delete wanted.password
    return { name, ...create(given, Object.keys(wanted).join(' ')), gives: { [field]: { customer: wanted } } }
  }
  const short = 'The password needs at least 8 characters. Create a new password and try again.'
  const weak =
    'Minimum of different classes of characters in password is 3. Classes of characters: Lower Case, Upper Case, Digits, Special Characters.'
  const spaces = "The password can't begin or end with a space. Verify the password and try again."
  const own = 'Own-Address1@example.com'

  t.test(field, (t) =>
    check(t, send, [
      accepts('with a password, subscribed', { ...rowe(), is_subscribed: true }),
      accepts('an address with a letter beyond ASCII', { ...rowe(), email: `jørgen.${field}@somedomain.com` }),
      accepts('an address with curly quotes', { ...rowe(), email: `“${field}”@example.com` }),
      accepts('without a password', { ...rowe(), password: undefined, is_subscribed: true }),
      accepts('not subscribed unless it says so', rowe(), { is_subscribed: false }),
      accepts('subscribed: false', { ...rowe(), is_subscribed: false }),
      accepts('gender 1', { ...rowe(), gender: 1 }),
      accepts('a tax number, a prefix and a suffix', { ...rowe(), taxvat: 'GQL1', prefix: 'Dr', suffix: 'III' }),
      accepts('a date of birth', { ...rowe(), date_of_birth: '1972-03-11' }, { dob: '1972-03-11' }),
      accepts('in the general group', rowe(), { group_id: 1, default_billing: null, default_shipping: null }),
      {
        name: 'an empty first name',
        ...create({ ...rowe(), firstname: '' }),
        refused: input('"First Name" is a required value.'),
      },
      {
        name: 'an empty last name',
        ...create({ ...rowe(), lastname: '' }),
        refused: input('"Last Name" is a required value.'),
      },
      {
        name: 'an unknown gender',
        ...create({ ...rowe(), gender: 5 }),
        refused: input('"5" is not a valid gender value.'),
      },
      {
        name: 'a date that is none',
        ...create({ ...rowe(), date_of_birth: 'bla-bla-bla' }),
        refused: input('Invalid date'),
      },
      {
        name: 'a date that is none, as dob',
        ...create({ ...rowe(), dob: 'bla-bla-bla' }),
        refused: input('Invalid date'),
      },
      {
        name: 'an address that has an account',
        ...create({ ...rowe(), email: registered.email }),
        refused: input(TAKEN),
      },
      {
        name: 'the same in capitals',
        ...create({ ...rowe(), email: registered.email.toUpperCase() }),
        refused: input(TAKEN),
      },
      ...BAD_EMAILS.map((email) => ({
        name: `no address: ${email}`,
        ...create({ ...rowe(), email }),
        refused: badEmail(email),
      })),
      { name: 'a password too short', ...create({ ...rowe(), password: 'aA1#' }), refused: input(short) },
      {
        name: 'a password of too few classes',
        ...create({ ...rowe(), password: 'weakpassword' }),
        refused: input(weak),
      },
      {
        name: 'a password with a space at its end',
        ...create({ ...rowe(), password: 'test123# ' }),
        refused: input(spaces),
      },
      {
        name: 'a password of 257 characters',
        ...create({ ...rowe(), password: `aA1${'x'.repeat(254)}` }),
        refused: input('Please enter a password with at most 256 characters.'),
      },
      {
        name: 'a password that is the address',
        ...create({ ...rowe(), email: own, password: own }),
        refused: input("The password can't be the same as the email address. Create a new password and try again."),
      },
      {
        name: 'a field that the input does not have',
        ...create({ ...rowe(), test123: 'x' }),
        invalid: new RegExp(`Field "test123" is not defined by type "${type}"`),
      },
    ]),
  )
}

t.test('createCustomer and createCustomerV2 where the address is missing', (t) =>
  check(t, send, [
    {
      name: 'createCustomer: nothing at all',
      ...mutation('createCustomer', 'CustomerInput', {}),
      refused: input('"input" value should be specified'),
    },
    {
      name: 'createCustomer: no address',
      ...mutation('createCustomer', 'CustomerInput', { firstname: 'Richard', lastname: 'Rowe', password: 'test123#' }),
      refused: input('The email address is required to create a customer account.'),
    },
    {
      name: 'createCustomerV2: nothing at all',
      query: 'mutation { createCustomerV2(input: {}) { customer { id } } }',
      invalid: /CustomerCreateInput\.email"? of required type "?String!"? was not provided/,
    },
    {
      name: 'createCustomerV2: no address',
      query: 'mutation { createCustomerV2(input: { firstname: "Richard", lastname: "Rowe" }) { customer { id } } }',
      invalid: /Field "?CustomerCreateInput\.email"? of required type "?String!"? was not provided/,
    },
    ...[true, false, undefined].map((allow) => ({
      name: `createCustomerV2: allow_remote_shopping_assistance ${allow}`,
      ...mutation(
        'createCustomerV2',
        'CustomerCreateInput',
        { firstname: 'A', lastname: 'B', email: freshEmail(), allow_remote_shopping_assistance: allow },
        undefined,
        'allow_remote_shopping_assistance',
      ),
      gives: { createCustomerV2: { customer: { allow_remote_shopping_assistance: allow ?? false } } },
    })),
  ]),
)

for (const [field, type] of UPDATES) {
  t.test(field, async (t) => {
    const { token, email } = await signUp(send)
    const locked = await signUpLocked(send)
    const update = (given: object, fields?: string) => mutation(field, type, given, token, fields)
    const accepts = (name: string, given: object): Case => ({
      name,
      ...update(given, Object.keys(given).join(' ')),
      gives: { [field]: { customer: given } },
    })
    const everything = {
      prefix: 'Dr',
      firstname: 'Richard',
      middlename: 'Riley',
      lastname: 'Rowe',
      suffix: 'III',
      date_of_birth: '3/11/1972',
      taxvat: 'GQL1234567',
      gender: 2,
    }
    await check(t, send, [
      accepts('everything; the date is answered as it was sent', everything),
      {
        name: 'a later query gives the date as it is stored',
        query: `{ customer { ${Object.keys(everything).join(' ')} dob email } }`,
        token,
        gives: { customer: { ...everything, date_of_birth: '1972-03-11', dob: '1972-03-11', email } },
      },
      accepts('one field; the others stay', { suffix: 'IV' }),
      {
        name: 'what was not named stayed',
        query: '{ customer { firstname suffix } }',
        token,
        gives: { customer: { firstname: 'Richard', suffix: 'IV' } },
      },
      accepts('subscribe', { is_subscribed: true }),
      {
        name: 'subscribed',
        query: '{ customer { is_subscribed } }',
        token,
        gives: { customer: { is_subscribed: true } },
      },
      accepts('unsubscribe', { is_subscribed: false }),
      {
        name: 'not subscribed',
        query: '{ customer { is_subscribed } }',
        token,
        gives: { customer: { is_subscribed: false } },
      },
      { name: 'nothing at all', ...update({}), refused: input('"input" value should be specified') },
      { name: 'as a guest', ...update({ firstname: 'A' }), token: undefined, refused: GUEST },
      { name: 'as a guest, a subscription', ...update({ is_subscribed: true }), token: undefined, refused: GUEST },
      { name: 'a locked account', ...update({ firstname: 'A' }), token: locked.token, refused: LOCKED },
      {
        name: 'an empty first name',
        ...update({ firstname: '' }),
        refused: input('"First Name" is a required value.'),
      },
      { name: 'an empty last name', ...update({ lastname: '' }), refused: input('"Last Name" is a required value.') },
      { name: 'an unknown gender', ...update({ gender: 5 }), refused: input('"5" is not a valid gender value.') },
      { name: 'a date that is none', ...update({ date_of_birth: 'bla-bla-bla' }), refused: input('Invalid date') },
    ])
  })
}

t.test('updateCustomer: the e-mail address', async (t) => {
  const { token, email } = await signUp(send)
  const update = (given: object) => mutation('updateCustomer', 'CustomerInput', given, token)
  const newEmail = freshEmail()
  await check(t, send, [
    {
      name: 'no password',
      ...update({ email: newEmail }),
      refused: input('Provide the current "password" to change "email".'),
    },
    {
      name: 'a wrong password',
      ...update({ email: newEmail, password: 'invalid_password' }),
      refused: authentication('Invalid login or password.'),
    },
    {
      name: 'an address that has an account',
      ...update({ email: registered.email, password: PASSWORD, firstname: 'Richard', lastname: 'Rowe' }),
      refused: alreadyExists(TAKEN),
    },
    {
      name: 'no address',
      ...update({ email: 'customer.example.com', password: PASSWORD }),
      refused: badEmail('customer.example.com'),
    },
    {
      name: 'an unchanged address needs no password',
      ...update({ email, firstname: 'Same' }),
      gives: { updateCustomer: { customer: { email, firstname: 'Same' } } },
    },
    {
      name: 'an empty first name with the unchanged address',
      ...update({ email, password: PASSWORD, firstname: '' }),
      refused: input('"First Name" is a required value.'),
    },
    {
      name: 'with the password',
      ...update({ email: newEmail, password: PASSWORD }),
      gives: { updateCustomer: { customer: { email: newEmail } } },
    },
  ])
  t.ok(await signIn(send, newEmail), 'the new address signs in')
  t.notOk(await signIn(send, email), 'the old one no longer')
})

t.test('updateCustomerV2', async (t) => {
  const { token } = await signUp(send)
  const update = (given: object, fields?: string) =>
    mutation('updateCustomerV2', 'CustomerUpdateInput', given, token, fields)
  await check(t, send, [
    {
      name: 'has no e-mail address',
      ...update({ email: freshEmail() }),
      invalid: /Field "email" is not defined by type "CustomerUpdateInput"/,
    },
    ...[true, false].map((allow) => ({
      name: `allow_remote_shopping_assistance ${allow}`,
      ...update({ allow_remote_shopping_assistance: allow }, 'allow_remote_shopping_assistance'),
      gives: { updateCustomerV2: { customer: { allow_remote_shopping_assistance: allow } } },
    })),
    {
      name: 'allow_remote_shopping_assistance not named stays',
      ...update({ firstname: 'A' }, 'firstname allow_remote_shopping_assistance'),
      gives: { updateCustomerV2: { customer: { firstname: 'A', allow_remote_shopping_assistance: false } } },
    },
  ])
})

t.test('updateCustomerEmail', async (t) => {
  const { token, email } = await signUp(send)
  const locked = await signUpLocked(send)
  const update = (email: string, password: string): Operation => ({
    query: `mutation($email: String!, $password: String!) {
      updateCustomerEmail(email: $email, password: $password) { customer { email firstname } } }`,
    variables: { email, password },
    token,
  })
  const newEmail = freshEmail()
  await check(t, send, [
    {
      name: 'a wrong password',
      ...update(newEmail, 'wrongpassword'),
      refused: authentication('Invalid login or password.'),
    },
    {
      name: 'an empty password',
      ...update(newEmail, ''),
      refused: input('Provide the current "password" to change "email".'),
    },
    { name: 'an empty address', ...update('', PASSWORD), refused: badEmail('') },
    { name: 'no address', ...update('customer.example.com', PASSWORD), refused: badEmail('customer.example.com') },
    { name: 'an address that has an account', ...update(registered.email, PASSWORD), refused: alreadyExists(TAKEN) },
    { name: 'as a guest', ...update(newEmail, PASSWORD), token: undefined, refused: GUEST },
    { name: 'a locked account', ...update(newEmail, PASSWORD), token: locked.token, refused: LOCKED },
    {
      name: 'the address it has',
      ...update(email, PASSWORD),
      gives: { updateCustomerEmail: { customer: { email } } },
    },
    {
      name: 'another address',
      ...update(newEmail, PASSWORD),
      gives: { updateCustomerEmail: { customer: { email: newEmail } } },
    },
  ])
  t.ok(await signIn(send, newEmail))
  gives(t, await send('{ customer { email } }', { token }), { customer: { email: newEmail } })
})

t.test('deleteCustomer', async (t) => {
  const { token, email } = await signUp(send)
  const locked = await signUpLocked(send)
  const query = 'mutation { deleteCustomer }'
  await check(t, send, [
    { name: 'as a guest', query, refused: GUEST },
    { name: 'a locked account', query, token: locked.token, refused: LOCKED },
    { name: 'one’s own', query, token, gives: { deleteCustomer: true } },
  ])
  refusesToken(t, await send('{ customer { email } }', { token }), REVOKED)
  await check(t, send, [
    {
      name: 'it can not sign in',
      query: `mutation { generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token } }`,
      refused: SIGN_IN_REFUSED,
    },
  ])
  await check(t, send, [
    {
      name: 'its address is free again',
      ...mutation('createCustomer', 'CustomerInput', { firstname: 'A', lastname: 'B', email }),
      gives: { createCustomer: { customer: { email } } },
    },
  ])
})

t.test('two mutations of one document keep their order', async (t) => {
  const { token } = await signUp(send)
  const answer = await send(
    'mutation { a: updateCustomer(input: {}) { customer { id } } b: updateCustomerV2(input: { firstname: "B" }) { customer { firstname } } }',
    { token },
  )
  t.equal(answer.errors?.[0].message, '"input" value should be specified')
  t.same(answer.data, { a: null, b: { customer: { firstname: 'B' } } })
  refuses(t, await send('mutation { deleteCustomer }'), GUEST)
})
