/** Moving in from Magento: files as it exports them, through the command, into the service. */
import { argon2Sync, createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { verifyMagentoPassword } from '../../subgraph/identity/magento-hashes.ts'
import { runCommand } from '../support/commands.ts'
import { CREATE_ADDRESS, PASSWORD, signIn, signUp, startSubgraph, TEXAN, temporaryFolder } from '../support/graph.ts'
import { importedContent } from '../support/imported-content.ts'
import { aCustomer, addressesFile, anAddress, customersFile, sha256Hash } from '../support/magento-export.ts'
import { startProcess } from '../support/processes.ts'
import { until } from '../support/until.ts'

/** The command, in the process that commands share. */
const runImport = (folder: string, args: readonly string[], env: Record<string, string> = {}) =>
  runCommand(folder, ['import', ...args], env)

/** The command in a process of its own. */
function startImport(t: Test, folder: string, args: readonly string[], env: Record<string, string> = {}) {
  const started = startProcess(t, 'import', folder, env, args)
  return { child: started.child, ended: started.ended.then((code) => ({ code, output: started.output() })) }
}

async function files(t: Test, customers: string, addresses?: string) {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'customers.csv'), customers)
  if (addresses !== undefined) await writeFile(join(folder, 'addresses.csv'), addresses)
  return folder
}

const argon = (message: string, salt: string) =>
  argon2Sync('argon2id', {
    message,
    nonce: Buffer.from(salt).subarray(0, 16),
    memory: 65_536,
    passes: 2,
    parallelism: 1,
    tagLength: 32,
  }).toString('hex')

const SALT = 'DLX5pfEnbEFMlrY2DQBhzDhOxoUkCDv4'
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const HASHES = {
  md5: `${createHash('md5').update(`${SALT}${PASSWORD}`).digest('hex')}:${SALT}:0`,
  sha256: sha256Hash(PASSWORD),
  argon2id13: `${argon(PASSWORD, SALT)}:${SALT}:2`,
  'argon2id13 agnostic': `${argon(PASSWORD, SALT)}:${SALT}:3_32_2_67108864`,
  'sha256, upgraded': `${argon(sha256(`${SALT}${PASSWORD}`), SALT)}:${SALT}:1:2`,
}

