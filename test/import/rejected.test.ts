/** What is rejected can be mended and imported, and a row that can't be read gives nothing to somebody else. */

import { appendFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { customerColumns } from '../../subgraph/import/files/columns.ts'
import { openTable } from '../../subgraph/import/files/csv.ts'
import { createRejectedFile } from '../../subgraph/import/files/rejected-file.ts'
import { runCommand } from '../support/commands.ts'
import { environment, temporaryFolder } from '../support/graph.ts'

/** Imports files of this content; gives the command and a way to read and mend what it leaves. */
async function shop(t: Test, files: Readonly<Record<string, string | Buffer>>) {
  const folder = await temporaryFolder(t)
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  const read = (name: string, encoding: BufferEncoding = 'utf8') => readFile(join(folder, name), encoding)
  return {
    folder,
    read,
    import: (...args: readonly string[]) => runCommand(folder, ['import', ...args]),
    /** Replaces texts in the file. */
    async mend(name: string, ...changes: readonly (readonly [from: string, to: string])[]) {
      let text = await read(name, 'latin1')
      for (const [from, to] of changes) {
        if (!text.includes(from)) throw new Error(`${name} has no ${from}`)
        text = text.replace(from, to)
      }
      await writeFile(join(folder, name), text, 'latin1')
    },
    /** In the order of their registration. */
    async customers() {
      const { eventStore } = await openLog(loadConfiguration(environment(folder)))
      try {
        const ids: number[] = []
        for await (const { type, stream } of eventStore.readAll()) {
          if (type === 'CustomerRegistered') ids.push(Number(stream.slice('customer-'.length)))
        }
        return await Promise.all(ids.map((id) => foldCustomer(eventStore, id)))
      } finally {
        await eventStore.close()
      }
    },
  }
}

const HEAD = 'email;entity_id;firstname;lastname;dob;note'
const ADDRESS_HEAD = '_email,_entity_id,firstname,lastname,street,city,country_id'

t.test('mended, it can be imported, byte by byte as it was', async (t) => {
  const { read, mend, customers, folder, ...given } = await shop(t, {
    'customers.csv': Buffer.from(
      `${HEAD}\r\na@example.com;1;J\xfcrgen;M\xfcller;1990-02-30;"x;y"\r\n\r\nb@example.com;2;Bo;Ek;;\r\nc@example.com;3;Zo\xeb\r\n`,
      'latin1',
    ),
    'addresses.csv': `${ADDRESS_HEAD}\na@example.com,11,J,M,"1 Main St\n2nd floor",Ulm,XX\nb@example.com,12,B,E,x,Ulm,DE\n`,
  })
  const first = await given.import('customers.csv', 'addresses.csv', '--encoding', 'windows-1252')
  t.equal(first.code, 1)
  t.match(first.output, /customers: 1 imported, 0 already there, 2 rejected \(3 rows read\)/)
  t.match(first.output, /to correct and import: customers\.rejected\.csv, addresses\.rejected\.csv/)
  t.equal(
    await read('customers.rejected.csv', 'latin1'),
    `rejected_line;rejected_reason;${HEAD}\n` +
      '2;dob is not a date;a@example.com;1;J\xfcrgen;M\xfcller;1990-02-30;"x;y"\n' +
      '5;the row has more or fewer fields than the head line;c@example.com;3;Zo\xeb\n',
  )
  t.equal((await stat(join(folder, 'customers.rejected.csv'))).mode & 0o777, 0o600, 'for its owner alone')
  t.match(
    await read('addresses.rejected.csv'),
    /^2,(there is no customer with this _email|country_id is not a country),a@/m,
  )

  await mend('customers.rejected.csv', ['1990-02-30', '1990-02-28'])
  const second = await given.import('customers.rejected.csv', '--encoding', 'windows-1252')
  t.equal(second.code, 1, 'the other row is still wrong')
  t.notMatch(second.output, /not used: .*rejected_/)
  t.equal(
    await read('customers.rejected.rejected.csv', 'latin1'),
    `rejected_line;rejected_reason;${HEAD}\n` +
      '3;the row has more or fewer fields than the head line;c@example.com;3;Zo\xeb\n',
    'the columns of the reason come once',
  )
  await mend('customers.rejected.rejected.csv', ['Zo\xeb', 'Zo\xeb;Ray;;'])
  await mend('addresses.rejected.csv', ['XX', 'GB'])
  const third = await given.import('customers.rejected.rejected.csv', 'addresses.rejected.csv', '--encoding', 'cp1252')
  t.equal(third.code, 0, third.output)
  const all = await customers()
  t.match(
    all.toSorted((a, b) => a.id - b.id),
    [
      {
        firstname: 'Jürgen',
        lastname: 'Müller',
        dob: '1990-02-28',
        addresses: [{ id: 11, street: ['1 Main St', '2nd floor'] }],
      },
      { firstname: 'Bo', addresses: [{ id: 12 }] },
      { firstname: 'Zoë', lastname: 'Ray' },
    ],
  )
  const again = await given.import('customers.csv', '--encoding', 'cp1252')
  t.match(again.output, /0 imported, 1 already there, 2 rejected/)
  t.match(await read('customers.rejected.csv.bak', 'latin1'), '1990-02-28', 'what was mended is kept')
})

t.test('of a composite file, with the rows that it needs', async (t) => {
  const head =
    'email,firstname,lastname,_address_firstname,_address_lastname,_address_street,_address_city,_address_country_id'
  const { read, mend, customers, ...given } = await shop(t, {
    'customers.csv':
      `${head}\nann@example.com,Ann,Lee,Ann,Lee,x,Ulm,DE\n,,,Ann,Lee,x,Rom,XX\n,,,Ann,Lee,x,Bonn,DE\n` +
      // The customer's row is no row: what follows is nobody's, above all not Ann's.
      'bob@example.com,Bob\n,,,Bob,Ray,x,Paris,FR\n,,,,,,,\ncat@example.com,Cat,Poe,,,,,\n',
  })
  const first = await given.import('customers.csv')
  t.equal(first.code, 1)
  t.match(first.output, /customers: 2 imported, 0 already there, 1 rejected/)
  t.match(first.output, /addresses: 2 imported, 0 already there, 2 rejected/)
  t.match(first.output, /the customer of the address is unknown because a row above it was rejected/)
  const cities = async () => {
    const documents = await customers()
    return new Map(documents.map(({ firstname, addresses }) => [firstname, addresses.map(({ city }) => city)]))
  }
  t.same((await cities()).get('Ann'), ['Ulm', 'Bonn'])
  t.equal(
    await read('customers.rejected.csv'),
    `rejected_line,rejected_reason,${head}\n` +
      '2,,ann@example.com,Ann,Lee,Ann,Lee,x,Ulm,DE\n' +
      '3,country_id is not a country,,,,Ann,Lee,x,Rom,XX\n' +
      '4,,,,,Ann,Lee,x,Bonn,DE\n' +
      '5,the row has more or fewer fields than the head line,bob@example.com,Bob\n' +
      '6,the customer of the address is unknown because a row above it was rejected,,,,Bob,Ray,x,Paris,FR\n',
  )
  await mend('customers.rejected.csv', ['XX', 'IT'], ['@example.com,Bob', '@example.com,Bob,Ray,,,,,'])
  const second = await given.import('customers.rejected.csv')
  t.equal(second.code, 0, second.output)
  const after = await cities()
  t.same(after.get('Ann')?.toSorted(), ['Bonn', 'Rom', 'Ulm'], 'each once')
  t.same(after.get('Bob'), ['Paris'])
})

t.test('of a composite file, a person without an e-mail address: nothing goes to the customer above', async (t) => {
  const head =
    'email,firstname,lastname,_address_firstname,_address_lastname,_address_street,_address_city,_address_country_id'
  const { read, mend, customers, ...given } = await shop(t, {
    'customers.csv':
      `${head}\nann@example.com,Ann,Lee,Ann,Lee,x,Ulm,DE\n,Bob,Ray,Bob,Ray,x,Rom,IT\n,,,Bob,Ray,y,Bari,IT\n` +
      ',Cat,Poe,,,,,\ndan@example.com,Dan,Oak,,,,,\n',
  })
  const { code, output } = await given.import('customers.csv')
  t.equal(code, 1)
  t.match(output, /customers: 2 imported, 0 already there, 2 rejected \(4 rows read\)/)
  t.match(output, /addresses: 1 imported, 0 already there, 2 rejected \(3 rows read\)/)
  t.match(await customers(), [
    { firstname: 'Ann', addresses: [{ city: 'Ulm' }] },
    { firstname: 'Dan', addresses: [] },
  ])
  t.equal((await customers())[0]?.addresses.length, 1)
  const unknown = 'the customer of the address is unknown because a row above it was rejected'
  t.equal(
    await read('customers.rejected.csv'),
    `rejected_line,rejected_reason,${head}\n` +
      `3,email is missing or not an address; ${unknown},,Bob,Ray,Bob,Ray,x,Rom,IT\n` +
      `4,${unknown},,,,Bob,Ray,y,Bari,IT\n` +
      '5,email is missing or not an address,,Cat,Poe,,,,,\n',
  )
  await mend('customers.rejected.csv', [',,Bob', ',bob@example.com,Bob'], [',,Cat', ',cat@example.com,Cat'])
  const mended = await given.import('customers.rejected.csv')
  t.equal(mended.code, 0, mended.output)
  const bob = (await customers()).find(({ firstname }) => firstname === 'Bob')
  t.same(bob?.addresses.map(({ city }) => city).toSorted(), ['Bari', 'Rom'])
})

t.test('many rejected addresses of one customer are not looked at again and again', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'customers.csv')
  await writeFile(path, 'email,firstname,lastname\n')
  const table = { ...(await openTable(path, customerColumns([], []))), path }
  const file = createRejectedFile(join(folder, 'customers.rejected.csv'), table)
  const rows = Array.from({ length: 1_000 }, (_, line) => ({ line, from: 0, bytes: 0, fields: {} }))
  let looks = 0
  for (const [index, row] of rows.entries()) {
    const above = new Proxy(rows.slice(0, index), {
      get(target, key) {
        looks++
        return Reflect.get(target, key)
      },
    })
    file.add(row, 'x', above)
  }
  t.ok(looks < 10 * rows.length, `${looks} looks at ${rows.length} rows`)
})

