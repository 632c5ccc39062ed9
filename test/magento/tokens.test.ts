/** Tokens and HTTP as Magento 2.4.8 has them: dead tokens, statuses, store views. At the subgraph alone and at the gateway. */
import { createPrivateKey, createSign, generateKeyPairSync } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createSigner } from 'fast-jwt'
import { decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { createTokenVerifier } from '../../gateway/authentication/token-verifier.ts'
import { buildGateway, type GatewayOptions } from '../../gateway/server.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { DEFAULT_TOKEN_NAMES } from '../../runtime/token-names.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { environment, freshEmail, PASSWORD, signIn, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { GUEST, QUICK_STORE } from '../support/magento.ts'

const folder = await temporaryFolder(t)
const keys = loadKeys(loadConfiguration(environment(folder)))
const { app, send } = await startSubgraph(t, {
  folder,
  store: {
    ...QUICK_STORE,
    view: { id: 1, code: 'main', locale: 'en_GB' },
    moreViews: [{ id: 2, code: 'german', locale: 'de_DE' }],
  },
})
await app.listen({ port: 0, host: '127.0.0.1' })
const base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`

async function gateway(t: Test, options: Partial<GatewayOptions> = {}): Promise<string> {
  const gateway = await buildGateway({
    supergraph: new URL('../../schema/supergraph.graphql', import.meta.url).pathname,
    subgraphUrls: { customers: `${base}/graphql` },
    tokenKeys: { jwksUrl: `${base}/.well-known/jwks.json` },
    tokenStatus: { url: `${base}/introspect` },
    ...options,
  })
  t.teardown(() => gateway.close())
  return await gateway.listen({ port: 0, host: '127.0.0.1' })
}

/** Whoever answers a client: each has to say the same. */
const DOORS: Readonly<Record<string, string>> = {
  'the subgraph': base,
  'the gateway': await gateway(t),
  'a gateway that asks nobody': await gateway(t, { tokenStatus: undefined } as never),
  'a gateway without keys': await gateway(t, { tokenKeys: undefined, tokenStatus: undefined } as never),
  "a gateway on Apollo's executor": await gateway(t, { executor: 'apollo', tokenKeys: undefined } as never),
}

async function ask(base: string, query: string, headers: Record<string, string> = {}, variables?: object) {
  const response = await fetch(`${base}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query, variables }),
  })
  // biome-ignore lint/suspicious/noExplicitAny: an answer has the shape that the test's query asks for
  const body = (await response.json()) as any
  return { status: response.status, challenge: response.headers.get('www-authenticate'), body }
}
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

const UNREADABLE = 'Token does not exist'
const EXPIRED = 'Consumer key has expired'
const REVOKED = 'User token has been revoked'

const refused = (message: string) => ({
  status: 401,
  challenge: `Bearer error="invalid_token", error_description="${message}"`,
  body: { errors: [{ message, extensions: { category: 'graphql-authentication', code: 'UNAUTHENTICATED' } }] },
})

const WITHOUT_KEYS = ['a gateway without keys', "a gateway on Apollo's executor"]

/** Of every kind: for guests, for customers, with wrong input, about the schema. */
const OPERATIONS = [
  '{ countries { id } }',
  '{ customer { firstname } }',
  '{ storeConfig { store_code } }',
  '{ isEmailAvailable(email: "x@shop.example") { is_email_available } }',
  '{ __typename }',
  'mutation { updateCustomer(input: { firstname: "" }) { customer { id } } }',
  'mutation { updateCustomer(input: {}) { customer { id } } }',
  'mutation { createCustomerAddress(input: { city: "x" }) { id } }',
  'mutation { deleteCustomerAddress(id: 1) }',
  'mutation { deleteCustomerAddressV2(uid: "!") }',
  'mutation { changeCustomerPassword(currentPassword: "", newPassword: "") { id } }',
  'mutation { revokeCustomerToken { result } }',
  'mutation { deleteCustomer }',
  'mutation { resendConfirmationEmail(email: "x@shop.example") }',
  'mutation { subscribeEmailToNewsletter(email: "no address") { status } }',
  `mutation { updateCustomer(input: { firstname: "${'x'.repeat(300)}" }) { customer { id } } }`,
]

