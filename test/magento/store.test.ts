/** Magento's own API tests of what the store's settings change: confirmation, newsletter, groups, countries. */
import t from 'tap'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { environment, freshEmail, PASSWORD, signIn, signUp, startGraph, temporaryFolder } from '../support/graph.ts'
import {
  type Case,
  check,
  GUEST,
  gives,
  input,
  linkToken,
  noSuchEntity,
  type Operation,
  QUICK_STORE,
  refuses,
  SIGN_IN,
  SIGN_IN_REFUSED,
  UNCONFIRMED,
} from '../support/magento.ts'

const folder = await temporaryFolder(t)
const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))

/** Two-letter and three-letter codes, names, regions. */
const COUNTRY =
  'id two_letter_abbreviation three_letter_abbreviation full_name_locale full_name_english available_regions { id code name }'

const plain = await startGraph(t, { store: QUICK_STORE })

/** Confirmation by e-mail of accounts and of subscriptions; none for guests. */
const careful = await startGraph(t, {
  folder,
  store: {
    ...QUICK_STORE,
    account: { confirmationRequired: true },
    newsletter: { confirmationRequired: true, allowGuests: false },
  },
})

/** Groups shared, no newsletter, two countries, weaker passwords, an honest isEmailAvailable, three lines. */
const other = await startGraph(t, {
  store: {
    ...QUICK_STORE,
    account: { shareGroup: true, shareAllGroups: true, revealEmailAvailability: true },
    newsletter: { active: false },
    countries: { allowed: ['US', 'DE'], regionRequired: ['DE'] },
    password: { ...QUICK_STORE.password, minimumLength: 6, requiredCharacterClasses: 2 },
    address: { streetLines: 3, telephone: 'optional', company: 'required' },
  },
})

const register = (email: string, extra: object = {}): Operation => ({
  query:
    'mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { email is_subscribed } } }',
  variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD, ...extra } },
})
const confirm = (email: string, confirmation_key: string): Operation => ({
  query: 'mutation($input: ConfirmEmailInput!) { confirmEmail(input: $input) { customer { email } } }',
  variables: { input: { email, confirmation_key } },
})
const resend = (email: string): Operation => ({
  query: 'mutation($email: String!) { resendConfirmationEmail(email: $email) }',
  variables: { email },
})
const tokenFor = (email: string, password: string): Operation => ({ query: SIGN_IN, variables: { email, password } })
const subscribe = (email: string, token?: string): Operation => ({
  query: 'mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }',
  variables: { email },
  token,
})

t.test('an account that has to be confirmed', async (t) => {
  const { send, eventStore } = careful
  const email = freshEmail()
  const created = await send(
    'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id email } } }',
    {
      variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD } },
    },
  )
  gives(t, created, { createCustomer: { customer: { email } } })
  const { id } = created.data.createCustomer.customer
  await check(t, send, [
    { name: 'sign in', ...tokenFor(email, PASSWORD), refused: UNCONFIRMED },
    { name: 'sign in with a wrong password', ...tokenFor(email, 'wrong'), refused: SIGN_IN_REFUSED },
    { name: 'resend', ...resend(email), gives: { resendConfirmationEmail: true } },
    { name: 'resend: no address', ...resend('bad-email'), refused: input('Email address is not valid') },
    { name: 'confirm: no address', ...confirm('bad-email', 'abcde'), refused: input('Email is invalid') },
    {
      name: 'confirm: a wrong key',
      ...confirm(email, 'wrong-confirmation'),
      refused: input('The confirmation token is invalid. Verify the token and try again.'),
    },
    { name: 'still not confirmed', ...tokenFor(email, PASSWORD), refused: UNCONFIRMED },
  ])
  const key = await linkToken(eventStore, emailHashKey, 'confirm-account', id)
  await check(t, send, [
    { name: 'confirm', ...confirm(email, key), gives: { confirmEmail: { customer: { email } } } },
    { name: 'confirm: again', ...confirm(email, key), refused: input('The account is already active.') },
    { name: 'resend: confirmed', ...resend(email), refused: input("Confirmation isn't needed.") },
  ])
  const token = await signIn(send, email)
  await check(t, send, [
    {
      name: 'the customer',
      query: '{ customer { email confirmation_status } }',
      token,
      gives: { customer: { email, confirmation_status: 'ACCOUNT_CONFIRMED' } },
    },
    { name: 'as a guest', query: '{ customer { confirmation_status } }', refused: GUEST },
  ])
})

t.test('an account that needs no confirmation', async (t) => {
  const { email, token } = await signUp(plain.send)
  await check(t, plain.send, [
    { name: 'resend', ...resend(email), refused: input("Confirmation isn't needed.") },
    { name: 'confirm', ...confirm(email, 'abcde'), refused: input('The account is already active.') },
    {
      name: 'confirmation_status',
      query: '{ customer { confirmation_status } }',
      token,
      gives: { customer: { confirmation_status: 'ACCOUNT_CONFIRMATION_NOT_REQUIRED' } },
    },
  ])
})