t.test("Magento's hashes", async (t) => {
  // md5("salt" + "password"), sha256("salt" + "password"): of the coreutils.
  t.ok(await verifyMagentoPassword('password', '67a1e09bb1f83f5007dc119c14d663aa:salt:0'))
  t.ok(
    await verifyMagentoPassword('password', '13601bda4ea78e55a07b98866d2be6be0744e3866f13c00c811cab608a28f322:salt:1'),
  )
  for (const [form, hash] of Object.entries(HASHES)) {
    t.equal(await verifyMagentoPassword(PASSWORD, hash), true, form)
    t.equal(await verifyMagentoPassword(`${PASSWORD}x`, hash), false, form)
  }
  for (const text of ['', 'x:y:1', `${'a'.repeat(64)}:salt:9`, `${'a'.repeat(64)}:salt:3_32_2_99999999999`]) {
    await t.rejects(verifyMagentoPassword('x', text), { message: /not in one of Magento's formats/ })
  }
})

t.test('customers and addresses move in with their ids, and sign in with their passwords', async (t) => {
  const hashes = Object.values(HASHES)
  const customers = customersFile([
    ...hashes.map((password_hash, index) => aCustomer(100 + index, { password_hash })),
    aCustomer(200, { password: 'Pla1n-password', dob: '1972-03-11', gender: 'Male', middlename: 'B', taxvat: 'DE1' }),
    aCustomer(201, { shoe_size: '39', club: 'Gold', lock_expires: '2999-01-01 00:00:00' }),
  ])
  const addresses = addressesFile([
    anAddress(5001, 100, { _address_default_billing_: '1' }),
    anAddress(5003, 101, { country_id: 'GB', region: 'Kent', region_id: '', postcode: '' }),
    anAddress(5002, 100, { _address_default_shipping_: '1', region_id: '999', region: 'texas' }),
  ])
  const folder = await files(t, customers, addresses)
  await writeFile(
    join(folder, 'store.yaml'),
    `customAttributes:
  customer:
    - { code: shoe_size, label: Shoe size, type: text }
    - { code: club, label: Club, type: select, options: [{ value: "1", label: Silver }, { value: "2", label: Gold }] }`,
  )
  const env = { STORE_CONFIG: join(folder, 'store.yaml') }
  const first = await startImport(t, folder, ['customers.csv', 'addresses.csv'], env).ended
  t.equal(first.code, 0, first.output)
  t.match(first.output, 'customers: 7 imported, 0 already there, 0 rejected')
  t.match(first.output, 'addresses: 3 imported, 0 already there, 0 rejected')

  const { send, eventStore } = await startSubgraph(t, { folder })
  for (const [index, form] of Object.keys(HASHES).entries()) {
    const email = `moved${100 + index}@example.com`
    t.notOk(await signIn(send, email, 'Wr0ng-password'), form)
    t.ok(await signIn(send, email), form)
    const stored: string[] = []
    for await (const event of eventStore.readStream(`customerCredentials-${100 + index}`)) {
      stored.push((event.data as { passwordHash: string }).passwordHash)
    }
    t.match(stored, [/^\$argon2id\$/], 'upgraded at the first sign-in')
    t.equal(stored.length, 1)
    t.ok(await signIn(send, email), `${form}: and again`)
  }
  t.ok(await signIn(send, 'moved200@example.com', 'Pla1n-password'))
  t.notOk(await signIn(send, 'moved201@example.com'), 'locked, and without a password')

  const token = await signIn(send, 'moved100@example.com')
  const { data } = await send(
    `{ customer { id created_at firstname gender group_id default_billing default_shipping
      addresses { id street region { region region_code region_id } } } }`,
    { token },
  )
  t.match(data.customer, {
    id: 100,
    created_at: '2019-03-04 05:06:07',
    gender: 2,
    group_id: 1,
    default_billing: '5001',
    default_shipping: '5002',
    addresses: [
      { id: 5001, street: ['1 Main St', '2nd floor'], region: { region_code: 'TX', region_id: 57 } },
      { id: 5002, region: { region: 'Texas', region_id: 57 } },
    ],
  })

  await t.test('ids given out later are others', async (t) => {
    const created = await send(CREATE_ADDRESS, { token, variables: { input: TEXAN } })
    t.ok(created.data.createCustomerAddress.id > 5003)
    const other = await signUp(send)
    t.ok(other.id > 201)
    const foreign = await send('mutation { deleteCustomerAddress(id: 5001) }', { token: other.token })
    t.match(foreign.errors, [{ message: 'Current customer does not have permission to address with ID "5001"' }])
    const own = await send(CREATE_ADDRESS, { token: other.token, variables: { input: TEXAN } })
    const taken = await send(`mutation { deleteCustomerAddress(id: ${own.data.createCustomerAddress.id}) }`, { token })
    t.match(taken.errors, [{ message: /Current customer does not have permission/ }])
    t.match((await send('mutation { deleteCustomerAddress(id: 4999) }', { token })).errors, [
      { message: 'Could not find a address with ID "4999"' },
    ])
  })

  await t.test('run again, it doubles nothing and changes nothing', async (t) => {
    await send('mutation { updateCustomer(input: { firstname: "Vera" }) { customer { id } } }', { token })
    await send('mutation { updateCustomerAddress(id: 5002, input: { default_shipping: false }) { id } }', { token })
    await send('mutation { deleteCustomerAddress(id: 5002) }', { token })
    const again = await runImport(folder, ['customers.csv', 'addresses.csv'], env)
    t.equal(again.code, 0, again.stderr)
    t.match(again.stdout, 'customers: 0 imported, 7 already there, 0 rejected')
    t.match(again.stdout, 'addresses: 0 imported, 3 already there, 0 rejected')
    const after = await send('{ customer { firstname addresses { id } } }', { token })
    t.equal(after.data.customer.firstname, 'Vera')
    t.notOk(
      after.data.customer.addresses.some(({ id }: { id: number }) => id === 5002),
      'a deleted one stays deleted',
    )
    t.ok(await signIn(send, 'moved100@example.com'))
  })
})

t.test('a row that can not be brought in is told with its line and reason, and the others come', async (t) => {
  const customers = customersFile([
    aCustomer(1),
    aCustomer(2, { email: 'nobody' }),
    aCustomer(3, { password_hash: 'secret-hash' }),
    aCustomer(4, { dob: 'soon' }),
    aCustomer(5, { gender: 'Other' }),
    aCustomer(6, { entity_id: '-6' }),
    aCustomer(7, { email: 'MOVED1@example.com' }),
    aCustomer(1, { email: 'another@example.com' }),
    aCustomer(8, { created_at: 'long ago' }),
    aCustomer(9),
    aCustomer(10, { entity_id: '' }),
  ])
  const addresses = addressesFile([
    anAddress(11, 1),
    anAddress(12, 77),
    anAddress(11, 9),
    anAddress(13, 9, { country_id: 'XX' }),
    anAddress(14, 9, { _entity_id: '' }),
  ])
  const folder = await files(t, customers, addresses)
  const { code, stdout, stderr } = await runImport(folder, ['customers.csv', 'addresses.csv'])
  t.equal(code, 1, stderr)
  t.match(stdout, 'customers: 2 imported, 0 already there, 9 rejected')
  t.match(stdout, 'addresses: 1 imported, 0 already there, 4 rejected')
  const told = await readFile(join(folder, 'customers.rejected.csv'), 'utf8')
  for (const [line, reason] of [
    [3, 'email is missing or not an address'],
    [4, "password_hash is not in one of Magento's formats"],
    [5, 'dob is not a date'],
    [6, 'gender is unknown'],
    [7, 'entity_id is not a number above 0'],
    [8, 'the e-mail address occurs twice in the file'],
    [9, 'the id 1 belongs to another customer'],
    [10, 'created_at is not a date and time'],
    [12, 'entity_id is missing while other rows have one'],
  ] as const) {
    t.match(told, `\n${line},${reason},`)
  }
  // Addresses have a line feed in their street.
  const ofAddresses = await readFile(join(folder, 'addresses.rejected.csv'), 'utf8')
  t.match(ofAddresses, /^\d+,there is no customer with this _email,/m)
  t.match(ofAddresses, /^\d+,the address id 11 belongs to another address,/m)
  t.match(ofAddresses, /^\d+,country_id is not a country,/m)
  t.match(ofAddresses, /^\d+,_entity_id is missing or not a number above 0,/m)
  for (const personal of ['secret-hash', 'nobody', 'MOVED1', 'another@']) t.notMatch(stdout + stderr, personal)
  const { send } = await startSubgraph(t, { folder })
  const again = await send(
    'mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "another@example.com" }) { customer { id } } }',
  )
  t.equal(again.errors, undefined, 'the address of a rejected row is free')
})

t.test('killed in the middle, it goes on', async (t) => {
  const count = 1_000
  const rows = Array.from({ length: count }, (_, index) => aCustomer(index + 1, { password_hash: HASHES.sha256 }))
  const customers = customersFile(rows)
  const addresses = addressesFile(
    rows.map((_, index) => anAddress(index + 1, index + 1, { _address_default_billing_: '1' })),
  )
  const folder = await files(t, customers, addresses)
  const { eventStore } = await startSubgraph(t, { folder, projection: false })
  const { child, ended } = startImport(t, folder, ['customers.csv', 'addresses.csv'])
  const written = async () => {
    let events = 0
    for await (const _ of eventStore.readAll({ filter: { streamPrefixes: ['customer-'] } })) if (++events > 200) break
    return events
  }
  await until('some are written', async () => (await written()) > 200)
  child.kill('SIGKILL')
  await ended
  const again = await runImport(folder, ['customers.csv', 'addresses.csv'])
  t.equal(again.code, 0, again.stderr + again.stdout)
  const [, imported, there] = /customers: (\d+) imported, (\d+) already there, 0 rejected/.exec(again.stdout) ?? []
  t.equal(Number(imported) + Number(there), count)
  t.ok(Number(there) > 0)
  // The same as after one run: what differs is when it was written, and by which run.
  const whole = await files(t, customers, addresses)
  t.equal((await runImport(whole, ['customers.csv', 'addresses.csv'])).code, 0)
  const { eventStore: other } = await startSubgraph(t, { folder: whole, projection: false })
  const [resumed, once] = await Promise.all([eventStore, other].map(importedContent))
  t.equal(once?.length, 6 * count, 'claim, credentials, customer, address, its owner, the default')
  t.same(resumed, once)
})

t.test('a registration that meets an imported id takes the next one', async (t) => {
  const folder = await files(t, customersFile(Array.from({ length: 40 }, (_, index) => aCustomer(index + 2))))
  const { send } = await startSubgraph(t, { folder })
  t.equal((await signUp(send)).id, 1, 'this instance has the ids up to 32')
  const { code } = await runImport(folder, ['customers.csv'])
  t.equal(code, 0)
  t.ok((await signUp(send)).id > 41)
  t.match((await send('{ customer { id } }', { token: (await signUp(send)).token })).data, { customer: {} })
})

t.test('a file without ids of customers, as Magento itself writes it: they get new ones, once', async (t) => {
  const rows = Array.from({ length: 50 }, (_, index) => aCustomer(index + 1, { entity_id: '' }))
  const folder = await files(t, customersFile(rows), addressesFile([anAddress(70, 50)]))
  const first = await runImport(folder, ['customers.csv', 'addresses.csv'])
  t.match(first, { code: 0, stdout: /50 imported[\s\S]*addresses: 1 imported/ })
  const again = await runImport(folder, ['customers.csv', 'addresses.csv'])
  t.match(again, { code: 0, stdout: /0 imported, 50 already there[\s\S]*0 imported, 1 already there/ })
  const { send } = await startSubgraph(t, { folder })
  t.ok((await signUp(send)).id > 50)
})

t.test('what it is given', async (t) => {
  const folder = await files(t, 'name\nx\n')
  for (const [args, expected, message] of [
    [[], 2, /^error: missing required argument 'customers'/m],
    [['none.csv'], 1, /"none\.csv" can't be read \(ENOENT\)/],
    [['customers.csv'], 1, /has no column email, firstname, lastname; accepted: Magento's export/],
    [['customers.csv', '--timezone', 'Mars'], 2, /'Mars' is invalid\. Accepted: UTC, Europe\/Berlin/],
    [['--what'], 2, /unknown option '--what'/],
  ] as const) {
    const { code, stderr } = await runImport(folder, args)
    t.equal(code, expected)
    t.match(stderr, message)
  }
  await writeFile(join(folder, 'customers.csv'), customersFile([aCustomer(1)]))
  const dry = await runImport(folder, ['customers.csv', '--dry-run'])
  t.match(dry, { code: 0, stdout: /1 imported.*\nNothing was written/ })
  const { send } = await startSubgraph(t, { folder })
  t.equal((await signUp(send, 'moved1@example.com')).id, 1)
})
