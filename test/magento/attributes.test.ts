/** Magento's own API tests of custom attributes, of customers and of addresses. */
import t from 'tap'
import type { CustomAttribute } from '../../schema/store.ts'
import { freshEmail, signUp, startGraph, temporaryFolder } from '../support/graph.ts'
import { type Case, check, gives, input, type Operation, QUICK_STORE } from '../support/magento.ts'

const options = [
  { value: '3', label: 'option 3' },
  { value: '1', label: 'line 1' },
  { value: '2', label: 'option 2' },
]
const attribute = (code: string, label: string, type: CustomAttribute['type'], required = false) => ({
  code,
  label,
  type,
  required,
  options: type === 'select' || type === 'multiselect' ? options : [],
})
const declared = [
  attribute('multiselect_attribute', 'Multiselect', 'multiselect'),
  attribute('random_attribute', 'Random', 'text'),
  attribute('select_attribute', 'Select', 'select'),
  attribute('boolean_attribute', 'Boolean', 'boolean'),
  attribute('date_attribute', 'Date', 'date'),
]

const { send } = await startGraph(t, {
  store: { ...QUICK_STORE, customAttributes: { customer: declared, address: declared } },
})
const { send: strict } = await startGraph(t, {
  store: {
    ...QUICK_STORE,
    customAttributes: {
      customer: [attribute('nickname', 'Nickname', 'text', true)],
      address: [
        attribute('simple_attribute', 'simple attribute', 'text', true),
        attribute('multiselect_attribute', 'Multiselect', 'multiselect'),
      ],
    },
  },
})

const VALUES =
  '{ code ... on AttributeValue { value } ... on AttributeSelectedOptions { selected_options { label value } } }'

/** Values as Magento answers them: the chosen options in the order of the options, the attributes in the store's. */
const multiselect = (...values: string[]) => ({
  code: 'multiselect_attribute',
  selected_options: options.filter(({ value }) => values.includes(value)),
})
const random = (value: string) => ({ code: 'random_attribute', value })
const select = (value: string) => ({
  code: 'select_attribute',
  selected_options: options.filter((option) => option.value === value),
})

const given = (attribute_code: string, value: string) => ({ attribute_code, value })
/** As Magento's tests send chosen options: in the value, beside an empty list. */
const listed = (value: string) => ({ ...given('multiselect_attribute', value), selected_options: [] })
const chosen = (attribute_code: string, ...values: string[]) => ({
  attribute_code,
  selected_options: values.map((value) => ({ value })),
})
const noOption = (code: string, value: string) => input(`Attribute ${code} does not contain option with Id ${value}`)

