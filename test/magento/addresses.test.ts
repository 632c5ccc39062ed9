/** Magento's own API tests of addresses: reading, creating, changing, deleting by id. By uid: addresses-by-uid.test.ts. */
import t from 'tap'
import { create, FIELDS, withAddresses } from '../support/addresses.ts'
import { signUp, startGraph, TEXAN } from '../support/graph.ts'
import {
  type Case,
  check,
  forbidden,
  GUEST,
  input,
  noSuchEntity,
  type Operation,
  QUICK_STORE,
  signUpLocked,
} from '../support/magento.ts'

const defaults = ['HK', 'IE', 'MO', 'PA', 'GB']
const { send } = await startGraph(t, {
  store: { ...QUICK_STORE, countries: { postcodeOptional: [...defaults, 'UA'] } },
})

/** The address of Magento's tests. */
const ARIZONA = {
  region: { region: 'Arizona', region_id: 4, region_code: 'AZ' },
  country_code: 'US',
  street: ['Line 1 Street', 'Line 2'],
  company: 'Company name',
  telephone: '123456789',
  fax: '123123123',
  postcode: '7777',
  city: 'City Name',
  firstname: 'Adam',
  lastname: 'Phillis',
  middlename: 'A',
  prefix: 'Mr.',
  suffix: 'Jr.',
  vat_id: '1',
  default_shipping: true,
  default_billing: false,
}
const ALBERTA = { ...ARIZONA, country_code: 'CA', region: { region: 'Alberta', region_id: 66, region_code: 'AB' } }
const BRITISH = { ...ARIZONA, country_code: 'GB', city: 'London', postcode: '10019', region: undefined }

const uidOf = (id: number | string) => Buffer.from(String(id)).toString('base64')

const update = (id: number, given: object | undefined, token?: string, fields = FIELDS): Operation => ({
  query: `mutation($id: Int!, $input: CustomerAddressInput) { updateCustomerAddress(id: $id, input: $input) { ${fields} } }`,
  variables: { id, input: given },
  token,
})
const remove = (id: number, token?: string): Operation => ({
  query: `mutation { deleteCustomerAddress(id: ${id}) }`,
  token,
})
t.test('createCustomerAddress', async (t) => {
  const { token } = await signUp(send)
  const locked = await signUpLocked(send)
  const one = (given: object) => create(given, token)
  const { country_code: _, ...withoutCountry } = ARIZONA
  const required = (field: string) => input(`"${field}" is required. Enter and try again.`)
  const tooManyLines = input('"Street Address" cannot contain more than 2 lines.')
  const noMatch = input('The region_id does not match the selected country or region')
  const createRegion = (region: object | undefined, country = 'US') =>
    one({ ...ARIZONA, country_code: country, region })

  await check(t, send, [
    {
      name: 'every field',
      ...one(ARIZONA),
      gives: { createCustomerAddress: { ...ARIZONA, country_id: 'US', region_id: 4 } },
    },
    {
      name: 'country_id instead of country_code',
      ...one({ ...withoutCountry, country_id: 'US' }),
      gives: { createCustomerAddress: { ...ARIZONA, country_id: 'US' } },
    },
    {
      name: 'country_code counts before country_id',
      ...one({ ...ALBERTA, country_id: 'US' }),
      gives: { createCustomerAddress: { country_code: 'CA', country_id: 'CA' } },
    },
    {
      name: 'as a literal',
      query: `mutation { createCustomerAddress(input: { region: { region_id: 1 } country_code: US street: ["123 Main Street"]
        telephone: "7777777777" postcode: "9999" city: "Phoenix" firstname: "Bob" lastname: "Loblaw" }) {
        region { region region_code } postcode } }`,
      token,
      gives: { createCustomerAddress: { region: { region: 'Alabama', region_code: 'AL' }, postcode: '9999' } },
    },
    { name: 'as a guest', ...create(ARIZONA), refused: GUEST },
    {
      name: 'a locked account may',
      ...create(ARIZONA, locked.token, 'city'),
      gives: { createCustomerAddress: { city: 'City Name' } },
    },
    { name: 'nothing at all', ...one({}), refused: input('"input" value should be specified') },
    ...(['firstname', 'lastname', 'telephone', 'city'] as const).flatMap((field): Case[] => [
      { name: `an empty ${field}`, ...one({ ...ARIZONA, [field]: '' }), refused: required(field) },
      { name: `no ${field}`, ...one({ ...ARIZONA, [field]: undefined }), refused: required(field) },
    ]),
    { name: 'no street', ...one({ ...ARIZONA, street: undefined }), refused: required('street') },
    { name: 'an empty postcode', ...one({ ...ARIZONA, postcode: '' }), refused: required('postcode') },
    { name: 'three lines', ...one({ ...ARIZONA, street: ['1', '2', '3'] }), refused: tooManyLines },
    {
      name: 'a city of 256 characters',
      ...one({ ...ARIZONA, city: 'x'.repeat(256) }),
      refused: input('"City" length must be equal or less than 255 characters.'),
    },
    {
      name: 'no postcode where the store needs none',
      ...one({ ...ARIZONA, country_code: 'UA', region: undefined, postcode: undefined }),
      gives: { createCustomerAddress: { country_code: 'UA', postcode: null } },
    },
    {
      name: 'a region code without its id: Magento refuses it, though its own documentation sends it',
      ...createRegion({ region_code: 'NY' }),
      gives: { createCustomerAddress: { region: { region: 'New York', region_code: 'NY', region_id: 43 } } },
    },
    {
      name: 'no region where one is required',
      ...createRegion(undefined),
      refused: input('A region_id is required for the specified country code'),
    },
    {
      name: 'a region of another country',
      ...createRegion({ region_id: 43, region_code: 'NY' }, 'GB'),
      refused: noMatch,
    },
    { name: 'a region id of another code', ...createRegion({ region_id: 53, region_code: 'NY' }), refused: noMatch },
    {
      name: 'a region id alone',
      ...createRegion({ region_id: 43 }),
      gives: { createCustomerAddress: { region: { region: 'New York', region_code: 'NY', region_id: 43 } } },
    },
    {
      name: 'a free region and its code',
      ...one({ ...BRITISH, region: { region_code: 'some', region: 'some region' } }),
      gives: { createCustomerAddress: { region: { region: 'some region', region_code: 'some' } } },
    },
    { name: 'no region where none is required', ...one(BRITISH), gives: { createCustomerAddress: { city: 'London' } } },
    { name: 'an unknown country', ...one({ ...ARIZONA, country_code: 'XX' }), invalid: /"XX"/ },
    {
      name: 'no arguments',
      query: 'mutation { createCustomerAddress() { id } }',
      token,
      invalid: /^Syntax Error: Expected Name, found "?\)"?\.?$/,
    },
    ...['""', '"foo"'].map((text) => ({
      name: `the input ${text}`,
      query: `mutation { createCustomerAddress(input: ${text}) { id } }`,
      token,
      invalid: new RegExp(`Expected value of type "CustomerAddressInput!?", found ${text}`),
    })),
  ])
})

