/** Files as shops really have them: encodings, separators, spellings of columns, composite rows, old hashes. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { regionsNamed } from '../../schema/regions.ts'
import { type PartialStore, store } from '../../schema/store.ts'
import { faultOfMagentoHash, verifyMagentoPassword } from '../../subgraph/identity/magento-hashes.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import { environment, PASSWORD, signIn, startSubgraph, temporaryFolder } from '../support/graph.ts'

const HEAD = 'email,entity_id,firstname,lastname'
const ADDRESS_HEAD = '_email,_entity_id,firstname,lastname,street,city,country_id'

interface Given {
  readonly folder?: string
  readonly customers?: string | Buffer
  readonly addresses?: string | Buffer
  readonly encoding?: string
  readonly dryRun?: boolean
  readonly store?: PartialStore
  /** Ids of customers to read back. */
  readonly read?: readonly number[]
}

/** Runs an import in this process; gives its report, the reasons of what it rejected, and customers as they are after it. */
async function run(t: Test, { folder, customers, addresses, read = [], ...given }: Given) {
  const at = folder ?? (await temporaryFolder(t))
  const paths = { customers: join(at, 'customers.csv'), addresses: join(at, 'addresses.csv') }
  if (customers !== undefined) await writeFile(paths.customers, customers)
  if (addresses !== undefined) await writeFile(paths.addresses, addresses)
  const configuration = loadConfiguration(environment(at))
  const { eventStore } = await openLog(configuration)
  const rejected: string[] = []
  try {
    const reports = await importFiles({
      ...given,
      eventStore,
      emailHashKey: loadKeys(configuration).emailHashKey,
      store: store(given.store),
      customers: customers === undefined ? undefined : paths.customers,
      addresses: addresses === undefined ? undefined : paths.addresses,
      now: new Date('2026-11-25T12:00:00Z'),
      onRejected: (_, line, reason) => void rejected.push(`${line}: ${reason}`),
    })
    const documents = await Promise.all(read.map((id) => foldCustomer(eventStore, id)))
    return { ...reports, rejected, documents }
  } finally {
    await eventStore.close()
  }
}

t.test('bytes are never replaced', async (t) => {
  const latin = Buffer.from(`${HEAD}\nj@example.com,1,J\xfcrgen,M\xfcller\nann@example.com,2,Ann,Lee\n`, 'latin1')
  for (const dryRun of [true, false]) {
    const { customers, rejected } = await run(t, { customers: latin, dryRun })
    t.match(customers, { imported: 1, rejected: 1 }, 'the row of plain letters comes in')
    t.match(rejected, [/^2: the row is not UTF-8: name the encoding of the file with --encoding/])
  }
  const folder = await temporaryFolder(t)
  t.match(await run(t, { folder, customers: latin }), { customers: { imported: 1, rejected: 1 } })
  const { customers, documents } = await run(t, { folder, customers: latin, encoding: 'windows-1252', read: [1] })
  t.match(customers, { imported: 1, alreadyThere: 1, rejected: 0 }, 'with its encoding the rest comes, too')
  t.match(documents, [{ firstname: 'Jürgen', lastname: 'Müller' }])

  const cases: readonly [string, Buffer, string | undefined, object][] = [
    [
      'windows-1250',
      Buffer.from(`${HEAD}\na@example.com,1,Ji\xf8\xed,Nov\xe1k\n`, 'latin1'),
      'cp1250',
      { firstname: 'Jiří' },
    ],
    ['UTF-8 with a mark', Buffer.from(`\uFEFF${HEAD}\na@example.com,1,Jürgen,Ł\n`), undefined, { firstname: 'Jürgen' }],
    [
      'UTF-16 with a mark',
      Buffer.from(`\uFEFF${HEAD}\na@example.com,1,Jürgen,Ł\n`, 'utf16le'),
      undefined,
      { lastname: 'Ł' },
    ],
    ['UTF-16', Buffer.from(`${HEAD}\na@example.com,1,Jürgen,Ł\n`, 'utf16le'), 'utf-16le', { lastname: 'Ł' }],
    [
      'Shift_JIS',
      Buffer.concat([Buffer.from(`${HEAD}\na@example.com,1,`), Buffer.of(0x83, 0x5c, 0x83, 0x7c), Buffer.from(',x\n')]),
      'shift_jis',
      { firstname: 'ソポ' },
    ],
  ]
  for (const [name, customers, encoding, document] of cases) {
    const report = await run(t, { customers, ...(encoding && { encoding }), read: [1] })
    t.match(report, { customers: { imported: 1, rejected: 0 }, documents: [document] }, name)
  }
  const refused: readonly [string, string | Buffer, string | undefined, RegExp][] = [
    [
      'one bad byte in UTF-8',
      Buffer.concat([Buffer.from(`${HEAD}\na@example.com,1,Zoë,J`), Buffer.of(0xfc), Buffer.from('r\n')]),
      undefined,
      /not UTF-8/,
    ],
    [
      'a byte without a meaning',
      Buffer.from(`${HEAD}\na@example.com,1,\x81,J\n`, 'latin1'),
      'windows-1252',
      /a byte that windows-1252 does not have/,
    ],
    [
      'UTF-8 taken for another',
      `${HEAD}\na@example.com,1,Zoë,J\n`,
      'windows-1252',
      /the row is UTF-8, not windows-1252/,
    ],
    ['what was lost before', `${HEAD}\na@example.com,1,J\uFFFDrgen,J\n`, undefined, /U\+FFFD/],
    ['NUL', `${HEAD}\na@example.com,1,J\0,J\n`, undefined, /NUL/],
  ]
  for (const [name, customers, encoding, reason] of refused) {
    const report = await run(t, { customers, ...(encoding && { encoding }) })
    t.match(report, { customers: { imported: 0, rejected: 1 }, rejected: [reason] }, name)
  }
  await t.rejects(run(t, { customers: Buffer.from(`${HEAD}\n`, 'utf16le') }), {
    message: /is not UTF-8\. Name its encoding/,
  })
  await t.rejects(run(t, { customers: `${HEAD}\n`, encoding: 'klingon' }), {
    message: /--encoding: "klingon" is unknown/,
  })
  await t.rejects(run(t, { customers: `\uFEFF${HEAD}\n`, encoding: 'cp1252' }), {
    message: /mark of utf-8; it is not windows-1252/,
  })
})

