/** Sign-ins, wrong passwords, lockouts, resets and revocations on record: whose, from where, and never at their cost. */
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../../eventstore/port.ts'
import { keptAddress } from '../../runtime/client-address.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import type { PartialStore } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { buildSubgraph } from '../../subgraph/server.ts'
import { collect } from '../projections/support.ts'
import {
  client,
  environment,
  freshEmail,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  temporaryFolder,
} from '../support/graph.ts'
import { linkToken } from '../support/magento.ts'
import { until } from '../support/until.ts'
import { auditor, json } from './support.ts'

const SIGN_IN =
  'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }'
const FROM = { 'x-forwarded-for': '203.0.113.77', 'user-agent': 'Netscape/4' }

/** What is recorded of a customer, or of the addresses that nobody has. Closing the instance would wait for it, too. */
const recorded = (eventStore: EventStore, key: string | number, count: number) =>
  until(`${count} records`, async () => {
    const events = (await collect(eventStore.readAll())).filter(({ stream }) =>
      key === 'nobody' ? /^customerAccess-[0-9a-f]{64}$/.test(stream) : stream === `customerAccess-${key}`,
    )
    return events.length >= count && events
  })

const textOf = (events: readonly RecordedEvent[]) =>
  JSON.stringify(events.map(({ data, metadata }) => [data, metadata]))
const kinds = (events: readonly RecordedEvent[]) => events.map(({ data }) => (data as { kind: string }).kind)

t.test('what happens around passwords and tokens', async (t) => {
  const folder = await temporaryFolder(t)
  const { send, eventStore } = await startSubgraph(t, {
    folder,
    store: { lockout: { failures: 3, minutes: 10 }, password: { resetMinutesBetween: 0 } },
  })
  const { email, id, token } = await signUp(send)
  const from = (query: string, variables: object = {}, bearer?: string) =>
    send(query, { variables, headers: FROM, token: bearer })
  await from(SIGN_IN, { email, password: 'Wr0ng-password' })
  await from(SIGN_IN, { email: email.toUpperCase(), password: PASSWORD })
  const change =
    'mutation($a: String!, $b: String!) { changeCustomerPassword(currentPassword: $a, newPassword: $b) { id } }'
  await from(change, { a: 'Wr0ng-password', b: 'N3w-password' }, token)
  await from(change, { a: PASSWORD, b: 'N3w-password' }, token)
  await from('mutation { revokeCustomerToken { result } }', {}, token)
  await from('mutation($email: String!) { requestPasswordResetEmail(email: $email) }', { email })
  const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
  const reset = await from(
    'mutation($email: String!, $token: String!) { resetPassword(email: $email, resetPasswordToken: $token, newPassword: "An0ther-password") }',
    { email, token: await linkToken(eventStore, emailHashKey, 'reset-password', id) },
  )
  t.equal(reset.data.resetPassword, true)
  for (let i = 0; i < 3; i++) await from(SIGN_IN, { email, password: 'Wr0ng-password' })
  await from(SIGN_IN, { email, password: 'An0ther-password' })

  const events = await recorded(eventStore, id, 13)
  t.same(kinds(events), [
    'signed-in',
    'sign-in-failed',
    'signed-in',
    'password-refused',
    'password-changed',
    'tokens-revoked',
    'password-reset-requested',
    'password-reset',
    'sign-in-failed',
    'sign-in-failed',
    'locked',
    'sign-in-failed',
    'sign-in-failed',
  ])
  for (const { data, metadata } of events.slice(1)) {
    t.match(data, { clientAddress: '203.0.113.0/24', userAgent: 'Netscape/4' })
    t.match(metadata, { actor: /^(guest|customer:\d+)$/, $correlationId: /./ })
  }
  t.notMatch(textOf(events), /str0ng|wr0ng|n3w-pass|an0ther|eyJhbGci/i, 'neither passwords nor tokens')
  t.same(await eventStore.getStreamMetadata(`customerAccess-${id}`), { $maxAge: 365 * 86_400 })
  const timeline = json(await auditor(eventStore)('history', String(id), '--json'))
  t.equal(timeline.filter(({ type }) => type === 'AccessRecorded').length, events.length)
  const times = timeline.map(({ time }) => time)
  t.same(times, [...times].sort(), 'in the order of time')
})

