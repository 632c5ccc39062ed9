/** The rules of 2.4.8 and 2.4.9: formats of texts, dates, regions, countries. */
import fc from 'fast-check'
import t from 'tap'
import { parseDate } from '../../subgraph/domain/date.ts'
import { type Send, signUp, startGraph, TEXAN } from '../support/graph.ts'
import { QUICK_STORE } from '../support/magento.ts'

const { send } = await startGraph(t, { store: QUICK_STORE })
const { token } = await signUp(send)

const CREATE = `mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) {
  id firstname lastname middlename city telephone street country_code region { region region_code region_id } } }`
const UPDATE = `mutation($id: Int!, $input: CustomerAddressInput) { updateCustomerAddress(id: $id, input: $input) {
  id city country_code postcode region { region region_code region_id } } }`
const CHANGE = `mutation($input: CustomerInput!) { updateCustomer(input: $input) {
  customer { firstname lastname middlename date_of_birth } } }`

type Answer = Awaited<ReturnType<Send>>

const outcome = (answer: Answer) => answer.errors?.[0]?.message ?? Object.values(answer.data ?? {})[0]
const create = async (changed: object) =>
  outcome(await send(CREATE, { token, variables: { input: { ...TEXAN, ...changed } } }))
const change = async (input: object) => outcome(await send(CHANGE, { token, variables: { input } }))

t.test('names of customers and addresses have one format', async (t) => {
  const good = ['Mary & Tom', 'Anne\u00a0Marie', 'A\tB', 'D’Arcy', 'J. R.', 'Zoë', 'Łukasz', '李', 'John 3rd', 'O`Neil']
  for (const firstname of good) {
    t.match(await change({ firstname }), { customer: { firstname } }, firstname)
    t.match(await create({ firstname, lastname: firstname, middlename: firstname }), { firstname, lastname: firstname })
  }
  const bad = ['{{var this.getTemplateFilter().filter(dummy)}}', '<b>', 'a@b', 'x;y', 'http://spam']
  for (const text of bad) {
    for (const [field, message] of [
      ['firstname', 'First Name is not valid!'],
      ['lastname', 'Last Name is not valid!'],
      ['middlename', 'Middle Name is not valid!'],
    ] as const) {
      t.equal(await change({ [field]: text }), message, `customer: ${field} ${text}`)
      t.equal(await create({ [field]: text }), message, `address: ${field} ${text}`)
    }
  }
})

t.test('telephone, city and street', async (t) => {
  const cases = [
    [
      'telephone',
      ['+1 (555) 229-3326', '0721/12 34.56', '5'],
      ['aaaa', '0aaaa', '1'.repeat(255), '1'.repeat(21), '555x1'],
      'Invalid Phone Number. Please use 0-9, +, -, (, ), ., / and space.',
    ],
    [
      'city',
      ['29 Palms', 'Brighton & Hove', 'Anywhere (North)', 'St. Moritz', "L'Aquila", 'Baden-Baden', '北京'],
      ['a@#!', 'Ulm<br>', '{{x}}'],
      "Invalid City. Please use letters, numbers, spaces, and the following characters: - _ ' ’ . , & ( )",
    ],
  ] as const
  for (const [field, good, bad, message] of cases) {
    for (const text of good) t.match(await create({ [field]: text }), { [field]: text }, text)
    for (const text of bad) t.equal(await create({ [field]: text }), message, text)
  }
  for (const line of ['c/o Ann, 5½ #3', 'Straße 12 [Hof]', 'Rue de l’Église: 4'])
    t.match(await create({ street: [line] }), { street: [line] })
  for (const line of ['<img src=x onerror=1>', '{{var x}}', 'a\u0007b']) {
    t.equal(
      await create({ street: ['1 Main St', line] }),
      'Invalid Street Address. The street address contains invalid characters.',
      line,
    )
  }
  t.equal(await create({ city: '@', telephone: 'x' }), 'One or more input exceptions have occurred.', 'several faults')
})

t.test('blanks around a text are trimmed', async (t) => {
  t.match(await change({ firstname: '  Ann  ', lastname: '\u00a0Lee ' }), {
    customer: { firstname: 'Ann', lastname: 'Lee' },
  })
  const given = { firstname: ' Ann', lastname: ' Lee', city: ' Ulm ', street: [' 1 Main St '], telephone: ' 5 ' }
  t.match(await create(given), {
    firstname: 'Ann',
    lastname: 'Lee',
    city: 'Ulm',
    street: ['1 Main St'],
    telephone: '5',
  })
  t.equal(await create({ city: '  ' }), '"city" is required. Enter and try again.')
  t.equal(await change({ firstname: ' \t ' }), '"First Name" is a required value.')
})

