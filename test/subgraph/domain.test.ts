/** The rules of the domain, given as examples and as properties. */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Recorded } from '../../eventstore/codec.ts'
import { absentCustomer, type CustomerDocument, project } from '../../projections/customer.ts'
import { canonicalEmail } from '../../schema/email-key.ts'
import { type CustomerEvent, SCHEMA_VERSION } from '../../schema/events.ts'
import { regionsOf } from '../../schema/regions.ts'
import { store as defaultStore } from '../../schema/store.ts'
import { type AddressInput, resolveAddress } from '../../subgraph/domain/address.ts'
import {
  addAddress,
  type CustomerInput,
  changeAddress,
  checkRegistration,
  lock,
  recordPasswordChange,
  register,
  removeAddress,
  update,
} from '../../subgraph/domain/customer.ts'
import { parseDate } from '../../subgraph/domain/date.ts'
import { isValidEmail } from '../../subgraph/domain/email.ts'
import { Fault } from '../../subgraph/domain/faults.ts'
import { checkPassword } from '../../subgraph/domain/password.ts'
import { translateFault } from '../../subgraph/errors.ts'

const store = defaultStore()
const NOW = new Date('2026-11-25T12:00:00.000Z')

const metadata = {
  $correlationId: 'c',
  $causationId: 'c',
  actor: 'guest',
  at: '2026-01-02T03:04:05.000Z',
  schemaVersion: SCHEMA_VERSION,
}

/** The work throws what callers see as that: a fault of the domain's has its message from the catalogue. */
function refuses(t: Test, work: () => unknown, seen: Record<string, unknown> = {}, what = 'refused'): void {
  const answered = () => {
    try {
      work()
    } catch (error) {
      throw translateFault(error)
    }
  }
  t.throws(answered, seen as object as Error, what)
}

function given(...events: CustomerEvent[]): CustomerDocument {
  return events.reduce<CustomerDocument>((state, event) => {
    const recorded = { ...event, id: '', revision: state.revision + 1, metadata, created: new Date(0) }
    return project(state, recorded as Recorded<CustomerEvent>)
  }, absentCustomer(1))
}

const registered = register(
  absentCustomer(1),
  {
    ...checkRegistration({ email: 'ann@example.com', firstname: 'Ann', lastname: 'Lee' }, store, NOW),
    customerId: 1,
    credentialsRevision: 0,
    at: new Date('2026-01-02T03:04:05.000Z'),
  },
  store,
)

const texan: AddressInput = {
  firstname: 'Ann',
  lastname: 'Lee',
  street: ['1 Main St'],
  city: 'Austin',
  telephone: '555',
  postcode: '78701',
  country_id: 'US',
  region: { region_id: 57 },
}

t.test('registration', async (t) => {
  const refused: [CustomerInput, string][] = [
    [{}, '"input" value should be specified'],
    [{ firstname: 'A', lastname: 'B' }, 'The email address is required to create a customer account.'],
    [{ email: 'x@example.com', firstname: '', lastname: 'B' }, '"First Name" is a required value.'],
    [{ email: 'x@example.com', firstname: 'A' }, '"Last Name" is a required value.'],
    [{ email: 'x@example.com' }, 'Required parameters are missing: First Name, Last Name'],
    [{ email: '', firstname: 'A', lastname: 'B' }, '"" is not a valid email address.'],
    [{ email: 'plain', firstname: 'A', lastname: 'B' }, '"plain" is not a valid email address.'],
    [{ email: 'x@example.com', firstname: 'A', lastname: 'B', gender: 5 }, '"5" is not a valid gender value.'],
    [{ email: 'x@example.com', firstname: 'A', lastname: 'B', dob: 'soon' }, 'Invalid date'],
    [{ email: 'x@example.com', firstname: 'A<b>', lastname: 'B' }, 'First Name is not valid!'],
    [{ email: 'x@example.com', firstname: 'A', lastname: 'B{{' }, 'Last Name is not valid!'],
    [{ email: 'x@example.com', firstname: 'A', lastname: 'B', middlename: '=' }, 'Middle Name is not valid!'],
    [
      { email: 'x@example.com', firstname: 'A'.repeat(256), lastname: 'B' },
      '"First Name" length must be equal or less than 255 characters.',
    ],
  ]
  for (const [input, message] of refused) {
    refuses(t, () => checkRegistration(input, store, NOW), {
      message,
      extensions: { category: 'graphql-input', code: 'BAD_USER_INPUT' },
    })
  }
  t.match(registered, [
    { type: 'CustomerRegistered', data: { groupId: 1, isSubscribed: false, dob: null, gender: null } },
  ])
  refuses(t, () =>
    register(
      given(...registered),
      {
        ...checkRegistration({ email: 'a@b.de', firstname: 'A', lastname: 'B' }, store, NOW),
        customerId: 1,
        credentialsRevision: -1,
        at: new Date(0),
      },
      store,
    ),
  )
})

