/** Signing in with an OpenID provider, and by a proxy's headers. */
import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { receiveRequest } from '../../audit/requests/register.ts'
import { loadConsoleConfiguration } from '../../console/configuration.ts'
import { proxySignIn } from '../../console/sign-in/proxy.ts'
import { emailKeysAsTyped } from '../../schema/email-key.ts'
import { CLIENT, type Provider, startProvider } from './oidc-provider.ts'
import { type ConsoleFixture, startConsole, type Visitor, visitor } from './support.ts'

const OWN = 'http://localhost:4005'

async function withProvider(t: Test, env: Record<string, string> = {}) {
  const provider = await startProvider(t)
  const console = await startConsole(t, {
    env: {
      CONSOLE_OIDC_ISSUER: provider.issuer,
      CONSOLE_OIDC_CLIENT_ID: CLIENT.id,
      CONSOLE_OIDC_CLIENT_SECRET: CLIENT.secret,
      CONSOLE_URL: OWN,
      ...env,
    },
  })
  return { provider, console }
}

/** Goes to the provider. @returns the path to which the provider sends the browser back */
async function toProvider(someone: Visitor, back = '/'): Promise<string> {
  const { status, location = '' } = await someone.get(`/sign-in/start?back=${encodeURIComponent(back)}`)
  t.equal(status, 303)
  const page = await (await fetch(location)).text()
  const href = /href="([^"]+)"/.exec(page)?.[1]?.replaceAll('&amp;', '&') ?? ''
  return href.slice(OWN.length)
}

const signIn = async ({ app }: ConsoleFixture, back?: string) => {
  const someone = visitor(app)
  const answer = await someone.get(await toProvider(someone, back), { 'sec-fetch-site': 'cross-site' })
  return { someone, answer }
}

const says = (provider: Provider, claims: Record<string, unknown>, userInfo: Record<string, unknown> = {}) =>
  Object.assign(provider.says, {
    claims,
    userInfo,
    isForeignKey: false,
    isUnsigned: false,
    nonce: undefined,
    audience: undefined,
  })

t.test('an OpenID provider signs people in, with their roles', async (t) => {
  const { provider, console } = await withProvider(t)
  says(provider, { preferred_username: 'ann', roles: ['auditor', 'other'] })
  const { someone, answer } = await signIn(console, '/?a=1')
  t.match(
    answer,
    { status: 200, body: /content="0;url=\/\?a=1"/ },
    'a page leads on, so that the strict cookie is sent',
  )
  t.match(String(answer.headers['set-cookie']), /console-session=.*SameSite=Strict/)
  t.match((await someone.get('/')).body, /<strong>ann<\/strong> <small>Auditor<\/small>/)
  t.match(await someone.post('/sign-out'), { status: 303 })

  says(provider, { preferred_username: 'olaf', email: 'olaf@shop.example', roles: ['privacy-officer'] })
  const { options } = console
  await receiveRequest(
    options.eventStore,
    {
      type: 'receive',
      kind: 'erasure',
      subject: { emailKeys: emailKeysAsTyped(options.emailHashKey, 'Olaf@shop.example') },
      channel: 'letter',
      receivedOn: '2026-01-31',
    },
    { actor: 'operator:alice', commandId: crypto.randomUUID(), now: new Date(), rules: options.store.audit },
  )
  const olaf = await signIn(console)
  t.match((await olaf.someone.get('/requests/1')).body, /about your own data/, 'known by the address, too')

  says(provider, {}, { preferred_username: 'paul', roles: 'privacy-officer operator' })
  const fromUserInfo = await signIn(console)
  t.match((await fromUserInfo.someone.get('/')).body, /<strong>paul<\/strong> <small>Privacy officer, Operator</)

  says(provider, { preferred_username: 'eve', roles: ['other'] })
  t.match((await signIn(console)).answer, { status: 403, body: /have no role here/ })
  says(provider, { roles: ['auditor'] })
  t.match((await signIn(console)).answer, { status: 403, body: /no usable name/ })
  says(provider, { preferred_username: 'an\u202en', roles: ['auditor'] })
  t.match((await signIn(console)).answer, { status: 403, body: /no usable name/ })
})

t.test('claims and values by settings; a claim within a claim', async (t) => {
  const { provider, console } = await withProvider(t, {
    CONSOLE_NAME_CLAIM: 'email',
    CONSOLE_ROLES_CLAIM: 'realm_access.roles',
    CONSOLE_ROLES: 'auditor=audit team,operator=sre,auditor=revision',
  })
  says(provider, { email: 'ann', realm_access: { roles: ['revision', 'auditor'] } })
  const { someone } = await signIn(console)
  t.match((await someone.get('/')).body, /<strong>ann<\/strong> <small>Auditor</)
  says(provider, { email: 'ann', realm_access: { roles: ['auditor', 'privacy-officer'] } })
  t.match((await signIn(console)).answer, { status: 403 }, "the roles' own names do not count then")
})

