/** Tokens that were revoked, or ended with a password or a customer: refused by the gateway within a second, for all subgraphs. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { buildGateway, type GatewayOptions } from '../../gateway/server.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { type Answer, compose, post, startSubgraph as startOther } from '../gateway/support.ts'
import { startClock } from '../support/clock.ts'
import { PASSWORD, signIn, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { until } from '../support/until.ts'

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
const REPORTS = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@authenticated"])
   type Query { report: String @authenticated open: String } type Mutation { print: String }`
const reports = await startOther(
  t,
  REPORTS,
  { Query: { report: () => 'report', open: () => 'open' }, Mutation: { print: () => 'printed' } },
  () => calls++,
)
const supergraph = compose(t, {
  customers: { sdl: readFileSync('schema/customer.graphql', 'utf8'), url: `${base}/graphql` },
  reports: { sdl: REPORTS, url: reports },
})

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

const ENDINGS: Readonly<Record<string, (customer: { token: string; email: string; id: number }) => Promise<unknown>>> =
  {
    'a revocation': ({ token }) => elsewhere('mutation { revokeCustomerToken { result } }', { token }),
    'a deletion': ({ token }) => elsewhere('mutation { deleteCustomer }', { token }),
    'another password': async ({ email }) =>
      elsewhere(
        `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id } }`,
        {
          token: await signIn(elsewhere, email),
        },
      ),
    'a reset': async ({ email, id }) => {
      await elsewhere(`mutation { requestPasswordResetEmail(email: "${email}") }`)
      let asked = ''
      for await (const event of one.eventStore.readStream(`customer-${id}`)) asked = event.id
      const link = createMailTokens(KEYS.EMAIL_HASH_KEY).of('reset-password', asked)
      await elsewhere(
        `mutation { resetPassword(email: "${email}", resetPasswordToken: "${link}", newPassword: "N3w-password") }`,
      )
    },
    'another address': async ({ email }) =>
      elsewhere(
        `mutation { updateCustomerEmail(email: "new-${email}", password: "${PASSWORD}") { customer { id } } }`,
        {
          token: await signIn(elsewhere, email),
        },
      ),
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
  const sinceRevoked = startClock(t)
  await until('it is refused', async () => {
    const asked = sinceRevoked()
    if ((await ask('{ report }', token)).status !== 200) return true
    t.ok(asked < 1_000)
    return false
  })
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

/** What /introspect may do instead of an answer. */
const FAULTS: Readonly<Record<string, (response: ServerResponse) => unknown>> = {
  'it is gone': (response) => response.socket?.destroy(),
  'it hangs': () => {},
  'it hangs within its answer': (response) => response.writeHead(200, { 'content-length': '99' }).write('{"active":'),
  'it fails': (response) => response.writeHead(500).end('{"active":true}'),
  'it refuses the gateway': (response) => response.writeHead(401).end('{"error":"invalid_client"}'),
  'it is overloaded': (response) => response.writeHead(503).end(),
  'it sends the gateway elsewhere': (response) => response.writeHead(307, { location: `${base}/introspect` }).end(),
  'no JSON': (response) => response.end('<html>active</html>'),
  nothing: (response) => response.end(),
  'JSON that is something else': (response) => response.end('[{"active":true}]'),
  null: (response) => response.end('null'),
  'a text in place of a truth value': (response) => response.end('{"active":"true"}'),
  'an endless answer': (response) => {
    const more = () => !response.destroyed && response.write(' '.repeat(65_536), more)
    more()
  },
}

