/**
 * A log with events of both versions is read as one: whoever reads it is answered as by the same log in today's version
 * alone. What was written before has neither hashes nor is it encrypted.
 */
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { checkInclusion, proveInclusion } from '../../audit/proof/inclusion.ts'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { verifyLog } from '../../audit/proof/verify.ts'
import { check, decode } from '../../eventstore/codec.ts'
import type { EventStore, Json, NewEvent, RecordedEvent } from '../../eventstore/port.ts'
import { absentCustomer, project } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { compareWithLog, type Difference } from '../../projections/rebuild.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import { type CustomerEvent, type EventMetadata, SCHEMA_VERSION, upcast } from '../../schema/events.ts'
import { hashPassword } from '../../subgraph/identity/passwords.ts'
import { issueServiceToken } from '../../subgraph/identity/service-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { aKey, aLog, KINDS } from '../audit/proof/support.ts'
import { auditor, json } from '../audit/support.ts'
import { runCommand } from '../support/commands.ts'
import { builtIn } from '../support/eventstore-server/server.ts'
import { CREATE_ADDRESS, environment, PASSWORD, signIn, startSubgraph, TEXAN } from '../support/graph.ts'
import { history, recorded } from '../support/histories.ts'
import { until } from '../support/until.ts'

/** When the customers registered. */
const THEN = '2026-01-02T03:04:05.000Z'
/** The time of the subgraphs: what they write is the same in both logs. */
const NOW = new Date()
const CREDENTIALS = await hashPassword(PASSWORD)
/** Customers by the versions of their events: of 1 alone, of both, of 2 alone. */
const [OLD, MIXED, NEW] = [1, 2, 3]
const IDS = [OLD, MIXED, NEW]
const emailOf = (id: number) => `Customer${id}@example.com`

/** As version 1 had it. */
const registration = (id: number) => ({
  customerId: id,
  email: emailOf(id),
  prefix: 'Dr.',
  firstname: 'Ann',
  middlename: null,
  lastname: 'Lee',
  suffix: null,
  dob: '1901-02-03',
  taxvat: null,
  gender: 2,
  groupId: 1,
  isSubscribed: true,
  credentialsRevision: 0,
})
const address = (addressId: number) => ({
  addressId,
  prefix: null,
  firstname: 'Ann',
  middlename: null,
  lastname: 'Lee',
  suffix: null,
  company: null,
  street: ['1 Main St'],
  city: 'Austin',
  postcode: '78701',
  countryId: 'US',
  regionId: 57,
  regionCode: 'TX',
  region: 'Texas',
  telephone: '555-0100',
  fax: null,
  vatId: null,
})
/** What version 2 added, as it has to be read of events of version 1. */
const ADDED: Readonly<Record<string, object>> = {
  CustomerRegistered: {
    allowRemoteShoppingAssistance: false,
    customAttributes: {},
    rewardUpdateNotification: null,
    rewardWarningNotification: null,
    createdAt: THEN,
  },
  CustomerAddressAdded: { customAttributes: {} },
}

type Version = 1 | 2
type Past = readonly [stream: string, type: string, data: object, version: Version]

/** What was written before, by releases that knew neither hashes nor encryption. @param version of the events that may be of version 1 */
function past(version: Version, emailHashKey: string): Past[] {
  // Blocks of ten address ids, in the order of the customers.
  const firstAddress = (id: number) => (id - 1) * 10 + 1
  return [
    ['customerIds', 'CustomerIdsReserved', {}, version],
    ...IDS.flatMap((id): Past[] => {
      const stream = `customer-${id}`
      const first = id === NEW ? 2 : version
      const second = id === OLD ? version : 2
      return [
        [`customerEmail-${emailKeyOf(emailHashKey, emailOf(id))}`, 'EmailClaimed', { customerId: id }, first],
        [`customerCredentials-${id}`, 'CredentialsSet', { passwordHash: CREDENTIALS }, first],
        [stream, 'CustomerRegistered', registration(id), first],
        ['addressIds', 'AddressIdsReserved', { customerId: id }, first],
        [stream, 'CustomerAddressAdded', address(firstAddress(id)), first],
        [stream, 'DefaultBillingAddressSet', { addressId: firstAddress(id) }, first],
        [stream, 'CustomerAddressAdded', address(firstAddress(id) + 1), second],
        [stream, 'CustomerAddressChanged', { addressId: firstAddress(id), city: 'Waco' }, second],
        [stream, 'CustomerDetailsChanged', { lastname: 'Li' }, second],
      ]
    }),
  ]
}