t.test('customers', async (t) => {
  const { token, email } = await signUp(send)
  const create = (custom_attributes?: readonly object[]): Operation => ({
    query: `mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { custom_attributes ${VALUES} } } }`,
    variables: {
      input: { firstname: 'Adam', lastname: 'Smith', email: freshEmail(), password: 'test123#', custom_attributes },
    },
  })
  const update = (...custom_attributes: readonly object[]): Operation => ({
    query: `mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { email custom_attributes ${VALUES} } } }`,
    variables: { input: { custom_attributes } },
    token,
  })
  const created = (name: string, attributes: readonly object[] | undefined, custom_attributes: object[]): Case => ({
    name: `create: ${name}`,
    ...create(attributes),
    gives: { createCustomerV2: { customer: { custom_attributes } } },
  })
  const updated = (name: string, attributes: readonly object[], custom_attributes: object[]): Case => ({
    name: `update: ${name}`,
    ...update(...attributes),
    gives: { updateCustomerV2: { customer: { email, custom_attributes } } },
  })
  const query = (args: string) => `{ customer { email custom_attributes${args} ${VALUES} } }`
  const reads = (name: string, args: string, custom_attributes: object[]): Case => ({
    name: `query: ${name}`,
    query: query(args),
    token,
    gives: { customer: { email, custom_attributes } },
  })

  await check(t, send, [
    created(
      'a text and options',
      [given('random_attribute', 'new_value_for_attribute'), listed('2,3')],
      [multiselect('2', '3'), random('new_value_for_attribute')],
    ),
    created(
      'selected options',
      [chosen('multiselect_attribute', '1', '3'), chosen('select_attribute', '2')],
      [multiselect('3', '1'), select('2')],
    ),
    created('an unknown attribute is passed over', [given('non_existing_custom_attribute', 'void')], []),
    created('none', undefined, []),
    created('an empty list', [], []),
    {
      name: 'create: an unknown option',
      ...create([listed('1345')]),
      refused: noOption('multiselect_attribute', '1345'),
    },
    {
      name: 'create: an unknown option of a select',
      ...create([given('select_attribute', '9')]),
      refused: noOption('select_attribute', '9'),
    },

    reads('none', '', []),
    updated(
      'both',
      [given('random_attribute', 'value_one'), listed('1,2')],
      [multiselect('1', '2'), random('value_one')],
    ),
    updated('one; the other stays', [listed('2,3')], [multiselect('3', '2'), random('value_one')]),
    updated(
      'an unknown attribute is passed over, the rest is stored',
      [given('non_existing_custom_attribute', 'x'), listed('1')],
      [multiselect('1'), random('value_one')],
    ),
    updated('a select', [given('select_attribute', '2')], [multiselect('1'), random('value_one'), select('2')]),
    {
      name: 'update: an unknown option',
      ...update(listed('1345')),
      refused: noOption('multiselect_attribute', '1345'),
    },
    {
      name: 'update: an unknown selected option',
      ...update(chosen('select_attribute', '77')),
      refused: noOption('select_attribute', '77'),
    },
    reads('all', '', [multiselect('1'), random('value_one'), select('2')]),
    reads('one code', '(attributeCodes: ["multiselect_attribute"])', [multiselect('1')]),
    reads('two codes, in the store’s order', '(attributeCodes: ["select_attribute", "random_attribute"])', [
      random('value_one'),
      select('2'),
    ]),
    reads('no codes', '(attributeCodes: [])', [multiselect('1'), random('value_one'), select('2')]),
    reads('an unknown code', '(attributeCodes: ["shoe"])', []),

    {
      name: 'update: a boolean that is none',
      ...update(given('boolean_attribute', '3')),
      refused: noOption('boolean_attribute', '3'),
    },
    {
      name: 'update: a date that is none',
      ...update(given('date_attribute', 'this_is_an_invalid_value_for_dates')),
      refused: input('Invalid date'),
    },
    updated(
      'a boolean',
      [given('boolean_attribute', '1')],
      [multiselect('1'), random('value_one'), select('2'), { code: 'boolean_attribute', value: '1' }],
    ),
  ])
})

t.test('required attributes of customers', async (t) => {
  const create = (custom_attributes: object[]): Operation => ({
    query: 'mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { email } } }',
    variables: {
      input: { firstname: 'A', lastname: 'B', email: freshEmail(), password: 'test123#', custom_attributes },
    },
  })
  const required = input('"Nickname" is a required value.')
  await check(t, strict, [
    { name: 'missing', ...create([]), refused: required },
    { name: 'empty', ...create([given('nickname', '')]), refused: required },
    { name: 'given', ...create([given('nickname', 'Ad')]), gives: { createCustomerV2: { customer: {} } } },
  ])
})

const PHOENIX = {
  region: { region_id: 4, region: 'Arizona', region_code: 'AZ' },
  country_code: 'US',
  street: ['123 Main Street'],
  telephone: '7777777777',
  postcode: '77777',
  city: 'Phoenix',
  firstname: 'Bob',
  lastname: 'Loblaw',
  default_shipping: true,
  default_billing: false,
}

