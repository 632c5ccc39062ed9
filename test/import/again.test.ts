/** An import beside a service that is in use: what is there stays, nobody gets another one's password, and ids stay apart. */
import t, { type Test } from 'tap'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import type { PartialStore } from '../../schema/store.ts'
import { createCommand } from '../../subgraph/commands/command.ts'
import { createIds } from '../../subgraph/streams/ids.ts'
import {
  CREATE_ADDRESS,
  environment,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { aCustomer, addressesFile, anAddress, customersFile } from '../support/magento-export.ts'
import { moved, OLD, password_hash, register, run } from './support.ts'

/** The log, but for the record of access, which is written later. */
async function all(eventStore: EventStore): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = []
  for await (const event of eventStore.readAll()) if (event.type !== 'AccessRecorded') events.push(event)
  return events
}

async function credentialsOf(eventStore: EventStore, id: number): Promise<RecordedEvent[]> {
  return (await all(eventStore)).filter(({ stream }) => stream === `customerCredentials-${id}`)
}

async function deleteCustomer(t: Test, send: Send, email: string): Promise<void> {
  const token = await signIn(send, email, OLD)
  t.match((await send('mutation { deleteCustomer }', { token })).data, { deleteCustomer: true })
}

t.test('run again, an import writes no event at all', async (t) => {
  for (const [kind, ids] of [
    ['with ids', true],
    ['without ids', false],
  ] as const) {
    await t.test(kind, async (t) => {
      const folder = await temporaryFolder(t)
      const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
      const rows = [1, 2, 3, 4, 5].map((id) => aCustomer(id, { password_hash, ...(!ids && { entity_id: '' }) }))
      const files = {
        customers: customersFile([
          ...rows,
          aCustomer(6, { password: 'Pla1n-password', ...(!ids && { entity_id: '' }) }),
        ]),
        addresses: addressesFile([1, 2, 3, 4, 5].map((id) => anAddress(id + 10, id))),
      }
      t.match(await run(folder, files), { customers: { imported: 6 }, addresses: { imported: 5 }, rejected: [] })
      // What customers do since: one is deleted, one has another address, one another password.
      await deleteCustomer(t, send, moved(1))
      const update =
        'mutation($p: String!) { updateCustomer(input: { email: "new@example.com", password: $p }) { customer { id } } }'
      t.notOk((await send(update, { token: await signIn(send, moved(2), OLD), variables: { p: OLD } })).errors)
      const change =
        'mutation($p: String!) { changeCustomerPassword(currentPassword: $p, newPassword: "Br4nd-new") { id } }'
      t.notOk((await send(change, { token: await signIn(send, moved(3), OLD), variables: { p: OLD } })).errors)
      const before = await all(eventStore)
      t.match(await run(folder, files), {
        customers: { imported: 0, alreadyThere: 6 },
        addresses: { imported: 0, alreadyThere: 5 },
        rejected: [],
      })
      const added = (await all(eventStore)).slice(before.length)
      t.same(
        added.map(({ stream, type }) => `${stream} ${type}`),
        [],
      )
      t.ok(await signIn(send, 'new@example.com', OLD))
      t.ok(await signIn(send, moved(3), 'Br4nd-new'))
      t.notOk(await signIn(send, moved(1), OLD), 'who is gone stays gone')
    })
  }
})

t.test('an account of here keeps its password, whatever the file says of its address', async (t) => {
  const folder = await temporaryFolder(t)
  const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
  const create = (input: string) => send(`mutation { createCustomer(input: ${input}) { customer { id } } }`)
  t.notOk((await create('{ firstname: "A", lastname: "B", email: "bare@example.com" }')).errors)
  const { email } = await signUp(send)
  const before = await all(eventStore)
  const rows = ['bare@example.com', email].map((email) => aCustomer(1, { email, entity_id: '', password_hash }))
  t.match(await run(folder, { customers: customersFile(rows) }), {
    customers: { imported: 0, alreadyThere: 0, rejected: 2 },
    rejected: [2, 3].map((line) => `customers.csv:${line}: the e-mail address belongs to another customer`),
  })
  t.equal((await all(eventStore)).length, before.length, 'nothing is written')
  t.notOk(await signIn(send, 'bare@example.com', OLD))
  t.ok(await signIn(send, email))
})