function stored([, type, data, schemaVersion]: Past): NewEvent {
  const id = crypto.randomUUID()
  const metadata = { $correlationId: `request-${type}`, $causationId: id, actor: 'guest', at: THEN, schemaVersion }
  return { id, type, data: { ...data, ...(schemaVersion === 2 && ADDED[type]) } as Json, metadata }
}

const STORE = {
  customAttributes: {
    customer: [{ code: 'shoe_size', label: 'Shoe size', type: 'text', required: false, options: [] }],
    address: [{ code: 'floor', label: 'Floor', type: 'text', required: false, options: [] }],
  },
} as const

/** A log with that past, and a subgraph on it; no projection yet. @param version the oldest in it */
async function startLog(t: Test, kind: (typeof KINDS)[number], version: Version) {
  const log = await aLog(t, kind)
  // The same of both logs: what their events say of addresses is to be compared.
  const env = { EMAIL_HASH_KEY: 'versions'.repeat(4) }
  const keys = loadKeys(loadConfiguration({ ...environment(log.folder), ...env }))
  for (const event of past(version, keys.emailHashKey)) {
    await log.eventStore.append(event[0], [stored(event)], { expected: 'any' })
  }
  const subgraph = await startSubgraph(t, {
    folder: log.folder,
    env,
    projection: false,
    now: () => NOW,
    store: STORE,
    ...(kind === 'kurrentdb' && {
      wrapEventStore: (embedded: EventStore) => {
        void embedded.close()
        return log.eventStore
      },
    }),
  })
  return { ...subgraph, log, keys }
}
type Fixture = Awaited<ReturnType<typeof startLog>>

const VALUES = '{ code ... on AttributeValue { value } }'
const ADDRESS = `{ id uid customer_id city street region { region_code region } default_billing custom_attributes { value }
  custom_attributesV2 ${VALUES} }`
const CUSTOMER = `{ id email created_at prefix firstname lastname date_of_birth is_subscribed default_billing
  allow_remote_shopping_assistance reward_update_notification reward_warning_notification custom_attributes ${VALUES}
  addresses ${ADDRESS} }`
const HISTORY = `query($id: Int!) { customerHistory(customerId: $id, reason: "ticket 12") {
  edges { node { revision event decidedAt actor problem changes { field from to } } } } }`
const AS_OF = `query($id: Int!, $at: String!) { customerAsOf(customerId: $id, at: $at, reason: "ticket 12") {
  revision status customer ${CUSTOMER} } }`

/** What customers do with the release of today. */
const COMMANDS: readonly (readonly [id: number, query: string, variables: object])[] = [
  [
    OLD,
    `mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer ${CUSTOMER} } }`,
    // The value that it has: nothing changes by it.
    { input: { firstname: 'Bea', allow_remote_shopping_assistance: false } },
  ],
  [
    OLD,
    `mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer ${CUSTOMER} } }`,
    { input: { custom_attributes: [{ attribute_code: 'shoe_size', value: '39' }] } },
  ],
  [
    OLD,
    `mutation($input: CustomerAddressInput!) { updateCustomerAddress(id: 1, input: $input) ${ADDRESS} }`,
    { input: { custom_attributesV2: [{ attribute_code: 'floor', value: '3' }] } },
  ],
  [OLD, 'mutation { deleteCustomerAddress(id: 2) }', {}],
  [
    OLD,
    `mutation($password: String!) { updateCustomerEmail(email: "old@example.com", password: $password) { customer ${CUSTOMER} } }`,
    { password: PASSWORD },
  ],
  ...IDS.map((id) => [id, CREATE_ADDRESS, { input: TEXAN }] as const),
  [MIXED, 'mutation { updateCustomer(input: { is_subscribed: false }) { customer { is_subscribed } } }', {}],
  [NEW, 'mutation { deleteCustomer }', {}],
]

