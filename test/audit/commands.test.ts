/** `npm run audit` on both stores: what it shows, what it hides, and what it says to arguments that make no sense. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'csv-parse/sync'
import t, { type Test } from 'tap'
import { REVEALS_STREAM } from '../../audit/reveals.ts'
import { encode } from '../../eventstore/codec.ts'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import type { DomainEvent } from '../../schema/events.ts'
import { appendHistories, collect, someHistories } from '../projections/support.ts'
import { runCommand } from '../support/commands.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess } from '../support/processes.ts'
import { registered } from '../support/registered.ts'
import { until } from '../support/until.ts'
import { auditor, EMAIL_HASH_KEY, json } from './support.ts'

const EMAIL = 'Zoe.Quux@example.com'
/** Texts that must be seen nowhere without --reveal. */
const PERSONAL = /quux|zoë|lovelace|1901-02|gasse|vienna|brno|tax-77|555-0199|wool|203\.0\.113|netscape|argon2id/i

const address = {
  prefix: null,
  firstname: 'Zoë',
  middlename: null,
  lastname: 'Quux',
  suffix: null,
  company: 'Lovelace & "Sons", Ltd',
  street: ['Lange Gasse 1', 'Door =7'],
  city: 'Vienna',
  postcode: '1080',
  countryId: 'AT',
  regionId: 95,
  regionCode: 'WI',
  region: 'Wien',
  telephone: '555-0199',
  fax: null,
  vatId: 'ATU-quux',
  customAttributes: { blanket: 'wool\nand "more"' },
}

const EVENTS: readonly DomainEvent[] = [
  registered(7, EMAIL),
  { type: 'CustomerAddressAdded', data: { addressId: 11, ...address } },
  { type: 'DefaultBillingAddressSet', data: { addressId: 11 } },
  { type: 'CustomerAddressChanged', data: { addressId: 11, city: 'Brno' } },
  { type: 'CustomerDetailsChanged', data: { lastname: 'Lovelace' } },
  { type: 'CustomerTokensRevoked', data: {} },
]

const stores: Record<string, (t: Test) => Promise<string>> = {
  SQLite: async (t) => environment(await temporaryFolder(t)).EVENTSTORE_URL as string,
  KurrentDB: async (t) => (await startEventStoreServer(t)).url,
}

const encoded = (event: DomainEvent, index = 0, actor = 'customer:7') =>
  encode(event, crypto.randomUUID(), {
    $correlationId: `=request-${index}`,
    $causationId: `command-${index}`,
    actor,
    at: new Date(Date.UTC(2026, 0, 2, 3, 4, index)).toISOString(),
  })

/** A customer with six events, who signed in after the first and the fourth, and a stream of credentials. */
async function startAudit(t: Test, url: string) {
  const eventStore = await openEventStore(url)
  t.teardown(() => eventStore.close())
  const append = (stream: string, events: readonly DomainEvent[], actor?: string) =>
    eventStore.append(
      stream,
      events.map((event, index) => encoded(event, index, actor)),
      { expected: 'any' },
    )
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5))
  await append(`customerEmail-${emailKeyOf(EMAIL_HASH_KEY, EMAIL)}`, [
    { type: 'EmailClaimed', data: { customerId: 7 } },
  ])
  await append('customerCredentials-7', [{ type: 'CredentialsSet', data: { passwordHash: '$argon2id$secret' } }])
  const access = (kind: 'signed-in' | 'tokens-revoked') =>
    append(
      'customerAccess-7',
      [{ type: 'AccessRecorded', data: { kind, clientAddress: '203.0.113.0/24', userAgent: 'Netscape/4' } }],
      'guest',
    )
  await append('customer-7', EVENTS.slice(0, 1))
  await pause()
  await access('signed-in')
  await pause()
  await append('customer-7', EVENTS.slice(1, 4))
  await pause()
  await access('tokens-revoked')
  await pause()
  const between = new Date()
  await pause()
  await append('customer-7', EVENTS.slice(4))
  return { eventStore, audit: auditor(eventStore), between, append }
}