t.test('separators and spellings of columns', async (t) => {
  const heads = [
    'email,Firstname,Lastname,entity_id',
    'email, firstname , lastname,entity_id',
    'E-Mail,first_name,last_name,Entity ID',
    '"EMAIL","FirstName","LASTNAME","ENTITY_ID"',
  ]
  for (const [index, separator] of [',', ';', '\t', '|'].entries()) {
    const head = heads[index] ?? ''
    const customers = `${head.replaceAll(',', separator)}\n${['a@example.com', ' Ann ', 'Lee', '1'].join(separator)}\n`
    const { documents, customers: report } = await run(t, { customers, read: [1] })
    t.match(documents, [{ firstname: 'Ann', lastname: 'Lee' }], `${head} ${separator}`)
    t.same(report.unused, [])
  }
  const excel = await run(t, {
    customers: `sep=;\r\n${HEAD.replaceAll(',', ';')}\r\na@example.com;1;Ann;Lee\r\n;2;B;C\r\n`,
    read: [1],
  })
  t.match(
    excel,
    { documents: [{ firstname: 'Ann' }], rejected: [/^4: email is missing/] },
    "Excel's line with the separator",
  )

  for (const [head, between] of [
    [`${HEAD}\r\n`, '\n'],
    [`${HEAD}\n`, '\r\n'],
    [`sep=,\r\n${HEAD}\n`, '\n'],
    [`sep=,\n${HEAD}\r\n`, '\r\n'],
    [`${HEAD}\r`, '\r'],
    [`${HEAD}\r`, '\r\n'],
  ] as const) {
    const rows = ['a@example.com,1,"two\r\nlines",Lee', 'b@example.com,2,B,"Ray"', ',3,C,D', 'd@example.com,4,D,"E"']
    const report = await run(t, { customers: head + rows.map((row) => row + between).join(''), read: [1, 2] })
    t.match(report, {
      customers: { imported: 3, rejected: 1, unused: [] },
      rejected: [/email is missing/],
      documents: [{ firstname: 'two\r\nlines', lastname: 'Lee' }, { lastname: 'Ray' }],
    })
  }

  const addresses = `${ADDRESS_HEAD.replace('city', 'City').replace('country_id', 'Country_Id')},loyalty\na@example.com,5,Ann,Lee,x,Ulm,de,9\n`
  const report = await run(t, { customers: `${HEAD}\na@example.com,1,Ann,Lee\n`, addresses, read: [1] })
  t.match(report, {
    documents: [{ addresses: [{ id: 5, city: 'Ulm', countryId: 'DE' }] }],
    addresses: { unused: ['loyalty'] },
  })

  await t.rejects(run(t, { customers: 'email,name\na@example.com,Ann\n' }), {
    message: /has no column firstname, lastname/,
  })
  await t.rejects(run(t, { customers: 'email,first_name,Firstname,lastname\n' }), {
    message: /has the column firstname twice/,
  })
  await t.rejects(run(t, { addresses: '_email,_entity_id,city\n' }), {
    message: /has no column firstname, lastname, street, country_id/,
  })
  await t.rejects(run(t, { customers: '' }), { message: /is empty; accepted: CSV/ })
})