t.test('the ids of events stay what they are: an import that another release has begun goes on', async (t) => {
  const folder = await temporaryFolder(t)
  const customers = customersFile([aCustomer(1, { password_hash })])
  await run(folder, { customers, addresses: addressesFile([anAddress(11, 1, { _address_default_billing_: '1' })]) })
  const { eventStore } = await startSubgraph(t, { folder, projection: false })
  const metadataOf = ({ metadata }: RecordedEvent) => metadata as { actor: string; $correlationId: string }
  const imported = (await all(eventStore)).filter((event) => metadataOf(event).actor === 'import')
  // Floors have random ones: they are looked at before they are raised.
  const written = imported.filter(({ type }) => type !== 'IdFloorRaised')
  t.strictSame(
    written.map(({ type, id }) => [type, id]),
    [
      ['EmailClaimed', '3a9ff3e6-b3d1-81dd-9ca5-52a66a0ad418'],
      ['CredentialsSet', 'dba7dc4f-590c-855b-9c56-aa9e40415d97'],
      ['CustomerRegistered', '494eb127-2f50-8ce2-bd20-a1ff7d77eb4d'],
      ['AddressIdImported', '5ea2965a-ebc3-80dd-bf86-9a349ad8a607'],
      ['CustomerAddressImported', '2a2d8cd2-bca4-8ea5-bb89-d2e678b07dd1'],
      ['DefaultBillingAddressSet', '4993259e-697d-8833-9e98-34dc4298f2ae'],
    ],
  )
  t.equal(new Set(imported.map((event) => metadataOf(event).$correlationId)).size, 1, 'one run, one correlation')
})

t.test('two accounts with one address, as of two websites: the second one is told', async (t) => {
  for (const entity_id of ['', undefined]) {
    const folder = await temporaryFolder(t)
    const rows = [1, 2, 3].map((id) =>
      aCustomer(id, { email: moved(Math.min(id, 2)), ...(entity_id === '' && { entity_id }) }),
    )
    const customers = customersFile(rows)
    const rejected = ['customers.csv:4: the e-mail address occurs twice in the file']
    t.strictSame(await run(folder, { customers, dryRun: true }), {
      customers: {
        imported: 2,
        alreadyThere: 0,
        rejected: 1,
        reasons: new Map([['the e-mail address occurs twice in the file', 1]]),
        unused: [],
      },
      addresses: { imported: 0, alreadyThere: 0, rejected: 0, reasons: new Map(), unused: [] },
      rejected,
    })
    t.match(await run(folder, { customers }), { customers: { imported: 2 }, rejected })
    for (const dryRun of [true, false]) {
      t.match(await run(folder, { customers, dryRun }), { customers: { imported: 0, alreadyThere: 2 }, rejected })
    }
  }
})

t.test('killed between any two writes of a row, the import leaves nothing that another one could use', async (t) => {
  const files = { customers: customersFile([aCustomer(5, { password_hash })]) }
  for (let writes = 0; ; writes++) {
    const folder = await temporaryFolder(t)
    // An instance that holds the ids 1 to 32, and will come to 5.
    const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
    for (const id of [1, 2, 3, 4]) t.equal(await register(send, `first${id}@example.com`), id)
    let left = writes
    const killed = await run(folder, {
      ...files,
      wrap: (inner) => ({
        ...inner,
        append: (...args) =>
          left-- > 0 ? inner.append(...args) : Promise.reject(Object.assign(new Error('killed'), { name: 'Killed' })),
      }),
    }).catch((error: Error) => error.name)
    const next = await signUp(send)
    t.ok(await signIn(send, next.email), `after ${writes} writes, who registers then has the own password`)
    t.notOk(await signIn(send, next.email, OLD), 'and not that of another one')
    const again = await run(folder, files)
    t.equal(again.customers.imported + again.customers.alreadyThere + again.customers.rejected, 1)
    if (again.customers.rejected === 0) {
      t.ok(await signIn(send, moved(5), OLD), 'who moved in, too')
      t.not(next.id, 5)
      t.ok((await credentialsOf(eventStore, 5)).length === 1)
    } else t.same(again.rejected, ['customers.csv:2: the id 5 belongs to another customer'])
    t.ok(await signIn(send, next.email), 'and still')
    if (killed !== 'Killed') break
    t.ok(writes < 10)
  }
})