t.test('addresses', async (t) => {
  const { token, ids } = await withAddresses(send, ARIZONA, {
    ...ALBERTA,
    default_shipping: false,
    default_billing: true,
  })
  const none = await signUp(send)
  const locked = await signUpLocked(send)
  const query = `{ customer { default_billing default_shipping addresses { ${FIELDS} } } }`
  await check(t, send, [
    {
      name: 'in the order of their ids, with the flags of the customer',
      query,
      token,
      gives: {
        customer: {
          default_shipping: String(ids[0]),
          default_billing: String(ids[1]),
          addresses: [
            { ...ARIZONA, id: ids[0], uid: uidOf(ids[0] as number) },
            { ...ALBERTA, id: ids[1], uid: uidOf(ids[1] as number), default_shipping: false, default_billing: true },
          ],
        },
      },
    },
    {
      name: 'none',
      query,
      token: none.token,
      gives: { customer: { default_billing: null, default_shipping: null, addresses: [] } },
    },
    { name: 'as a guest', query, refused: GUEST },
    {
      name: 'a locked account',
      query,
      token: locked.token,
      refused: ['The account is locked.', 'graphql-authentication'],
    },
  ])
})

t.test('the default flags', async (t) => {
  const { token, first, second } = await withAddresses(
    send,
    { ...ARIZONA, default_shipping: true, default_billing: true },
    { ...ARIZONA, default_shipping: false },
  )
  const pointers = async () =>
    (await send('{ customer { default_billing default_shipping } }', { token })).data.customer
  t.same(await pointers(), { default_billing: String(first), default_shipping: String(first) })
  const flags = 'default_billing default_shipping'
  await check(t, send, [
    {
      name: 'move to another address',
      ...update(second, { default_billing: true }, token, flags),
      gives: { updateCustomerAddress: { default_billing: true, default_shipping: false } },
    },
    {
      name: 'false where it is not the default changes nothing',
      ...update(second, { default_shipping: false }, token, flags),
      gives: { updateCustomerAddress: { default_billing: true, default_shipping: false } },
    },
  ])
  t.same(await pointers(), { default_billing: String(second), default_shipping: String(first) })
  await check(t, send, [
    {
      name: 'false where it is the default ends it',
      ...update(first, { default_shipping: false }, token, flags),
      gives: { updateCustomerAddress: { default_billing: false, default_shipping: false } },
    },
  ])
  t.same(await pointers(), { default_billing: String(second), default_shipping: null })
  const fresh = await withAddresses(send, { ...ARIZONA, default_shipping: undefined, default_billing: undefined })
  const { data } = await send('{ customer { default_billing default_shipping } }', { token: fresh.token })
  t.same(data.customer, { default_billing: null, default_shipping: null }, 'the first address is not made one')
})

