/** The filters of the audit commands, the time zones of their dates, and the marks of masked values. */
import { parse } from 'csv-parse/sync'
import t, { type Test } from 'tap'
import type { Criteria } from '../../audit/criteria.ts'
import { countTypes, type FindOptions, findEvents } from '../../audit/find.ts'
import { createMasker, shownChange } from '../../audit/masking.ts'
import { parseTime } from '../../audit/moments.ts'
import { parsePlace } from '../../audit/places.ts'
import { timeInZone } from '../../audit/zones.ts'
import { asStored } from '../../eventstore/as-stored.ts'
import { encode } from '../../eventstore/codec.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import type { DomainEvent } from '../../schema/events.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, temporaryFolder } from '../support/graph.ts'
import { registered } from '../support/registered.ts'
import { auditor, EMAIL_HASH_KEY, json } from './support.ts'

const STORES: Record<string, (t: Test) => Promise<object>> = {
  SQLite: async () => ({}),
  KurrentDB: async (t) => {
    const { url } = await startEventStoreServer(t)
    return { EVENTSTORE_URL: url }
  },
}

const address = {
  prefix: null,
  firstname: 'Zoë',
  middlename: null,
  lastname: 'Quux',
  suffix: null,
  company: null,
  street: ['Lange Gasse 1'],
  city: 'Vienna',
  postcode: '1080',
  countryId: 'AT',
  regionId: null,
  regionCode: null,
  region: null,
  telephone: '555',
  fax: null,
  vatId: null,
  customAttributes: { blanket: 'wool' },
}

/** Two customers in an encrypted log; every event of customer 7 has a request of its own. */
async function start(t: Test, settings: object) {
  const { eventStore } = await openLog(loadConfiguration({ ...environment(await temporaryFolder(t)), ...settings }))
  t.teardown(() => eventStore.close())
  let requests = 0
  const append = async (stream: string, event: DomainEvent, actor = 'customer:7') => {
    const id = crypto.randomUUID()
    const metadata = { $correlationId: `r${requests++}`, $causationId: id, actor, at: new Date().toISOString() }
    await eventStore.append(stream, [encode(event, id, metadata)], { expected: 'any' })
    return id
  }
  const access = (kind: 'signed-in' | 'locked') =>
    append(streamOf.access(7), { type: 'AccessRecorded', data: { kind, userAgent: 'Netscape' } }, 'guest')
  const city = (name: string, actor?: string) =>
    append(streamOf.customer(7), { type: 'CustomerAddressChanged', data: { addressId: 11, city: name } }, actor)
  for (const id of [7, 8]) {
    const email = `zoe${id}@example.com`
    await append(streamOf.email(emailKeyOf(EMAIL_HASH_KEY, email)), { type: 'EmailClaimed', data: { customerId: id } })
    await append(streamOf.customer(id), registered(id, email), 'guest')
  }
  await append(streamOf.customer(7), { type: 'CustomerAddressAdded', data: { addressId: 11, ...address } })
  await access('signed-in')
  await city('Brno')
  const changed = await city('Vienna', 'operator:olga')
  await access('locked')
  await append(streamOf.signIns(7), { type: 'SignInSucceeded', data: {} })
  await append(streamOf.customer(7), {
    type: 'CustomerAttributesChanged',
    data: { attributes: { club: ['gold'], blanket: 'silk' } },
  })
  const data = { customerId: 8, command: 'history', reason: 'ticket' }
  await append(STREAM_NAMES.reveals, { type: 'PersonalDataRevealed', data }, 'operator:olga')
  const read: string[] = []
  // What is read of the log is seen: with encryption the reads of a search go to the log below it.
  const watched = (store: typeof eventStore): typeof eventStore => ({
    ...store,
    readAll: (options) => {
      read.push('everything')
      return store.readAll(options)
    },
    readStream: (stream, options) => {
      read.push(stream)
      return store.readStream(stream, options)
    },
  })
  const { keys } = eventStore as unknown as { keys: { log: typeof eventStore } }
  const store = { ...watched(eventStore), keys: { ...keys, log: watched(keys.log) } }
  return { eventStore: store, audit: auditor(store), append, changed, read }
}