t.test('addresses', async (t) => {
  const { token } = await signUp(send)
  const answer = `id city custom_attributes { attribute_code value } custom_attributesV2 ${VALUES}`
  const create = (extra: object): Operation => ({
    query: `mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { ${answer} } }`,
    variables: { input: { ...PHOENIX, ...extra } },
    token,
  })
  const { data } = await send(create({}).query, { ...create({}), variables: create({}).variables ?? {} })
  const { id } = data.createCustomerAddress
  t.same(data.createCustomerAddress.custom_attributesV2, [])
  const update = (extra: object): Operation => ({
    query: `mutation($id: Int!, $input: CustomerAddressInput) { updateCustomerAddress(id: $id, input: $input) { ${answer} } }`,
    variables: { id, input: extra },
    token,
  })
  const V2 = (...custom_attributesV2: object[]) => ({ custom_attributesV2 })
  const query = (args: string) => `{ customer { addresses { custom_attributesV2${args} ${VALUES} } } }`

  await check(t, send, [
    {
      name: 'create',
      ...create(V2(given('random_attribute', 'brand new customer address value'), listed('2,3'))),
      gives: {
        createCustomerAddress: {
          city: 'Phoenix',
          custom_attributesV2: [multiselect('3', '2'), random('brand new customer address value')],
        },
      },
    },
    {
      name: 'create: an unknown option',
      ...create(V2(listed('1345'))),
      refused: noOption('multiselect_attribute', '1345'),
    },
    {
      name: 'create: an unknown attribute is passed over',
      ...create(V2(given('non_existing_custom_attribute', 'void'))),
      gives: { createCustomerAddress: { custom_attributesV2: [] } },
    },
    {
      name: 'update',
      ...update(V2(given('random_attribute', 'another simple value'), listed('2,3'))),
      gives: {
        updateCustomerAddress: { id, custom_attributesV2: [multiselect('3', '2'), random('another simple value')] },
      },
    },
    {
      name: 'update: an unknown option',
      ...update(V2(listed('1345'))),
      refused: noOption('multiselect_attribute', '1345'),
    },
    {
      name: 'update: another field leaves them',
      ...update({ city: 'Tempe' }),
      gives: {
        updateCustomerAddress: { custom_attributesV2: [multiselect('3', '2'), random('another simple value')] },
      },
    },
    {
      name: 'the older field gives them as texts',
      ...update({ custom_attributes: [given('random_attribute', '[new-value1,new-value2]')] }),
      gives: {
        updateCustomerAddress: {
          custom_attributesV2: [multiselect('3', '2'), random('[new-value1,new-value2]')],
        },
      },
    },
    {
      name: 'the older field has no selected options',
      ...update({ custom_attributes: [{ ...given('multiselect_attribute', '2'), selected_options: [] }] }),
      invalid: /Field "selected_options" is not defined by type "CustomerAddressAttributeInput"/,
    },
  ])
  const older = await send('{ customer { addresses { id custom_attributes { attribute_code value } } } }', { token })
  const address = older.data.customer.addresses.find((each: { id: number }) => each.id === id)
  t.same(
    address.custom_attributes.find((each: { attribute_code: string }) => each.attribute_code === 'random_attribute'),
    given('random_attribute', '[new-value1,new-value2]'),
  )
  const filtered = await send(query('(attributeCodes: ["multiselect_attribute"])'), { token })
  t.same(filtered.data.customer.addresses[0].custom_attributesV2, [multiselect('3', '2')])
  gives(t, await send('{ customer { addresses { extension_attributes { attribute_code value } } } }', { token }), {})
})

t.test('required attributes of addresses', async (t) => {
  const customer = await strict(
    'mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { email } } }',
    {
      variables: {
        input: {
          firstname: 'A',
          lastname: 'B',
          email: freshEmail(),
          password: 'test123#',
          custom_attributes: [given('nickname', 'x')],
        },
      },
    },
  )
  const { email } = customer.data.createCustomerV2.customer
  const signedIn = await strict(`mutation { generateCustomerToken(email: "${email}", password: "test123#") { token } }`)
  const { token } = signedIn.data.generateCustomerToken
  const create = (custom_attributesV2: object[] | undefined): Operation => ({
    query: `mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { custom_attributesV2 ${VALUES} } }`,
    variables: { input: { ...PHOENIX, custom_attributesV2 } },
    token,
  })
  await check(t, strict, [
    { name: 'missing', ...create(undefined), refused: input('"simple attribute" is a required value.') },
    {
      name: 'another is given',
      ...create([listed('1')]),
      refused: input('"simple attribute" is a required value.'),
    },
    {
      name: 'given',
      ...create([given('simple_attribute', 'x')]),
      gives: { createCustomerAddress: { custom_attributesV2: [{ code: 'simple_attribute', value: 'x' }] } },
    },
    {
      name: 'updateCustomerEmail asks for none',
      query: `mutation { updateCustomerEmail(email: "${freshEmail()}", password: "test123#") { customer { firstname } } }`,
      token,
      gives: { updateCustomerEmail: { customer: { firstname: 'A' } } },
    },
  ])
})

t.test('an option that the store no longer has', async (t) => {
  const folder = await temporaryFolder(t)
  const withOptions = async (left: typeof options) => {
    const entity = [{ ...attribute('multiselect_attribute', 'Multiselect', 'multiselect'), options: left }]
    const graph = await startGraph(t, {
      folder,
      store: { ...QUICK_STORE, customAttributes: { customer: entity, address: entity } },
    })
    return graph.send
  }
  const before = await withOptions(options)
  const { token } = await signUp(before)
  const values = [chosen('multiselect_attribute', '1', '2', '3')]
  await before(
    `mutation($values: [AttributeValueInput], $address: CustomerAddressInput!) {
      updateCustomerV2(input: { custom_attributes: $values }) { customer { email } }
      createCustomerAddress(input: $address) { id } }`,
    { variables: { values, address: { ...PHOENIX, custom_attributesV2: values } }, token },
  )
  const after = await withOptions(options.filter(({ value }) => value !== '2'))
  await check(t, after, [
    {
      name: 'the customer can be changed, and no longer has it',
      query: `mutation { updateCustomerV2(input: { firstname: "Updated" }) { customer { firstname custom_attributes ${VALUES} } } }`,
      token,
      gives: { updateCustomerV2: { customer: { firstname: 'Updated', custom_attributes: [multiselect('1', '3')] } } },
    },
    {
      name: 'nor has the address',
      query: `{ customer { addresses { custom_attributesV2 ${VALUES} } } }`,
      token,
      gives: { customer: { addresses: [{ custom_attributesV2: [multiselect('1', '3')] }] } },
    },
  ])
})