const key = createPrivateKey(
  keys.tokenSigningKey.includes('{') ? { key: JSON.parse(keys.tokenSigningKey), format: 'jwk' } : keys.tokenSigningKey,
)
const { kid } = createTokens(keys.tokenSigningKey).jwks.keys[0] ?? {}
const pem = key.export({ format: 'pem', type: 'pkcs8' }) as string
const signed = (claims: object, options: object = {}) =>
  createSigner({ key: pem, algorithm: 'EdDSA', ...(kid && { kid }), ...options })(claims as never)

const soon = () => Math.floor(Date.now() / 1000) + 600
/** Tokens that tell by themselves that they do not count. */
async function deadTokens(): Promise<Record<string, readonly [string, string]>> {
  const { token, id } = await signUp(send)
  const [head = '', body = '', signature = ''] = token.split('.')
  const claims = { sub: String(id), gen: 0 }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const rsaHead = Buffer.from(JSON.stringify({ alg: 'RS256', typ: 'JWT', kid })).toString('base64url')
  const rsaSignature = createSign('sha256').update(`${rsaHead}.${body}`).sign(rsa, 'base64url')
  const stranger = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
  const hs = createSigner({ key: 'a-secret-of-some-length-that-is-enough', algorithm: 'HS256' })({
    ...claims,
    exp: soon(),
  })
  return {
    'no token at all': ['undefined', UNREADABLE],
    "Magento's opaque one": ['8x2yqz3dp0q7wg8n5wqt1k9h0c2ab4de', UNREADABLE],
    'another signature': [`${head}.${body}.${signature.slice(0, -6)}AAAAAA`, UNREADABLE],
    'no signature': [`${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`, UNREADABLE],
    'another algorithm': [`${rsaHead}.${body}.${rsaSignature}`, UNREADABLE],
    'a shared secret': [hs, UNREADABLE],
    "a stranger's": [signed({ ...claims, exp: soon() }, { key: stranger }), UNREADABLE],
    "a stranger's that is over": [signed({ ...claims, exp: 1 }, { key: stranger }), UNREADABLE],
    'not valid yet': [signed({ ...claims, nbf: soon(), exp: soon() + 600 }), UNREADABLE],
    over: [signed({ ...claims, exp: 1_600_000_000 }), EXPIRED],
    'of another issuer': [signed({ ...claims, exp: soon(), iss: 'others', aud: 'graph' }), UNREADABLE],
    'for others': [signed({ ...claims, exp: soon(), iss: 'customers', aud: 'others' }), UNREADABLE],
    'for several others': [signed({ ...claims, exp: soon(), iss: 'customers', aud: ['a', 'graphs'] }), UNREADABLE],
    'without an issuer': [signed({ ...claims, exp: soon(), aud: 'graph' }), UNREADABLE],
    'without an audience': [signed({ ...claims, exp: soon(), iss: 'customers' }), UNREADABLE],
    'for nobody': [signed({ ...claims, exp: soon(), iss: 'customers', aud: [] }), UNREADABLE],
    'with an issuer that is no text': [
      signed({ ...claims, exp: soon(), iss: ['customers'], aud: 'graph' }),
      UNREADABLE,
    ],
  }
}

t.test('tokens name their issuer and audience; those of earlier releases named neither', async (t) => {
  const { token, id } = await signUp(send)
  const claims = { sub: String(id), gen: 0, exp: soon() }
  t.match(decodeJwt(token), { iss: 'customers', aud: 'graph' })
  const accepted = {
    "the service's own": token,
    'of an earlier release': signed(claims),
    'for several': signed({ ...claims, iss: 'customers', aud: ['others', 'graph'] }),
  }
  for (const [door, base] of Object.entries(DOORS)) {
    for (const [kind, token] of Object.entries(accepted)) {
      t.match(
        await ask(base, '{ customer { id } }', bearer(token)),
        { status: 200, body: { data: { customer: { id } } } },
        `${kind}, at ${door}`,
      )
    }
  }
  // Once the last token of an earlier release has expired.
  const strict = createTokens(keys.tokenSigningKey, { names: { ...DEFAULT_TOKEN_NAMES, acceptsUnnamed: false } })
  const verify = createTokenVerifier({
    keys: { jwksUrl: `${base}/.well-known/jwks.json` },
    names: { ...DEFAULT_TOKEN_NAMES, acceptsUnnamed: false },
  })
  t.equal(strict.read(`Bearer ${signed(claims)}`), 'unreadable')
  await t.rejects(verify(signed(claims)), { code: 'GTW_ERR_INVALID_TOKEN', fault: 'unreadable' })
  t.match(strict.read(`Bearer ${token}`), { customerId: id })
  t.equal(await verify(token), String(id))
})