t.test('a registration that comes in between the writes of an import, for the same id', async (t) => {
  for (const [kind, input, hash] of [
    ['both with a password', 'password: "Str0ng-pass"', { password_hash }],
    ['the registration without one', '', { password_hash }],
    ['the import without one', 'password: "Str0ng-pass"', {}],
  ] as const) {
    // Before which of the import's appends, from the first one that names the id to past the last one.
    for (let moment = 0; moment < 6; moment++) {
      const folder = await temporaryFolder(t)
      const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
      t.equal(await register(send, 'first@example.com'), 1)
      let appends = 0
      let registration: Awaited<ReturnType<Send>> | undefined
      const comeBetween = async () => {
        registration = await send(
          `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "new@example.com" ${input} }) { customer { id } } }`,
        )
      }
      const report = await run(folder, {
        customers: customersFile([aCustomer(2, hash)]),
        wrap: (inner) => ({
          ...inner,
          append: async (...args) => {
            if (appends++ === moment) await comeBetween()
            return inner.append(...args)
          },
        }),
      })
      if (registration === undefined) await comeBetween()
      t.notOk(registration?.errors, `${kind}, ${moment}: the registration succeeds`)
      const id = registration?.data.createCustomer.customer.id
      t.equal(report.customers.imported, id === 2 ? 0 : 1, 'one of the two has the id')
      t.equal(report.customers.rejected, id === 2 ? 1 : 0)
      t.equal((await signIn(send, 'new@example.com')) !== undefined, input !== '')
      t.notOk(await signIn(send, 'new@example.com', OLD))
      t.notOk(await signIn(send, moved(2)))
      t.equal((await signIn(send, moved(2), OLD)) !== undefined, id !== 2 && 'password_hash' in hash)
      for (const customer of [2, id]) t.ok((await credentialsOf(eventStore, customer)).length <= 1)
    }
  }
})

t.test('blocks of ids that are reserved while the floor is raised do not overlap', async (t) => {
  const folder = await temporaryFolder(t)
  const eventStore = await openEventStore(loadConfiguration(environment(folder)).EVENTSTORE_URL)
  t.teardown(() => eventStore.close())
  const command = createCommand({ operation: '', arguments: {}, actor: 'test', correlationId: 'c', at: new Date() })
  let between: (() => Promise<unknown>) | undefined
  const slow = createIds({
    ...eventStore,
    // Something happens after the floor was read and before the block is reserved.
    append: async (...args) => {
      const happens = between
      between = undefined
      await happens?.()
      return eventStore.append(...args)
    },
  })
  const other = createIds(eventStore)
  const first = await other.reserveAddressIds(1, command)
  const blocks = [first]
  between = async () => {
    t.equal(await other.raiseFloor('address', 15, command), 10, 'the block that is in use')
    blocks.push(await other.reserveAddressIds(2, command))
  }
  blocks.push(await slow.reserveAddressIds(3, command))
  blocks.push(await slow.reserveAddressIds(4, command))
  const sorted = blocks.toSorted((a, b) => a - b)
  for (const [index, block] of sorted.entries()) if (index > 0) t.ok(block - (sorted[index - 1] ?? 0) >= 10)
  t.ok(blocks.slice(1).every((block) => block > 15))
  for (const [index, customer] of [1, 2, 3, 4].entries()) {
    t.equal(await other.addressOwner(blocks[index] ?? 0), customer)
    t.equal(await other.addressOwner((blocks[index] ?? 0) + 9), customer)
  }
  const raised = await Promise.all([5_000, 7_000, 6_000].map((floor) => other.raiseFloor('customer', floor, command)))
  t.same(raised, [0, 0, 0], 'no block is in use')
  t.ok((await other.nextCustomerId(command)) > 7_000)
})

t.test('an address id that was given out here is not taken again', async (t) => {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder, projection: false })
  await run(folder, { customers: customersFile([aCustomer(1, { password_hash })]) })
  const token = await signIn(send, moved(1), OLD)
  const { id } = (await send(CREATE_ADDRESS, { token, variables: { input: TEXAN } })).data.createCustomerAddress
  const row = (addressId: number) => anAddress(addressId, 1)
  t.match(await run(folder, { addresses: addressesFile([row(id), row(id + 1), row(400), row(401)]) }), {
    addresses: { imported: 2, rejected: 2 },
  })
  const created: number[] = []
  for (let count = 0; count < 12; count++) {
    const { data } = await send(CREATE_ADDRESS, { token, variables: { input: TEXAN } })
    created.push(data.createCustomerAddress.id)
  }
  t.equal(new Set([id, 400, 401, ...created]).size, 15)
  t.equal(created[0], id + 1, 'the block in use goes on')
  t.equal((await send('{ customer { addresses { id } } }', { token })).data.customer.addresses.length, 15)
})

