/** People who have, here, the e-mail address of a customer of the old shop: nobody knows whether they are the same. */
import t from 'tap'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { environment, signIn, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { aCustomer, addressesFile, anAddress, customersFile } from '../support/magento-export.ts'
import { moved, OLD, password_hash, register, run } from './support.ts'

const taken = (line: number) => `customers.csv:${line}: the e-mail address belongs to another customer`
const stranger = (file: string, line: number) =>
  `${file}.csv:${line}: the customer with this _email has not confirmed it, and may be somebody else`

async function shop(t: Parameters<typeof temporaryFolder>[0]) {
  const folder = await temporaryFolder(t)
  const tokens = createMailTokens(loadKeys(loadConfiguration(environment(folder))).emailHashKey)
  // Accounts of here have to be confirmed before they can be used.
  const store = { account: { confirmationRequired: true } }
  const { send, eventStore } = await startSubgraph(t, { folder, projection: false, store })

  /** The token of the link in a customer's newest mail. */
  async function link(id: number, purpose: Parameters<typeof tokens.of>[0]): Promise<string> {
    let eventId = ''
    for await (const event of eventStore.readStream(`customer-${id}`)) eventId = event.id
    return tokens.of(purpose, eventId)
  }

  return {
    folder,
    send,
    async confirm(id: number, email: string): Promise<void> {
      const input = `{ email: "${email}", confirmation_key: "${await link(id, 'confirm-account')}" }`
      t.notOk((await send(`mutation { confirmEmail(input: ${input}) { customer { id } } }`)).errors)
    },
    async setPassword(id: number, email: string): Promise<void> {
      await send(`mutation { requestPasswordResetEmail(email: "${email}") }`)
      const given = `email: "${email}", resetPasswordToken: "${await link(id, 'reset-password')}"`
      t.notOk((await send(`mutation { resetPassword(${given}, newPassword: "${OLD}") }`)).errors)
    },
    async changeEmail(from: string, to: string): Promise<void> {
      const token = await signIn(send, from, OLD)
      const update = `mutation { updateCustomerEmail(email: "${to}", password: "${OLD}") { customer { id } } }`
      t.notOk((await send(update, { token })).errors)
    },
    async addressesOf(email: string): Promise<unknown> {
      const query = '{ customer { addresses { id } } }'
      return (await send(query, { token: await signIn(send, email, OLD) })).data.customer.addresses
    },
  }
}

t.test(
  'who has taken the address of a customer of the old shop does not get to know where that one lives',
  async (t) => {
    const { folder, send, confirm, setPassword, changeEmail, addressesOf } = await shop(t)
    // One of them even gets the customer's number.
    t.equal(await register(send, moved(1)), 1)
    await run(folder, { customers: customersFile([aCustomer(40, { password_hash })]) })
    await changeEmail(moved(40), moved(41))
    const confirmed = await register(send, moved(42))
    await confirm(confirmed, moved(42))
    const withPassword = await register(send, moved(43))
    await setPassword(withPassword, moved(43))
    const ids = [1, 40, 41, 42, 43]
    const files = {
      customers: customersFile(ids.map((id) => aCustomer(id, { password_hash }))),
      addresses: addressesFile(ids.map((id) => anAddress(100 + id, id, { street: 'x' }))),
    }
    for (const dryRun of [true, false]) {
      t.match(await run(folder, { ...files, dryRun }), {
        customers: { imported: 0, alreadyThere: 1 },
        addresses: { imported: 2, alreadyThere: 0 },
        rejected: [
          stranger('addresses', 2),
          'addresses.csv:3: there is no customer with this _email',
          stranger('addresses', 4),
          ...[2, 4, 5, 6].map(taken),
        ],
      })
    }
    const { addresses: again, rejected } = await run(folder, { addresses: files.addresses })
    t.match([again, rejected.length], [{ alreadyThere: 2 }, 3], 'a run of the addresses for themselves')
    t.same(await addressesOf(moved(41)), [], 'an imported customer who has changed the address to it')
    await setPassword(confirmed, moved(42))
    t.same(await addressesOf(moved(42)), [{ id: 142 }], 'whose it is: they have used a link that was mailed there')
    await confirm(1, moved(1))
    t.match(await run(folder, { addresses: files.addresses }), { addresses: { imported: 1, alreadyThere: 2 } }, 'later')
    await changeEmail(moved(42), moved(44))
    const other = addressesFile([anAddress(144, 44, { street: 'x' })])
    t.match((await run(folder, { addresses: other })).rejected, [stranger('addresses', 2)], 'it was another address')
  },
)

t.test('what came in before stays, whoever has the e-mail address since', async (t) => {
  for (const [kind, files] of [
    [
      'two files',
      {
        customers: customersFile([aCustomer(50, { password_hash })]),
        addresses: addressesFile([anAddress(150, 50)]),
      },
    ],
    [
      'a composite one',
      {
        customers:
          'email,firstname,lastname,password_hash,_address_firstname,_address_lastname,_address_street,_address_city,_address_country_id\n' +
          `${moved(50)},Ann,Lee,${password_hash},Ann,Lee,x,Ulm,DE\n`,
      },
    ],
  ] as const) {
    await t.test(kind, async (t) => {
      const { folder, send, changeEmail } = await shop(t)
      t.match(await run(folder, files), { customers: { imported: 1 }, addresses: { imported: 1 }, rejected: [] })
      await changeEmail(moved(50), 'new@example.com')
      const there = { customers: { alreadyThere: 1 }, addresses: { alreadyThere: 1 }, rejected: [] }
      t.match(await run(folder, files), there, 'free')
      await register(send, moved(50))
      t.match(await run(folder, files), there, 'taken')
      await changeEmail('new@example.com', 'other@example.com')
      t.match(await run(folder, files), there, 'after another change')
    })
  }
})

t.test('the addresses of a rejected customer are not taken for those of who has the number', async (t) => {
  const { folder } = await shop(t)
  const head =
    'email,entity_id,firstname,lastname,_address_firstname,_address_lastname,_address_street,_address_city,_address_country_id\n'
  const row = (email: string) => `${email},7,Ann,Lee,Ann,Lee,x,Ulm,DE\n`
  await run(folder, { customers: head + row(moved(60)) })
  const customers = head + row(moved(61))
  for (const dryRun of [true, false, true, false]) {
    t.match(await run(folder, { customers, dryRun }), {
      addresses: { imported: 0, alreadyThere: 0, rejected: 1 },
      rejected: [
        'customers.csv:2: the id 7 belongs to another customer',
        'customers.csv:2: there is no customer with this _email',
      ],
    })
  }
})

const ofOther = (file: string, line: number) =>
  `${file}.csv:${line}: the customer with this _email is of another _website: theirs has not come in`

t.test('of two accounts of two websites with one e-mail address, each keeps its own addresses', async (t) => {
  const { folder, addressesOf } = await shop(t)
  const line = { street: 'x' }
  const outlet = { _website: 'outlet', ...line }
  const twice = { email: moved(70), password_hash }
  const customers = customersFile([
    aCustomer(70, twice),
    aCustomer(71, { ...twice, ...outlet }),
    aCustomer(72, { ...outlet, password_hash }),
    aCustomer(73, { email: moved(73), ...outlet, password_hash }),
    aCustomer(74, { email: moved(73), password_hash }),
  ])
  const addresses = addressesFile([
    anAddress(170, 70, line),
    anAddress(171, 70, outlet),
    anAddress(172, 72, outlet),
    anAddress(173, 73, line),
    anAddress(174, 73, { ...line, _website: 'Outlet' }),
    anAddress(175, 70, { ...line, _website: '' }),
  ])
  const rejected = [
    ofOther('addresses', 3),
    ofOther('addresses', 5),
    ...[3, 6].map((line) => `customers.csv:${line}: the e-mail address occurs twice in the file`),
  ]
  for (const dryRun of [true, false]) {
    t.match(await run(folder, { customers, addresses, dryRun }), {
      customers: { imported: 3 },
      addresses: { imported: 4 },
      rejected,
    })
  }
  t.match(await run(folder, { customers, addresses }), { addresses: { imported: 0, alreadyThere: 4 }, rejected })
  t.same(await addressesOf(moved(70)), [{ id: 170 }, { id: 175 }])
  t.same(await addressesOf(moved(73)), [{ id: 174 }])

  const left = (email: string) => ({
    customers: customersFile([aCustomer(71, { ...twice, email, ...outlet })]),
    addresses: addressesFile([anAddress(171, 70, { _email: email, ...outlet })]),
  })
  for (const dryRun of [true, false]) {
    t.match(
      await run(folder, { ...left(moved(70)), dryRun }),
      {
        customers: { imported: 0 },
        addresses: { imported: 0 },
        rejected: [ofOther('addresses', 2), 'customers.csv:2: the e-mail address belongs to another customer'],
      },
      'what was rejected, as it was',
    )
  }
  t.match(await run(folder, left(moved(75))), { customers: { imported: 1 }, addresses: { imported: 1 } }, 'mended')
  t.same(await addressesOf(moved(75)), [{ id: 171 }])
})

t.test('and in a composite file', async (t) => {
  const { folder, addressesOf } = await shop(t)
  const head =
    'email,_website,entity_id,firstname,lastname,_address_firstname,_address_lastname,_address_street,_address_city,_address_country_id,password_hash\n'
  const row = (email: string, website: string, id: string) =>
    `${email},${website},${id},Ann,Lee,Ann,Lee,x,Ulm,DE,${email && password_hash}\n`
  const customers =
    head + row(moved(80), 'base', '80') + row(moved(80), 'outlet', '81') + row('', '', '').replace('Ann,Lee,', ',,')
  for (const dryRun of [true, false]) {
    t.match(await run(folder, { customers, dryRun }), {
      customers: { imported: 1 },
      addresses: { imported: 1 },
      rejected: [
        ofOther('customers', 3),
        ofOther('customers', 4),
        'customers.csv:3: the e-mail address occurs twice in the file',
      ].toSorted(),
    })
  }
  t.equal(((await addressesOf(moved(80))) as unknown[]).length, 1)
})

t.test('an address id that a file has twice is that of the first row which comes in', async (t) => {
  const { folder, addressesOf } = await shop(t)
  const ids = Array.from({ length: 30 }, (_, index) => 201 + index)
  const customers = customersFile(ids.map((id) => aCustomer(id, { password_hash })))
  // Each number once for nobody, for the customer of this number, and for the next one.
  const addresses = addressesFile(
    ids.flatMap((id) =>
      [999, id, id === 230 ? 201 : id + 1].map((customer) => anAddress(id, customer, { street: 'x' })),
    ),
  )
  for (const dryRun of [true, false]) {
    const { addresses: report, rejected } = await run(folder, { customers, addresses, dryRun })
    t.match(report, { imported: 30, rejected: 60 })
    t.same(
      rejected.filter((each) => each.includes('belongs to another address')),
      ids
        .map((id, index) => `addresses.csv:${4 + 3 * index}: the address id ${id} belongs to another address`)
        .toSorted(),
    )
  }
  t.same(await addressesOf(moved(201)), [{ id: 201 }])
})