t.test('a token that is dead by itself is refused, on every operation, and why is said', async (t) => {
  for (const [kind, [token, message]] of Object.entries(await deadTokens())) {
    for (const [door, base] of Object.entries(DOORS)) {
      for (const query of OPERATIONS.slice(0, kind === 'over' ? undefined : 2)) {
        // A gateway without keys knows of no token by itself.
        if (query === '{ __typename }' && WITHOUT_KEYS.includes(door)) continue
        t.same(await ask(base, query, bearer(token)), refused(message), `${kind}, at ${door}: ${query}`)
      }
    }
  }
})

t.test('so is one that was revoked, or whose customer is gone', async (t) => {
  for (const end of ['mutation { revokeCustomerToken { result } }', 'mutation { deleteCustomer }']) {
    const { token } = await signUp(send)
    t.equal((await send(end, { token })).errors, undefined)
    for (const [door, base] of Object.entries(DOORS)) {
      for (const query of OPERATIONS) {
        // Without asking, a gateway knows of what needs no subgraph only by the signature.
        if (query === '{ __typename }' && door !== 'the subgraph' && door !== 'the gateway') continue
        t.same(await ask(base, query, bearer(token)), refused(REVOKED), `${end}, at ${door}: ${query}`)
      }
    }
  }
})

t.test('what a visitor with a dead token does next is carried out', async (t) => {
  const { token: revoked } = await signUp(send)
  await send('mutation { revokeCustomerToken { result } }', { token: revoked })
  const dead = [revoked, 'null', signed({ sub: '1', gen: 0, exp: 1 })]
  for (const [door, base] of Object.entries(DOORS)) {
    for (const token of dead) {
      const email = freshEmail()
      const run = async (query: string) => (await ask(base, query, bearer(token))).body
      const name = `firstname: "A", lastname: "B", password: "${PASSWORD}"`
      const created = await run(
        `mutation { createCustomer(input: { ${name}, email: "${email}" }) { customer { email } } }`,
      )
      t.same(created, { data: { createCustomer: { customer: { email } } } }, door)
      const V2 = `mutation M { __typename ...F } fragment F on Mutation { createCustomerV2(input: { ${name}, email: "v2-${email}" }) { customer { email } } }`
      t.match(await run(V2), { data: { createCustomerV2: { customer: { email: `v2-${email}` } } } }, door)
      const signIn = `generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token }`
      const { data } = await run(`mutation { ${signIn} }`)
      t.equal(
        (await ask(base, '{ customer { email } }', bearer(data.generateCustomerToken.token))).body.data.customer.email,
        email,
      )
      t.same(await run(`mutation { requestPasswordResetEmail(email: "${email}") }`), {
        data: { requestPasswordResetEmail: true },
      })
      const reset = await run(
        `mutation { resetPassword(email: "${email}", resetPasswordToken: "x", newPassword: "N3w-password") }`,
      )
      t.match(reset.errors, [{ message: 'The password token is mismatched. Reset and try again.' }])
      const confirm = await run(
        `mutation { confirmEmail(input: { email: "${email}", confirmation_key: "x" }) { customer { email } } }`,
      )
      t.match(confirm.errors, [{ message: 'The account is already active.' }])
      const mixed = await ask(
        base,
        `mutation { ${signIn} subscribeEmailToNewsletter(email: "${email}") { status } }`,
        bearer(token),
      )
      t.equal(mixed.status, 401, 'beside another one it is refused with it')
      t.notOk('data' in mixed.body)
    }
  }
})