t.test('given a customer, when details are updated, then only what changed is recorded', async (t) => {
  const state = given(...registered)
  t.same(update(state, { firstname: 'Ann', email: 'ann@example.com', is_subscribed: false }, store, NOW), [])
  t.same(
    update(state, { firstname: 'Eve', dob: '3/11/1972', is_subscribed: true, email: 'ANN@example.com' }, store, NOW),
    [
      { type: 'CustomerDetailsChanged', data: { firstname: 'Eve', dob: '1972-03-11' } },
      { type: 'CustomerEmailChanged', data: { email: 'ANN@example.com', previousEmail: 'ann@example.com' } },
      { type: 'NewsletterSubscribed', data: {} },
    ],
  )
  refuses(t, () => update(state, { lastname: '' }, store, NOW), { message: '"Last Name" is a required value.' })
  refuses(t, () => update(state, { email: '' }, store, NOW), { message: '"" is not a valid email address.' })
  const withTitle = given(...registered, { type: 'CustomerDetailsChanged', data: { prefix: 'Dr.' } })
  t.same(update(withTitle, { prefix: null }, store, NOW), [{ type: 'CustomerDetailsChanged', data: { prefix: null } }])
})

t.test('a password change and a lock are recorded once', async (t) => {
  const state = given(...registered)
  t.same(recordPasswordChange(state, 1), [{ type: 'CustomerPasswordChanged', data: { credentialsRevision: 1 } }])
  t.same(recordPasswordChange(state, 0), [])
  const now = new Date('2026-01-01T00:00:00Z')
  const until = new Date('2026-01-01T00:10:00Z')
  const locking = lock(state, now, until)
  t.same(locking, [{ type: 'CustomerLocked', data: { until: '2026-01-01T00:10:00.000Z' } }])
  const locked = given(...registered, ...locking)
  t.same(lock(locked, now, until), [])
  t.equal(lock(locked, until, new Date('2026-01-01T00:20:00Z')).length, 1, 'an expired lock is no lock')
})

t.test('default addresses', async (t) => {
  const first = addAddress(given(...registered), 1, { ...texan, default_billing: true }, store)
  t.match(first, [{ type: 'CustomerAddressAdded' }, { type: 'DefaultBillingAddressSet', data: { addressId: 1 } }])
  const state = given(...registered, ...first, ...addAddress(given(...registered), 2, texan, store))
  t.equal(state.defaultBilling, 1)
  t.same(
    changeAddress(state, 2, { default_billing: true }, store),
    [{ type: 'DefaultBillingAddressSet', data: { addressId: 2 } }],
    'true moves the pointer',
  )
  t.same(
    changeAddress(state, 1, { default_billing: false }, store),
    [{ type: 'DefaultBillingAddressSet', data: { addressId: null } }],
    'false on the current default clears it',
  )
  t.same(
    changeAddress(state, 2, { default_billing: false, default_shipping: false }, store),
    [],
    'false elsewhere changes nothing',
  )
  t.same(changeAddress(state, 1, { default_billing: null }, store), [])
  refuses(t, () => removeAddress(state, 1), {
    message: 'Customer Address 1 is set as default billing address and can not be deleted',
  })
  t.same(removeAddress(state, 2), [{ type: 'CustomerAddressRemoved', data: { addressId: 2 } }])
  refuses(t, () => removeAddress(state, 3), { message: 'Could not find a address with ID "3"' })
})