t.test('a composite file: customers with their addresses in the same rows', async (t) => {
  const head = `email,firstname,lastname,_address_city,_address_company,_address_country_id,_address_firstname,_address_lastname,_address_postcode,_address_region,_address_street,_address_telephone,_address_default_billing_,_address_default_shipping_`
  const customers = `${head}
ann@example.com,Ann,Lee,Austin,,US,Ann,Lee,78701,Texas,"1 Main St
2nd floor",555-0100,1,
,,,Ulm,ACME,DE,Ann,Lee,89073,Baden-Württemberg,Markt 1,0731,,1
bob@example.com,Bob,Ray,,,,,,,,,,,
cat@example.com,Cat,Poe,London,,XX,Cat,Poe,1,,x,1,,
dan@example.com,Dan,Oak,London,,GB,Dan,Oak,1,,x,1,Yes,TRUE
`
  const folder = await temporaryFolder(t)
  const dry = await run(t, { folder, customers, dryRun: true })
  t.match(dry, { customers: { imported: 4, rejected: 0 }, addresses: { imported: 3, rejected: 1 } })
  const first = await run(t, { folder, customers, read: [1, 2, 4] })
  t.match(first, { customers: { imported: 4, rejected: 0 }, addresses: { imported: 3, rejected: 1 } })
  t.match(first.rejected, [/^6: country_id is not a country/])
  const byName = new Map(first.documents.map((document) => [document.firstname, document]))
  const ann = byName.get('Ann')
  t.match(ann?.addresses, [
    { city: 'Austin', street: ['1 Main St', '2nd floor'], regionId: 57 },
    { city: 'Ulm', company: 'ACME', regionCode: 'BAW' },
  ])
  t.equal(ann?.defaultBilling, ann?.addresses[0]?.id)
  t.equal(ann?.defaultShipping, ann?.addresses[1]?.id)
  t.same(byName.get('Bob')?.addresses, [])
  const dan = byName.get('Dan')
  t.same([dan?.defaultBilling, dan?.defaultShipping], [dan?.addresses[0]?.id, dan?.addresses[0]?.id])
  const again = await run(t, { folder, customers, read: [1, 2, 4] })
  t.match(again, { customers: { imported: 0, alreadyThere: 4 }, addresses: { imported: 0, alreadyThere: 3 } })
  t.same(again.documents, first.documents, 'run again, it changes nothing')
  await t.rejects(run(t, { customers: 'email,firstname,lastname,_address_city\n' }), {
    message: /has no column _address_firstname/,
  })
})

t.test('a further value of an attribute in the row below its customer is not lost without a word', async (t) => {
  const options = ['Shoes', 'Hats', 'Bags'].map((label, index) => ({ value: String(index), label }))
  const likes = { code: 'likes', label: 'Likes', type: 'multiselect' as const, options }
  const { customers, addresses, rejected, documents } = await run(t, {
    store: { customAttributes: { customer: [likes] } },
    customers:
      'email,firstname,lastname,likes,_address_firstname,_address_lastname,_address_street,_address_city,_address_country_id\n' +
      'ann@example.com,Ann,Lee,Shoes,Ann,Lee,x,Ulm,DE\n,,,Hats,Ann,Lee,y,Bonn,DE\n,,,Bags,,,,,\nbob@example.com,Bob,Ray,Hats,,,,,\n',
    read: [1, 2],
  })
  t.match(
    [customers, addresses],
    [
      { imported: 2, rejected: 2 },
      { imported: 2, rejected: 0 },
    ],
  )
  t.match(rejected, [/^3: a value of likes is below its customer: write all of them/, /^4: a value of likes/])
  t.match(documents, [{ customAttributes: { likes: ['0'] } }, { customAttributes: { likes: ['1'] } }])
})