const inBoth = <T>(logs: readonly Fixture[], work: (log: Fixture) => Promise<T>) => Promise.all(logs.map(work))

const folds = ({ eventStore }: Fixture) => Promise.all(IDS.map((id) => foldCustomer(eventStore, id)))

for (const kind of KINDS) {
  const does = kind === 'kurrentdb' ? builtIn('it looks into the log') : {}
  t.test(`${kind}: a log of both versions is read as one`, does, async (t) => {
    const logs = await Promise.all([startLog(t, kind, 1), startLog(t, kind, 2)])
    const [both, today] = logs
    const versions = (rows: readonly { stream: string; metadata: Buffer }[], id: number) =>
      rows
        .filter(({ stream }) => stream === `customer-${id}`)
        .map(({ metadata }) => JSON.parse(metadata.toString()).schemaVersion)
    const before = both.log.rows()
    t.strictSame(
      IDS.map((id) => versions(before, id)),
      [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 2, 2, 2],
        [2, 2, 2, 2, 2, 2],
      ],
    )
    t.notMatch(String(before.find(({ type }) => type === 'CustomerRegistered')?.data), /createdAt|customAttributes/)
    /** Of tokens, which are others in each log: what stands for each. */
    const tokenIds = new Map<string, string>()
    const settled = <T>(value: T): T =>
      value === undefined
        ? value
        : JSON.parse(JSON.stringify(value).replace(/[0-9a-f-]{36}/g, (id) => tokenIds.get(id) ?? id))
    /** Of both logs the same. @returns it */
    const same = async <T>(what: string, work: (log: Fixture) => Promise<T>): Promise<T> => {
      const [found, expected] = (await inBoth(logs, work)) as [T, T]
      t.strictSame(settled(found), settled(expected), what)
      return found
    }

    const [old] = await same('the folded customers', folds)
    t.match(old, { createdAt: THEN, customAttributes: {}, rewardUpdateNotification: null, newsletter: 'subscribed' })
    t.strictSame(
      old?.addresses.map(({ id, customAttributes }) => [id, customAttributes]),
      [
        [1, {}],
        [2, {}],
      ],
    )

    const tokens = await inBoth(logs, ({ send }) => Promise.all(IDS.map((id) => signIn(send, emailOf(id)))))
    for (const [index, token] of tokens.flat().entries()) {
      const { jti } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
      tokenIds.set(jti, `token of customer ${IDS[index % IDS.length]}`)
    }
    const tokenOf = (log: Fixture, id: number) => tokens[logs.indexOf(log)]?.[id - 1]
    const answer = async (log: Fixture, id: number, query: string, variables: object = {}) => {
      const { data, errors } = await log.send(query, { variables, token: tokenOf(log, id) })
      return { data, errors }
    }
    const answers = (log: Fixture) => Promise.all(IDS.map((id) => answer(log, id, `{ customer ${CUSTOMER} }`)))
    const streamed = await same('queries answered from the streams', answers)
    t.match(streamed[0], {
      data: { customer: { created_at: '2026-01-02 03:04:05', addresses: [{ id: 1 }, { id: 2 }] } },
    })
    t.notOk(streamed.some(({ errors }) => errors))

    for (const [id, query, variables] of COMMANDS) {
      const { errors } = await same(`customer ${id}: ${query}`, (log) => answer(log, id, query, variables))
      t.notOk(errors)
    }
    const rows = both.log.rows()
    t.strictSame(
      IDS.map((id) => versions(rows, id).slice(6)),
      IDS.map((id) => versions(today.log.rows(), id).slice(6)),
      'as many events, all of today',
    )
    t.ok(versions(rows, OLD).length > 10)

    const projected = await folds(both)
    await same('the folded customers after it', folds)
    await inBoth(logs, async ({ eventStore, readModel }) => {
      const projection = startProjection({ eventStore, readModel })
      t.teardown(() => projection.stop())
      await projection.caughtUp()
      await until('complete', async () => (await readModel.getCheckpoint())?.complete === true)
    })
    const documents = await same("the projection's documents", ({ readModel }) => readModel.documents(IDS))
    t.strictSame(documents, projected)
    await same('queries answered from the documents', answers)
    const { body } = await both.app.inject('/metrics')
    t.match(body, /customer_reads_total\{source="read-model"\} [1-9]/)
    t.match(body, /customer_reads_total\{source="stream"\} [1-9]/)

    await t.test('rebuilt', async (t) => {
      const { folder, url } = both.log
      const env = { EVENTSTORE_URL: url, KEYS_URL: `sqlite:${join(folder, 'events-keys.db')}` }
      t.match(await runCommand(folder, ['rebuild'], env), { code: 0, output: /Generation 2 is live/ })
      const rebuilt = await openReadModel(environment(folder).READMODEL_URL as string, { generation: 2 })
      t.teardown(() => rebuilt.close())
      t.strictSame(settled(await rebuilt.documents(IDS)), settled(await today.readModel.documents(IDS)))
      const differences: Difference[] = []
      for await (const each of compareWithLog(both.eventStore, rebuilt, { report() {} })) differences.push(each)
      t.strictSame(differences, [])
    })

    await t.test('audited', async () => {
      const audit = ({ eventStore }: Fixture, line: string, ...rest: string[]) =>
        auditor(eventStore)(...line.split(' '), ...rest)
      for (const rest of [[], ['--reveal', '--reason', 'ticket 12']]) {
        for (const id of IDS) {
          for (const line of [
            ...[`history ${id}`, `diff ${id} --from 0`, `diff ${id} --from 0 --to 4`, `export ${id}`],
            ...[0, 1, 5, 6].map((revision) => `state ${id} --at ${revision}`),
          ]) {
            const asked = line.startsWith('export') ? line : `${line} --json`
            const found = await same(line, async (log) => comparable(json(await audit(log, asked, ...rest))))
            t.ok(found.length > 0)
          }
        }
        for (const field of ['createdAt', 'allowRemoteShoppingAssistance', 'addresses.city']) {
          const line = `find --field ${field}`
          const found = await same(line, async (log) => comparable(json(await audit(log, `${line} --json`, ...rest))))
          t.ok(found.length >= 3, line)
        }
        await same('export', async (log) => comparable(json(await audit(log, 'export', ...rest))))
      }
      const [registered] = json(await audit(both, `export ${OLD}`, '--reveal', '--reason', 'ticket 12'))
      t.strictSame(registered.schemaVersion, 1, 'what it was written in is told')
      t.strictSame(registered.data, { ...registration(OLD), ...ADDED.CustomerRegistered })

      const issue = ({ eventStore, keys }: Fixture) =>
        issueServiceToken(eventStore, createTokens(keys.tokenSigningKey), {
          subject: 'back-office',
          scopes: ['customers:audit', 'customers:read'],
          hours: 1,
          actor: 'operator:olga',
        })
      const services = await inBoth(logs, issue)
      for (const id of IDS) {
        for (const [query, variables] of [
          [HISTORY, { id }],
          ...['0', '1', '4', '6'].map((at) => [AS_OF, { id, at }] as const),
        ] as const) {
          const { data, errors } = await same(`customer ${id}: ${JSON.stringify(variables)}`, async (log) => {
            const asked = { variables, token: services[logs.indexOf(log)]?.token }
            const { data, errors } = await log.send(query, asked)
            const edges = data?.customerHistory?.edges.filter(
              ({ node }: { node: { event: string } }) => node.event !== 'AccessRecorded',
            )
            return { data: edges ? { customerHistory: { edges } } : data, errors }
          })
          t.notOk(errors)
          if (query === HISTORY) t.ok(data.customerHistory.edges.length >= 8)
          else t.equal(data.customerAsOf.revision, Number('at' in variables && variables.at))
        }
      }
    })

    await t.test('proved', async (t) => {
      const key = aKey()
      const { eventStore, rows, forge } = both.log
      t.ok(await writeCheckpoint(eventStore, key))
      const verify = () => verifyLog(eventStore, { keys: [key] })
      const whole = await verify()
      t.strictSame(whole.faults, [])
      // In a file the password of the customer who was deleted is gone; a server keeps it until it is scavenged.
      const withoutHash = past(1, '').length - (kind === 'sqlite' ? 1 : 0)
      t.match(whole, { ok: true, withoutHash, checkpoints: { good: 1 } })
      t.ok(whole.hashed > 10)

      // By what is stored, not by what is read: nobody has to know how an event is brought up to date.
      const proof = await proveInclusion(eventStore, key, { stream: `customer-${OLD}`, revision: 0 }, { content: true })
      t.equal(checkInclusion(proof, key), undefined)
      t.strictSame(proof.event?.data, registration(OLD))

      const original = rows()
      const updated = (revision: number) =>
        original.map((row) => {
          if (row.stream !== `customer-${OLD}` || row.revision !== revision) return row
          const metadata = JSON.parse(row.metadata.toString())
          const data = upcast(row.type, JSON.parse(row.data.toString()), metadata)
          const asToday = { ...metadata, schemaVersion: SCHEMA_VERSION }
          return { ...row, data: Buffer.from(JSON.stringify(data)), metadata: Buffer.from(JSON.stringify(asToday)) }
        })
      forge(updated(0))
      t.match((await verify()).faults, [{ kind: 'checkpoint' }], 'brought up to date in the store it is another event')
      forge(updated(5))
      t.match((await verify()).faults[0], { kind: 'unlinked', stream: `customer-${OLD}`, revision: 6 })
      forge(original)
      t.ok((await verify()).ok)
    })
  })
}

