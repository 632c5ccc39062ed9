/** Tokens that were revoked, or ended with a password or a customer: refused by the gateway within a second, for all subgraphs. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Source } from 'graphql'
import t, { type Test } from 'tap'
import { composeSchemas } from '../../gateway/planning/compose.ts'
import { buildGateway, type GatewayOptions } from '../../gateway/server.ts'
import { post, startSubgraph as startOther } from '../gateway/support.ts'
import { PASSWORD, signIn, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { freePort, startProcess, untilReady } from '../support/processes.ts'

const SECRET = 'the secret of the subgraph'
const folder = await temporaryFolder(t)
const one = await startSubgraph(t, { folder, secret: SECRET })
const two = await startSubgraph(t, { folder, projection: false, secret: SECRET })
const base = await one.app.listen({ port: 0, host: '127.0.0.1' })
await two.app.listen({ port: 0, host: '127.0.0.1' })

const send = withSecret(one.send)
const elsewhere = withSecret(two.send)

/** As a gateway that has the secret. */
function withSecret(plain: typeof one.send): typeof one.send {
  return (query, options = {}) =>
    plain(query, { ...options, headers: { ...options.headers, 'x-subgraph-secret': SECRET } })
}

/** Another subgraph, which takes any signature for a customer. */
let calls = 0
const reports = await startOther(
  t,
  `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@authenticated"])
   type Query { report: String @authenticated open: String } type Mutation { print: String }`,
  { Query: { report: () => 'report', open: () => 'open' }, Mutation: { print: () => 'printed' } },
  () => calls++,
)
const supergraph = composed(t)