for (const [name, settings] of Object.entries(STORES)) {
  t.test(name, async (t) => {
    const { eventStore, audit, changed, read } = await start(t, await settings(t))
    const placesOf = async (...args: string[]) =>
      json(await audit(...args, '--json')).map(({ stream, revision }) => `${stream}:${revision}`)

    await t.test('find, export and history answer the same question alike', async (t) => {
      const questions: Record<string, readonly [readonly string[], readonly string[]]> = {
        'a field': [
          ['--field', 'city'],
          ['customer-7:1', 'customer-7:2', 'customer-7:3'],
        ],
        'a field and who': [['--field', 'addresses.city', '--actor', 'operator:*'], ['customer-7:3']],
        'an attribute, which is encrypted': [
          ['--field', 'customAttributes.club'],
          ['customer-7:0', 'customer-7:4'],
        ],
        'a type': [['--type', 'CustomerAddressAdded'], ['customer-7:1']],
        'an event': [['--event', changed.toUpperCase()], ['customer-7:3']],
        places: [
          ['--event', '7:2', '--event', 'customer-7 revision 3'],
          ['customer-7:2', 'customer-7:3'],
        ],
        'records of access': [
          ['--access', 'any'],
          ['customerAccess-7:0', 'customerAccess-7:1'],
        ],
        'one kind of access': [['--access', 'locked', '--access', 'password-reset'], ['customerAccess-7:1']],
        'no records of access, by guests': [['--access', 'none', '--actor', 'guest'], ['customer-7:0']],
        'days before': [['--until', '2020-01-01'], []],
        'days after': [['--since', '2020-01-01', '--until', '2999-12-31', '--field', 'fax'], ['customer-7:1']],
      }
      for (const [question, [filters, places]] of Object.entries(questions)) {
        for (const command of ['find', 'export', 'history']) {
          t.same(await placesOf(command, 'zoe7@example.com', ...filters), places, `${question}: ${command}`)
        }
        t.same(await placesOf('find', '--customer', '7', ...filters), places, `${question}: --customer`)
      }
      const [{ requestId }] = json(await audit('find', '7', '--event', changed, '--json'))
      t.same(await placesOf('find', '--request', requestId), ['customer-7:3'])
      t.same(await placesOf('history', '7', '--request', requestId), ['customer-7:3'])
      t.same(await placesOf('find', '--field', 'customAttributes.club', '--actor', 'customer:*'), ['customer-7:4'])
    })

    await t.test('of an event, CSV has the fields that were asked for', async (t) => {
      const fieldsOf = async (...args: string[]) => {
        const { output } = await audit('export', '7', '--format', 'csv', ...args)
        return (parse(output, { columns: true }) as Record<string, string>[]).map(({ field }) => field)
      }
      t.same(await fieldsOf('--field', 'city'), Array(3).fill('addresses.11.city'))
      t.same(await fieldsOf('--field', 'addresses.11.customAttributes.blanket'), [
        'addresses.11.customAttributes.blanket',
      ])
      t.same(await fieldsOf('--field', 'addresses.12.city'), [])
      t.ok((await fieldsOf('--field', 'addresses', '--event', '7:1')).length > 5)
      t.ok((await fieldsOf('--field', 'isSubscribed')).includes('newsletter'), 'a name of the event alone')
    })

    await t.test('of one customer nothing else is read', async (t) => {
      const reads = async (...args: string[]) => {
        read.length = 0
        await audit(...args)
        return [...new Set(read)].sort()
      }
      t.same(await reads('find', '7'), ['customer-7', 'customerAccess-7', 'customerSkips-7'])
      t.same(await reads('export', '7', '--format', 'csv'), ['customer-7', 'customerAccess-7', 'customerSkips-7'])
      t.same((await reads('find', '7', '--type', 'SignInSucceeded')).slice(1), ['customerSignIns-7'])
      t.same(await reads('find', '--event', '7:2'), ['customer-7'], 'a place is looked at')
      t.same(await placesOf('find', '7', '--type', 'SignInSucceeded'), ['customerSignIns-7:0'])
      t.same(await placesOf('find', '8', '--type', 'PersonalDataRevealed'), ['auditReveals:0'])
      t.same(await placesOf('find', '7', '--type', 'PersonalDataRevealed'), [], 'another customer')
      t.same(await placesOf('find', '--event', '99:2'), [])
    })

    await t.test('types are counted without opening an event', async (t) => {
      const { types, isComplete } = await countTypes(eventStore, { customerId: 7 })
      t.same(Object.fromEntries(types), {
        CustomerAddressChanged: 2,
        AccessRecorded: 2,
        CustomerRegistered: 1,
        CustomerAddressAdded: 1,
        CustomerAttributesChanged: 1,
      })
      t.ok(isComplete)
      const withoutKeys = { ...eventStore, keys: undefined as never }
      t.equal((await countTypes(withoutKeys, { fields: ['city'] })).types.get('CustomerAddressChanged'), 2)
      t.same(
        Object.fromEntries((await countTypes(eventStore, { fields: ['customAttributes.blanket'] })).types),
        { CustomerAddressAdded: 1, CustomerAttributesChanged: 1 },
        'unless a field needs it',
      )
      t.match(await countTypes(eventStore, {}, { mostEvents: 3 }), { searched: 3, isComplete: false })
    })

    await t.test('newest first or oldest first, and on from where an earlier search ended', async (t) => {
      const inOrder = async (criteria: Criteria, options: FindOptions) => {
        const found: RecordedEvent[] = []
        await findEvents(eventStore, criteria, (event) => void found.push(event), options)
        return found
      }
      const days = { since: new Date(Date.now() - 60_000), until: new Date(Date.now() + 60_000) }
      const types = ['CustomerRegistered', 'PersonalDataRevealed']
      for (const criteria of [{}, { customerId: 7 }, { types }, days, { types: ['PersonalDataRevealed'] }]) {
        const all = (await inOrder(criteria, {})).map(({ id }) => id)
        t.ok(all.length > 0, JSON.stringify(criteria))
        for (const newestFirst of [false, true]) {
          const ids: string[] = []
          let last: RecordedEvent | undefined
          do {
            let event: RecordedEvent | undefined
            const stop = (next: RecordedEvent) => {
              event = next
              return 'stop'
            }
            await findEvents(eventStore, criteria, stop, { newestFirst, after: last?.position })
            last = event
            if (last) ids.push(last.id)
          } while (last)
          t.same(ids, newestFirst ? all.toReversed() : all, `newest first: ${newestFirst}`)
        }
      }
      const log = asStored(eventStore)
      const backwards = { ...log, readStream: withClockGoingBack(log) }
      const places: Position[] = []
      await findEvents(backwards, { customerId: 7 }, ({ position }) => void places.push(position))
      t.ok(places.length > 5)
      t.same(places, places.toSorted(comparePositions), 'in the order of the log, whatever the clocks said')
      read.length = 0
      await inOrder({ types: ['PersonalDataRevealed'] }, {})
      t.notOk(read.includes('everything'), 'a single stream is read alone')
    })

    await t.test('a mark shows that a value changed, and that it came back; never the value', async (t) => {
      const rows = parse((await audit('export', '--format', 'csv')).output, { columns: true }) as Record<
        string,
        string
      >[]
      const [first, second] = rows.filter(({ event }) => event === 'CustomerAddressChanged')
      t.match(first, { field: 'addresses.11.city', old: /^•••\w{5}$/, new: /^•••\w{5}$/ })
      t.not(first?.old, first?.new)
      t.equal(first?.new, second?.old)
      t.equal(first?.old, second?.new, 'back in Vienna')
      const shown = async (id: number) =>
        json(await audit('state', String(id), '--at', '9999-12-31', '--json'))[0].customer
      const [seven, eight] = [await shown(7), await shown(8)]
      t.equal(seven.addresses[0].city, first?.old, 'in every command')
      t.equal(seven.lastname, seven.addresses[0].lastname)
      for (const field of ['lastname', 'gender', 'dob']) {
        t.match(seven[field], /^•••\w{5}$/)
        t.not(seven[field], eight[field], `${field}: marks of two customers can't be compared`)
      }
      const elsewhere = auditor(eventStore, { emailHashKey: () => 'x'.repeat(32) })
      t.not(json(await elsewhere('state', '7', '--at', '0', '--json'))[0].customer.gender, seven.gender, 'another key')
    })
  })
}