t.test('a file that is changed or replaced while it is read is not taken for the whole', async (t) => {
  const content = 'email,firstname,lastname\na@example.com,Ann,Lee\nb@example.com,Bob,R'
  const changes: readonly [name: string, change: (path: string) => Promise<void>][] = [
    ['its writer goes on', (path) => appendFile(path, 'ay\n')],
    [
      'another one in its place',
      async (path) => {
        await writeFile(`${path}.new`, content)
        await rename(`${path}.new`, path)
      },
    ],
  ]
  for (const [name, change] of changes) {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'customers.csv')
    await writeFile(path, content)
    const table = { ...(await openTable(path, customerColumns([], []))), path }
    const rejected = createRejectedFile(join(folder, 'rejected.csv'), table)
    await writeFile(rejected.path, 'rejected_line,rejected_reason,email\n')
    rejected.add({ line: 2, from: 25, bytes: 46, fields: {} }, 'x')
    t.ok(rejected.write(), 'the same as when it was opened')
    await change(path)
    const changed = { code: 'SUB_ERR_BROKEN_FILE', message: /customers\.csv has changed since it was opened/ }
    const lastnames: unknown[] = []
    const reading = async () => {
      for await (const rows of table.rows()) lastnames.push(...rows.map(({ fields }) => fields.lastname))
    }
    await t.rejects(reading(), changed, name)
    t.notOk(lastnames.includes('R'), 'no row that is cut off')
    const before = await readFile(rejected.path, 'utf8')
    t.throws(() => rejected.write(), changed)
    t.equal(await readFile(rejected.path, 'utf8'), before, 'the earlier one stays')
    t.same((await readdir(folder)).filter((each) => each.startsWith('rejected')).toSorted(), [
      'rejected.csv',
      'rejected.csv.bak',
    ])
  }
})