function composed(t: Test): string {
  const customers = readFileSync('schema/customer.graphql', 'utf8')
  const report = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@authenticated"])
      type Query { report: String @authenticated open: String } type Mutation { print: String }`
  const result = composeSchemas([
    { name: 'customers', url: `${base}/graphql`, schema: new Source(customers) },
    { name: 'reports', url: reports, schema: new Source(report) },
  ])
  if (result.supergraph === undefined) throw new Error(result.errors.join('\n'))
  const path = join(t.testdir({}), 'supergraph.graphql')
  writeFileSync(path, result.supergraph)
  return path
}

async function start(t: Test, options: Partial<GatewayOptions> = {}) {
  const gateway = await buildGateway({
    supergraph,
    subgraphSecret: SECRET,
    tokenKeys: { jwksUrl: `${base}/.well-known/jwks.json` },
    tokenStatus: { url: `${base}/introspect`, secret: SECRET },
    ...options,
  })
  t.teardown(() => gateway.close())
  const url = await gateway.listen({ port: 0, host: '127.0.0.1' })
  const ask = (query: string, token?: string) =>
    post(`${url}/graphql`, { query }, token === undefined ? {} : { authorization: `Bearer ${token}` })
  return { url, ask, metrics: async () => (await fetch(`${url}/metrics`)).text() }
}

const gateway = await start(t)
const { ask } = gateway

const DEAD = {
  status: 401,
  body: {
    errors: [
      {
        message: 'User token has been revoked',
        extensions: { category: 'graphql-authentication', code: 'UNAUTHENTICATED' },
      },
    ],
  },
}
const refused = (answer: { status: number; body: unknown }) => ({ status: answer.status, body: answer.body })
const OPERATIONS = [
  '{ report }',
  '{ open }',
  '{ customer { id } report }',
  '{ countries { id } }',
  'mutation { print }',
  'mutation { updateCustomer(input: { suffix: "" }) { customer { id } } }',
]
const within = () => new Promise((resolve) => setTimeout(resolve, 1_000))

const ENDINGS: Readonly<Record<string, (customer: { token: string; email: string }) => Promise<unknown>>> = {
  'a revocation': ({ token }) => elsewhere('mutation { revokeCustomerToken { result } }', { token }),
  'a deletion': ({ token }) => elsewhere('mutation { deleteCustomer }', { token }),
  'another password': async ({ email }) =>
    elsewhere(
      `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`,
      {
        token: await signIn(elsewhere, email),
      },
    ),
  'another address': async ({ email }) =>
    elsewhere(`mutation { updateCustomerEmail(email: "new-${email}", password: "${PASSWORD}") { customer { id } } }`, {
      token: await signIn(elsewhere, email),
    }),
}

t.test('what ends a token on another instance ends it at the gateway, for every operation', async (t) => {
  await Promise.all(
    Object.entries(ENDINGS).map(async ([name, end]) => {
      const customer = await signUp(send)
      const { token } = customer
      for (const query of OPERATIONS) {
        const { status, body } = await ask(query, token)
        t.same([status, body.errors], [200, undefined], `${name}, before: ${query}`)
      }
      await end(customer)
      await within()
      for (const query of OPERATIONS) t.same(refused(await ask(query, token)), DEAD, `${name}: ${query}`)
    }),
  )
  const { headers } = await ask('{ open }', `${(await signUp(send)).token}x`)
  t.match(headers.get('www-authenticate'), /^Bearer error="invalid_token"/, 'a forged one: the same')
})

t.test('a token in use is refused within a second, and without a call to any subgraph from then on', async (t) => {
  const { token } = await signUp(send)
  await ask('{ report }', token)
  await elsewhere('mutation { revokeCustomerToken { result } }', { token })
  const revoked = performance.now()
  while ((await ask('{ report }', token)).status === 200) {
    t.ok(performance.now() - revoked < 1_000)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const before = calls
  for (let i = 0; i < 5; i++) t.same(refused(await ask('{ report }', token)), DEAD)
  t.equal(calls, before)
})

t.test('a revocation through the gateway is known to it at once', async (t) => {
  const { token } = await signUp(send)
  t.equal((await ask('{ report }', token)).status, 200)
  t.equal((await ask('mutation { revokeCustomerToken { result } }', token)).status, 200)
  t.same(refused(await ask('{ report }', token)), DEAD)
})

t.test('the token that asked for another password goes on', async (t) => {
  const { token, email } = await signUp(send)
  const other = await signIn(send, email)
  await ask('{ report }', other)
  const change = `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`
  t.equal((await ask(change, token)).body.errors, undefined)
  await within()
  t.equal((await ask('{ report }', token)).status, 200)
  t.same(refused(await ask('{ report }', other)), DEAD)
})

t.test('a token in use costs a question every now and then, not one for each request', async (t) => {
  const { ask, metrics } = await start(t)
  const { token } = await signUp(send)
  const started = performance.now()
  for (let i = 0; i < 200; i++) await ask('{ open }', token)
  const [, asked] = /gateway_token_checks_total\{outcome="active"\} (\d+)/.exec(await metrics()) ?? []
  t.ok(Number(asked) <= 1 + (performance.now() - started) / 400, `${asked} questions`)
})

t.test(
  'while it can not be asked, the gateway takes a token for a guest’s, and subgraphs see for themselves',
  async (t) => {
    const { token } = await signUp(send)
    for (const tokenStatus of [
      { url: 'http://127.0.0.1:1/introspect', secret: SECRET },
      { url: `${base}/introspect`, secret: 'not the secret of the subgraph' },
    ]) {
      const { ask, metrics } = await start(t, { tokenStatus })
      const { body } = await ask('{ report }', token)
      t.match(body.errors, [{ extensions: { code: 'FORBIDDEN' } }])
      t.equal(body.data.report, null)
      t.match((await ask('{ customer { id } }', token)).body.data, { customer: { id: Number } })
      t.match(await metrics(), /gateway_token_checks_total\{outcome="failed"\} [1-9]/)
    }
  },
)

t.test('POST /introspect, by RFC 7662', async (t) => {
  const introspect = async (body: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${base}/introspect`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-subgraph-secret': SECRET, ...headers },
      body,
    })
    return { status: response.status, cache: response.headers.get('cache-control'), ...(await response.json()) }
  }
  const { id, token } = await signUp(send)
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  t.match(await introspect(`token=${token}&token_type_hint=access_token`), {
    status: 200,
    cache: 'no-store',
    active: true,
    sub: String(id),
    jti: claims.jti,
    exp: claims.exp,
    token_type: 'Bearer',
  })
  t.same(await introspect(`token=${token}x`), { status: 200, cache: 'no-store', active: false })
  t.match(await introspect(''), { status: 400, error: 'invalid_request' })
  t.match(await introspect(`token=${token}`, { 'x-subgraph-secret': 'wrong' }), { status: 401, active: undefined })
  t.match(await introspect(`{"token":"${token}"}`, { 'content-type': 'application/json' }), { status: 400 })
  t.equal((await introspect(`token=${'x'.repeat(20_000)}`)).status, 413)
  t.equal(
    (
      await fetch(`${base}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: 'query={countries{id}}',
      })
    ).status >= 400,
    true,
    'forms are read there alone',
  )
  await elsewhere('mutation { revokeCustomerToken { result } }', { token })
  t.same(
    await introspect(`token=${token}`),
    { status: 200, cache: 'no-store', active: false },
    'at once, on another instance',
  )
})

t.test('npm start: the gateway knows without any setting', async (t) => {
  const folder = await temporaryFolder(t)
  const port = await freePort()
  const service = startProcess(t, 'bin/start.ts', folder, { GATEWAY_PORT: String(port), SUBGRAPH_SECRET: SECRET })
  const url = `http://127.0.0.1:${port}`
  await untilReady(service, `${url}/readyz`)
  const request = (query: string, token?: string) =>
    post(`${url}/graphql`, { query }, token === undefined ? {} : { authorization: `Bearer ${token}` })
  const plain: typeof one.send = async (query, { variables } = {}) =>
    (await post(`${url}/graphql`, { query, variables })).body
  const { token, email } = await signUp(plain)
  const other = await signIn(plain, email)
  t.equal((await request('{ customer { id } }', other)).status, 200)
  await request('mutation { revokeCustomerToken { result } }', token)
  await within()
  t.same(refused(await request('{ countries { id } }', other)), DEAD)
})
