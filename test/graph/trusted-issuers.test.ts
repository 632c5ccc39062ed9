/** Tokens of other issuers (an OIDC provider for staff) beside those of the customer subgraph. */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { exportJWK, exportPKCS8, exportSPKI, generateKeyPair, importJWK, importPKCS8, type JWK, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { createTokenVerification } from '../../gateway/authentication/token-verifier.ts'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { gatewayOptions } from '../../gateway/options.ts'
import { buildGateway, type GatewayOptions } from '../../gateway/server.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { compose, post, serve, startSubgraph as startOther } from '../gateway/support.ts'
import { environment, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { until } from '../support/until.ts'

type Keys = Awaited<ReturnType<typeof generateKeyPair>>
type Route = (response: ServerResponse, path: string) => unknown

/** An OpenID provider, as far as tokens are concerned: discovery, keys, signatures. */
interface Provider {
  readonly issuer: string
  /** What it publishes. */
  keys: JWK[]
  /** Set: what it does instead of answering. */
  fault: Route | undefined
  /** How often its keys were fetched. */
  fetched: number
  /** A token: by default of member 7 of the staff, for the graph, for a minute. */
  readonly token: (
    claims?: object,
    header?: { alg?: string; kid?: string },
    key?: Pick<Keys, 'privateKey'>,
  ) => Promise<string>
  readonly signing: () => Keys
  /** Replaces the key that signs and is published. */
  readonly rotate: (kid: string) => Promise<void>
}

const AUDIENCE = 'graph-of-the-shop'
const inAMinute = () => Math.floor(Date.now() / 1000) + 60

async function startProvider(t: Test, realm: string, alg = 'RS256'): Promise<Provider> {
  let signing = { kid: 'one', keys: await generateKeyPair(alg, { extractable: true }) }
  const server = createServer(({ url = '' }, response) => {
    if (provider.fault) return provider.fault(response, url)
    if (url === `/realms/${realm}/.well-known/openid-configuration`) {
      return response.end(JSON.stringify({ issuer: provider.issuer, jwks_uri: `${provider.issuer}/certs` }))
    }
    if (url !== `/realms/${realm}/certs`) return response.writeHead(404).end()
    provider.fetched++
    return response.end(JSON.stringify({ keys: provider.keys }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const published = async () => [{ ...(await exportJWK(signing.keys.publicKey)), kid: signing.kid, use: 'sig' }]
  const provider: Provider = {
    issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}/realms/${realm}`,
    keys: await published(),
    fault: undefined,
    fetched: 0,
    token: (claims = {}, header = {}, keys = signing.keys) =>
      new SignJWT({ iss: provider.issuer, aud: AUDIENCE, sub: '7', exp: inAMinute(), ...claims })
        .setProtectedHeader({ alg, kid: signing.kid, ...header })
        .sign(keys.privateKey),
    signing: () => signing.keys,
    async rotate(kid) {
      signing = { kid, keys: await generateKeyPair(alg, { extractable: true }) }
      provider.keys = await published()
    },
  }
  return provider
}

const { app, send } = await startSubgraph(t, { folder: await temporaryFolder(t) })
const base = await app.listen({ port: 0, host: '127.0.0.1' })
const customer = await signUp(send)

/** Two other subgraphs that tell which headers they got. */
const SDL = (name: string) => `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@authenticated", "@requiresScopes", "@policy"])
  type Query {
    ${name}: String
    ${name}ForStaff: String @requiresScopes(scopes: [["reports:read"]])
    ${name}ForNight: String @policy(policies: [["night"]])
    ${name}ForAnyone: String @authenticated
  }
  type Mutation { ${name}Print: String }`
const HEADERS = ['authorization', 'x-staff-id', 'x-staff-name', 'x-staff-roles']
function echo(_source: unknown, _arguments: unknown, context: unknown): string {
  const { headers } = context as { headers: Record<string, string> }
  return JSON.stringify(Object.fromEntries(HEADERS.flatMap((name) => (headers[name] ? [[name, headers[name]]] : []))))
}
const fields = (name: string) => ({
  Query: Object.fromEntries(['', 'ForStaff', 'ForNight', 'ForAnyone'].map((suffix) => [name + suffix, echo])),
  Mutation: { [`${name}Print`]: echo },
})
const supergraph = compose(t, {
  customers: { sdl: readFileSync('schema/customer.graphql', 'utf8'), url: `${base}/graphql` },
  reports: { sdl: SDL('reports'), url: await startOther(t, SDL('reports'), fields('reports')) },
  reviews: { sdl: SDL('reviews'), url: await startOther(t, SDL('reviews'), fields('reviews')) },
})

const staff = await startProvider(t, 'staff')
const partners = await startProvider(t, 'partners', 'ES256')

const folder = await temporaryFolder(t)
let files = 0
/** The gateway's options with this file of issuers. */
function optionsWith(yaml: string, env: Record<string, string> = {}): GatewayOptions {
  const path = join(folder, `${++files}-issuers.yaml`)
  writeFileSync(path, yaml)
  const all = { ...environment('data'), SUPERGRAPH: supergraph, TRUSTED_ISSUERS: path, LOG_LEVEL: 'silent', ...env }
  return gatewayOptions(loadConfiguration(all), loadGatewayConfiguration(all))
}

async function start(t: Test, options: GatewayOptions) {
  const gateway = await buildGateway(options)
  t.teardown(() => gateway.close())
  const url = await gateway.listen({ port: 0, host: '127.0.0.1' })
  const ask = (query: string, token?: string, headers: Record<string, string> = {}) =>
    post(`${url}/graphql`, { query }, { ...headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) })
  return { ask, metrics: async () => (await fetch(`${url}/metrics`)).text() }
}

const BOTH = `
- issuer: ${staff.issuer}
  audience: [${AUDIENCE}, another]
  scopes: realm_access.roles
  policies: [https://shop.example/shifts]
  subgraphs: [reports]
  claims: { X-Staff-Id: sub, x-staff-name: name, x-staff-roles: realm_access.roles }
- issuer: ${partners.issuer}
  audience: ${AUDIENCE}
  jwksUrl: ${partners.issuer}/certs
  algorithms: ES256
  scopes: scp
`
const { ask } = await start(t, optionsWith(BOTH))
const both = await Promise.all([start(t, optionsWith(BOTH)), start(t, optionsWith(BOTH, { EXECUTOR: 'apollo' }))])

const dead = (message = 'Token does not exist') => ({
  status: 401,
  body: { errors: [{ message, extensions: { category: 'graphql-authentication', code: 'UNAUTHENTICATED' } }] },
})
const roles = (...roles: string[]) => ({ realm_access: { roles } })

t.test('a member of the staff has what the token says, where the issuer says it', async (t) => {
  const reader = await staff.token(roles('reports:read'))
  t.match((await ask('{ reportsForStaff reviewsForStaff }', reader)).body, {
    data: { reportsForStaff: String, reviewsForStaff: '{}' },
  })
  const partner = await partners.token({ scp: ['other', 'reports:read'] })
  t.same((await ask('{ reportsForStaff }', partner)).body, { data: { reportsForStaff: '{}' } })
  const scopesAsText = await partners.token({ scp: 'other reports:read' })
  t.same((await ask('{ reportsForStaff }', scopesAsText)).body, { data: { reportsForStaff: '{}' } })
  const atNight = await staff.token({ 'https://shop.example/shifts': ['night'] })
  t.ok((await ask('{ reportsForNight }', atNight)).body.data.reportsForNight)
  for (const [field, token] of [
    ['reportsForStaff', await staff.token(roles('reports:write'))],
    ['reportsForStaff', await staff.token({ scope: 'reports:read', scp: ['reports:read'] })],
    ['reportsForStaff', await staff.token({ realm_access: 'reports:read', roles: ['reports:read'] })],
    ['reportsForStaff', await staff.token({ 'realm_access.roles': ['reports:read'] })],
    ['reportsForStaff', await partners.token({ scope: 'reports:read', ...roles('reports:read') })],
    ['reportsForStaff', customer.token],
    ['reportsForNight', await staff.token({ policies: ['night'] })],
    ['reportsForAnyone', undefined],
  ] as const) {
    const { body } = await ask(`{ ${field} }`, token)
    t.same(body.data, { [field]: null })
    t.match(body.errors, [{ path: [field], extensions: { code: 'FORBIDDEN' } }])
  }
  t.ok((await ask('{ reportsForAnyone }', await staff.token())).body.data.reportsForAnyone)
})

t.test('the token and its claims go to the subgraphs that are named, and to no other', async (t) => {
  const token = await staff.token({ name: 'Zoë, 100 %\r\nx-staff-id: 1', ...roles('a', 'b,c', 'é') })
  for (const { ask } of both) {
    const { body } = await ask('{ reports reviews }', token, { 'x-staff-id': '1', 'X-Staff-Roles': 'admin' })
    const seen = JSON.parse(body.data.reports)
    t.same(seen, {
      authorization: `Bearer ${token}`,
      'x-staff-id': '7',
      'x-staff-name': 'Zo%C3%AB,%20100%20%25%0D%0Ax-staff-id:%201',
      'x-staff-roles': 'a,b%2Cc,%C3%A9',
    })
    t.equal(decodeURIComponent(seen['x-staff-name']), 'Zoë, 100 %\r\nx-staff-id: 1')
    t.same(JSON.parse(body.data.reviews), {}, 'a guest, for the others')
    const printed = await ask('mutation { reportsPrint reviewsPrint }', token)
    t.match(JSON.parse(printed.body.data.reportsPrint), { 'x-staff-id': '7' })
    t.same(JSON.parse(printed.body.data.reviewsPrint), {})
    // A client's own headers, and the token of a customer.
    const guest = await ask('{ reports }', undefined, { 'x-staff-id': '7', 'x-staff-roles': 'admin' })
    t.same(JSON.parse(guest.body.data.reports), {})
    const customers = await ask('{ reports reviews }', customer.token, { 'x-staff-id': '7' })
    for (const name of ['reports', 'reviews']) {
      t.same(JSON.parse(customers.body.data[name]), { authorization: `Bearer ${customer.token}` })
    }
  }
})

t.test('a member of the staff is never a customer', async (t) => {
  const sub = String(customer.id)
  const tokens = [
    await staff.token({ sub }),
    await staff.token({ sub, gen: 0, reg: 0 }),
    await staff.token({ sub: 'service:erp', scope: 'customers:read', ...roles('customers:read') }),
    await partners.token({ sub }),
  ]
  const guest = { message: "The current customer isn't authorized.", extensions: { category: 'graphql-authorization' } }
  for (const { ask } of both) {
    for (const token of tokens) {
      const own = await ask('{ customer { id } countries { id } }', token)
      t.equal(own.status, 200)
      t.equal(own.body.data.customer, null)
      t.ok(own.body.data.countries.length > 0, 'what is public is not refused')
      t.match(own.body.errors, [guest])
      t.match((await ask('mutation { deleteCustomer }', token)).body.errors, [guest])
      t.match((await ask('mutation { revokeCustomerToken { result } }', token)).body.errors, [guest])
    }
  }
  const direct = await send('{ customer { id } }', { token: await staff.token({ sub }) })
  t.equal(direct.status, 401, 'the customer subgraph itself knows no such token')
  t.same((await ask('{ customer { id } }', customer.token)).body.data, { customer: { id: customer.id } })
})

t.test('a key verifies the tokens of its issuer alone, and only as they are meant', async (t) => {
  const strangers = await generateKeyPair('RS256', { extractable: true })
  const [published = {}] = staff.keys
  const modulus = new TextEncoder().encode(published.n)
  const pem = new TextEncoder().encode(await exportSPKI((await importJWK(published, 'RS256')) as CryptoKey))
  const asPss = { privateKey: await importPKCS8(await exportPKCS8(staff.signing().privateKey), 'PS256') }
  const symmetric = (key: Uint8Array) =>
    new SignJWT({ iss: staff.issuer, aud: AUDIENCE, sub: '7', exp: inAMinute() })
      .setProtectedHeader({ alg: 'HS256', kid: 'one' })
      .sign(key)
  const [, body] = (await staff.token()).split('.')
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  const own = { iss: 'customers', aud: 'graph', sub: String(customer.id), gen: 0 }
  const refusedTokens: Record<string, string> = {
    "another issuer's name": await staff.token({ iss: partners.issuer }),
    "another issuer's name, the other way": await partners.token({ iss: staff.issuer }),
    "the customer subgraph's name": await staff.token(own),
    'no name, as tokens of earlier releases': await staff.token({ ...own, iss: undefined, aud: undefined }),
    'an unknown issuer': await staff.token({ iss: `${staff.issuer}/` }),
    'an issuer that is no text': await staff.token({ iss: [staff.issuer] }),
    'another audience': await staff.token({ aud: 'others' }),
    'other audiences': await staff.token({ aud: ['others', `${AUDIENCE}2`] }),
    'no audience': await staff.token({ aud: undefined }),
    'an audience that is no text': await staff.token({ aud: { [AUDIENCE]: true } }),
    'no end': await staff.token({ exp: undefined }),
    'no subject': await staff.token({ sub: undefined }),
    'an empty subject': await staff.token({ sub: '' }),
    'not valid yet': await staff.token({ nbf: inAMinute() }),
    "a stranger's key": await staff.token({}, {}, strangers),
    'an unknown key': await staff.token({}, { kid: 'two' }, strangers),
    'another algorithm with the key': await staff.token({}, { alg: 'PS256' }, asPss),
    'the public key as a secret': await symmetric(modulus),
    'the public key as a secret, PEM': await symmetric(pem),
    'no signature': `${none}.${body}.`,
    'no signature, with an algorithm': `${(await staff.token()).split('.').slice(0, 2).join('.')}.`,
    'no JSON': `${none}.bm9uZQ.x`,
  }
  for (const [name, token] of Object.entries(refusedTokens)) {
    const { status, body, headers } = await ask('{ reports countries { id } }', token)
    t.match({ status, body }, dead(), name)
    t.notOk('data' in body, name)
    t.match(headers.get('www-authenticate'), /^Bearer error="invalid_token"/)
  }
  t.match(await ask('{ reports }', await staff.token({ exp: 1 })), dead('Consumer key has expired'))
  for (const aud of [AUDIENCE, 'another', ['others', AUDIENCE]]) {
    t.equal((await ask('{ reports }', await staff.token({ aud }))).status, 200, String(aud))
  }
  t.equal(staff.keys[0]?.kid, partners.keys[0]?.kid, 'both have a key of that id')
})

/** What a provider may do instead of answering. */
const FAULTS: Readonly<Record<string, Route>> = {
  'it is gone': (response) => response.socket?.destroy(),
  'it fails': (response) => response.writeHead(500).end('{"keys":[]}'),
  'its key set fails': (response, path) => {
    const [realm = '', isDiscovery] = path.split('/.well-known/')
    if (isDiscovery === undefined) return response.writeHead(500).end('{"keys":[]}')
    const issuer = `http://${response.req.headers.host}${realm}`
    return response.end(JSON.stringify({ issuer, jwks_uri: `${issuer}/certs` }))
  },
  'no JSON': (response) => response.end('<html>'),
  'JSON that is no key set': (response) => response.end('{"keys":7,"jwks_uri":7}'),
  'the discovery document of another issuer': (response, path) =>
    response.end(
      path.includes('openid')
        ? JSON.stringify({ issuer: 'https://elsewhere.example', jwks_uri: `${partners.issuer}/certs` })
        : JSON.stringify({ keys: [] }),
    ),
  'it sends the gateway elsewhere': (response) => response.writeHead(302, { location: partners.issuer }).end(),
  'an endless answer': (response) => {
    const more = () => !response.destroyed && response.write(' '.repeat(65_536), more)
    more()
  },
}

t.test('while an issuer’s keys can not be had, its tokens wait, and those of others do not', async (t) => {
  const providers = await Promise.all(
    Object.entries(FAULTS).map(async ([name, fault], index) => {
      const away = await startProvider(t, `away-${index}`, 'ES256')
      away.fault = fault
      return { name, fault, away }
    }),
  )
  const entries = providers.map(
    ({ away }) => `- { issuer: '${away.issuer}', audience: ${AUDIENCE}, algorithms: ES256, subgraphs: [reports] }`,
  )
  const logged: string[] = []
  const stream = new Writable({ write: (chunk, _encoding, done) => done(void logged.push(String(chunk))) })
  const options = optionsWith(BOTH + entries.join('\n'), { TOKEN_UNCHECKED: 'pass' })
  const { ask, metrics } = await start(t, { ...options, logger: { level: 'info', stream } })
  for (const { name, fault, away } of providers) {
    const token = await away.token()
    for (const query of ['{ reports }', 'mutation { reportsPrint }']) {
      const { status, body, headers } = await ask(query, token)
      t.match([status, body.errors[0].extensions.code], [503, 'TOKEN_UNCHECKED'], name)
      t.ok(headers.get('retry-after'))
    }
    t.equal((await ask('{ reports }', await staff.token())).status, 200, `${name}: another issuer’s`)
    t.equal((await ask('{ reports }', customer.token)).status, 200, `${name}: a customer’s`)
    t.match(
      await metrics(),
      new RegExp(`gateway_token_key_fetches_total{issuer="${away.issuer}",outcome="failed"} [1-9]`),
    )
    const warnings = logged.filter((line) => line.includes('keys cannot be fetched') && line.includes(away.issuer))
    t.equal(warnings.length, 1, `${name}: it is said once`)
    t.match(warnings[0], away.issuer)
    t.notMatch(logged.join(''), token, 'and no token is')
    away.fault = undefined
    await until(`${name}: it is back`, async () => (await ask('{ reports }', await away.token())).status === 200)
    away.fault = fault
    t.equal((await ask('{ reports }', await away.token())).status, 200, `${name}: known keys outlast an outage`)
  }
})

t.test('keys are replaced and withdrawn, and unknown ones do not cause a fetch each', async (t) => {
  const { ask } = await start(t, optionsWith(BOTH))
  const first = await staff.token()
  t.equal((await ask('{ reports }', first)).status, 200)
  const before = staff.fetched
  for (const kid of ['x', 'y', 'z']) t.equal((await ask('{ reports }', await staff.token({}, { kid }))).status, 401)
  t.equal(staff.fetched, before)

  const provider = await startProvider(t, 'replaced')
  const verification = {
    names: { issuer: provider.issuer, audience: AUDIENCE, acceptsUnnamed: false },
    algorithms: ['RS256'],
  }
  const source = { discovery: provider.issuer, refetchAfterMs: 0 }
  const verify = createTokenVerification({ ...verification, keys: source })
  const refreshing = createTokenVerification({ ...verification, keys: { ...source, refreshAfterMs: 0 } })
  const old = await provider.token()
  t.match(await verify(old), { sub: '7' })
  t.match(await refreshing(old), { sub: '7' })
  await provider.rotate('two')
  t.match(await verify(await provider.token()), { sub: '7' }, 'a new key is fetched as soon as a token names it')
  await t.rejects(verify(old), { code: 'GTW_ERR_INVALID_TOKEN' }, 'and the old one no longer counts')
  await until('a withdrawn key is noticed, also if no token names another', () =>
    refreshing(old).then(
      () => false,
      () => true,
    ),
  )
})

t.test('a wrong file stops the start, with a line that says what is wrong', async (t) => {
  const settings = join(folder, 'settings.yaml')
  writeFileSync(settings, 'subgraphs: { reviews: { headers: [X-Staff] } }')
  const entry = (more: string, issuer = 'https://login.example') => `- { issuer: '${issuer}', audience: a, ${more} }`
  const cases: readonly (readonly [yaml: string, problem: RegExp, env?: Record<string, string>])[] = [
    ['- issuer: [', /issuers\.yaml" can't be read \(/],
    ['', /the file: accepted: array\.$/],
    ['issuers: []', /the file: accepted: array\.$/],
    ['- audience: a', /entry 1\.issuer: accepted: string\.$/],
    ['- issuer: https://login.example', /entry 1\.audience: /],
    [entry('audiences: b'), /entry 1: there is no setting "audiences"\.$/],
    [`${entry('')}\n${entry('')}`, /the file: accepted: each issuer once\.$/],
    [entry('algorithms: [RS256, HS256]'), /entry 1\.algorithms(\.1)?: accepted: RS256, RS384/],
    [entry('algorithms: none'), /entry 1\.algorithms: accepted: RS256/],
    [entry('algorithms: []'), /entry 1\.algorithms: accepted/],
    [entry('', 'login'), /entry 1\.issuer: accepted: an http or https URL, because/],
    [entry('jwksUrl: ftp://x'), /entry 1\.jwksUrl: accepted: an http or https URL\.$/],
    [entry('', 'customers'), /entry 1\.issuer: accepted: an http/],
    [
      entry('jwksUrl: https://x.example', 'customers'),
      /entry 1\.issuer: "customers" is TOKEN_ISSUER; accepted: other issuers\.$/,
    ],
    [entry('', 'https://shop.example'), /is TOKEN_ISSUER/, { TOKEN_ISSUER: 'https://shop.example' }],
    [entry('subgraphs: [report]'), /"report" is not in the graph; accepted: reports, reviews\.$/],
    [entry('subgraphs: [reports, customers]'), /"customers" takes its own tokens alone; accepted: reports, reviews\.$/],
    [entry('claims: { authorization: sub }'), /entry 1\.claims.*: accepted: names of headers that begin with x-/],
    [entry('claims: { x-subgraph-secret: sub }'), /accepted: names of headers/],
    [entry('claims: { x-captcha: sub }'), /entry 1\.claims: FORWARD_HEADERS or SUBGRAPH_SETTINGS has x-captcha/],
    [
      entry('claims: { X-Staff: sub }'),
      /FORWARD_HEADERS or SUBGRAPH_SETTINGS has x-staff/,
      { FORWARD_HEADERS: 'Authorization,X-STAFF' },
    ],
    [entry('claims: { x-staff: sub }'), /SUBGRAPH_SETTINGS has x-staff/, { SUBGRAPH_SETTINGS: settings }],
    [entry(''), /it is set and TOKEN_JWKS_URL is off/, { TOKEN_JWKS_URL: 'off' }],
  ]
  for (const [yaml, problem, env] of cases) {
    let message = ''
    try {
      optionsWith(yaml, env)
    } catch (error) {
      message = (error as Error).message
    }
    t.match(message, /^TRUSTED_ISSUERS: /, yaml)
    t.match(message, problem, yaml)
  }
  t.throws(() => gatewayOptions(loadConfiguration({}), loadGatewayConfiguration({ TRUSTED_ISSUERS: 'nowhere.yaml' })), {
    message: 'TRUSTED_ISSUERS: "nowhere.yaml" can\'t be read (ENOENT).',
  })
})

t.test('a graph without the customer subgraph can have its tokens from elsewhere', async (t) => {
  const alone = compose(t, {
    reports: { sdl: SDL('reports'), url: await startOther(t, SDL('reports'), fields('reports')) },
  })
  const yaml = `- { issuer: '${partners.issuer}', audience: ${AUDIENCE}, subgraphs: [reports], scopes: [scp] }`
  const { ask } = await start(t, optionsWith(yaml, { SUPERGRAPH: alone }))
  t.ok((await ask('{ reportsForStaff }', await partners.token({ scp: 'reports:read' }))).body.data.reportsForStaff)
  t.match(await ask('{ reports }', customer.token), dead())
  t.match(await ask('{ reports }', 'x'), dead())
  t.same((await ask('{ reports }')).body, { data: { reports: '{}' } })
})

t.test('an answer to a member of the staff is stored nowhere', async (t) => {
  const url = await serve(t, ({ response, request }) => {
    const staffs = request.headers['x-staff-id'] !== undefined
    response.setHeader('content-type', 'application/json')
    response.setHeader('cache-control', 'public, max-age=60')
    response.end(JSON.stringify({ data: { reports: staffs ? 'secret' : 'public' } }))
  })
  const alone = compose(t, { reports: { sdl: SDL('reports'), url } })
  const yaml = `- { issuer: '${partners.issuer}', audience: ${AUDIENCE}, subgraphs: [reports], claims: { x-staff-id: sub } }`
  const gateway = await buildGateway(optionsWith(yaml, { SUPERGRAPH: alone, FORWARD_HEADERS: 'none' }))
  t.teardown(() => gateway.close())
  const base = await gateway.listen({ port: 0, host: '127.0.0.1' })
  const get = async (headers: Record<string, string>) => {
    const answer = await fetch(`${base}/graphql?query={reports}`, {
      headers: { 'apollo-require-preflight': '1', ...headers },
    })
    const { data } = (await answer.json()) as { data: { reports: string } }
    return [data.reports, answer.headers.get('cache-control'), /authorization/i.test(answer.headers.get('vary') ?? '')]
  }
  t.same(await get({ authorization: `Bearer ${await partners.token()}` }), ['secret', 'no-store', true])
  t.same(await get({}), ['public', 'public, max-age=60', true])
})