t.test('what an address must have', async (t) => {
  const without = (field: keyof AddressInput, value?: unknown) => ({ ...texan, [field]: value }) as AddressInput
  for (const field of ['firstname', 'lastname', 'street', 'city', 'telephone', 'postcode'] as const) {
    for (const value of [null, field === 'street' ? [''] : '']) {
      refuses(t, () => resolveAddress(without(field, value), store), {
        message: `"${field}" is required. Enter and try again.`,
        extensions: { category: 'graphql-input' },
      })
    }
  }
  refuses(t, () => resolveAddress({ ...texan, country_id: null }, store), {
    message: '"countryId" is required. Enter and try again.',
  })
  refuses(t, () => resolveAddress({ ...texan, city: '', firstname: '' }, store), {
    message: 'One or more input exceptions have occurred.',
  })
  refuses(t, () => resolveAddress({ ...texan, street: ['1', '2', ''] }, store), {
    message: '"Street Address" cannot contain more than 2 lines.',
  })
  refuses(t, () => resolveAddress({ ...texan, city: 'x'.repeat(256) }, store), {
    message: '"City" length must be equal or less than 255 characters.',
  })
  for (const country of ['HK', 'IE', 'MO', 'PA', 'GB']) {
    t.equal(resolveAddress({ ...texan, region: null, country_id: country, postcode: null }, store).postcode, null)
  }
})

t.test('regions', async (t) => {
  t.match(resolveAddress(texan, store), { regionId: 57, regionCode: 'TX', region: 'Texas' })
  const refused: [AddressInput, string][] = [
    [{ ...texan, region: null }, 'A region_id is required for the specified country code'],
    [{ ...texan, region: { region_code: 'XX' } }, 'A region_id is required for the specified country code'],
    [{ ...texan, region: { region_id: 66 } }, 'The specified region is not a part of the selected country or region'],
    [
      { ...texan, region: { region_id: 57, region_code: 'AL' } },
      'The specified region is not a part of the selected country or region',
    ],
    [
      { ...texan, country_id: 'DE', region: { region_id: 57 } },
      'The region_id does not match the selected country or region',
    ],
    [
      { ...texan, country_id: 'GB', region: { region_id: 57 } },
      'The region_id does not match the selected country or region',
    ],
  ]
  for (const [input, message] of refused) refuses(t, () => resolveAddress(input, store), { message })
  t.match(resolveAddress({ ...texan, country_id: 'GB', region: { region: 'Kent', region_code: 'KE' } }, store), {
    regionId: null,
    regionCode: 'KE',
    region: 'Kent',
  })
  // Where a country needs no region, an id and a code that contradict each other are refused under `country_code` alone.
  const [bavaria, berlin] = ['BAY', 'BER'].map((code) => regionsOf('DE').find((region) => region.code === code))
  const { country_id: _, ...nowhere } = texan
  const german = (fields: AddressInput, code: string | undefined) =>
    resolveAddress({ ...nowhere, ...fields, region: { region_id: bavaria?.id ?? 0, region_code: code ?? '' } }, store)
  refuses(t, () => german({ country_code: 'DE' }, berlin?.code), {
    message: 'The region_id does not match the selected country or region',
  })
  t.match(german({ country_code: 'DE' }, bavaria?.code), { regionId: bavaria?.id, regionCode: 'BAY' })
  t.match(german({ country_id: 'DE' }, berlin?.code), { regionId: bavaria?.id, regionCode: 'BAY' }, 'the id counts')
  const stored = resolveAddress(texan, store)
  refuses(
    t,
    () => resolveAddress({ country_id: 'CA' }, store, stored),
    {
      message: 'A region_id is required for the specified country code',
    },
    'the old region does not go along to another country',
  )
  t.match(resolveAddress({ region: { region_id: 1 } }, store, stored), {
    regionId: 1,
    regionCode: 'AL',
    region: 'Alabama',
  })
  t.match(resolveAddress({ city: 'Waco' }, store, stored), { regionId: 57, city: 'Waco' })
})