t.test('updateCustomerAddress', async (t) => {
  const { token, first } = await withAddresses(send, ARIZONA)
  const other = await signUp(send)
  const change = (given: object | undefined, id = first) => update(id, given, token)
  const everything = { ...ALBERTA, default_billing: true }
  await check(t, send, [
    {
      name: 'every field, another country',
      ...change(everything),
      gives: {
        updateCustomerAddress: { ...everything, id: first, uid: uidOf(first), country_id: 'CA', region_id: 66 },
      },
    },
    {
      name: 'country_id instead of country_code',
      ...change({ country_id: 'US', region: { region_id: 2, region_code: 'AK', region: 'Alaska' } }),
      gives: { updateCustomerAddress: { country_id: 'US', country_code: 'US', region_id: 2 } },
    },
    {
      name: 'one field; the others stay',
      ...change({ city: 'Juneau' }),
      gives: {
        updateCustomerAddress: { city: 'Juneau', firstname: 'Adam', region_id: 2, street: ['Line 1 Street', 'Line 2'] },
      },
    },
    {
      name: 'null clears an optional field',
      ...change({ company: null }),
      gives: { updateCustomerAddress: { company: null } },
    },
    { name: 'as a guest', ...update(first, { city: 'New City', postcode: '5555' }), refused: GUEST },
    {
      name: 'an empty first name',
      ...change({ firstname: '', lastname: 'Phillis' }),
      refused: input('"firstname" is required. Enter and try again.'),
    },
    { name: 'an empty city', ...change({ city: '' }), refused: input('"city" is required. Enter and try again.') },
    {
      name: 'three lines',
      ...change({ street: ['1', '2', '3'] }),
      refused: input('"Street Address" cannot contain more than 2 lines.'),
    },
    { name: 'no input', ...change(undefined), refused: input('"input" value must be specified') },
    { name: 'an empty input', ...change({}), refused: input('"input" value must be specified') },
    { name: 'the id 0', ...change({ city: 'X' }, 0), refused: input('Address "id" value must be specified') },
    {
      name: 'an unknown id',
      ...change(everything, 999_999),
      refused: noSuchEntity('Could not find a address with ID "999999"'),
    },
    {
      name: 'the address of another customer',
      ...update(first, everything, other.token),
      refused: forbidden(`Current customer does not have permission to address with ID "${first}"`),
    },
    {
      name: 'a region of another country',
      ...change({ region: { region_id: 66 }, country_code: 'US' }),
      refused: input('The region_id does not match the selected country or region'),
    },
    {
      name: 'no id',
      query: 'mutation { updateCustomerAddress(, input: { city: "X" }) { id } }',
      token,
      invalid: /Field "updateCustomerAddress" argument "id" of type "Int!" is required/,
    },
    {
      name: 'an id that is no number',
      query: 'mutation { updateCustomerAddress(id: "", input: { city: "X" }) { id } }',
      token,
      invalid: /Int cannot represent non-integer value: ""/,
    },
    ...['""', '"foo"'].map((text) => ({
      name: `the input ${text}`,
      query: `mutation { updateCustomerAddress(id: ${first}, input: ${text}) { id } }`,
      token,
      invalid: new RegExp(`Expected value of type "CustomerAddressInput", found ${text}`),
    })),
  ])
})

t.test('deleteCustomerAddress', async (t) => {
  const { token, first, second } = await withAddresses(send, TEXAN, TEXAN)
  const other = await signUp(send)
  const makeDefault = (given: object): Case => ({
    name: `made default: ${JSON.stringify(given)}`,
    ...update(second, given, token, 'id'),
    gives: { updateCustomerAddress: { id: second } },
  })
  const isDefault = (which: string) =>
    input(`Customer Address ${second} is set as default ${which} address and can not be deleted`)
  await check(t, send, [
    { name: 'as a guest', ...remove(first), refused: GUEST },
    {
      name: 'the address of another customer',
      ...remove(first, other.token),
      refused: forbidden(`Current customer does not have permission to address with ID "${first}"`),
    },
    makeDefault({ default_shipping: true }),
    { name: 'the default shipping address', ...remove(second, token), refused: isDefault('shipping') },
    makeDefault({ default_billing: true }),
    { name: 'the default of both: billing is named', ...remove(second, token), refused: isDefault('billing') },
    { name: 'one that is no default', ...remove(first, token), gives: { deleteCustomerAddress: true } },
    {
      name: 'the same again',
      ...remove(first, token),
      refused: noSuchEntity(`Could not find a address with ID "${first}"`),
    },
    {
      name: 'an unknown id',
      ...remove(999_999, token),
      refused: noSuchEntity('Could not find a address with ID "999999"'),
    },
    {
      name: 'no arguments',
      query: 'mutation { deleteCustomerAddress() }',
      token,
      invalid: /^Syntax Error: Expected Name, found "?\)"?\.?$/,
    },
    {
      name: 'an id that is no number',
      query: 'mutation { deleteCustomerAddress(id: "string") }',
      token,
      invalid: /Int cannot represent non-integer value: "string"/,
    },
  ])
  const { data } = await send('{ customer { addresses { id } } }', { token })
  t.same(data.customer.addresses, [{ id: second }])
})