for (const [name, start] of Object.entries(stores)) {
  t.test(name, async (t) => {
    const { eventStore, audit, between, append } = await startAudit(t, await start(t))
    const everything = async (...rest: string[]) => {
      const commands = [
        ['history', '7'],
        ['state', '7', '--at', '4'],
        ['diff', '7', '--from', '0'],
        ['find', '--actor', '*'],
        ['export'],
        ['export', '7'],
      ]
      const answers = []
      for (const command of commands) {
        answers.push(await audit(...command, ...rest), await audit(...command, '--json', ...rest))
        if (command[0] === 'export') answers.push(await audit(...command, '--format', 'csv', ...rest))
      }
      return answers
    }

    await t.test('nothing personal is shown, and the fields are named', async (t) => {
      for (const { output, notes, code } of await everything()) {
        t.equal(code, 0)
        t.notMatch(output + notes, PERSONAL)
        t.match(output, /lastname/)
      }
      await t.rejects(audit('history', 'zoe.quux@example.org'), { message: 'Nobody has this e-mail address.' })
      t.same(await revealed(eventStore), [], 'nothing is on record as revealed')
    })

    await t.test('history', async (t) => {
      const { output } = await audit('history', EMAIL.toLowerCase())
      t.match(
        output,
        /^\S+ \S+Z {2}customer-7 revision 0 {2}CustomerRegistered {2}by customer:7, request =request-0\n {4}status +absent → registered/m,
      )
      t.match(
        output,
        /customerAccess-7 revision 0 {2}AccessRecorded {2}by guest, request =request-0\n {4}kind: signed-in\n {4}clientAddress: •••[\w]{5}\n/,
      )
      t.match(output, /DefaultBillingAddressSet.*\n {4}defaultBilling {2}- → 11\n/)
      t.match(output, /CustomerAddressChanged.*\n {4}addresses\.11\.city {2}•••(\w{5}) → •••(?!\1)\w{5}\n/)
      t.match(output, /CustomerTokensRevoked.*\n {4}tokenGeneration {2}0 → 1\n/)
      const entries = json(await audit('history', '7', '--json'))
      t.same(
        entries.map(({ type, revision }) => [type, revision]),
        [
          ['CustomerRegistered', 0],
          ['AccessRecorded', 0],
          ['CustomerAddressAdded', 1],
          ['DefaultBillingAddressSet', 2],
          ['CustomerAddressChanged', 3],
          ['AccessRecorded', 1],
          ['CustomerDetailsChanged', 4],
          ['CustomerTokensRevoked', 5],
        ],
        'in the order of time',
      )
      t.match(entries[4], {
        stream: 'customer-7',
        actor: 'customer:7',
        requestId: '=request-2',
        decidedAt: '2026-01-02T03:04:02.000Z',
        time: /^20\d\d-.*Z$/,
        changes: [{ field: 'addresses.11.city', from: /^•••\w{5}$/, to: /^•••\w{5}$/ }],
      })
    })

    await t.test('state and diff, by revision and by time', async (t) => {
      const lastname = async (at: string) => json(await audit('state', '7', '--at', at, '--json'))[0].customer.lastname
      const [before, after] = [await lastname('3'), await lastname('4')]
      t.match(before, /^•••\w{5}$/)
      t.not(before, after, 'a change is seen')
      t.equal(await lastname(between.toISOString()), before)
      t.equal(await lastname(new Date().toISOString()), after)
      t.equal(await lastname(new Date().toISOString().slice(0, 10)), after, 'a date is the end of its day')
      t.match(
        (await audit('state', '7', '--at', '2')).output,
        /^Customer 7 at revision 2, since .*\n {4}status {2,}registered\n/,
      )
      for (const [from, to] of [
        ['3', '5'],
        [between.toISOString(), '5'],
        ['3', undefined],
      ]) {
        const args = ['diff', '7', '--from', String(from), ...(to ? ['--to', to] : [])]
        t.same(json(await audit(...args, '--json'))[0].changes, [
          { field: 'lastname', from: before, to: after },
          { field: 'tokenGeneration', from: 0, to: 1 },
        ])
      }
      t.match(
        (await audit('diff', '7', '--from', '5', '--to', '3')).output,
        new RegExp(`lastname +${after} → ${before}\\n.*1 → 0`),
        'backwards, too',
      )
      t.match((await audit('diff', '7', '--from', '1', '--to', '1')).output, /nothing changed/)
    })

    await t.test('find', async (t) => {
      const found = async (...args: string[]) =>
        json(await audit('find', ...args, '--json')).map(({ stream, revision }) => `${stream}:${revision}`)
      t.same(await found('--field', 'city'), ['customer-7:1', 'customer-7:3'])
      t.same(await found('--field', 'addresses.11.city'), ['customer-7:1', 'customer-7:3'])
      t.same(await found('--field', 'addresses.12.city'), [])
      t.same(await found('--field', 'customAttributes.club'), ['customer-7:0'])
      t.same(await found('--field', 'tokenGeneration', '--field', 'defaultBilling'), ['customer-7:2', 'customer-7:5'])
      t.same(await found('--type', 'AccessRecorded'), ['customerAccess-7:0', 'customerAccess-7:1'])
      t.same(await found('--actor', 'gu*', '--type', 'AccessRecorded'), ['customerAccess-7:0', 'customerAccess-7:1'])
      t.same(await found('--actor', 'customer'), [])
      t.same(await found('--actor', 'customer:7', '--since', between.toISOString()), ['customer-7:4', 'customer-7:5'])
      t.same(await found('--type', 'AccessRecorded', '--until', '2026-01-01'), [])
      const dates = [
        '--since',
        json(await audit('export', '7'))[0].time,
        '--until',
        json(await audit('export', '7')).at(-1).time,
      ]
      const wholeDays = dates.map((each) => (each.startsWith('--') ? each : each.slice(0, 10)))
      t.same(await found('--field', 'city', ...wholeDays), ['customer-7:1', 'customer-7:3'], 'dates are whole days')
      const { output, notes } = await audit('find', '--field', 'lastname', '--type', 'CustomerDetailsChanged')
      t.match(
        output,
        /customer-7 revision 4 {2}CustomerDetailsChanged {2}by customer:7, request =request-0\n {4}lastname: •••\w{5}\n/,
      )
      t.match(notes, /^1 of \d+ events looked at fits\.$/m)
    })

    await t.test('export', async (t) => {
      const rowsOf = async (...args: string[]) =>
        parse((await audit('export', ...args, '--format', 'csv')).output, {
          columns: true,
          record_delimiter: '\r\n',
        }) as Record<string, string>[]
      const rows = await rowsOf('--reveal', '--reason', 'quoting')
      const row = (event: string, field: string) => rows.find((each) => each.event === event && each.field === field)
      t.match(row('CustomerAddressChanged', 'addresses.11.city'), {
        customer: '7',
        actor: 'customer:7',
        old: 'Vienna',
        new: 'Brno',
        requestId: "'=request-2",
        stream: 'customer-7',
        revision: '3',
        eventId: /^[0-9a-f-]{36}$/,
        time: /^20\d\d-.*Z$/,
      })
      t.match(row('CustomerAddressAdded', 'addresses.11.customAttributes.blanket'), {
        old: '',
        new: 'wool\nand "more"',
      })
      t.match(row('CustomerAddressAdded', 'addresses.11.company'), { new: 'Lovelace & "Sons", Ltd' })
      t.match(row('AccessRecorded', 'kind'), { customer: '7', old: '', new: 'signed-in', stream: 'customerAccess-7' })
      t.equal(row('CredentialsSet', 'passwordHash')?.new, '(withheld)', 'nobody sees a hash')
      const part = await rowsOf('7', '--since', between.toISOString(), '--reveal', '--reason', 'old values')
      t.match(part[0], { event: 'CustomerDetailsChanged', field: 'lastname', old: 'Quux', new: 'Lovelace' })
      const formulas = ['=1+1', ' =1', '+43 1', '-5', '@SUM(A1)', '\t=1', '＝1', '|calc', 'a;=1']
      for (const [index, city] of formulas.entries()) {
        await append('customer-9', [{ type: 'CustomerAddressChanged', data: { addressId: index + 1, city } }])
      }
      const text = (await audit('export', '9', '--format', 'csv', '--reveal', '--reason', 'formulas')).output
      const cells = parse(text, { relax_column_count: true, delimiter: [',', ';'] }).flat() as string[]
      for (const cell of cells) t.notMatch(cell, /^\s*[=+\-@|＝]/, 'no formula for a spreadsheet')
      t.ok(cells.includes("'+43 1"))
      const whole = json(await audit('export'))
      t.same(
        whole.map(({ id }) => id),
        (await collect(eventStore.readAll())).map(({ id }) => id),
      )
      t.same(
        json(await audit('export', '7')).map(({ stream, revision }) => `${revision}@${stream}`),
        json(await audit('history', '7', '--json')).map(({ stream, revision }) => `${revision}@${stream}`),
      )
      const later = json(await audit('export', '--since', between.toISOString()))
      t.same(
        later.map(({ id }) => id),
        whole.filter(({ time }) => time >= between.toISOString()).map(({ id }) => id),
      )
      t.same(
        json(await audit('export', '7', '--since', between.toISOString())),
        json(await audit('export', '7')).filter(({ time }) => time >= between.toISOString()),
      )
      t.equal((await audit('export', '--until', '2026-01-01')).output, '')
      const path = join(await temporaryFolder(t), 'log.jsonl')
      await writeFile(path, 'for everybody', { mode: 0o644 })
      t.equal((await audit('export', '7', '--output', path)).output, '')
      t.equal((await readFile(path, 'utf8')).trim().split('\n').length, 8)
      t.equal((await stat(path)).mode & 0o777, 0o600, "its owner's alone")
      await t.rejects(audit('export', '--output', join(path, 'x')), {
        message: /^--output: .* can't be written \(ENOTDIR\)\.$/,
      })
      await t.rejects(audit('export', '--output', `${path}${'x'.repeat(300)}`), {
        message: /^--output: .* can't be written \(ENAMETOOLONG\)\.$/,
      })
      const database = `${path}.db`
      await writeFile(database, 'SQLite format 3\0 and the log of the service')
      await t.rejects(audit('export', '--output', database), { message: /is a database: name another file\.$/ })
      t.match(await readFile(database, 'utf8'), /the log of the service/)
    })

    await t.test('revealed: on record before anything is shown', async (t) => {
      const before = (await revealed(eventStore)).length
      for (const { output } of await everything('--reveal', '--reason', ' ticket 12 ')) t.match(output, /Lovelace/)
      t.match((await audit('history', EMAIL, '--reveal', '--reason', 'ticket 12')).output, /lastname +Quux → Lovelace/)
      const events = (await revealed(eventStore)).slice(before)
      t.equal(events.length, 15)
      t.same([...new Set(events.map(({ data }) => JSON.stringify(data)))].sort(), [
        '{"customerId":7,"command":"diff --from 0","reason":"ticket 12"}',
        '{"customerId":7,"command":"export --format csv","reason":"ticket 12"}',
        '{"customerId":7,"command":"export","reason":"ticket 12"}',
        '{"customerId":7,"command":"history","reason":"ticket 12"}',
        '{"customerId":7,"command":"state --at 4","reason":"ticket 12"}',
        '{"customerId":null,"command":"export --format csv","reason":"ticket 12"}',
        '{"customerId":null,"command":"export","reason":"ticket 12"}',
        '{"customerId":null,"command":"find --actor *","reason":"ticket 12"}',
      ])
      t.match(events[0]?.metadata, { actor: 'operator:olga' })

      let shown = ''
      const away = auditor(
        { ...eventStore, append: () => Promise.reject(new EventStoreUnavailable('away')) },
        {
          write: (text) => {
            shown += text
          },
        },
      )
      await t.rejects(away('history', '7', '--reveal', '--reason', 'x'), { name: 'EventStoreUnavailable' })
      t.equal(shown, '', 'what can not be recorded is not shown')
    })

    await t.test('an event that nobody knows is shown as such, and the timeline goes on', async (t) => {
      const metadata = { actor: 'test\u001b[2J', $correlationId: 'x' }
      const knighted = { id: crypto.randomUUID(), type: 'CustomerKnighted', data: { title: 'Dame Quux' }, metadata }
      await eventStore.append('customer-7', [knighted], { expected: 5 })
      await append('customer-7', [{ type: 'NewsletterSubscribed', data: {} }])
      const { output } = await audit('history', '7')
      t.match(
        output,
        /CustomerKnighted {2}by test\\u001b\[2J, request x\n {4}it can't be applied: .*not in the catalogue/,
      )
      t.match(output, /NewsletterSubscribed.*\n {4}newsletter {2}none → subscribed\n/)
      t.notMatch(output, PERSONAL)
      t.notMatch((await audit('export', '7')).output, PERSONAL)
      t.match(json(await audit('state', '7', '--at', '5', '--json'))[0], { revision: 5 })
      await t.rejects(audit('state', '7', '--at', '7'), { name: 'InvalidEvent' })
    })
  })
}

const revealed = async (eventStore: EventStore) =>
  (await collect(eventStore.readAll())).filter(({ stream }) => stream === REVEALS_STREAM)

t.test('arguments that make no sense are told in one line', async (t) => {
  const { audit } = await startAudit(t, await (stores.SQLite as (t: Test) => Promise<string>)(t))
  for (const [line, message] of [
    ['hide', /^error: unknown command 'hide'\./],
    ['histroy', /^error: unknown command 'histroy'; did you mean history\? See customers audit --help$/],
    ['history', /^error: missing required argument 'customer'\./],
    ['history seven', /^The customer can't be used; accepted: a customer's number or e-mail address\.$/],
    ['history 99', /^There is no customer 99\.$/],
    ['history 7 8', /^error: too many arguments for 'history'/],
    ['history 7 --at 3', /^error: unknown option '--at'/],
    ['history 7 --colour', /^error: unknown option '--colour'/],
    ['history 7 --reveal', /^error: --reveal needs --reason <text>/],
    ['history 7 --reason x', /^error: --reason goes with --reveal\./],
    ['state 7', /^error: required option '--at <moment>' not specified/],
    ['state 7 --at yesterday', /'yesterday' is invalid\. Accepted: a revision/],
    ['state 7 --at 2026-02-31', /'2026-02-31' is invalid/],
    ['state 7 --at 6', /^Customer 7 has the revisions 0 to 5; there is no 6\.$/],
    ['state 7 --at 2020-01-01', /^Customer 7 was not there yet at that time\.$/],
    ['diff 7', /^error: required option '--from <moment>' not specified/],
    ['find 7 8', /^error: too many arguments for 'find'/],
    ['find 7 --customer 8', /^Name the customer once/],
    ['find 7 --type EmailClaimed', /^Events of the type EmailClaimed are in no stream of one customer\./],
    ['find --event seven', /^--event: "seven" can't be used; accepted: an event's id, or 2:1 /],
    ['find --event $all:1', /^--event: "\$all:1" can't be used/],
    ['find --since 2026-11-02 --until 2026-11-01', /^--since is after --until, so nothing can fit\.$/],
    ['find --access telepathy', /^--access: "telepathy" can't be used; accepted: any, none, signed-in, /],
    ['history 7 --field hidden', /^There is no field "hidden"/],
    ['history 7 --since 2026-11-31', /'2026-11-31' is invalid/],
    ['find --zone Mars/Olympus', /^error: option '--zone <zone>' argument 'Mars\/Olympus' is invalid\./],
    ['find --type Hidden', /^There is no event type "Hidden"/],
    ['find --field hidden', /^There is no field "hidden"/],
    ['find --since 5', /^error: option '--since <time>' argument '5' is invalid\. Accepted: a date or a time/],
    ['export --format xml', /'xml' is invalid\. Allowed choices are jsonl, csv\./],
    ['export --json --format csv', /exclude each other/],
  ] as const) {
    await t.rejects(audit(...line.split(' ')), { message }, line)
  }
})

t.test('an address that was given up is told by whose it was', async (t) => {
  const { audit, append } = await startAudit(t, await (stores.SQLite as (t: Test) => Promise<string>)(t))
  await append(`customerEmail-${emailKeyOf(EMAIL_HASH_KEY, EMAIL)}`, [
    { type: 'EmailReleased', data: { customerId: 7 } },
  ])
  await t.rejects(audit('history', EMAIL), { message: 'Nobody has this e-mail address now; customer 7 had it before.' })
})

t.test('a log of several pages', async (t) => {
  const eventStore = await openEventStore(await (stores.SQLite as (t: Test) => Promise<string>)(t))
  t.teardown(() => eventStore.close())
  const histories = someHistories(200)
  await appendHistories(eventStore, histories)
  const audit = auditor(eventStore)
  const all = await collect(eventStore.readAll())
  t.ok(all.length > 1_000, 'a page has 500 events')
  const lines = json(await audit('export'))
  t.same(
    lines.map(({ id, position }) => `${id} ${position}`),
    all.map(({ id, position }) => `${id} ${position.commit}`),
  )
  const { output } = await audit('export', '--format', 'csv', '--reveal', '--reason', 'x')
  const rows = parse(output, { columns: true }) as Record<string, string>[]
  const seen = new Set(rows.map(({ eventId }) => eventId))
  t.equal(seen.size, all.length + 1, 'the reveal itself is in the log by then')
  const changes = []
  for (const id of [1, 7, 199]) {
    for (const entry of json(await audit('history', String(id), '--json', '--reveal', '--reason', 'x'))) {
      for (const { field, from, to } of entry.changes) changes.push({ id: entry.id, field, from, to })
    }
  }
  const text = (value: unknown) => (typeof value === 'string' ? value : value === null ? '' : JSON.stringify(value))
  for (const { id, field, from, to } of changes) {
    const row = rows.find((each) => each.eventId === id && each.field === field)
    t.same(
      [row?.old, row?.new].map((cell) => cell?.replace(/^'/, '')),
      [text(from), text(to)],
      `${id} ${field}`,
    )
  }
  const cities = all.filter(({ data }) => Object.hasOwn(data as object, 'city')).map(({ id }) => id)
  t.same(
    json(await audit('find', '--field', 'city', '--json')).map(({ id }) => id),
    cities,
  )
  const stopping = new AbortController()
  stopping.abort()
  t.match(await auditor(eventStore, { signal: stopping.signal })('export'), {
    code: 130,
    notes: /Stopped before its end/,
  })
})

t.test('records of access whose time is over are shown nowhere', async (t) => {
  const { eventStore } = await startAudit(t, await (stores.SQLite as (t: Test) => Promise<string>)(t))
  const strict = auditor(eventStore, { accessRetentionDays: () => 0 })
  t.notMatch((await strict('find', '--actor', '*')).output, /AccessRecorded/)
  t.notMatch((await strict('export')).output, /AccessRecorded/)
})

for (const [name, begin] of Object.entries(stores)) {
  t.test(`a customer whose stream was tombstoned by hand, on ${name}: the rest is shown`, async (t) => {
    const { eventStore, audit } = await startAudit(t, await begin(t))
    await eventStore.tombstoneStream('customer-7', { expected: 'any' })
    t.match(await audit('history', '7'), { code: 0, output: /AccessRecorded/ })
    for (const search of [['find', '7'], ['export', '7'], ['find'], ['export']])
      t.match(await audit(...search), { code: 0, output: /AccessRecorded/ }, search.join(' '))
    await t.rejects(audit('state', '7', '--at', '4'), { message: 'Customer 7 was not there yet at that time.' })
  })
}

t.test('by the command line', async (t) => {
  const folder = await temporaryFolder(t)
  const { EVENTSTORE_URL = '' } = environment(folder)
  await startAudit(t, EVENTSTORE_URL)
  const here = (...args: string[]) => runCommand(folder, ['audit', ...args], { EMAIL_HASH_KEY })
  const [usage, history] = [await here(), await here('history', EMAIL)]
  const refused = await here('history', 'nobody@example.com')
  const exporting = startProcess(t, 'audit', folder, { EMAIL_HASH_KEY }, ['export', '--format', 'csv'])
  const exported = { code: await exporting.ended, output: exporting.output() }
  t.match(usage, { code: 0, output: /^Usage: customers audit / })
  t.match(history, { code: 0, output: /CustomerRegistered {2}by customer:7/ })
  t.match(exported, { code: 0, output: /exporting: 10 events/ })
  t.match(exported.output, /^time,customer,event,actor,field,old,new,requestId,/m)
  t.match(refused, { code: 1, output: /^error: Nobody has this e-mail address\.\n$/ })
  const nowhere = { EMAIL_HASH_KEY, EVENTSTORE_URL: `kurrentdb://127.0.0.1:${await freePort()}?tls=false` }
  const waiting = startProcess(t, 'audit', folder, nowhere, ['find'])
  await until('it waits for the event store', () => waiting.output().includes('Waiting for it.'))
  t.equal(await waiting.end('SIGINT'), 130, 'stopped, it has not failed')
  t.match(waiting.output(), /^error: The event store does not answer: .*\nStopped before its end\.\n$/m)
})