t.test("rules of one's own, and types of texts and times", async (t) => {
  const customer = [
    { code: 'number', label: 'Number', type: 'text', validate: { minLength: 4, maxLength: 6, input: 'numeric' } },
    { code: 'site', label: 'Site', type: 'text', validate: { input: 'url' } },
    { code: 'word', label: 'Word', type: 'text', validate: { input: 'alphanum-with-spaces' } },
    { code: 'since', label: 'Since', type: 'date', validate: { minDate: '2023-03-22', maxDate: '2023-03-27' } },
    { code: 'called', label: 'Called', type: 'datetime', validate: { minDate: '2020-01-01' } },
    { code: 'notes', label: 'Notes', type: 'multiline', lines: 2 },
    { code: 'story', label: 'Story', type: 'textarea' },
  ] as const
  const { send } = await startGraph(t, { store: { ...QUICK_STORE, customAttributes: { customer } } })
  const { token } = await signUp(send)
  const set = async (attribute_code: string, value: string) => {
    const { data, errors } = await send(
      `mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { custom_attributes ${VALUES} } } }`,
      { token, variables: { input: { custom_attributes: [{ attribute_code, value }] } } },
    )
    const set = data?.updateCustomerV2?.customer.custom_attributes as { code: string; value: string }[] | undefined
    return errors?.[0]?.message ?? set?.find(({ code }) => code === attribute_code)?.value
  }
  for (const [code, value, expected] of [
    ['number', '123', '"Number" length must be equal or greater than 4 characters.'],
    ['number', '1234567', '"Number" length must be equal or less than 6 characters.'],
    ['number', '12x4', '"Number" contains non-numeric characters.'],
    ['number', '12345', '12345'],
    ['site', 'javascript:x', '"Site" is not a valid URL.'],
    ['site', 'https://example.com/', 'https://example.com/'],
    ['word', 'a-b', '"Word" contains non-alphabetic or non-numeric characters.'],
    ['word', 'Zoë 2', 'Zoë 2'],
    ['since', '2023-03-21', 'Please enter a valid date between 22/03/2023 and 27/03/2023'],
    ['since', '2023-02-30', 'Invalid date'],
    ['since', '03/27/2023', '2023-03-27'],
    ['called', '2019-12-31 23:59', 'Please enter a valid date equal to or greater than 01/01/2020'],
    ['called', '3/4/2021 5:06 PM', '2021-03-04 17:06:00'],
    ['called', '2021-03-04 25:00', 'Invalid date'],
    ['notes', 'a\nb\nc', '"Notes" cannot contain more than 2 lines.'],
    ['notes', 'a\nb', 'a\nb'],
    ['story', 'x'.repeat(2000), 'x'.repeat(2000)],
  ] as const) {
    t.equal(await set(code, value), expected, `${code} ${value.slice(0, 20)}`)
  }
  const { data } = await send(
    `{ attributesList(entityType: CUSTOMER) { items { code frontend_input ... on CustomerAttributeMetadata { multiline_count validate_rules { name value } } } errors { message } }
       customAttributeMetadataV2(attributes: [{ attribute_code: "since", entity_type: "customer" }]) { items { code } errors { type } }
       storeConfig { default_country display_state_if_optional newsletter_enabled shopping_assistance_enabled
         shopping_assistance_checkbox_title shopping_assistance_checkbox_tooltip graphql_share_all_customer_groups } }`,
  )
  const items = new Map((data.attributesList.items as { code: string }[]).map((item) => [item.code, item]))
  t.match(items.get('number'), {
    validate_rules: [
      { name: 'MIN_TEXT_LENGTH', value: '4' },
      { name: 'MAX_TEXT_LENGTH', value: '6' },
      { name: 'INPUT_VALIDATION', value: 'NUMERIC' },
    ],
  })
  t.match(items.get('notes'), { frontend_input: 'MULTILINE', multiline_count: 2 })
  t.match(items.get('called'), { frontend_input: 'DATETIME' })
  t.same(data.customAttributeMetadataV2, { items: [{ code: 'since' }], errors: [] })
  t.match(data.storeConfig, { default_country: 'US', newsletter_enabled: true, shopping_assistance_enabled: false })
})