/** /introspect of the subgraph, with a fault in front of it. */
async function startFaulty(t: Test) {
  const state: { fault: ((response: ServerResponse) => unknown) | undefined } = { fault: undefined }
  const server = createServer((request, response) => {
    if (state.fault) return state.fault(response)
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', async () => {
      const { 'x-subgraph-secret': secret, 'content-type': type } = request.headers as Record<string, string>
      const headers = { 'x-subgraph-secret': secret ?? '', 'content-type': type ?? '' }
      const answer = await fetch(`${base}/introspect`, { method: 'POST', headers, body })
      response.writeHead(answer.status).end(await answer.text())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/introspect`
  return { state, tokenStatus: { url, secret: SECRET, timeoutMs: 1_500 } }
}

/** Repeats a question until the answer has the status. */
const untilStatus = (status: number, question: () => Promise<Answer>) =>
  until(`an answer of status ${status}`, async () => {
    const answer = await question()
    return answer.status === status && answer
  })

const UNCHECKED = {
  status: 503,
  body: { errors: [{ extensions: { code: 'TOKEN_UNCHECKED' } }] },
}

t.test('while tokens can not be checked, no request with one is carried out', async (t) => {
  const { state, tokenStatus } = await startFaulty(t)
  const { ask, metrics } = await start(t, { tokenStatus, tokenGraceMs: 60_000 })
  const known = await signUp(send)
  t.equal((await untilStatus(200, () => ask('{ report }', known.token))).status, 200)
  const gone = await signUp(send)
  await elsewhere('mutation { revokeCustomerToken { result } }', { token: gone.token })
  t.same(refused(await ask('{ report }', gone.token)), DEAD)
  for (const [name, fault] of Object.entries(FAULTS)) {
    const { token } = await signUp(send)
    state.fault = fault
    const before = calls
    for (const query of ['mutation { print }', '{ report }', 'mutation { revokeCustomerToken { result } }']) {
      const answer = await ask(query, token)
      t.match(refused(answer), UNCHECKED, `${name}: ${query}`)
      t.notOk('data' in answer.body)
      t.ok(answer.headers.get('retry-after'))
      t.notOk(answer.headers.get('www-authenticate'), 'the client keeps its token')
    }
    t.equal(calls, before, 'no subgraph was called')
    t.match(refused(await ask('{ open }', token)), UNCHECKED, `${name}: a public field`)
    t.equal((await ask('{ open }')).status, 200, `${name}: a guest goes on`)
    t.same((await ask('{ report }', known.token)).body.data, { report: 'report' }, `${name}: a token of a moment ago`)
    t.same(refused(await ask('{ open }', gone.token)), DEAD, `${name}: what is revoked stays so`)
    state.fault = undefined
    t.same((await untilStatus(200, () => ask('{ report }', token))).body.data, { report: 'report' }, `${name}: over`)
  }
  t.match(await metrics(), /gateway_token_checks_total\{outcome="failed"\} [1-9]/)
  state.fault = FAULTS['it fails']
  const { token, email } = await signUp(send)
  const signingIn = `mutation { generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token } }`
  t.match(refused(await ask('{ report }', token)), UNCHECKED)
  t.ok((await ask(signingIn, token)).body.data.generateCustomerToken.token, 'a sign-in goes on')
})

t.test('how long a token goes on that was active, and what then', async (t) => {
  const { state, tokenStatus } = await startFaulty(t)
  const gateways = await Promise.all([0, 1_500].map((tokenGraceMs) => start(t, { tokenStatus, tokenGraceMs })))
  const [strict, patient] = gateways as [(typeof gateways)[0], (typeof gateways)[0]]
  const { token } = await signUp(send)
  for (const { ask } of gateways) t.equal((await untilStatus(200, () => ask('{ report }', token))).status, 200)
  state.fault = FAULTS['it is gone']
  await elsewhere('mutation { revokeCustomerToken { result } }', { token })
  t.match(refused(await untilStatus(503, () => strict.ask('{ report }', token))), UNCHECKED)
  t.match(refused(await untilStatus(503, () => patient.ask('{ report }', token))), UNCHECKED)
  state.fault = undefined
  for (const { ask } of gateways) t.same(refused(await untilStatus(401, () => ask('{ report }', token))), DEAD)
})

t.test('a token that may just have been revoked has no grace', async (t) => {
  const { state, tokenStatus } = await startFaulty(t)
  const { ask } = await start(t, { tokenStatus, tokenGraceMs: 60_000 })
  const { token } = await signUp(send)
  t.equal((await untilStatus(200, () => ask('{ report }', token))).status, 200)
  t.equal((await ask('mutation { revokeCustomerToken { result } }', token)).status, 200)
  state.fault = FAULTS['it fails']
  t.match(refused(await ask('{ report }', token)), UNCHECKED)
})

t.test('where it is set so, a token that can not be checked goes down, and subgraphs see for themselves', async (t) => {
  const { token } = await signUp(send)
  for (const tokenStatus of [
    { url: 'http://127.0.0.1:1/introspect', secret: SECRET },
    { url: `${base}/introspect`, secret: 'not the secret of the subgraph' },
  ]) {
    const { ask, metrics } = await start(t, { tokenStatus, uncheckedTokens: 'pass' })
    const { body } = await ask('{ report }', token)
    t.match(body.errors, [{ extensions: { code: 'FORBIDDEN' } }])
    t.equal(body.data.report, null)
    t.match((await ask('{ customer { id } }', token)).body.data, { customer: { id: Number } })
    t.match(await metrics(), /gateway_token_checks_total\{outcome="failed"\} [1-9]/)
  }
})

t.test('a token that was issued to an earlier customer with the number is nobody’s', async (t) => {
  const { id, token } = await signUp(send)
  const claims = decodeJwt<{ gen: number; reg: number }>(token)
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const earlier = tokens.issue({ customerId: id, generation: claims.gen, registeredAt: claims.reg - 1 })
  t.same(refused(await ask('mutation { print }', earlier)), DEAD)
  t.same(refused(await ask('{ report }', earlier)), DEAD)
})

t.test('POST /introspect, by RFC 7662', async (t) => {
  const introspect = async (body: string, headers: Record<string, string> = {}) => {
    const response = await fetch(`${base}/introspect`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-subgraph-secret': SECRET, ...headers },
      body,
    })
    const challenge = response.headers.get('www-authenticate')
    const cache = response.headers.get('cache-control')
    return { status: response.status, cache, ...(challenge && { challenge }), ...(await response.json()) }
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
  t.match(claims, { iss: 'customers', aud: 'graph' })
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
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const service = (scopes: string[], expiresInMs = 60_000) =>
    tokens.issueForService(
      { service: 'search', scopes },
      { jti: randomUUID(), expiresAt: new Date(Date.now() + expiresInMs) },
    )
  const asService = (caller: string, of = token) =>
    introspect(`token=${of}`, { 'x-subgraph-secret': '', authorization: `Bearer ${caller}` })
  t.match(await asService(service(['tokens:introspect'])), {
    status: 200,
    active: true,
    iss: 'customers',
    aud: 'graph',
  })
  t.match(await asService(service(['customers:read', 'tokens:introspect'])), { status: 200, active: true })
  t.match(await asService(service(['tokens:introspect']), service(['customers:read'])), {
    active: true,
    sub: 'service:search',
    scope: 'customers:read',
  })
  t.same(await asService(service(['tokens:introspect']), 'x'), { status: 200, cache: 'no-store', active: false })
  for (const [caller, status] of [
    [service(['customers:read', 'customers:audit']), 403],
    [token, 403],
    [service(['tokens:introspect'], -60_000), 401],
    [`${service(['tokens:introspect'])}x`, 401],
    ['', 401],
  ] as const) {
    t.match(await asService(caller), { status, active: undefined, challenge: /^Bearer/ })
  }
  await elsewhere('mutation { revokeCustomerToken { result } }', { token })
  t.same(
    await introspect(`token=${token}`),
    { status: 200, cache: 'no-store', active: false },
    'at once, on another instance',
  )
})