t.test('a sign-in with a living token of another customer is the same sign-in', async (t) => {
  const [one, two] = [await signUp(send), await signUp(send)]
  for (const base of Object.values(DOORS)) {
    const query = `mutation { generateCustomerToken(email: "${two.email}", password: "${PASSWORD}") { token } }`
    const { body } = await ask(base, query, bearer(one.token))
    const own = await ask(base, '{ customer { id } }', bearer(body.data.generateCustomerToken.token))
    t.equal(own.body.data.customer.id, two.id)
  }
})

t.test('nothing of a refused operation is carried out', async (t) => {
  const { token, email } = await signUp(send)
  await send('mutation { revokeCustomerToken { result } }', { token })
  for (const base of Object.values(DOORS)) {
    await ask(base, 'mutation { updateCustomer(input: { firstname: "Eve" }) { customer { id } } }', bearer(token))
    await ask(base, `mutation { a: subscribeEmailToNewsletter(email: "${email}") { status } }`, bearer(token))
  }
  const { data } = await send('{ customer { firstname is_subscribed } }', { token: await signIn(send, email) })
  t.same(data, { customer: { firstname: 'Ann', is_subscribed: false } })
})

t.test('a token that ends within an operation: what came before is told', async (t) => {
  const { token } = await signUp(send)
  const query =
    'mutation { revokeCustomerToken { result } updateCustomer(input: { firstname: "Eve" }) { customer { id } } }'
  const { status, body } = await ask(base, query, bearer(token))
  t.equal(status, 200)
  t.same(body.data, { revokeCustomerToken: { result: true }, updateCustomer: null })
  t.match(body.errors, [
    { message: REVOKED, path: ['updateCustomer'], extensions: { category: 'graphql-authentication' } },
  ])
})

t.test('no token, or what counts as none, on a field that needs one: the other category', async (t) => {
  const { token } = await signUp(send)
  const none: Record<string, string>[] = [
    {},
    { authorization: 'Bearer' },
    { authorization: 'Bearer ' },
    { authorization: `Basic ${token}` },
    { authorization: `Bearer  ${token}` },
    { authorization: `Bearer ${token} x` },
    { authorization: token },
  ]
  for (const [door, base] of Object.entries(DOORS)) {
    for (const headers of none) {
      for (const query of ['{ customer { id } }', 'mutation { revokeCustomerToken { result } }']) {
        const { status, body, challenge } = await ask(base, query, headers)
        t.equal(status, 200, door)
        t.equal(challenge, null)
        t.match(body.errors, [{ message: GUEST[0], extensions: { category: 'graphql-authorization' } }])
      }
      t.equal((await ask(base, '{ countries { id } }', headers)).body.errors, undefined)
    }
    for (const scheme of ['bearer', 'BEARER']) {
      t.ok((await ask(base, '{ customer { id } }', { authorization: `${scheme} ${token}` })).body.data.customer)
    }
  }
})

t.test("a service's token is nobody's customer's", async (t) => {
  const tokens = createTokens(keys.tokenSigningKey)
  const service = tokens.issueForService(
    { service: 'erp', scopes: ['customers:read'] },
    { jti: crypto.randomUUID(), expiresAt: new Date(Date.now() + 60_000) },
  )
  for (const [door, base] of Object.entries(DOORS)) {
    const { body } = await ask(base, '{ customer { id } }', bearer(service))
    t.match(body.errors, [{ message: GUEST[0], extensions: { category: 'graphql-authorization' } }], door)
    t.equal((await ask(base, '{ countries { id } }', bearer(service))).body.errors, undefined)
  }
})

t.test('of two Authorization headers the first counts', async (t) => {
  const { token } = await signUp(send)
  const statusWith = (base: string, authorization: string[]) =>
    new Promise<number | undefined>((resolve, reject) => {
      const sent = httpRequest(
        `${base}/graphql`,
        {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: authorization as never },
        },
        (response) => {
          response.resume()
          resolve(response.statusCode)
        },
      )
      sent.on('error', reject)
      sent.end(JSON.stringify({ query: '{ customer { id } }' }))
    })
  for (const base of Object.values(DOORS)) {
    t.equal(await statusWith(base, [`Bearer ${token}`, 'Bearer x']), 200)
    t.equal(await statusWith(base, ['Bearer x', `Bearer ${token}`]), 401)
  }
})