t.test('dates of birth', async (t) => {
  const today = new Date().toISOString().slice(0, 10)
  const tomorrow = new Date(Date.now() + 2 * 86_400_000).toISOString().slice(0, 10)
  const future = 'The Date of Birth should not be greater than today.'
  t.equal(await change({ date_of_birth: '2999-01-01' }), future)
  t.equal(await change({ dob: '1 January 2999' }), future)
  t.equal(await change({ dob: tomorrow }), future)
  t.match(await change({ date_of_birth: today }), { customer: { date_of_birth: today } })
  const born = async () => (await send('{ customer { dob } }', { token })).data.customer.dob
  for (const other of ['1990-01-15', null]) {
    t.match(await change({ dob: other, date_of_birth: null }), { customer: { date_of_birth: other } })
    t.equal(await born(), other, 'null beside a date does not count')
  }
  for (const dob of [
    '1990-02-30 00:00:00',
    '31 April 2021',
    'Feb 30 1990',
    'Hello 1990',
    '1990-01-15 garbage',
    '1990-13-01',
    '2',
    '1990',
  ]) {
    t.equal(await change({ dob }), 'Invalid date', dob)
  }
  const created = await send(
    `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "born@example.com", dob: "2999-01-01" }) { customer { id } } }`,
  )
  t.equal(created.errors?.[0]?.message, future)
})

t.test('a date, printed in any form and parsed again, is the same day', async () => {
  const days = fc.date({ min: new Date('1000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
  const month = (date: Date, length: 'long' | 'short') => date.toLocaleString('en', { month: length, timeZone: 'UTC' })
  const forms = (date: Date) => {
    const [y = '', m = '', d = ''] = date.toISOString().slice(0, 10).split('-')
    const [mm, dd] = [Number(m), Number(d)]
    return [
      `${y}-${m}-${d}`,
      `${y}/${mm}/${dd}`,
      `${y}${m}${d}`,
      `${mm}/${dd}/${y}`,
      `${dd}.${mm}.${y}`,
      `${d}-${m}-${y}`,
      `${dd} ${month(date, 'long')} ${y}`,
      `${month(date, 'short')} ${dd}, ${y}`,
      `${dd}-${month(date, 'short')}-${y}`,
      date.toISOString(),
      `${y}-${m}-${d} 23:59:59`,
      `${mm}/${dd}/${y}, 11:59:59 PM`,
    ]
  }
  fc.assert(
    fc.property(days, (date) => forms(date).every((text) => parseDate(text) === date.toISOString().slice(0, 10))),
  )
  fc.assert(
    fc.property(fc.string(), (text) => {
      const parsed = parseDate(text)
      return parsed === undefined || parseDate(parsed) === parsed
    }),
  )
  fc.assert(
    fc.property(days, fc.string({ minLength: 1 }), (date, rest) => {
      const [text = ''] = forms(date)
      return (
        /^[\d\s]|^T\d/.test(rest) ||
        rest.trim() === '' ||
        parseDate(`${text}${rest}`) === undefined ||
        /^[\s,T]/.test(rest)
      )
    }),
  )
})

t.test('regions are found by code or name', async (t) => {
  const arizona = { region: { region: 'Arizona', region_code: 'AZ', region_id: 4 } }
  for (const region of [
    { region: 'Arizona', region_code: 'AZ' },
    { region_code: 'az' },
    { region: ' arizona ' },
    { region_id: 4 },
    { region_id: 4, region_code: 'az', region: 'Arizona' },
  ]) {
    t.match(await create({ region }), arizona, JSON.stringify(region))
  }
  const required = 'A region_id is required for the specified country code'
  t.equal(await create({ region: { region: 'Nowhere' } }), required)
  t.equal(await create({ region: { region_code: 'AE' } }), required, 'four regions have this code')
  t.match(await create({ region: { region_code: 'AE', region: 'Armed Forces Europe' } }), {
    region: { region_code: 'AE' },
  })
  t.equal(
    await create({ region: { region_code: 'AZ', region: 'Texas' } }),
    'The region_id does not match the selected country or region',
  )
  t.match(
    await create({ country_id: 'DE', postcode: '1', region: { region: 'bayern' } }),
    { region: { region_code: 'BAY' } },
    'also where none is required',
  )
  for (const [country_id, region, region_id] of [
    ['CA', 'Québec', 76],
    ['CA', 'QUE\u0301BEC', 76],
    ['BR', 'sao paulo', 508],
    ['FR', 'Val-d’Oise', 277],
  ] as const) {
    t.match(await create({ country_id, postcode: '1', region: { region } }), { region: { region_id } }, region)
  }

  const { id } = (await create({})) as { id: number }
  const update = async (input: object) => outcome(await send(UPDATE, { token, variables: { id, input } }))
  t.match(await update({ region: { region_code: 'NY' } }), { region: { region: 'New York', region_id: 43 } })
  t.match(await update({ city: 'Albany' }), { region: { region: 'New York' } }, 'kept where it is not named')
  t.equal(await update({ country_code: 'CA' }), required)
  t.match(await update({ country_code: 'GB', city: 'Leeds', postcode: 'LS1' }), {
    country_code: 'GB',
    region: { region: null, region_code: null, region_id: null },
  })
})

t.test('what `countries` lists can be saved', async (t) => {
  const { data } = await send('{ countries { id } }')
  const listed = (data.countries as { id: string }[]).map(({ id }) => id)
  for (const id of ['XK', 'CW', 'PR', 'SS', 'SX', 'BQ']) t.ok(listed.includes(id), id)
  const { data: schema } = await send('{ __type(name: "CountryCodeEnum") { enumValues { name } } }')
  t.same((schema.__type.enumValues as { name: string }[]).map(({ name }) => name).toSorted(), listed.toSorted())
  t.match(await create({ country_id: 'XK', postcode: '1', region: null }), { country_code: 'XK' })
})