t.test('a newsletter whose subscriptions have to be confirmed', async (t) => {
  const { send, eventStore } = careful
  const email = freshEmail()
  gives(t, await send(register(email, { is_subscribed: true }).query, register(email, { is_subscribed: true })), {
    createCustomerV2: { customer: { email, is_subscribed: false } },
  })
  const second = freshEmail()
  const { data } = await send(
    'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }',
    {
      variables: { input: { firstname: 'Ann', lastname: 'Lee', email: second, password: PASSWORD } },
    },
  )
  const key = await linkToken(eventStore, emailHashKey, 'confirm-account', data.createCustomer.customer.id)
  await send(confirm(second, key).query, confirm(second, key))
  const token = await signIn(send, second)
  await check(t, send, [
    {
      name: 'a customer',
      ...subscribe(second, token),
      gives: { subscribeEmailToNewsletter: { status: 'NOT_ACTIVE' } },
    },
    {
      name: 'is not subscribed yet',
      query: '{ customer { is_subscribed } }',
      token,
      gives: { customer: { is_subscribed: false } },
    },
    {
      name: 'a guest, where the store wants none',
      ...subscribe(freshEmail()),
      refused: input('Guests can not subscribe to the newsletter. You must create an account to subscribe.'),
    },
    { name: 'no address', ...subscribe('customer.example.com', token), refused: input('Enter a valid email address.') },
  ])
})

t.test('no newsletter', async (t) => {
  const { send } = other
  const email = freshEmail()
  const { token } = await signUp(send)
  const off = { is_subscribed: false }
  await check(t, send, [
    {
      name: 'createCustomerV2',
      ...register(email, { is_subscribed: true }),
      gives: { createCustomerV2: { customer: { email, ...off } } },
    },
    {
      name: 'createCustomer',
      query: `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "${freshEmail()}", is_subscribed: true }) {
        customer { is_subscribed } } }`,
      gives: { createCustomer: { customer: off } },
    },
    { name: 'the customer', query: '{ customer { is_subscribed } }', token, gives: { customer: off } },
  ])
})

t.test('customer groups', async (t) => {
  const shared = await signUp(other.send)
  const kept = await signUp(plain.send)
  const group = { query: '{ customerGroup { uid } }' }
  const own = { query: '{ customer { group { uid } } }' }
  const disabled = input('Sharing customer group information is disabled or not configured.')
  await check(t, other.send, [
    { name: 'shared: a customer', ...group, token: shared.token, gives: { customerGroup: { uid: 'MQ==' } } },
    { name: 'shared: a guest', ...group, gives: { customerGroup: { uid: 'MA==' } } },
    { name: 'shared: Customer.group', ...own, token: shared.token, gives: { customer: { group: { uid: 'MQ==' } } } },
  ])
  const groups = { query: '{ allCustomerGroups { name } }' }
  const names = ['NOT LOGGED IN', 'General', 'Wholesale', 'Retailer']
  await check(t, other.send, [
    { name: 'all shared', ...groups, gives: { allCustomerGroups: names.map((name) => ({ name })) } },
  ])
  await check(t, plain.send, [
    { name: 'all not shared', ...groups, refused: disabled },
    { name: 'not shared: a customer', ...group, token: kept.token, refused: disabled },
    { name: 'not shared: a guest', ...group, refused: disabled },
    { name: 'not shared: Customer.group', ...own, token: kept.token, gives: { customer: { group: null } } },
  ])
})

t.test('countries', async (t) => {
  const all = await plain.send(`{ countries { ${COUNTRY} } }`)
  t.equal(all.errors, undefined)
  const { countries } = all.data
  t.ok(countries.length > 200)
  for (const country of countries) {
    t.match(country, {
      id: /^[A-Z]{2}$/,
      two_letter_abbreviation: country.id,
      three_letter_abbreviation: /^[A-Z]{3}$/,
      full_name_locale: /./,
      full_name_english: /./,
    })
  }
  t.equal(new Set(countries.map(({ id }: { id: string }) => id)).size, countries.length)
  const few = await other.send('{ countries { id } }')
  t.same(few.data.countries.map(({ id }: { id: string }) => id).sort(), ['DE', 'US'])

  const country = (id: string) => `{ country(id: "${id}") { ${COUNTRY} } }`
  const notAvailable = noSuchEntity("The country isn't available.")
  const us: Case = {
    name: 'one',
    query: country('US'),
    gives: {
      country: {
        id: 'US',
        two_letter_abbreviation: 'US',
        three_letter_abbreviation: 'USA',
        full_name_locale: 'United States',
        full_name_english: 'United States',
      },
    },
  }
  await check(t, plain.send, [
    us,
    {
      name: 'another',
      query: country('DE'),
      gives: { country: { id: 'DE', three_letter_abbreviation: 'DEU', full_name_english: 'Germany' } },
    },
    { name: 'with no regions', query: country('GB'), gives: { country: { id: 'GB', available_regions: null } } },
    { name: 'an unknown one', query: country('BLAH'), refused: notAvailable },
    { name: 'no id', query: '{ country { id } }', refused: input('Country "id" value should be specified') },
    { name: 'an empty id', query: country(''), refused: input('Country "id" value should be specified') },
  ])
  await check(t, other.send, [
    us,
    { name: 'one that the store does not allow', query: country('FR'), refused: notAvailable },
  ])
  const regions = (await plain.send(country('US'))).data.country.available_regions
  t.equal(regions.length, 65)
  t.same(
    regions.find(({ code }: { code: string }) => code === 'AL'),
    { id: 1, code: 'AL', name: 'Alabama' },
  )
  t.equal((await plain.send(country('DE'))).data.country.available_regions.length, 16)
})

