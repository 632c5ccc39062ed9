/** Addresses in Magento's customer contract, over HTTP through the gateway. */
import t from 'tap'
import { CREATE_ADDRESS, type GraphQLAnswer, signUp, startGraph, TEXAN } from '../support/graph.ts'
import { refusesField as refuses } from '../support/refuses-field.ts'

const { send } = await startGraph(t)

const ADDRESS_FIELDS = `id customer_id region { region_code region region_id } region_id country_id street company telephone fax
  postcode city firstname lastname middlename prefix suffix vat_id default_shipping default_billing`

t.test('an address with all its fields', async (t) => {
  const { token, id: customer_id } = await signUp(send)
  const input = {
    ...TEXAN,
    region: { region_id: 57, region_code: 'TX', region: 'Texas' },
    street: ['1 Main St', 'Apt 2'],
    company: 'Acme',
    fax: '555-0101',
    middlename: 'B',
    prefix: 'Ms',
    suffix: 'Jr',
    vat_id: 'VAT1',
    default_shipping: true,
    default_billing: false,
  }
  const create = `mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { ${ADDRESS_FIELDS} } }`
  const { data, errors } = await send(create, { variables: { input }, token })
  t.equal(errors, undefined)
  const address = data.createCustomerAddress
  t.type(address.id, 'number')
  t.same(address, { ...input, id: address.id, customer_id, region_id: 57 })
  const read = await send(`{ customer { default_billing default_shipping addresses { ${ADDRESS_FIELDS} } } }`, {
    token,
  })
  t.same(read.data.customer, { default_billing: null, default_shipping: String(address.id), addresses: [address] })

  const literal = await send(
    `mutation { createCustomerAddress(input: { region: { region_id: 1 } country_id: US street: ["123 Main Street"]
       telephone: "7777777777" postcode: "9999" city: "Phoenix" firstname: "Bob" lastname: "Loblaw"
       default_shipping: true default_billing: true }) { id region { region region_code } } }`,
    { token },
  )
  t.same(literal.data.createCustomerAddress.region, { region: 'Alabama', region_code: 'AL' })
})

t.test('createCustomerAddress refuses', async (t) => {
  const { token } = await signUp(send)
  const cases: [object, string][] = [
    [{}, '"input" value should be specified'],
    [{ ...TEXAN, firstname: '' }, '"firstname" is required. Enter and try again.'],
    [{ ...TEXAN, region: undefined }, 'A region_id is required for the specified country code'],
    [{ ...TEXAN, region: { region_id: 79 } }, 'The specified region is not a part of the selected country or region'],
    [{ ...TEXAN, street: ['1', '2', '3'] }, '"Street Address" cannot contain more than 2 lines.'],
  ]
  for (const [input, message] of cases) {
    refuses(t, await send(CREATE_ADDRESS, { variables: { input }, token }), 'createCustomerAddress', [
      message,
      'graphql-input',
    ])
  }
  const unknownCountry = await send(CREATE_ADDRESS, { variables: { input: { ...TEXAN, country_id: 'XX' } }, token })
  t.equal(unknownCountry.status, 400)
})

t.test('updating and deleting addresses', async (t) => {
  const { token } = await signUp(send)
  const create = async (input: object) =>
    (await send(CREATE_ADDRESS, { variables: { input }, token })).data.createCustomerAddress.id as number
  const update = (id: number, input: object | undefined) =>
    send(
      `mutation($id: Int!, $input: CustomerAddressInput) { updateCustomerAddress(id: $id, input: $input) {
        id city firstname region_id default_billing default_shipping } }`,
      { variables: { id, input }, token },
    )
  const remove = (id: number) =>
    send('mutation($id: Int!) { deleteCustomerAddress(id: $id) }', { variables: { id }, token })
  const first = await create({ ...TEXAN, default_billing: true })
  const second = await create({ ...TEXAN, default_shipping: true })
  const third = await create(TEXAN)

  t.same((await update(second, { city: 'Waco', default_billing: true })).data.updateCustomerAddress, {
    id: second,
    city: 'Waco',
    firstname: 'Ann',
    region_id: 57,
    default_billing: true,
    default_shipping: true,
  })
  const { data } = await send('{ customer { default_billing default_shipping addresses { id default_billing } } }', {
    token,
  })
  t.same(data.customer, {
    default_billing: String(second),
    default_shipping: String(second),
    addresses: [
      { id: first, default_billing: false },
      { id: second, default_billing: true },
      { id: third, default_billing: false },
    ],
  })

  const refused: [Promise<GraphQLAnswer>, string, string, string][] = [
    [update(0, { city: 'X' }), 'updateCustomerAddress', 'Address "id" value must be specified', 'graphql-input'],
    [update(third, {}), 'updateCustomerAddress', '"input" value must be specified', 'graphql-input'],
    [update(third, undefined), 'updateCustomerAddress', '"input" value must be specified', 'graphql-input'],
    [update(third, { city: '' }), 'updateCustomerAddress', '"city" is required. Enter and try again.', 'graphql-input'],
    [
      update(999_999, { city: 'X' }),
      'updateCustomerAddress',
      'Could not find a address with ID "999999"',
      'graphql-no-such-entity',
    ],
    [remove(999_999), 'deleteCustomerAddress', 'Could not find a address with ID "999999"', 'graphql-no-such-entity'],
    [remove(0), 'deleteCustomerAddress', 'Could not find a address with ID "0"', 'graphql-no-such-entity'],
    [
      remove(second),
      'deleteCustomerAddress',
      `Customer Address ${second} is set as default billing address and can not be deleted`,
      'graphql-input',
    ],
  ]
  for (const [answer, field, message, category] of refused) refuses(t, await answer, field, [message, category])

  await update(second, { default_billing: false })
  refuses(t, await remove(second), 'deleteCustomerAddress', [
    `Customer Address ${second} is set as default shipping address and can not be deleted`,
    'graphql-input',
  ])
  t.same((await remove(third)).data, { deleteCustomerAddress: true })
  refuses(t, await remove(third), 'deleteCustomerAddress', [
    `Could not find a address with ID "${third}"`,
    'graphql-no-such-entity',
  ])
  t.notSame(await create(TEXAN), third, 'an id is not given out twice')
})

t.test("one customer can't touch another's", async (t) => {
  const ann = await signUp(send)
  const eve = await signUp(send)
  const { data } = await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token: ann.token })
  const { id } = data.createCustomerAddress
  const foreign = [
    `Current customer does not have permission to address with ID "${id}"`,
    'graphql-authorization',
    'FORBIDDEN',
  ] as const
  const update = await send(`mutation { updateCustomerAddress(id: ${id}, input: { city: "X" }) { id } }`, {
    token: eve.token,
  })
  refuses(t, update, 'updateCustomerAddress', foreign)
  refuses(
    t,
    await send(`mutation { deleteCustomerAddress(id: ${id}) }`, { token: eve.token }),
    'deleteCustomerAddress',
    foreign,
  )
  t.same((await send('{ customer { addresses { city } } }', { token: ann.token })).data.customer.addresses, [
    { city: 'Austin' },
  ])
})