t.test('a pipe or a device is no file, because it can be read only once', async (t) => {
  const { code, output } = await (await shop(t, {})).import('/dev/null')
  t.equal(code, 1)
  t.match(output, /"\/dev\/null" is not a file/)
})

t.test('of UTF-16, in UTF-8', async (t) => {
  const { read, mend, customers, ...given } = await shop(t, {
    'customers.csv': Buffer.from(
      '\uFEFFemail\tentity_id\tfirstname\tlastname\tdob\na@example.com\t1\tJiří\tX\tsoon\n',
      'utf16le',
    ),
  })
  t.equal((await given.import('customers.csv')).code, 1)
  t.equal(
    await read('customers.rejected.csv'),
    '\uFEFFrejected_line\trejected_reason\temail\tentity_id\tfirstname\tlastname\tdob\n2\tdob is not a date\ta@example.com\t1\tJiří\tX\tsoon\n',
  )
  await mend('customers.rejected.csv', ['soon', ''])
  t.equal((await given.import('customers.rejected.csv')).code, 0)
  t.match(await customers(), [{ firstname: 'Jiří' }])
})

t.test('what spreadsheets and other programs make of a file', async (t) => {
  const { customers, ...given } = await shop(t, {
    // Rows of nothing, numbers with a fraction of nothing, names of groups.
    'customers.csv':
      '\n\nemail,entity_id,firstname,lastname,group_id\n\na@example.com,1.0,A,B,wholesale\n   \n,,,,\n  ,, ,,\nb@example.com,2,A,B,2.0\n',
    'sheet.csv': Buffer.from('PK\x03\x04and so on', 'latin1'),
    'groups.csv': 'email,firstname,lastname,group_id\nc@example.com,A,B,Nobody\n',
    // As PHP writes a quote behind a backslash, and one that stands at the end of such a field.
    'php.csv': 'email,firstname,lastname\nd@example.com,"A\\"B",C\ne@example.com,A,B\n',
    'quotes.csv': 'email,firstname,lastname\nf@example.com,A,B\ng@example.com,"A\\"",C\nh@example.com,A,B\n',
    'long.csv': `email,firstname,lastname\na@example.com,${'A'.repeat(600_000)},B\n`,
  })
  const read = await given.import('customers.csv')
  t.equal(read.code, 0, read.output)
  t.match(read.output, /customers: 2 imported, 0 already there, 0 rejected \(2 rows read\)/)
  t.match(await customers(), [{ groupId: 2 }, { groupId: 2 }])
  for (const [file, message] of [
    ['sheet.csv', /sheet\.csv is a spreadsheet or an archive; accepted: CSV/],
    ['groups.csv', /group_id is not a number, and no group of the store has this name/],
    ['php.csv', /1 {2}a quote within a quoted field is not doubled/],
    ['quotes.csv', /a quote that opens at line 3 or after it is not closed/],
    ['long.csv', /at line 2 or after it is not closed, or the row is longer than 512 KiB/],
  ] as const) {
    const { code, output } = await given.import(file)
    t.equal(code, 1)
    t.match(output, message)
  }
})

