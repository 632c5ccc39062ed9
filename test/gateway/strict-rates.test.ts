/** The strict rate limit: whatever guesses at a password, sends mail or makes accounts, however it is written; and who counts as one client. */
import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { tidyForwardedFor } from '../../gateway/http/forwarded-for.ts'
import { createRateLimiter } from '../../gateway/limits/rate-limits.ts'
import { buildGateway } from '../../gateway/server.ts'
import { clientKey } from '../../runtime/client-address.ts'
import { signUp, startSubgraph } from '../support/graph.ts'
import { post } from './support.ts'

const supergraph = join(import.meta.dirname, '../../schema/supergraph.graphql')
const subgraph = await startSubgraph(t, { store: { newsletter: { confirmationRequired: true } } })
const customers = `${await subgraph.app.listen({ port: 0, host: '127.0.0.1' })}/graphql`
const { token } = await signUp(subgraph.send)
const authorization = `Bearer ${token}`

/** Six sensitive fields at once. Each test sends as clients of its own. */
const gateway = await buildGateway({
  supergraph,
  subgraphUrls: { customers },
  batchLimit: 10,
  trustProxy: true,
  rateLimits: { perMinute: 60_000, signInPerMinute: 36 },
})
t.teardown(() => gateway.close())
const url = `${await gateway.listen({ port: 0, host: '127.0.0.1' })}/graphql`

/** Mails that were asked for so far. */
async function mails(): Promise<number> {
  let count = 0
  for await (const { type } of subgraph.eventStore.readAll()) if (type.endsWith('ConfirmationRequested')) count++
  return count
}

let client = 0
const from = () => ({ authorization, 'x-forwarded-for': `198.51.100.${++client}` })
const times = (count: number, field: (index: number) => string) => Array.from({ length: count }, (_, i) => field(i))

t.test('one request of 50 aliases sends no 50 mails', async (t) => {
  const before = await mails()
  const aliases = times(50, (i) => `a${i}: subscribeEmailToNewsletter(email: "guest${i}@example.com") { status }`)
  const { status } = await post(url, { query: `mutation { ${aliases.join(' ')} }` }, from())
  t.equal(status, 429)
  t.equal(await mails(), before)
  const few = times(6, (i) => `a${i}: subscribeEmailToNewsletter(email: "few${i}@example.com") { status }`)
  t.equal((await post(url, { query: `mutation { ${few.join(' ')} }` }, from())).status, 200)
  t.equal(await mails(), before + 6)
})

const UPDATE = 'updateCustomer(input: { firstname: "Ann", password: "guess" }) { customer { id } }'
const NEWSLETTER = 'subscribeEmailToNewsletter(email: "x@example.com") { status }'
const WRITTEN: Readonly<Record<string, object>> = {
  subscribeEmailToNewsletter: { query: `mutation { a: ${NEWSLETTER} }` },
  confirmNewsletterSubscription: {
    query: 'mutation { confirmNewsletterSubscription(email: "x@example.com", confirmation_key: "x") { status } }',
  },
  resendConfirmationEmail: { query: 'mutation { resendConfirmationEmail(email: "x@example.com") }' },
  confirmEmail: {
    query: 'mutation { confirmEmail(input: { email: "x@example.com", confirmation_key: "x" }) { customer { id } } }',
  },
  'updateCustomer with a password': { query: `mutation { ${UPDATE} }` },
  'a password as a variable': {
    query: 'mutation($p: String) { updateCustomer(input: { firstname: "Ann", password: $p }) { customer { id } } }',
    variables: { p: 'guess' },
  },
  'a password in a variable': {
    query: 'mutation($i: CustomerInput!) { updateCustomer(input: $i) { customer { id } } }',
    variables: { i: { firstname: 'Ann', password: 'guess' } },
  },
  'a password that a variable has by default': {
    query:
      'mutation($i: CustomerInput! = { firstname: "Ann", password: "guess" }) { updateCustomer(input: $i) { customer { id } } }',
  },
  'a subscription by updateCustomerV2': {
    query: 'mutation { updateCustomerV2(input: { is_subscribed: true }) { customer { id } } }',
  },
  'a fragment': { query: `mutation { ...F } fragment F on Mutation { ${UPDATE} }` },
  'fragments in fragments': {
    query: `mutation { ...F ... on Mutation { ...G } } fragment F on Mutation { __typename } fragment G on Mutation { ...H } fragment H on Mutation { ${UPDATE} }`,
  },
  'one of two operations': {
    query: `query Q { countries { id } } mutation M { ${UPDATE} }`,
    operationName: 'M',
  },
}