t.test('many and large addresses of one customer', async (t) => {
  const folder = await temporaryFolder(t)
  const addresses = Array.from({ length: 400 }, (_, index) => anAddress(index + 1, 1, { company: 'x'.repeat(6_000) }))
  addresses.push(anAddress(900, 1, { street: 'x'.repeat(1_100_000) }))
  t.match(
    await run(folder, { customers: customersFile([aCustomer(1)]), addresses: addressesFile(addresses.slice(0, 400)) }),
    { addresses: { imported: 400 }, rejected: [] },
  )
  const big = { addresses: addressesFile(addresses.slice(400)) }
  await t.rejects(run(folder, big), { name: 'BrokenFileError', message: /a quote that opens at line 2 or after it/ })
})

t.test('rows that are no CSV, and lines of rows with line feeds', async (t) => {
  const folder = await temporaryFolder(t)
  const addresses =
    '_email,_entity_id,firstname,lastname,city,country_id,street\n' +
    'moved1@example.com,1,A,B,C,DE,"a\nb"\n' +
    'moved1@example.com,2,A,B,C,DE\n' +
    'moved1@example.com,3,A,B,C,DE,x"y"\n' +
    '\n' +
    'moved1@example.com,4,A,B,C,XX,"a\nb"\n' +
    'moved1@example.com,5,A,B,C,DE,x\n'
  const report = await run(folder, { customers: customersFile([aCustomer(1)]), addresses })
  t.match(report, { addresses: { imported: 2, rejected: 3 } })
  t.same(report.rejected.toSorted(), [
    'addresses.csv:4: the row has more or fewer fields than the head line',
    'addresses.csv:5: a quote stands within a field without quotes',
    'addresses.csv:7: country_id is not a country',
  ])
})