t.test('a quote within the name of a column costs no row', async (t) => {
  const { customers, ...given } = await shop(t, {
    'inches.csv': 'email,firstname,lastname,27" screen\na@example.com,A,B,yes\nb@example.com,A,B,no\n',
    'closed.csv': 'email,firstname,lastname,"a"b\nc@example.com,A,B,x\nd@example.com,A,B,"x"\n',
  })
  const { code, output } = await given.import('inches.csv')
  t.equal(code, 0, output)
  t.match(output, /customers: 2 imported, 0 already there, 0 rejected \(2 rows read\)/)
  t.equal((await customers()).length, 2)
  const closed = await given.import('closed.csv')
  t.equal(closed.code, 1)
  t.match(closed.output, /closed\.csv: it can't be read as CSV from line 1 on/, 'where the column ends is not certain')
})

t.test('a row with a misplaced quote is rejected whole, and its neighbours as they are', async (t) => {
  const head = 'email,entity_id,firstname,lastname'
  const rows = [
    'a@example.com,1,Bo"b,Lee',
    'none,2,A,B',
    'c@example.com,3,"Cy"x",Dee',
    'd@example.com,4,"Di\nana",Fox"y"z',
    'e@example.com,5,E,F',
  ]
  const { read, mend, customers, ...given } = await shop(t, { 'customers.csv': `${head}\n${rows.join('\n')}\n` })
  const { code, output } = await given.import('customers.csv')
  t.equal(code, 1)
  t.match(output, /customers: 1 imported, 0 already there, 4 rejected \(5 rows read\)/, output)
  const unquoted = 'a quote stands within a field without quotes'
  t.equal(
    await read('customers.rejected.csv'),
    `rejected_line,rejected_reason,${head}\n` +
      `2,${unquoted},${rows[0]}\n` +
      `3,email is missing or not an address,${rows[1]}\n` +
      `4,a quote within a quoted field is not doubled,${rows[2]}\n` +
      `5,${unquoted},${rows[3]}\n`,
  )
  await mend('customers.rejected.csv', ['Bo"b', '"Bo""b"'], ['none', 'b@example.com'], ['"Cy"x"', 'Cy'], ['"y"', 'y'])
  const mended = await given.import('customers.rejected.csv')
  t.equal(mended.code, 0, mended.output)
  t.match(
    (await customers()).toSorted((one, other) => one.id - other.id),
    [{ firstname: 'Bo"b', lastname: 'Lee' }, { id: 2 }, { firstname: 'Cy' }, { lastname: 'Foxyz' }, { id: 5 }],
  )
})

t.test('rows that a quote may have taken in are rejected with it, and none is lost', async (t) => {
  const head = 'email,firstname,lastname'
  const taken = ['a@example.com,"A"x,B', 'b@example.com,A,B', 'c@example.com,"A",B']
  const { read, ...given } = await shop(t, {
    'customers.csv': `${head}\n${taken.join('\n')}\nd@example.com,"A",B\n`,
  })
  const { output } = await given.import('customers.csv')
  t.match(output, /customers: 1 imported, 0 already there, 1 rejected \(2 rows read\)/, output)
  t.equal(
    await read('customers.rejected.csv'),
    `rejected_line,rejected_reason,${head}\n2,a quote within a quoted field is not doubled,${taken.join('\n')}\n`,
  )
})

t.test('where the rejected rows can not be written, nothing is imported', async (t) => {
  const { customers, folder, read, ...given } = await shop(t, {
    'customers.csv': `${HEAD}\na@example.com;1;A;A;;\nb@example.com;2;B;B;1990-02-30;\n`,
  })
  await mkdir(join(folder, 'folder'))
  for (const [path, reason] of [
    ['none/rejected.csv', 'ENOENT'],
    ['', 'ENOENT'],
    ['folder', 'EISDIR'],
  ]) {
    const { code, output } = await given.import('customers.csv', '--rejected', path as string)
    t.equal(code, 1)
    t.equal(
      output,
      `error: --rejected: "${path}" can't be written (${reason}): run the same command with another file.\n`,
    )
  }
  t.same(await customers(), [])

  await t.test('the file that is imported may be the one that is replaced', async (t) => {
    await given.import('customers.csv', '--rejected', 'rejected.csv')
    const before = await read('rejected.csv')
    const { code, output } = await given.import('rejected.csv', '--rejected', 'rejected.csv')
    t.equal(code, 1)
    t.match(output, /customers: 0 imported, 0 already there, 1 rejected \(1 rows read\)/)
    t.equal(await read('rejected.csv'), before.replace('\n3;', '\n2;'))
    t.equal(await read('rejected.csv.bak'), before)
  })
  await t.test('what is known by the end is reported, also where it can not be written after all', async (t) => {
    await rm(join(folder, 'rejected.csv.bak'))
    await mkdir(join(folder, 'rejected.csv.bak'))
    const { code, output } = await given.import('customers.csv', '--rejected', 'rejected.csv')
    t.equal(code, 1)
    t.match(output, /customers: 0 imported, 1 already there, 1 rejected[\s\S]*1 {2}dob is not a date/)
    t.match(output, /^error: --rejected: "rejected\.csv" can't be written \(EISDIR\): run /m)
  })
})