/** Of row `index` of a file that has a row for each of several values. */
const emailOf = (index: number) => `a${index + 1}@example.com`
const reasonFor = (rejected: readonly string[], index: number) =>
  rejected.find((each) => each.startsWith(`${index + 2}: `))

t.test('regions by name, code or id', async (t) => {
  const cases = [
    ['tx', '', ['Texas', 57]],
    [' Texas ', '', ['Texas', 57]],
    ['TEXAS', '', ['Texas', 57]],
    ['Texas', '', ['Texas', 57]],
    // The name in the column of the id.
    ['', 'Texas', ['Texas', 57]],
    ['', '57', ['Texas', 57]],
    ['Elsewhere', '', ['Elsewhere', null]],
    ['AE', '', /region names several regions/],
    ['Ohio', '57', /name two different regions/],
  ] as const
  const customers = cases.map((_, index) => `${emailOf(index)},${index + 1},A,B\n`)
  const addresses = cases.map(([region, id], index) => `${emailOf(index)},${index + 5},A,B,x,y,US,${region},${id}\n`)
  const { documents, rejected } = await run(t, {
    customers: `${HEAD}\n${customers.join('')}`,
    addresses: `${ADDRESS_HEAD},region,region_id\n${addresses.join('')}`,
    read: cases.map((_, index) => index + 1),
  })
  for (const [index, [region, id, expected]] of cases.entries()) {
    const [address] = documents[index]?.addresses ?? []
    const found = address ? [address.region, address.regionId] : reasonFor(rejected, index)
    if (expected instanceof RegExp) t.match(found, expected, `${region} ${id}`)
    else t.same(found, expected, `${region} ${id}`)
  }
  t.ok(regionsNamed('US', 'AE').length > 1)
})

t.test('yes and no, dates, consents', async (t) => {
  const yesOrNo = [
    ['Yes', true],
    ['TRUE', true],
    ['1.0', true],
    ['1', true],
    ['x', true],
    ['0', false],
    ['', false],
    ['No', false],
    // What a spreadsheet of another language makes of FALSE: no consent.
    ['FALSCH', undefined],
  ] as const
  const customers = yesOrNo.map(([value], index) => `${emailOf(index)},${index + 1},A,B,${value}\n`)
  const addresses = yesOrNo.map(([value], index) => `${emailOf(index)},${index + 5},A,B,x,y,GB,${value}\n`)
  const { documents, rejected } = await run(t, {
    customers: `${HEAD},is_subscribed\n${customers.join('')}`,
    addresses: `${ADDRESS_HEAD},_address_default_billing_\n${addresses.join('')}`,
    read: yesOrNo.map((_, index) => index + 1),
  })
  t.match(rejected, [/is_subscribed is neither yes nor no/, /_address_default_billing_ is neither yes nor no/])
  for (const [index, [value, isDefault]] of yesOrNo.entries()) {
    if (isDefault === undefined) continue
    const expected = { defaultBilling: isDefault ? index + 5 : null, newsletter: isDefault ? 'subscribed' : 'none' }
    t.match(documents[index], expected, value)
  }
  const dates = [
    ['1973-02-30 00:00:00', /dob is not a date/],
    ['unknown 1900', /dob is not a date/],
    ['30 Feb 1973', /dob is not a date/],
    ['2099-01-01', /dob lies in the future/],
    ['1973-02-28 00:00:00', '1973-02-28'],
    ['0000-00-00', null],
    // Today.
    ['2026-11-25', '2026-11-25'],
  ] as const
  const born = await run(t, {
    customers: `${HEAD},dob\n${dates.map(([dob], index) => `${emailOf(index)},${index + 1},A,B,"${dob}"\n`).join('')}`,
    read: dates.map((_, index) => index + 1),
  })
  for (const [index, [dob, expected]] of dates.entries()) {
    const found = reasonFor(born.rejected, index) ?? born.documents[index]?.dob
    if (expected instanceof RegExp) t.match(found, expected, dob)
    else t.equal(found, expected, dob)
  }
})

