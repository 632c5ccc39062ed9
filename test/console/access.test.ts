/** Who gets into the console, and what they may do: roles, forms, sessions, reasons, headers, escaping. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { html, lines } from '../../console/html.ts'
import { createLazyConsole } from '../../console/lazy.ts'
import { ROLES, type Role } from '../../console/people.ts'
import { page } from '../../console/routes.ts'
import { startConsole, visitor } from './support.ts'

const FILLED: Readonly<Record<string, string>> = { ':id': '1', ':name': 'console.css' }
const filled = (url: string) => url.replace(/:\w+/g, (name) => FILLED[name] ?? '1')

t.test('each route is for the roles that it names, also by hand-made requests', async (t) => {
  const console = await startConsole(t)
  await console.app.ready()
  const routes = [...(console.app.routeAccess ?? [])].filter(([, access]) => access !== 'public')
  t.ok(routes.length > 4, 'routes were found')
  const people = new Map(await Promise.all(ROLES.map(async (role) => [role, await console.signIn(role)] as const)))
  const nobody = visitor(console.app)
  for (const [route, access] of routes) {
    const [method = '', url = ''] = route.split(' ')
    if (method === 'HEAD') continue
    const path = filled(url)
    const refused = method === 'GET' ? await nobody.get(path) : await nobody.post(path, {}, { token: 'x'.repeat(43) })
    t.equal(refused.status, method === 'GET' ? 303 : 401, `${route}: not for those who are not signed in`)
    if (method === 'GET') t.match(refused.location, /^\/sign-in\?back=/)
    for (const [role, person] of people) {
      if ((access as readonly Role[]).includes(role)) continue
      const answer = method === 'GET' ? await person.get(path) : await person.post(path)
      t.equal(answer.status, 403, `${route}: not for ${role}`)
      t.match(answer.body, /This is for the role/)
    }
  }
})

t.test('a route that names no role is refused at start', async (t) => {
  const { app, options } = await startConsole(t)
  t.throws(() => app.get('/open', async () => 'open'), /names no roles/)
  t.throws(
    () => page({ fastify: app, options, nav: [] } as never, { path: '/none', title: '', roles: [] }, () => html``),
    /names no roles/,
  )
})

t.test('forms are refused without the token of the session, and from other origins', async (t) => {
  const console = await startConsole(t)
  const person = await console.signIn('auditor')
  const other = await console.signIn('auditor')
  const foreign = /name="token" value="([^"]+)"/.exec((await other.get('/')).body)?.[1] ?? ''
  const send = { reason: 'ticket 12' }
  t.match(await person.post('/reason', send, { token: false }), { status: 403 })
  t.match(await person.post('/reason', send, { token: 'x' }), { status: 403 })
  t.match(await person.post('/reason', send, { token: foreign }), { status: 403, body: /another session/ })
  for (const origin of [
    'http://evil.example',
    'null',
    'http://localhost:4006',
    'https://localhost:4005.evil.example',
    '',
  ]) {
    t.match(
      await person.post('/reason', send, { headers: { origin } }),
      { status: 403, body: /did not come from/ },
      origin,
    )
  }
  t.match(
    await visitor(console.app).post(
      '/sign-in',
      { person: 'anna.auditor' },
      { headers: { origin: 'http://evil.example' } },
    ),
    { status: 403 },
  )
  t.notMatch((await person.get('/')).body, /You see personal data/)
  t.match(await person.post('/reason', send), { status: 303 })
  t.match(
    await console.app.inject({
      method: 'POST',
      url: '/reason',
      headers: { 'content-type': 'application/json' },
      payload: {},
    }),
    {
      statusCode: 415,
    },
  )
  const cookies = (await visitor(console.app).post('/sign-in', { person: 'anna.auditor' })).headers['set-cookie']
  t.match(String(cookies), /HttpOnly; SameSite=Strict/)
})

t.test('nobody is sent to another site, and the sample people are for this machine', async (t) => {
  const console = await startConsole(t)
  for (const back of ['https://evil.example', '//evil.example', '/\\evil.example', 'javascript:alert(1)', '/a\r\nb']) {
    const someone = visitor(console.app)
    t.match(await someone.post('/sign-in', { person: 'anna.auditor', back }), { status: 303, location: '/' }, back)
    t.match(await someone.get(`/sign-in?back=${encodeURIComponent(back)}`), { status: 303, location: '/' })
  }
  t.match(await visitor(console.app).post('/sign-in', { person: 'anna.auditor', back: '/?a=1' }), { location: '/?a=1' })
  const far: readonly Record<string, string>[] = [
    { host: 'console.example' },
    { 'x-forwarded-for': '203.0.113.5' },
    { host: '127.0.0.1.evil.example' },
  ]
  for (const headers of far) {
    const origin = `http://${headers.host ?? 'localhost:4005'}`
    t.match(
      await visitor(console.app).post('/sign-in', { person: 'anna.auditor' }, { headers: { ...headers, origin } }),
      { status: 403 },
    )
    t.notMatch((await visitor(console.app).get('/sign-in', headers)).body, /anna/)
  }
  const remote = await console.app.inject({
    method: 'POST',
    url: '/sign-in',
    remoteAddress: '192.0.2.1',
    headers: {
      host: 'localhost:4005',
      origin: 'http://localhost:4005',
      'content-type': 'application/x-www-form-urlencoded',
    },
    payload: 'person=anna.auditor',
  })
  t.equal(remote.statusCode, 403)
})

t.test('production has no sample people, and refuses to start without a sign-in', async (t) => {
  await t.rejects(startConsole(t, { env: { NODE_ENV: 'production' } }), { code: 'RUN_ERR_CONFIGURATION' })
  const settings: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ CONSOLE_OIDC_ISSUER: 'https://id.example' }, /CONSOLE_OIDC_CLIENT_ID is not set/],
    [{ CONSOLE_OIDC_ISSUER: 'https://id.example', CONSOLE_OIDC_CLIENT_ID: 'x' }, /CONSOLE_URL is not set/],
    [
      { CONSOLE_OIDC_ISSUER: 'http://id.example', CONSOLE_OIDC_CLIENT_ID: 'x', CONSOLE_URL: 'https://c.example' },
      /https/,
    ],
    [{ CONSOLE_PROXY_HEADER: 'x-user' }, /anybody could send the header/],
    [{ CONSOLE_PROXY_HEADER: 'x-user', CONSOLE_OIDC_ISSUER: 'https://id.example' }, /both set/],
    [{ CONSOLE_ROLES: 'admin=admins' }, /CONSOLE_ROLES: .*accepted: pairs role=value/],
    [{ CONSOLE_SESSION_KEY: 'short' }, /CONSOLE_SESSION_KEY: its value can't be used/],
  ]
  for (const [env, message] of settings) {
    await t.rejects(startConsole(t, { env: { NODE_ENV: 'production', ...env } }), { message }, Object.keys(env).join())
  }
  const { app } = await startConsole(t, {
    env: { NODE_ENV: 'production', CONSOLE_PROXY_HEADER: 'x-user', CONSOLE_PROXY_SECRET: 'a-secret-of-the-proxy' },
  })
  t.match(await visitor(app).post('/sign-in', { person: 'anna.auditor' }), { status: 404 })
  const headers = { 'x-user': 'ann', 'x-forwarded-groups': 'auditor', 'x-console-secret': 'a-secret-of-the-proxy' }
  const { headers: answered } = await visitor(app).get('/', headers)
  t.match(String(answered['set-cookie']), /^__Host-console-session=.*; Path=\/; .*Secure; SameSite=Strict/)
  t.match(answered, { 'strict-transport-security': String })
})

t.test('sessions end: by time, by signing out; and a forged one never begins', async (t) => {
  let now = new Date()
  const later = (minutes: number) => {
    now = new Date(now.getTime() + minutes * 60_000)
  }
  const console = await startConsole(t, { now: () => now })
  const idle = await console.signIn('auditor')
  later(29)
  t.match(await idle.get('/'), { status: 200 })
  later(29)
  t.match(await idle.get('/'), { status: 200 }, 'use renews it')
  const copy = new Map(idle.cookies)
  later(31)
  for (const [name, value] of copy) idle.cookies.set(name, value)
  t.match(await idle.get('/'), { status: 303, location: '/sign-in?back=%2F' }, 'idle for half an hour')

  const long = await console.signIn('auditor')
  for (let minutes = 0; minutes < 8 * 60 - 20; minutes += 20) {
    later(20)
    await long.get('/')
  }
  t.match(await long.get('/'), { status: 200 })
  later(21)
  t.match(await long.get('/'), { status: 303 }, 'after eight hours')

  const person = await console.signIn('auditor')
  const kept = new Map(person.cookies)
  t.match(await person.post('/sign-out'), { status: 303, location: '/signed-out' })
  t.equal(person.cookies.size, 0)
  for (const [name, value] of kept) person.cookies.set(name, value)
  t.match(await person.get('/'), { status: 303 }, 'a copy of the cookie does not count any more')

  const elsewhere = await startConsole(t, { env: { CONSOLE_SESSION_KEY: 'k'.repeat(40) }, now: () => now })
  const stranger = await elsewhere.signIn('auditor')
  const tried = visitor(console.app)
  const sealed = [...stranger.cookies.values()][0] ?? ''
  for (const forged of [sealed, sealed.slice(0, -4), '', 'eyJhbGciOiJub25lIn0.eyJpZCI6IjEifQ.', '{"id":"1"}']) {
    tried.cookies.set('console-session', forged)
    t.match(await tried.get('/'), { status: 303 }, forged.slice(0, 20))
  }
  const reasoned = await console.signIn('auditor')
  await reasoned.giveReason()
  tried.cookies.set('console-session', reasoned.cookies.get('console-reason') ?? '')
  t.match(await tried.get('/'), { status: 303 }, 'a cookie for another purpose')
})

t.test('a reason shows personal data for fifteen minutes, to the roles that may', async (t) => {
  let now = new Date()
  const console = await startConsole(t, { now: () => now })
  const auditor = await console.signIn('auditor')
  t.match(await auditor.post('/reason', { reason: '  ' }), { status: 400, body: /Write why/ })
  t.match(await auditor.post('/reason', { reason: 'x'.repeat(201) }), { status: 400, body: /too long/ })
  await auditor.giveReason('ticket 12 <b>')
  t.match((await auditor.get('/')).body, /You see personal data until .*ticket 12 &lt;b&gt;/s)
  const second = await console.signIn('auditor')
  second.cookies.set('console-reason', auditor.cookies.get('console-reason') ?? '')
  t.notMatch((await second.get('/')).body, /You see personal data/, 'of another session')
  const copy = auditor.cookies.get('console-reason') ?? ''
  now = new Date(now.getTime() + 15 * 60_000)
  auditor.cookies.set('console-reason', copy)
  t.notMatch((await auditor.get('/')).body, /You see personal data/, 'after fifteen minutes')
  await auditor.giveReason()
  t.match(await auditor.post('/reason/end', { back: '/' }), { status: 303, location: '/' })
  t.notMatch((await auditor.get('/')).body, /You see personal data/)
  t.match(await (await console.signIn('operator')).post('/reason', { reason: 'x' }), { status: 403 })
})

t.test('headers of every answer, and assets with an ETag', async (t) => {
  const console = await startConsole(t)
  const person = await console.signIn('auditor')
  for (const path of ['/', '/sign-in', '/nothing', '/assets/console.css', '/healthz']) {
    const { headers } = await person.get(path)
    t.match(
      headers,
      {
        'content-security-policy':
          /^default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'/,
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'same-origin',
        'cross-origin-opener-policy': 'same-origin',
      },
      path,
    )
    t.equal(headers['cache-control'], path.startsWith('/assets/') ? 'no-cache' : 'no-store', path)
  }
  const { headers, body } = await person.get('/assets/console.js')
  t.match(body, /querySelectorAll/)
  t.match(await person.get('/assets/console.js', { 'if-none-match': String(headers.etag) }), { status: 304, body: '' })
  for (const path of ['/assets/..%2Fserver.ts', '/assets/../server.ts', '/assets/nothing.js']) {
    t.match(await person.get(path), { status: 404 }, path)
  }
  t.match(await person.get('/readyz'), { status: 200 })
  t.match((await person.get('/metrics')).body, /process_cpu/)
  for (const name of ['layout.ts', 'components.ts', 'charts.ts']) {
    t.notMatch(
      readFileSync(new URL(`../../console/${name}`, import.meta.url), 'utf8'),
      / style="| on\w+="|<script>/,
      name,
    )
  }
})

t.test('a link from another site reaches a page, although its first request has no session', async (t) => {
  const { app } = await startConsole(t)
  const hop = await visitor(app).get('/?a=1', { 'sec-fetch-site': 'cross-site' })
  t.match(hop, { status: 200, body: /content="0;url=\/\?a=1"/ })
  t.match(await visitor(app).get('/?a=1', { 'sec-fetch-site': 'same-origin' }), { status: 303 })
})

t.test('the console is loaded with its first request, and a failure is not kept', async (t) => {
  let builds = 0
  const faults: unknown[] = []
  const { app } = await startConsole(t)
  const lazy = createLazyConsole(
    async () => {
      if (++builds === 1) throw new Error('not now')
      return app
    },
    (error) => faults.push(error),
  )
  const url = await lazy.listen({ port: 0, host: '127.0.0.1' })
  await t.rejects(
    createLazyConsole(
      async () => app,
      () => {},
    ).listen({ port: Number(new URL(url).port), host: '127.0.0.1' }),
    {
      code: 'EADDRINUSE',
    },
  )
  t.equal(builds, 0)
  t.equal((await fetch(url)).status, 503)
  t.match(faults, [{ message: 'not now' }])
  t.equal((await fetch(`${url}/healthz`)).status, 200)
  t.match(await (await fetch(`${url}/sign-in`)).text(), /anna\.auditor/)
  t.equal(builds, 2)
  await lazy.close()

  let isClosed = false
  let begin = () => {}
  const isAsked = new Promise<void>((resolve) => {
    begin = resolve
  })
  const slow = createLazyConsole(
    async () => {
      begin()
      await new Promise(setImmediate)
      const { app } = await startConsole(t)
      app.addHook('onClose', async () => {
        isClosed = true
      })
      return app
    },
    () => {},
  )
  const asked = fetch(`${await slow.listen({ port: 0, host: '127.0.0.1' })}/healthz`).catch(() => undefined)
  await isAsked
  await slow.close()
  t.ok(isClosed, 'one that was just being loaded is closed, too')
  await asked
})

t.test('a template escapes everything that is put into it', async (t) => {
  const stored = '<script>alert(1)</script> "\' & \u202eevil\u0000\u001b[2J\u2028'
  const text = html`<p title="${stored}">${stored}</p>`.text
  t.equal(
    text,
    `<p title="${'&lt;script&gt;alert(1)&lt;/script&gt; &quot;&#39; &amp; \\u202eevil\\u0000\\u001b[2J\\u2028'}">${'&lt;script&gt;alert(1)&lt;/script&gt; &quot;&#39; &amp; \\u202eevil\\u0000\\u001b[2J\\u2028'}</p>`,
  )
  t.equal(html`${[html`<i>${'<'}</i>`, ['<b>', 1, 2n], null, undefined, true, false]}`.text, '<i>&lt;</i>&lt;b&gt;12')
  t.equal(lines('a\n<b>\r').text, 'a\n&lt;b&gt;\\u000d')
  t.throws(() => html`${{ text: '<b>' } as never}`, TypeError, 'an object that looks like HTML is none')
})