t.test('isEmailAvailable that tells', async (t) => {
  const { email } = await signUp(other.send)
  const ask = (email: string) => `{ isEmailAvailable(email: "${email}") { is_email_available } }`
  await check(t, other.send, [
    { name: 'an account', query: ask(email), gives: { isEmailAvailable: { is_email_available: false } } },
    {
      name: 'in capitals',
      query: ask(email.toUpperCase()),
      gives: { isEmailAvailable: { is_email_available: false } },
    },
    { name: 'none', query: ask(freshEmail()), gives: { isEmailAvailable: { is_email_available: true } } },
    { name: 'an empty address', query: ask(''), refused: input('Email must be specified') },
    { name: 'no address', query: ask('invalid-email'), refused: input('Email is invalid') },
  ])
})

t.test('password rules', async (t) => {
  const { send } = other
  const tooShort = 'The password needs at least 6 characters. Create a new password and try again.'
  const weak =
    'Minimum of different classes of characters in password is 2. Classes of characters: Lower Case, Upper Case, Digits, Special Characters.'
  const email = freshEmail()
  await check(t, send, [
    { name: 'five characters', ...register(email, { password: 'aA1#x' }), refused: input(tooShort) },
    { name: 'one class', ...register(email, { password: 'lowercase' }), refused: input(weak) },
    {
      name: 'six of two',
      ...register(email, { password: 'abc123' }),
      gives: { createCustomerV2: { customer: { email } } },
    },
  ])
  refuses(t, await send(tokenFor(email, '').query, tokenFor(email, '')), input('Specify the "password" value.'))
})

t.test('addresses', async (t) => {
  const { send } = other
  const { token } = await signUp(send)
  const berlin = {
    firstname: 'A',
    lastname: 'B',
    company: 'C',
    city: 'Berlin',
    postcode: '10115',
    street: ['1', '2', '3'],
    country_code: 'DE',
    region: { region_id: 82 },
  }
  const create = (extra: object): Operation => ({
    query:
      'mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { street telephone region { region } } }',
    variables: { input: { ...berlin, ...extra } },
    token,
  })
  await check(t, send, [
    {
      name: 'three lines, no telephone',
      ...create({}),
      gives: { createCustomerAddress: { street: ['1', '2', '3'], region: { region: 'Berlin' } } },
    },
    {
      name: 'four lines',
      ...create({ street: ['1', '2', '3', '4'] }),
      refused: input('"Street Address" cannot contain more than 3 lines.'),
    },
    {
      name: 'no company',
      ...create({ company: undefined }),
      refused: input('"company" is required. Enter and try again.'),
    },
    {
      name: 'no region where this store requires one',
      ...create({ region: undefined }),
      refused: input('A region_id is required for the specified country code'),
    },
    {
      name: 'a country that the store does not allow',
      ...create({ country_code: 'FR', region: undefined }),
      refused: input('Invalid value of "FR" provided for the countryId field.'),
    },
    {
      name: 'no region where this store requires none',
      ...create({ country_code: 'US', region: undefined }),
      gives: { createCustomerAddress: { region: { region: null } } },
    },
  ])
})

t.test('storeConfig', async (t) => {
  const query = `{ storeConfig { newsletter_enabled create_account_confirmation minimum_password_length
    required_character_classes_number autocomplete_on_storefront graphql_share_customer_group } }`
  const config = (settings: object) => ({ query, gives: { storeConfig: settings } })
  const numbers = { minimum_password_length: '8', required_character_classes_number: '3' }
  await check(t, plain.send, [
    {
      name: 'Magento’s defaults',
      ...config({
        ...numbers,
        newsletter_enabled: true,
        create_account_confirmation: false,
        graphql_share_customer_group: false,
      }),
    },
  ])
  await check(t, careful.send, [{ name: 'confirmation', ...config({ create_account_confirmation: true }) }])
  await check(t, other.send, [
    {
      name: 'other settings',
      ...config({
        newsletter_enabled: false,
        minimum_password_length: '6',
        required_character_classes_number: '2',
        graphql_share_customer_group: true,
      }),
    },
  ])
})