for (const [name, body] of Object.entries(WRITTEN)) {
  t.test(`counts: ${name}`, async (t) => {
    const headers = from()
    for (let i = 0; i < 6; i++) t.equal((await post(url, body, headers)).status, 200)
    const { status, body: answer } = await post(url, body, headers)
    t.equal(status, 429)
    t.match(answer.errors, [{ extensions: { code: 'RATE_LIMITED' } }])
    t.equal((await post(url, { query: `{ countries { id } }` }, headers)).status, 200, 'other requests go on')
    const batch = await post(url, [body, body], headers)
    t.ok(
      batch.body.every((each: { errors?: object[] }) => each.errors),
      'nor in a batch',
    )
  })
}

t.test('does not count: a change without a password', async (t) => {
  const headers = from()
  const plain = [
    { query: 'mutation { updateCustomer(input: { firstname: "Ann" }) { customer { id } } }' },
    { query: 'mutation { updateCustomer(input: { firstname: "Ann", password: null }) { customer { id } } }' },
    {
      query: 'mutation($i: CustomerInput!) { updateCustomer(input: $i) { customer { id } } }',
      variables: { i: { firstname: 'Ann', is_subscribed: false } },
    },
  ]
  for (let i = 0; i < 9; i++) t.equal((await post(url, plain[i % 3], headers)).status, 200)
})

t.test('who is one client', async (t) => {
  for (const [address, key] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['0:0:0:0:0:FFFF:c000:201', '192.0.2.1'],
    ['192.0.2.1:52100', '192.0.2.1'],
    ['[::ffff:c000:201]:80', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::9]:443', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::9', '2001:db8:1:3::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
  ] as const) {
    t.equal(clientKey(address), key, address)
  }
  const limiter = await createRateLimiter({
    buckets: { default: { capacity: 9, perMinute: 9 }, strict: { capacity: 2, perMinute: 2 } },
  })
  const taken = async (address: string) => (await limiter.take('strict', address)).allowed
  t.same(
    [await taken('2001:db8::1'), await taken('2001:db8::ffff:2'), await taken('2001:db8:0:0:9::3')],
    [true, true, false],
  )
  t.ok(await taken('2001:db8:0:1::1'), 'the next network')
  t.same([await taken('192.0.2.7'), await taken('::ffff:192.0.2.7'), await taken('192.0.2.7:9')], [true, true, false])

  const ask = async (suffix: number) =>
    (await post(url, { query: `mutation { ${NEWSLETTER} }` }, { 'x-forwarded-for': `2001:db8:7:7::${suffix}` })).status
  const statuses = []
  for (let i = 1; i <= 7; i++) statuses.push(await ask(i))
  t.same(statuses, [200, 200, 200, 200, 200, 200, 429])
})

t.test('the client behind proxies: ports do not make them strangers, and no text is a client', async (t) => {
  const app = Fastify({ trustProxy: ['10.0.0.0/8', 'fd00::/64'] })
  tidyForwardedFor(app)
  app.get('/', async ({ ip }) => ip)
  t.teardown(() => app.close())
  const seen = async (header: string, remoteAddress = '10.0.0.1') =>
    (await app.inject({ url: '/', remoteAddress, headers: { 'x-forwarded-for': header } })).body
  for (const [header, ip] of [
    ['203.0.113.9', '203.0.113.9'],
    ['203.0.113.9:4711', '203.0.113.9'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['203.0.113.9, 10.0.0.7:4711', '203.0.113.9'],
    ['2001:db8::1, [fd00::5]:80, ::ffff:10.0.0.7', '2001:db8::1'],
    ['1.1.1.1, 203.0.113.9,10.0.0.7', '203.0.113.9'],
    [' 203.0.113.9 ,, ', '203.0.113.9'],
    ['unknown', '10.0.0.1'],
    ['203.0.113.9, unknown, 10.0.0.7', '10.0.0.7'],
    ['x'.repeat(5_000), '10.0.0.1'],
    ['999.1.1.1, _hidden', '10.0.0.1'],
    ['', '10.0.0.1'],
  ] as const) {
    t.equal(await seen(header), ip, header.slice(0, 60))
  }
  t.equal(await seen('203.0.113.9', '192.0.2.1'), '192.0.2.1', 'no proxy')
  t.equal(await seen('203.0.113.9', '::ffff:10.0.0.1'), '203.0.113.9', 'a proxy, on a dual-stack socket')
})