t.test('passwords', async (t) => {
  const refused: [string, string][] = [
    [`aA1${'x'.repeat(254)}`, 'Please enter a password with at most 256 characters.'],
    ['aA1!', 'The password needs at least 8 characters. Create a new password and try again.'],
    [' abcABC123', "The password can't begin or end with a space. Verify the password and try again."],
    [
      'abcdefgh1',
      'Minimum of different classes of characters in password is 3. Classes of characters: Lower Case, Upper Case, Digits, Special Characters.',
    ],
    ['Ann1@Example.com', "The password can't be the same as the email address. Create a new password and try again."],
  ]
  for (const [password, message] of refused) {
    for (const occasion of ['registration', 'change'] as const) {
      refuses(t, () => checkPassword(password, 'ann1@example.com', occasion, store.password), {
        message,
        extensions: { category: 'graphql-input' },
      })
    }
  }
  refuses(t, () => checkPassword('a@b.c', 'a@b.c', 'registration', store.password), { message: /at least 8/ })
  refuses(t, () => checkPassword('a@b.c', 'a@b.c', 'change', store.password), { message: /same as the email/ })
  checkPassword('abcABC123', 'a@b.c', 'change', store.password)
})

t.test('e-mail addresses', async (t) => {
  for (const email of [
    'a@b.de',
    'Ann.Lee+x@mail.example.com',
    'jØrgen@somedomain.com',
    '“email”@example.com',
    "o'neil@example.com",
    'x@exämple.de',
  ]) {
    t.ok(isValidEmail(email), email)
  }
  for (const email of [
    '',
    'plainaddress',
    '#@%^%#$@#$@#.com',
    '@example.com',
    'Joe Smith <email@example.com>',
    'email.example.com',
    'email@example@example.com',
    '.email@example.com',
    'email.@example.com',
    'a..b@example.com',
    'email@example.com (Joe Smith)',
    'email@example',
    'email@-example.com',
    'email@111.222.333.44',
    `${'a'.repeat(65)}@example.com`,
    'a b@example.com',
    'a@example.com\n',
  ]) {
    t.notOk(isValidEmail(email), email)
  }
  t.equal(canonicalEmail('Ann@Example.COM'), canonicalEmail('ann@example.com'))
})

t.test('dates', async (t) => {
  const read: Record<string, string | undefined> = {
    '1972-03-11': '1972-03-11',
    '3/11/1972': '1972-03-11',
    '1972/3/1': '1972-03-01',
    '11.03.1972': '1972-03-11',
    '11-3-1972': '1972-03-11',
    '11 March 1972': '1972-03-11',
    'March 11, 1972': '1972-03-11',
    '1972-03-11 10:00:00': '1972-03-11',
    '2/30/1990': undefined,
    '1990-13-01': undefined,
    '29.02.1990': undefined,
    bla: undefined,
    '': undefined,
  }
  for (const [text, date] of Object.entries(read)) t.equal(parseDate(text), date, text)
  fc.assert(
    fc.property(fc.date({ min: new Date('1000-01-01'), max: new Date('2999-12-31'), noInvalidDate: true }), (date) => {
      const iso = date.toISOString().slice(0, 10)
      const [y, m, d] = iso.split('-').map(Number)
      return parseDate(iso) === iso && parseDate(`${m}/${d}/${y}`) === iso && parseDate(`${d}.${m}.${y}`) === iso
    }),
  )
})

t.test(
  'an update with the fields that a customer has changes nothing; an applied one changes nothing again',
  async () => {
    const name = fc.stringMatching(/^[A-Za-z][A-Za-z '-]{0,20}$/)
    const input = fc.record(
      {
        prefix: fc.option(name),
        firstname: name,
        lastname: name,
        taxvat: fc.option(fc.string({ maxLength: 20 })),
        gender: fc.constantFrom(0, 1, 2, 3),
        is_subscribed: fc.boolean(),
        dob: fc.constantFrom('1972-03-11', '3/11/1972', null),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(input, (changes) => {
        const state = given(...registered)
        const after = given(...registered, ...update(state, changes, store, NOW))
        return update(after, changes, store, NOW).length === 0
      }),
    )
  },
)

t.test('a fault says by its code what is wrong, and nothing else', async (t) => {
  const caught = await Promise.resolve()
    .then(() => update(given(...registered), { email: 'ann@home' }, store, NOW))
    .catch((error: unknown) => error)
  t.type(caught, Fault)
  t.match(caught, { code: 'EMAIL_INVALID', details: { email: 'ann@home' }, message: 'EMAIL_INVALID' })
  t.match(translateFault(caught), {
    code: 'EMAIL_INVALID',
    message: '"ann@home" is not a valid email address.',
    extensions: { category: 'graphql-input', code: 'BAD_USER_INPUT' },
  })
  const other = new Error('of another kind')
  t.equal(translateFault(other), other)
})