t.test('an address that nobody has is recorded by its keyed hash', async (t) => {
  const { send, eventStore } = await startSubgraph(t)
  const email = freshEmail()
  t.notOk(await signIn(send, email))
  await send('mutation($email: String!) { requestPasswordResetEmail(email: $email) }', { variables: { email } })
  const events = await recorded(eventStore, 'nobody', 2)
  t.same(kinds(events), ['sign-in-failed', 'password-reset-requested'])
  t.notMatch(textOf(events), email)
})

const settings: readonly (readonly [PartialStore['audit'] & object, object])[] = [
  [{ keepClientAddress: 'none', keepUserAgent: false }, { kind: 'signed-in' }],
  [{ keepClientAddress: 'full' }, { kind: 'signed-in', clientAddress: '203.0.113.77', userAgent: 'Netscape/4' }],
]
for (const [audit, expected] of settings) {
  t.test(`kept as the store's settings say: ${JSON.stringify(audit)}`, async (t) => {
    const { send, eventStore } = await startSubgraph(t, { store: { audit: { ...audit, retentionDays: 2 } } })
    const { id } = await signUp((query, options) => send(query, { ...options, headers: FROM }))
    const [event] = await recorded(eventStore, id, 1)
    t.same(event?.data, expected)
    const metadata = await until('it has metadata', async () => {
      const found = await eventStore.getStreamMetadata(`customerAccess-${id}`)
      return Object.keys(found).length > 0 && found
    })
    t.same(metadata, { $maxAge: 2 * 86_400 })
  })
}

t.test('over a socket the header counts only with the secret of the gateway', async (t) => {
  const addressOf = async (t: Test, secret: string | undefined) => {
    const folder = await temporaryFolder(t)
    const { eventStore, readModel } = await startSubgraph(t, { folder })
    const keys = loadKeys(loadConfiguration(environment(folder)))
    const app = await buildSubgraph({ eventStore, readModel, keys, secret })
    t.teardown(() => app.close())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const send = client(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}/graphql`)
    const headers = { ...FROM, ...(secret && { 'x-subgraph-secret': secret }) }
    const withHeaders: Send = (query, options) => send(query, { ...options, headers })
    const { id } = await signUp(withHeaders)
    return (await recorded(eventStore, id, 1))[0]?.data
  }
  t.match(await addressOf(t, undefined), { clientAddress: '127.0.0.0/24' })
  t.match(await addressOf(t, 's'.repeat(16)), { clientAddress: '203.0.113.0/24' })
})

t.test('a record that can not be written costs nobody the sign-in, and is counted', async (t) => {
  const { app, send } = await startSubgraph(t, {
    wrapEventStore: (eventStore) => ({
      ...eventStore,
      append: (stream, events, options) =>
        stream.startsWith('customerAccess-')
          ? Promise.reject(new EventStoreUnavailable('away'))
          : eventStore.append(stream, events, options),
    }),
  })
  const { email, token } = await signUp(send)
  t.ok(token)
  t.notOk(await signIn(send, email, 'Wr0ng-password'))
  const metrics = (await app.inject('/metrics')).body
  t.match(metrics, /^access_records_failed_total 2$/m)
})

t.test('of an address as much as may be kept', async (t) => {
  for (const [address, network, full] of [
    ['203.0.113.77', '203.0.113.0/24', '203.0.113.77'],
    ['::ffff:203.0.113.77', '203.0.113.0/24', '203.0.113.77'],
    ['2001:db8:1:2:3::4', '2001:db8:1::/48', '2001:db8:1:2:3::4'],
    ['2001:DB8::1', '2001:db8:0::/48', '2001:DB8::1'],
    ['::1', '0:0:0::/48', '::1'],
    ['fe80::1%eth0', 'fe80:0:0::/48', 'fe80::1%eth0'],
    ['203.0.113.77:4711', '203.0.113.0/24', '203.0.113.77'],
    ['[2001:db8:1:2::9]:443', '2001:db8:1::/48', '2001:db8:1:2::9'],
    ['unknown', undefined, undefined],
    ['', undefined, undefined],
  ] as const) {
    t.equal(keptAddress(address, 'network'), network, address)
    t.equal(keptAddress(address, 'full'), full, address)
    t.equal(keptAddress(address, 'none'), undefined)
  }
})
