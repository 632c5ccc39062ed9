import t from 'tap'
import { store } from '../../schema/store.ts'
import { createAttributeForms } from '../../subgraph/resolvers/attribute-forms.ts'

const codes = (form: { items: readonly { code: string }[] }) => form.items.map(({ code }) => code)

t.test("the customer's two forms, and the address's two, are alike", async (t) => {
  const { form } = createAttributeForms(store())
  t.strictSame(codes(form('customer_account_create')), ['firstname', 'lastname', 'email'])
  t.strictSame(form('customer_account_edit'), form('customer_account_create'))
  t.strictSame(
    codes(form('customer_register_address')),
    'firstname lastname company street city country_id region region_id postcode telephone fax vat_id'.split(' '),
  )
  t.strictSame(form('customer_address_edit'), form('customer_register_address'))
})

t.test('what is required, and how many lines a street has, is as the store says', async (t) => {
  const address = (settings: Parameters<typeof store>[0]) =>
    Object.fromEntries(
      createAttributeForms(store(settings))
        .form('customer_address_edit')
        .items.map((item) => [item.code, item]),
    )
  t.match(address({}), {
    telephone: { is_required: true },
    company: { is_required: false },
    street: { frontend_input: 'MULTILINE', multiline_count: 2 },
    postcode: { is_required: false },
  })
  t.match(address({ address: { telephone: 'optional', company: 'required', streetLines: 3 } }), {
    telephone: { is_required: false },
    company: { is_required: true },
    street: { multiline_count: 3 },
  })
})

t.test("the store's own attributes come last, with their options", async (t) => {
  const { form } = createAttributeForms(
    store({
      customAttributes: {
        customer: [
          { code: 'size', label: 'Size', type: 'select', required: true, options: [{ value: '7', label: 'Seven' }] },
          { code: 'vip', label: 'VIP', type: 'boolean', required: false, options: [] },
        ],
      },
    }),
  )
  t.match(form('customer_account_create').items.slice(-2), [
    {
      code: 'size',
      entity_type: 'CUSTOMER',
      frontend_input: 'SELECT',
      is_required: true,
      options: [{ value: '7', label: 'Seven', is_default: false }],
    },
    { code: 'vip', frontend_input: 'BOOLEAN', options: [{ value: '1' }, { value: '0' }] },
  ])
})

t.test('another form is an error beside an empty list', async (t) => {
  t.strictSame(createAttributeForms(store()).form('checkout'), {
    items: [],
    errors: [{ type: 'ENTITY_NOT_FOUND', message: 'Form "checkout" could not be found.' }],
  })
})

t.test('attributes by entity and by code', async (t) => {
  const { list, named } = createAttributeForms(
    store({
      customAttributes: { customer: [{ code: 'vip', label: 'VIP', type: 'boolean', default: '1', sortOrder: 45 }] },
    }),
  )
  t.strictSame(
    codes(list('CUSTOMER')),
    'prefix firstname vip middlename lastname suffix email dob taxvat gender'.split(' '),
    'in the order that the store gives',
  )
  t.match(list('CUSTOMER').items[2], { default_value: '1', options: [{ is_default: true }, { is_default: false }] })
  t.match(list('CUSTOMER_ADDRESS').items[0], { code: 'firstname', entity_type: 'CUSTOMER_ADDRESS' })
  t.strictSame(list('CUSTOMER', { is_filterable: true }), {
    items: [],
    errors: [
      {
        type: 'FILTER_NOT_FOUND',
        message: 'Cannot filter by "is_filterable" as that field does not belong to "customer".',
      },
    ],
  })
  t.match(list('CATALOG_PRODUCT'), { items: [], errors: [{ type: 'ENTITY_NOT_FOUND' }] })
  const answer = named([
    { attribute_code: 'vip', entity_type: 'customer' },
    { attribute_code: 'city', entity_type: 'CUSTOMER_ADDRESS' },
    { attribute_code: 'nothing', entity_type: 'customer' },
    { attribute_code: 'x', entity_type: 'product' },
    { attribute_code: 'x' },
  ])
  t.strictSame(codes(answer), ['vip', 'city'])
  t.match(answer.errors, [
    { type: 'ATTRIBUTE_NOT_FOUND', message: 'Attribute code "nothing" could not be found.' },
    { type: 'ENTITY_NOT_FOUND' },
    { type: 'UNDEFINED' },
  ])
})