t.test('marks: the same field under each of its names', async (t) => {
  const masker = createMasker(EMAIL_HASH_KEY)
  const mark = (field: string, to: string, scope = '7') => shownChange({ field, from: null, to }, masker, scope).to
  t.equal(mark('addresses.11.customAttributes.a.b', 'x'), mark('customAttributes.a.b', 'x'))
  t.equal(mark('email', 'x'), masker.mark('7', 'email', 'x'))
  t.not(mark('city', 'x'), mark('firstname', 'x'))
  t.not(mark('city', 'x'), mark('city', 'x', '8'))
  t.not(mark('city', 'x'), shownChange({ field: 'city', from: null, to: 'x' }, createMasker(undefined), '7').to)
  t.equal(shownChange({ field: 'status', from: null, to: 'x' }, masker, '7').to, 'x')
})

t.test('a date is the whole day in its zone', async (t) => {
  const day = (text: string, zone: string) =>
    (['first', 'last'] as const).map((edge) => parseTime(text, edge, zone)?.toISOString())
  t.same(day('2026-11-25', 'UTC'), ['2026-11-25T00:00:00.000Z', '2026-11-25T23:59:59.999Z'])
  t.same(day('2026-11-25', 'Europe/Berlin'), ['2026-11-24T23:00:00.000Z', '2026-11-25T22:59:59.999Z'])
  t.same(day('2026-03-29', 'Europe/Berlin'), ['2026-03-28T23:00:00.000Z', '2026-03-29T21:59:59.999Z'], '23 hours')
  t.same(day('2026-10-25', 'Europe/Berlin'), ['2026-10-24T22:00:00.000Z', '2026-10-25T22:59:59.999Z'], '25 hours')
  t.same(day('2018-11-04', 'America/Sao_Paulo'), ['2018-11-04T03:00:00.000Z', '2018-11-05T01:59:59.999Z'], 'from one')
  t.same(day('2026-01-01', '+05:30'), ['2025-12-31T18:30:00.000Z', '2026-01-01T18:29:59.999Z'])
  t.same(day('2026-10-25T02:30', 'Europe/Berlin'), ['2026-10-25T00:30:00.000Z', '2026-10-25T01:30:00.000Z'], 'twice')
  t.same(day('2026-03-29T02:30', 'Europe/Berlin'), ['2026-03-29T01:00:00.000Z', '2026-03-29T01:00:00.000Z'], 'never')
  t.same(day('2026-01-01T00:00:00+01:00', 'Asia/Tokyo'), Array(2).fill('2025-12-31T23:00:00.000Z'), 'with an offset')
  t.same(
    day('2026-01-01 09:30:00 UTC', 'Asia/Tokyo'),
    Array(2).fill('2026-01-01T09:30:00.000Z'),
    'as the console shows it',
  )
  t.equal(timeInZone(new Date('2026-11-24T22:02:35.068Z'), 'Europe/Berlin'), '2026-11-24 23:02:35.068+01:00')
  t.equal(timeInZone(new Date('2026-07-01T00:00:00Z'), 'America/New_York'), '2026-06-30 20:00:00.000-04:00')

  const { audit } = await start(t, {})
  const [{ time }] = json(await audit('find', '7', '--event', '7:1', '--json'))
  const local = timeInZone(new Date(time), 'Pacific/Auckland')
  const found = async (...args: string[]) => json(await audit('find', '7', '--event', '7:1', '--json', ...args)).length
  const zone = ['--zone', 'Pacific/Auckland']
  t.equal(await found('--since', local.slice(0, 10), '--until', local.slice(0, 10), ...zone), 1)
  const next = new Date(Date.parse(local.slice(0, 10)) + 86_400_000).toISOString().slice(0, 10)
  t.equal(await found('--since', next, ...zone), 0)
  const { output, notes } = await audit('find', '7', '--event', '7:1', ...zone)
  t.ok(output.startsWith(local), 'times are shown in it')
  t.match(notes, /^Dates and times are in Pacific\/Auckland\.$/m)
  t.match((await audit('state', '7', '--at', '1', ...zone)).output, local)
  const csv = (await audit('export', '7', '--event', '7:1', '--format', 'csv', ...zone)).output
  const [row] = parse(csv, { columns: true }) as Record<string, string>[]
  t.equal(row?.time, local.replace(' ', 'T'))
})

t.test('a place in a stream, in each form', async (t) => {
  for (const text of [
    '2:1',
    'customer-2:1',
    'customer-2 revision 1',
    'customer-2, revision 1',
    '1@customer-2',
    ' 2:1 ',
  ]) {
    t.same(parsePlace(text), { stream: 'customer-2', revision: 1 }, text)
  }
  t.same(parsePlace('customerEmail-ab:0'), { stream: 'customerEmail-ab', revision: 0 })
  for (const text of ['2', '2:', ':1', '2:x', 'revision 1', '$all:1', '']) t.equal(parsePlace(text), undefined, text)
})

/** Reads each stream as if its events had been written ever earlier. */
const withClockGoingBack = ({ readStream }: EventStore): EventStore['readStream'] =>
  async function* (...read) {
    let time = 2e12
    for await (const event of readStream(...read)) yield { ...event, created: new Date(time--) }
  }