t.test('what a spreadsheet has lost of a value is not taken for the value', async (t) => {
  const spoilt = ['4.91701E+11', '4,9E+11', '1E+05', '#NAME?', '#N/A', '#NV', '#DIV/0!', '########', '="0170"']
  const whole = ['0170 1', '+491701', '#5', 'E+1', '1E5', '# 12', 'N/A']
  const rows = [...spoilt, ...whole].map((value, index) => `${index + 1},A,B,x,y,GB,"${value.replaceAll('"', '""')}"\n`)
  const { addresses, rejected, documents } = await run(t, {
    customers: `${HEAD}\na@example.com,1,A,B\n`,
    addresses: `${ADDRESS_HEAD},telephone\n${rows.map((row) => `a@example.com,${row}`).join('')}`,
    read: [1],
  })
  t.match(addresses, { imported: whole.length, rejected: spoilt.length })
  t.strictSame(
    rejected,
    spoilt.map((_, index) => `${index + 2}: telephone is what a spreadsheet has made of it`),
  )
  t.same(
    documents[0]?.addresses.map(({ telephone }) => telephone),
    whole,
  )
})

t.test('a hash that would make every wrong sign-in dear is rejected', async (t) => {
  const bcrypt = (cost: string) => `$2y$${cost}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW`
  const argon = (versions: string) => `${'a'.repeat(64)}:salt:${versions}`
  const accepted = [bcrypt('10'), bcrypt('12'), argon('2'), argon('0:1:2:3_32_2_67108864'), argon('3_32_4_268435456')]
  const costly = [
    bcrypt('13'),
    bcrypt('14'),
    argon('3_32_1_268435457'),
    argon('3_32_5_268435456'),
    argon('3_32_1_1073741824'),
    argon(Array(9).fill('2').join(':')),
    argon(Array(9).fill('1').join(':')),
    argon(Array(100_000).fill('1').join(':')),
  ]
  for (const hash of accepted) t.equal(faultOfMagentoHash(hash), undefined, hash)
  for (const hash of costly) t.match(faultOfMagentoHash(hash), /would make every wrong sign-in slow/, hash.slice(-20))
  t.match(faultOfMagentoHash(bcrypt('31')), /not in one of Magento's formats/, 'years of work')
  const rows = [bcrypt('13'), argon('3_32_1_1073741824'), bcrypt('31')]
  const head = `${HEAD},password_hash\n`
  const { customers } = await run(t, {
    customers: head + rows.map((each, index) => `${emailOf(index)},${index + 1},B,C,${each}\n`).join(''),
  })
  t.match(customers, { imported: 0, rejected: 3 })

  const kinds = Array.from({ length: 14 }, (_, index) => argon(`3_32_1_${8192 * (index + 1)}`))
  const many = [...kinds, kinds[0], kinds[13]]
  const { customers: some } = await run(t, {
    customers: head + many.map((each, index) => `${emailOf(index)},${index + 1},B,C,${each}\n`).join(''),
  })
  t.match(some, { imported: 12, rejected: 4 }, 'with our own they are 12, each of which any number may have')
})

t.test('bcrypt, as Magento 1 writes it', async (t) => {
  // bcrypt of "U*U" and "password", of the test vectors of Openwall's crypt_blowfish and of PHP.
  const openwall = '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'
  t.ok(await verifyMagentoPassword('U*U', openwall))
  t.notOk(await verifyMagentoPassword('U*u', openwall))
  t.ok(await verifyMagentoPassword('U*U', `${openwall.replace('$2a$', '$2y$')}:0`))
  t.ok(await verifyMagentoPassword('U*U', openwall.replace('$2a$', '$2x$')), 'of an old crypt_blowfish')
  t.notOk(await verifyMagentoPassword('password', openwall.replace('$2a$', '$2x$')))
  const { hash } = await import('bcryptjs')
  const hashes = [(await hash(PASSWORD, 4)).replace('$2b$', '$2y$'), `${await hash(PASSWORD, 4)}:0`]
  const folder = await temporaryFolder(t)
  const rows = hashes.map((each, index) => `b${index}@example.com,${index + 1},B,C,${each}`)
  const { customers } = await run(t, { folder, customers: `${HEAD},password_hash\n${rows.join('\n')}\n` })
  t.match(customers, { imported: 2, rejected: 0 })
  const { send, eventStore } = await startSubgraph(t, { folder })
  for (const [index] of hashes.entries()) {
    t.notOk(await signIn(send, `b${index}@example.com`, 'Wr0ng-password'))
    t.ok(await signIn(send, `b${index}@example.com`))
    for await (const { data } of eventStore.readStream(`customerCredentials-${index + 1}`)) {
      t.match(data, { passwordHash: /^\$argon2id\$/ }, 'replaced at the first sign-in')
    }
  }
})