/** What differs between two logs: when the store wrote, the ids that it was given, and the version. */
const DIFFERENT = ['id', 'position', 'time', 'requestId', 'causationId', 'schemaVersion', 'from', 'to']

/** Of customers' own streams alone: what is recorded of sign-ins may come a moment sooner or later. */
const comparable = (entries: readonly Record<string, unknown>[]) =>
  entries
    .filter(({ stream = 'customer-' }) => /^customer-/.test(String(stream)))
    .map((entry) => Object.fromEntries(Object.entries(entry).filter(([name]) => !DIFFERENT.includes(name))))

/** The event with what version 2 added as it is read of version 1, or without it, in version 1. */
function inVersion(version: Version, event: RecordedEvent): RecordedEvent {
  const metadata = { ...(event.metadata as EventMetadata), schemaVersion: version }
  const added =
    event.type === 'CustomerRegistered' ? { ...ADDED[event.type], createdAt: metadata.at } : ADDED[event.type]
  const data = { ...(event.data as object), ...added }
  const kept = Object.entries(data).filter(([name]) => version === 2 || !Object.hasOwn(added ?? {}, name))
  return { ...event, data: Object.fromEntries(kept) as Json, metadata: metadata as Json }
}

t.test('any customer, in any mixture of versions', async () => {
  fc.assert(
    fc.property(history(7), fc.infiniteStream(fc.constantFrom(1 as const, 2 as const)), (each, versions) => {
      const events = recorded(each)
      const fold = (read: readonly RecordedEvent[]) =>
        read.map((event) => decode<CustomerEvent>(event)).reduce(project, absentCustomer(7))
      const mixed = events.map((event) => inVersion(versions.next().value as Version, event))
      for (const event of mixed) check(event.type as CustomerEvent['type'], decode(event).data)
      const [found, expected] = [fold(mixed), fold(events.map((event) => inVersion(2, event)))]
      return isDeepStrictEqual(found, expected)
    }),
    { numRuns: 300 },
  )
})