t.test('the first error with a category decides the status, where Magento’s statuses count', async (t) => {
  const { email } = await signUp(send)
  const signInWrong = `mutation { generateCustomerToken(email: "${email}", password: "wrong") { token } }`
  const cases: readonly (readonly [query: string, magento: number])[] = [
    [signInWrong, 401],
    ['{ customer { id } }', 403],
    ['{ country(id: "") { id } }', 200],
    ['{ countries { id } }', 200],
    ['mutation { a: requestPasswordResetEmail(email: "") b: revokeCustomerToken { result } }', 200],
    ['mutation { b: revokeCustomerToken { result } a: requestPasswordResetEmail(email: "") }', 403],
  ]
  const JSON_ONLY = { accept: 'application/json' }
  const NEWER = { accept: 'application/graphql-response+json, application/json;q=0.9' }
  const byDefault = DOORS['the gateway'] as string
  const magento = await gateway(t, { errorStatus: 'magento' })
  const spec = await gateway(t, { errorStatus: 'spec' })
  const apollo = await gateway(t, { errorStatus: 'magento', executor: 'apollo' })
  for (const [query, status] of cases) {
    for (const [base, headers, expected] of [
      [byDefault, JSON_ONLY, status],
      [byDefault, NEWER, 200],
      [byDefault, {}, 200],
      [magento, JSON_ONLY, status],
      [magento, {}, status],
      [magento, NEWER, 200],
      [apollo, JSON_ONLY, status],
      [spec, JSON_ONLY, 200],
      [spec, NEWER, 200],
    ] as const) {
      t.equal((await ask(base, query, headers)).status, expected, `${query} ${JSON.stringify(headers)}`)
    }
  }
})

t.test('the store view that a client names', async (t) => {
  const query = '{ storeConfig { id store_code locale } countries { id } }'
  const main = { id: 1, store_code: 'main', locale: 'en_GB' }
  for (const [door, base] of Object.entries(DOORS)) {
    for (const store of ['', 'main', ' main ', 'default', 'DEFAULT']) {
      t.same((await ask(base, query, { store })).body.data?.storeConfig, main, `${door}: ${store}`)
    }
    t.same((await ask(base, query)).body.data.storeConfig, main)
    const german = await ask(base, query, { store: 'german' })
    t.same(german.body.data.storeConfig, { id: 2, store_code: 'german', locale: 'de_DE' })
    for (const store of ['nowhere', 'German', 'main,german', '__proto__']) {
      const { status, body } = await ask(base, query, { store })
      t.equal(status, 200)
      t.match(body.errors, [{ message: 'Requested store is not found', extensions: { category: 'graphql-input' } }])
      t.equal(body.errors.length, 1)
      t.notOk(body.data?.storeConfig)
    }
    const email = freshEmail()
    const create = `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "${email}" }) { customer { id } } }`
    t.match((await ask(base, create, { store: 'nowhere' })).body.errors, [{ message: 'Requested store is not found' }])
    t.match((await ask(base, create)).body.data, { createCustomer: { customer: {} } }, 'it was not carried out')
  }
})

t.test('a GET with a content type that is not simple is no forgery', async (t) => {
  const base = DOORS['the gateway'] as string
  const get = async (type?: string) => {
    const headers = {
      'user-agent': 'Mozilla/5.0',
      'sec-fetch-site': 'cross-site',
      ...(type && { 'content-type': type }),
    }
    return (await fetch(`${base}/graphql?query={countries{id}}`, { headers })).status
  }
  for (const type of ['application/json', 'Application/JSON; charset=utf-8', 'application/graphql']) {
    t.equal(await get(type), 200, type)
  }
  for (const type of [
    undefined,
    'text/plain',
    'Text/Plain;x=application/json',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencoded',
    'json',
    'text/plain, application/json',
  ]) {
    t.equal(await get(type), 403, String(type))
  }
})