t.test('what an attacker brings back is refused', async (t) => {
  const { provider, console } = await withProvider(t)
  const claims = { preferred_username: 'ann', roles: ['auditor'] }
  const forgeries: readonly Partial<Provider['says']>[] = [
    { isForeignKey: true },
    { isUnsigned: true },
    { nonce: 'another' },
    { audience: 'another-client' },
  ]
  for (const forgery of forgeries) {
    says(provider, claims)
    Object.assign(provider.says, forgery)
    const { answer, someone } = await signIn(console)
    t.match(answer, { status: 403, body: /The sign-in failed/ }, Object.keys(forgery).join())
    t.match(await someone.get('/'), { status: 303 })
  }
  says(provider, claims)
  const someone = visitor(console.app)
  const path = await toProvider(someone)
  t.match(await visitor(console.app).get(path), { status: 400, body: /not begun here/ }, 'in another browser')
  const other = visitor(console.app)
  await toProvider(other)
  t.match(await other.get(path), { status: 403 }, 'the code of another sign-in: the state differs')
  const mixed = visitor(console.app)
  const elsewhere = `${await toProvider(mixed)}&iss=https%3A%2F%2Fevil.example`
  t.match(await mixed.get(elsewhere), { status: 403 }, 'the code of another provider')
  t.match(await someone.get(path), { status: 200 })
  t.match(await someone.get(path), { status: 400 }, 'once only')
  const refused = visitor(console.app)
  const state = new URLSearchParams((await toProvider(refused)).split('?')[1]).get('state') ?? ''
  t.match(await refused.get(`/sign-in/callback?error=access_denied&state=${state}`), { status: 403, body: /cancelled/ })
  t.match(await visitor(console.app).post('/sign-in', { person: 'anna.auditor' }), { status: 404 })
  t.match(await visitor(console.app).get('/', { 'x-user': 'ann' }), { status: 303 })
})

t.test('an issuer that stands for many organisations signs nobody in: each would say who has which role', async (t) => {
  const entra = 'https://login.microsoftonline.com'
  const { provider, console } = await withProvider(t, { CONSOLE_OIDC_ISSUER: `${entra}/common/v2.0` })
  // Only this origin is taken for Entra ID. What it says of itself comes from the provider of the test.
  const { fetch } = globalThis
  t.teardown(() => Object.assign(globalThis, { fetch }))
  globalThis.fetch = (url, options) =>
    fetch(String(url).startsWith(entra) ? `${provider.issuer}/.well-known/openid-configuration` : url, options)
  says(provider, { preferred_username: 'mallory', roles: ['auditor'], tid: 'theirs' })
  Object.assign(provider.says, { issuer: `${entra}/{tenantid}/v2.0`, iss: `${entra}/theirs/v2.0` })
  const { someone, answer } = await signIn(console)
  t.match(answer, { status: 403, body: /The sign-in failed/ })
  t.match(await someone.get('/'), { status: 303 })
})

t.test('a provider that does not answer is said, and asked again', async (t) => {
  const console = await startConsole(t, {
    env: { CONSOLE_OIDC_ISSUER: 'http://127.0.0.1:9', CONSOLE_OIDC_CLIENT_ID: 'x', CONSOLE_URL: OWN },
  })
  t.match(await visitor(console.app).get('/sign-in/start'), { status: 503, body: /provider does not answer/ })
})