t.test('values as Magento exports them', async (t) => {
  const folder = await temporaryFolder(t)
  const customAttributes: PartialStore['customAttributes'] = {
    customer: [
      { code: 'vip', label: 'VIP', type: 'boolean' },
      { code: 'since', label: 'Since', type: 'date' },
      {
        code: 'likes',
        label: 'Likes',
        type: 'multiselect',
        options: [
          { value: '1', label: 'Rock' },
          { value: '2', label: 'Rock, hard' },
          { value: '3', label: 'Jazz' },
        ],
      },
    ],
    address: [{ code: 'floor_no', label: 'Floor', type: 'text' }],
  }
  const rows = [
    aCustomer(1, { created_at: 'Mar 4, 2019, 5:06:07\u202fPM', reward_update_notification: 'Yes', vip: 'No' }),
    aCustomer(2, { created_at: '7/4/2019 17:06', since: '2019-01-02 00:00:00', likes: 'Jazz,rock, hard' }),
    aCustomer(3, { gender: 'Not Specified', dob: '5/6/2010', likes: '1', lock_expires: '2999-03-04 05:06:07' }),
    aCustomer(4, { vip: 'perhaps' }),
    aCustomer(5, { since: 'once' }),
    aCustomer(6, { likes: 'Polka' }),
    aCustomer(7, { created_at: '2019-02-31 00:00:00' }),
  ]
  const address = (id: number, fields: Record<string, string>) =>
    anAddress(id, 1, { region_id: '', region: '', ...fields })
  const addresses = [
    address(1, { country_id: 'DE', region: 'Bayern', floor_no: '4' }),
    address(2, { country_id: 'DE', region_id: '81' }),
    address(3, { country_id: 'AL', region_id: '700', region: 'berat' }),
    address(4, { country_id: 'AL', region_id: '700', region: 'AL-09' }),
    address(5, { country_id: 'AL', region_id: '700', region: 'Elsewhere' }),
    address(6, { country_id: 'AL', region_id: '700' }),
    address(7, { country_id: 'gb', region: 'Kent', street: 'a\nb\nc\nd', telephone: '', city: '' }),
  ]
  const report = await run(folder, {
    customers: customersFile(rows),
    addresses: addressesFile(addresses),
    store: { customAttributes },
    timeZone: 'America/New_York',
  })
  t.match(report, { customers: { imported: 3 }, addresses: { imported: 6 } })
  t.match(report.rejected.filter((each) => each.startsWith('customers')).toSorted(), [
    /:5: vip is neither yes nor no$/,
    /:6: since is not a date$/,
    /:7: likes has an option that the store does not have$/,
    /:8: created_at is not a date and time$/,
  ])
  t.match(
    report.rejected.filter((each) => each.startsWith('addresses')),
    [/region_id is ambiguous/],
  )
  const { eventStore } = await startSubgraph(t, { folder, projection: false })
  const events = (await all(eventStore)).filter(({ stream }) => stream.startsWith('customer-'))
  const registered = (id: number) => events.find(({ stream }) => stream === `customer-${id}`)?.data
  t.match(registered(1), {
    createdAt: '2019-03-04T22:06:07.000Z',
    rewardUpdateNotification: 1,
    customAttributes: { vip: '0' },
  })
  t.match(registered(2), {
    createdAt: '2019-07-04T21:06:00.000Z',
    customAttributes: { since: '2019-01-02', likes: ['2', '3'] },
  })
  t.match(registered(3), {
    createdAt: '2019-03-04T10:06:07.000Z',
    gender: 3,
    dob: '2010-05-06',
    customAttributes: { likes: ['1'] },
  })
  t.match(events.find(({ type }) => type === 'CustomerLocked')?.data, { until: '2999-03-04T05:06:07.000Z' })
  const added = events.filter(({ type }) => type === 'CustomerAddressImported').map(({ data }) => data)
  t.match(
    added.map((each) => each as { addressId: number }).toSorted((a, b) => a.addressId - b.addressId),
    [
      { addressId: 1, region: 'Bayern', regionCode: 'BAY', customAttributes: { floor_no: '4' } },
      { addressId: 2, regionId: 81 },
      { addressId: 3, regionId: 512, regionCode: 'AL-01', region: 'Berat' },
      { addressId: 4, regionId: 513 },
      { addressId: 5, regionId: null, region: 'Elsewhere' },
      { addressId: 7, countryId: 'GB', region: 'Kent', street: ['a', 'b', 'c', 'd'], telephone: '', city: '' },
    ],
  )
})

t.test('a dry run tells what would be, and writes nothing', async (t) => {
  const folder = await temporaryFolder(t)
  const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
  const { email } = await signUp(send)
  await run(folder, { customers: customersFile([aCustomer(50)]) })
  const before = (await all(eventStore)).length
  const files = {
    customers: customersFile([
      aCustomer(50),
      aCustomer(51),
      aCustomer(52, { email }),
      aCustomer(1),
      aCustomer(51, { email: 'b@x.de' }),
    ]),
    addresses: addressesFile([
      ...[50, 51].map((id) => anAddress(id, id, { street: 'x' })),
      anAddress(1, 51, { street: 'x' }),
      anAddress(51, 50, { street: 'x' }),
      anAddress(60, 1, { street: 'x' }),
      // The number of somebody else's address.
      anAddress(50, 77, { street: 'x' }),
    ]),
  }
  const report = await run(folder, { ...files, dryRun: true })
  t.match(report, { customers: { imported: 1, alreadyThere: 1, rejected: 3 }, addresses: { imported: 3, rejected: 3 } })
  t.match(report.rejected, [
    'addresses.csv:5: the address id 51 belongs to another address',
    'addresses.csv:6: there is no customer with this _email',
    'addresses.csv:7: there is no customer with this _email',
    'customers.csv:4: the e-mail address belongs to another customer',
    'customers.csv:5: the id 1 belongs to another customer',
    'customers.csv:6: the id 51 belongs to another customer',
  ])
  t.equal((await all(eventStore)).length, before)
  t.match(await run(folder, files), report, 'as in the real run')
  const again = { addresses: { imported: 0, alreadyThere: 3, rejected: 3 }, rejected: report.rejected }
  for (const dryRun of [true, false]) t.match(await run(folder, { ...files, dryRun }), again)
})