t.test("a proxy's headers count from the proxy alone", async (t) => {
  for (const networks of ['0.0.0.0/0', '10.0.0.1, ::/0', '::/00', '10.0.0.0/33', 'proxy', ' , ']) {
    const settings = { CONSOLE_PROXY_HEADER: 'X-User', CONSOLE_TRUST_PROXY: networks }
    t.throws(
      () => loadConsoleConfiguration(settings),
      { message: /^CONSOLE_TRUST_PROXY.*addresses or networks/s },
      networks,
    )
  }
  const named = { raw: { socket: {}, rawHeaders: ['X-User', 'ann'] }, headers: { 'x-user': 'ann' } }
  for (const settings of [{}, { CONSOLE_TRUST_PROXY: '192.0.2.0/28' }]) {
    const { personOf } = proxySignIn(loadConsoleConfiguration(settings), 'x-user')
    t.type(personOf, 'function')
    t.equal(personOf?.(named as unknown as FastifyRequest), undefined, 'nobody is trusted, or the address is not known')
  }
  const utf8 = (text: string) => Buffer.from(text).toString('latin1') // as Node reads it
  const accented = {
    raw: {
      socket: { remoteAddress: '192.0.2.7' },
      rawHeaders: ['X-User', utf8('Élodie'), 'X-Forwarded-Groups', utf8('Prüfer')],
    },
  }
  const { personOf: personIn } = proxySignIn(
    loadConsoleConfiguration({ CONSOLE_TRUST_PROXY: '192.0.2.7', CONSOLE_ROLES: 'auditor=Prüfer' }),
    'x-user',
  )
  t.match(personIn?.(accented as unknown as FastifyRequest), { name: 'Élodie', roles: ['auditor'] })
  Object.assign(accented.raw, { rawHeaders: ['X-User', 'J\xfcrgen', 'X-Forwarded-Groups', 'Pr\xfcfer'] })
  t.match(personIn?.(accented as unknown as FastifyRequest), { name: 'Jürgen', roles: ['auditor'] }, 'Latin-1')
  for (const name of ['an\u202en', 'a，\u0000', 'ann, mallory']) {
    Object.assign(accented.raw, { rawHeaders: ['X-User', utf8(name)] })
    t.equal(personIn?.(accented as unknown as FastifyRequest), undefined, JSON.stringify(name))
  }

  const PROXY = '192.0.2.7'
  const headers = { host: 'localhost:4005', 'x-user': 'ann', 'x-forwarded-groups': 'auditors, others' }
  const env = {
    CONSOLE_PROXY_HEADER: 'X-User',
    CONSOLE_ROLES: 'auditor=auditors',
    CONSOLE_TRUST_PROXY: '192.0.2.0/28, ::1',
  }
  const { app } = await startConsole(t, { env })
  const get = (remoteAddress: string, more: Record<string, string | string[]> = {}, leave: readonly string[] = []) => {
    const sent = Object.fromEntries(Object.entries({ ...headers, ...more }).filter(([name]) => !leave.includes(name)))
    return app.inject({ url: '/', remoteAddress, headers: sent })
  }
  t.match((await get(PROXY)).body, /<strong>ann<\/strong> <small>Auditor</)
  t.equal((await get(`::ffff:${PROXY}`)).statusCode, 200)
  t.equal((await get('::1')).statusCode, 200)
  for (const address of ['192.0.2.16', '127.0.0.1', '203.0.113.9', '::2', '']) {
    t.equal((await get(address)).statusCode, 303, `from ${address}`)
    t.equal(
      (await get(address, { 'x-forwarded-for': PROXY })).statusCode,
      303,
      `from ${address}, with the proxy's name`,
    )
  }
  t.equal((await get(PROXY, {}, ['x-user'])).statusCode, 303)
  for (const name of ['', ' ', 'mallory, ann', 'a\u00adnn', 'x'.repeat(101)]) {
    t.equal((await get(PROXY, { 'x-user': name })).statusCode, 303, JSON.stringify(name))
  }
  t.equal((await get(PROXY, { 'x-user': ['mallory', 'ann'] })).statusCode, 303, 'twice')
  t.equal((await get(PROXY, { 'x-forwarded-groups': 'others' })).statusCode, 403, 'no role')

  const signedIn = await get(PROXY)
  const cookie = signedIn.cookies.map(({ name, value }) => `${name}=${value}`).join('; ')
  t.equal(
    (await app.inject({ url: '/', remoteAddress: '203.0.113.9', headers: { ...headers, cookie } })).statusCode,
    303,
    'a stolen cookie alone',
  )
  t.match(
    (await get(PROXY, { cookie, 'x-user': 'paul', 'x-forwarded-groups': '' })).statusCode,
    403,
    "another person's session",
  )

  const secret = 'a-secret-of-the-proxy'
  const both = await startConsole(t, { env: { ...env, CONSOLE_PROXY_SECRET: secret } })
  const ask = (remoteAddress: string, given?: string) =>
    both.app.inject({
      url: '/',
      remoteAddress,
      headers: { ...headers, ...(given !== undefined && { 'x-console-secret': given }) },
    })
  t.equal((await ask(PROXY, secret)).statusCode, 200)
  for (const given of [undefined, '', 'another-secret-of-it', `${secret}x`])
    t.equal((await ask(PROXY, given)).statusCode, 303)
  t.equal((await ask('203.0.113.9', secret)).statusCode, 303, 'both must hold')
})
