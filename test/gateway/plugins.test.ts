/** Plugins: their hooks over real HTTP, what a failure does, and how they meet shared calls. */
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { requireSignature } from '../../examples/plugins/verify-signature.ts'
import type { GatewayPlugin, PluginResponse, Signer } from '../../gateway/plugin.ts'
import type { PluginSource } from '../../gateway/plugins/load.ts'
import type { GatewayOptions } from '../../gateway/server.ts'
import { until } from '../support/until.ts'
import { compose, createTokens, listen, post, startGateway } from './support.ts'

const SDL = `type Query { hello(x: String): String big: String node: Node } type Mutation { change: String }
  interface Node { id: ID } type Item implements Node { id: ID secret: String }`

interface Call {
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Answers a call; `calls` are those so far, this one included. */
type Respond = (response: ServerResponse, call: Call, calls: readonly Call[]) => void

const greet: Respond = (response) =>
  response
    .writeHead(200, { 'content-type': 'application/json' })
    .end('{"data":{"hello":"x","change":"x","big":12345678901234567890}}')

/** Composed once, for all gateways. */
const supergraph = compose(t, { main: { sdl: SDL, url: 'http://127.0.0.1:1/' } })

/** A gateway with plugins over one real subgraph whose calls are kept. */
async function start(
  t: Test,
  plugins: readonly PluginSource[],
  own: Partial<GatewayOptions> & { respond?: Respond } = {},
) {
  const { respond = greet, ...rest } = own
  const calls: Call[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const call = { headers: request.headers, body: Buffer.concat(chunks) }
    calls.push(call)
    respond(response, call, calls)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
  const lines: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const options = { supergraph, subgraphUrls: { main: url }, plugins, logger: { level: 'info', stream } }
  const gateway = await startGateway(t, { ...options, ...rest })
  return { ...gateway, calls, lines }
}

t.test('all hooks, in their order, with what they get', async (t) => {
  const order: string[] = []
  const responses: PluginResponse[] = []
  const plugin = (name: string): GatewayPlugin => ({
    name,
    onRequest: ({ context, method, headers }) => {
      order.push(`${name} onRequest ${method} ${headers['x-client']} ${JSON.stringify(context)}`)
      context[name] = true
    },
    async onOperation({ name: operation, type, hash, fields, context }) {
      await delay(1)
      order.push(`${name} onOperation ${type} ${operation} ${hash.length} ${fields} ${Object.keys(context)}`)
    },
    onSubgraphRequest({ subgraph, body, operation, header, setHeader }) {
      order.push(`${name} onSubgraphRequest ${subgraph} ${JSON.parse(body.toString()).query} ${operation.name}`)
      setHeader('X-From', `${header('x-from') ?? ''}${name}`)
      setHeader('user-agent', undefined)
    },
    onResponse(response) {
      order.push(`${name} onResponse ${response.outcome}`)
      responses.push(response)
      response.setHeader('x-seen-by', name)
      response.setHeader('vary', `x-${name}`)
    },
  })
  const { url, calls } = await start(t, [plugin('one'), plugin('two')])
  const query = 'query Greet { hello }'
  const { headers, body } = await post(url, { query }, { 'x-client': 'web', 'user-agent': 'me' })
  t.same(body, { data: { hello: 'x' } })
  t.same(order, [
    'one onRequest POST web {}',
    'two onRequest POST web {"one":true}',
    'one onOperation query Greet 64 Query.hello one,two',
    'two onOperation query Greet 64 Query.hello one,two',
    'one onSubgraphRequest main query Greet__main__0{hello} Greet',
    'two onSubgraphRequest main query Greet__main__0{hello} Greet',
    'one onResponse success',
    'two onResponse success',
  ])
  t.equal(calls[0]?.headers['x-from'], 'onetwo')
  t.equal(calls[0]?.headers['user-agent'], undefined)
  t.equal(headers.get('x-seen-by'), 'two')
  t.match(headers.get('vary'), /x-one, x-two/)
  t.match(responses[0], { id: headers.get('x-correlation-id'), errors: [], metrics: { subgraphAnswers: 1 } })
  t.ok((responses[0]?.metrics.ms ?? 0) >= (responses[0]?.metrics.planMs ?? 1))
})

t.test('onRequest replaces headers for everything that follows, and rejects', async (t) => {
  const tokens = createTokens()
  const keys = Fastify()
  keys.get('/jwks.json', () => ({ keys: [tokens.jwk] }))
  const jwksUrl = `${await listen(t, keys)}/jwks.json`
  const claims: unknown[] = []
  const plugin: GatewayPlugin = {
    onRequest({ headers, setHeader, reject }) {
      const [, token] = /session=([^;]+)/.exec(headers.cookie ?? '') ?? []
      if (token === 'none') reject({ message: 'Go away.', status: 418, code: 'TEAPOT' })
      if (token === 'plain') reject({ message: 'No.' })
      if (token) setHeader('Authorization', `Bearer ${token}`)
    },
    onOperation: ({ claims: given }) => void claims.push(given?.sub),
  }
  const { url, calls } = await start(t, [plugin], { tokenKeys: { jwksUrl } })
  const ask = (cookie: string) => post(url, { query: '{ hello }' }, { cookie })
  t.equal((await ask(`session=${tokens.sign('7')}`)).status, 200)
  t.equal((await ask('nothing=1')).status, 200)
  t.same(claims, ['7', undefined])
  t.match(calls[0]?.headers.authorization, /^Bearer /)
  t.equal((await ask('session=forged')).status, 401, 'a token that a plugin sets is verified, too')
  const { status, body } = await ask('session=none')
  t.equal(status, 418)
  t.same(body, { errors: [{ message: 'Go away.', extensions: { code: 'TEAPOT' } }] })
  t.match(await ask('session=plain'), { status: 403, body: { errors: [{ extensions: { code: 'FORBIDDEN' } }] } })
  t.equal(calls.length, 2)
})

t.test('onOperation sees the same operation however it was sent, and what can not be evaded', async (t) => {
  const seen: { hash: string; fields: readonly string[] }[] = []
  const plugin: GatewayPlugin = {
    onOperation({ hash, fields, name, reject }) {
      seen.push({ hash, fields })
      if (name === 'Bad') reject({ message: 'Denied.', code: 'DENIED' })
    },
  }
  const { url, calls } = await start(t, [plugin], { batchLimit: 3 })
  await post(url, { query: 'query A { node { id } }' })
  await post(url, { query: 'query A {\n  node { id } # comment\n}' })
  const query = 'query A { node { ...F } } fragment F on Item { id secret }'
  const sha256Hash = await sha256(query)
  await post(url, { query, extensions: { persistedQuery: { version: 1, sha256Hash } } })
  await post(url, { extensions: { persistedQuery: { version: 1, sha256Hash } } })
  t.equal(seen.length, 4)
  t.equal(seen[0]?.hash, seen[1]?.hash, 'layout and comments do not matter')
  t.same(seen[0]?.fields, ['Item.id', 'Node.id', 'Query.node'])
  t.same(seen[2], seen[3], 'a persisted query is the same operation')
  t.same(seen[2]?.fields, ['Item.id', 'Item.secret', 'Node.id', 'Query.node'])
  const before = calls.length
  const { status, body } = await post(url, [{ query: 'query Good { hello }' }, { query: 'query Bad { hello }' }])
  t.equal(status, 200)
  t.match(body, [{ data: { hello: 'x' } }, { errors: [{ message: 'Denied.', extensions: { code: 'DENIED' } }] }])
  t.equal(calls.length, before + 1)
})

async function sha256(text: string): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(text))).toString('hex')
}

t.test('onResponse: errors and headers, also of what was rejected', async (t) => {
  const seen: unknown[] = []
  const plugin: GatewayPlugin = {
    onResponse({ outcome, operation, errors, setErrors }) {
      seen.push([outcome, operation?.name, errors.map(({ extensions }) => extensions?.code)])
      if (operation?.name === 'Extra') setErrors([{ message: 'deprecated', extensions: { code: 'WARNING' } }])
      else if (operation?.name === 'Clear') setErrors([])
      else if (errors.length > 0) setErrors(errors.map((error) => ({ ...error, message: 'Hidden.' })))
    },
  }
  const respond: Respond = (response, { body }) =>
    body.includes('change')
      ? response.end('{"data":{"change":null},"errors":[{"message":"internal \\"host\\" db7","path":["change"]}]}')
      : greet(response, { body, headers: {} }, [])
  const { url, base } = await start(t, [plugin], { respond, batchLimit: 2 })
  t.same((await post(url, { query: 'mutation M { change }' })).body, {
    data: { change: null },
    errors: [{ message: 'Hidden.', path: ['change'] }],
  })
  t.same((await post(url, { query: 'mutation Clear { change }' })).body, { data: { change: null } })
  const text = await (
    await fetch(url, { method: 'POST', headers: JSON_TYPE, body: '{"query":"query Extra { hello }"}' })
  ).text()
  t.equal(text, '{"data":{"hello":"x"},"errors":[{"message":"deprecated","extensions":{"code":"WARNING"}}]}')
  t.match((await post(url, { query: '{ nothing }' })).body, { errors: [{ message: 'Hidden.' }] })
  t.match((await post(url, { extensions: { persistedQuery: { version: 1, sha256Hash: 'a'.repeat(64) } } })).body, {
    errors: [{ message: 'Hidden.' }],
  })
  t.match((await post(url, { query: 7 })).body, { errors: [{ message: 'Hidden.' }] })
  t.match((await post(url, [{ query: 7 }, { query: '{ hello }' }])).body, [
    { errors: [{ message: 'Hidden.' }] },
    { data: { hello: 'x' } },
  ])
  t.same(seen, [
    ['errors', 'M', [undefined]],
    ['errors', 'Clear', [undefined]],
    ['success', 'Extra', []],
    ['rejected', undefined, ['GRAPHQL_VALIDATION_FAILED']],
    ['rejected', undefined, ['PERSISTED_QUERY_NOT_FOUND']],
    ['rejected', undefined, ['BAD_REQUEST']],
    ['rejected', undefined, ['BAD_REQUEST']],
    ['success', undefined, []],
  ])
  const count = seen.length
  await fetch(`${base}/graphql?query={hello}`, { headers: { accept: 'image/png' } })
  await fetch(url, { method: 'POST', headers: JSON_TYPE, body: '{' })
  t.equal(seen.length, count, 'what is refused before onRequest reaches no plugin')
})

t.test('nothing is stored where plugins decide, unless one of them says so', async (t) => {
  const respond: Respond = (response) =>
    response
      .writeHead(200, { 'content-type': 'application/json', 'cache-control': 'public, max-age=60' })
      .end('{"data":{"hello":"x"}}')
  const plugin: GatewayPlugin = {
    onRequest({ headers, context }) {
      context.isPublic = headers['x-public'] !== undefined
    },
    onResponse({ context, setHeader }) {
      if (context.isPublic) setHeader('Cache-Control', 'public, max-age=5')
    },
  }
  const { base } = await start(t, [plugin], { respond })
  const get = async (headers: Record<string, string>) => {
    const response = await fetch(`${base}/graphql?query={hello}`, {
      headers: { 'apollo-require-preflight': '1', ...headers },
    })
    t.same(await response.json(), { data: { hello: 'x' } })
    return response.headers.get('cache-control')
  }
  t.match(await get({}), 'no-store', 'the answer may depend on what a plugin read of the request')
  t.equal(await get({ 'x-public': '1' }), 'public, max-age=5')
})

const JSON_TYPE = { 'content-type': 'application/json' }
const SECRET = 'token-of-ann@example.com'
const throwing = () => {
  throw Object.assign(new Error(`cannot use\n    at ${SECRET}`), { code: 'E_MINE' })
}

t.test('a hook that fails closes the request, and says nothing', async (t) => {
  const cases: [string, GatewayPlugin][] = [
    ['throws', { onRequest: throwing }],
    ['throws', { onOperation: throwing }],
    ['throws', { onResponse: throwing }],
    ['rejects later', { onOperation: () => delay(1).then(throwing) }],
    ['throws no error', { onRequest: () => Promise.reject(SECRET) }],
    ['takes too long', { timeoutMs: 20, onRequest: () => new Promise(() => {}) }],
    ['takes too long', { timeoutMs: 20, onResponse: () => new Promise(() => {}) }],
    ['a header of HTTP', { onRequest: ({ setHeader }) => setHeader('x-a', `a\r\n${SECRET}`) }],
    ['a header of ours', { onRequest: ({ setHeader }) => setHeader('x-forwarded-for', SECRET) }],
    ['a header of ours', { onResponse: ({ setHeader }) => setHeader('Content-Length', '1') }],
    ['no status', { onOperation: ({ reject }) => reject({ message: SECRET, status: 200 }) }],
    ['no status, caught', { onOperation: ({ reject }) => attempt(() => reject({ message: SECRET, status: 200 })) }],
    ['no errors', { onResponse: ({ setErrors }) => setErrors([{ message: 7 } as never]) }],
  ]
  for (const [what, plugin] of cases) {
    const { app, url, base, lines, calls } = await start(t, [{ name: 'mine', ...plugin }])
    const [hook = ''] = Object.keys(plugin).filter((name) => name.startsWith('on'))
    const { status, body, headers } = await post(url, { query: 'mutation { change }' })
    t.equal(status, 500, `${hook} ${what}`)
    t.same(body, {
      errors: [
        {
          message: 'A plugin of the gateway failed.',
          extensions: { code: 'PLUGIN_FAILED', correlationId: headers.get('x-correlation-id') },
        },
      ],
    })
    t.equal(calls.length, hook === 'onResponse' ? 1 : 0)
    t.match(lines.join(''), `"plugin":"mine","hook":"${hook}"`)
    t.notMatch(lines.join(''), SECRET)
    const metrics = await (await fetch(`${base}/metrics`)).text()
    await app.close()
    t.match(metrics, `gateway_plugin_failures_total{plugin="mine",hook="${hook}"} 1`)
  }
  const { lines, url } = await start(t, [{ onRequest: throwing }])
  await post(url, { query: '{ hello }' })
  t.match(lines.join(''), /"code":"E_MINE","stack":"[^"]*plugins\.test\.ts/, 'the log says where')
  const caught = await start(t, [{ onOperation: ({ reject }) => attempt(() => reject({ message: 'No.' })) }])
  t.equal((await post(caught.url, { query: '{ hello }' })).status, 403, 'a refusal that the plugin catches counts')
})

function attempt(work: () => void): void {
  try {
    work()
  } catch {
    // swallowed
  }
}

t.test('a failing subgraph hook is an error at the fields; the subgraph is not called', async (t) => {
  const cases: [string, GatewayPlugin['onSubgraphRequest'], object][] = [
    ['throws', throwing, { message: 'A plugin of the gateway failed.', extensions: { code: 'PLUGIN_FAILED' } }],
    [
      'rejects',
      ({ reject }) => reject({ message: 'Closed.', code: 'CLOSED' }),
      { message: 'Closed.', extensions: { code: 'CLOSED' } },
    ],
    ['signer throws', ({ sign }) => sign(throwing), { extensions: { code: 'PLUGIN_FAILED' } }],
    [
      'signer returns nonsense',
      ({ sign }) => sign(() => ({ 'x-a': 'a\n' })),
      { extensions: { code: 'PLUGIN_FAILED' } },
    ],
    ['no signer', ({ sign }) => sign('x' as never), { extensions: { code: 'PLUGIN_FAILED' } }],
  ]
  for (const executor of ['compiled', 'apollo'] as const) {
    for (const [what, onSubgraphRequest, error] of cases) {
      const { app, url, calls, lines } = await start(t, [{ onSubgraphRequest: onSubgraphRequest as never }], {
        executor,
      })
      for (let round = 0; round < 6; round++) {
        const { status, body } = await post(url, { query: '{ hello }' })
        t.equal(status, 200)
        t.same(body.data, { hello: null })
        t.match(body.errors, [error], `${executor}: ${what}`)
      }
      await app.close()
      t.equal(calls.length, 0)
      t.notMatch(lines.join(''), SECRET)
    }
  }
})

t.test('guests never share a call whose headers or signers differ', async (t) => {
  const common: Signer = () => ({ 'x-signature': 'common' })
  const plugin: GatewayPlugin = {
    onSubgraphRequest({ context, setHeader, sign }) {
      if (context.header) setHeader(String(context.header), String(context.tenant))
      if (context.signs === 'common') sign(common)
      if (context.signs === 'own') sign(() => ({ 'x-signature': String(context.tenant) }))
    },
    onRequest({ headers, context }) {
      Object.assign(context, { tenant: headers['x-tenant'], header: headers['x-header'], signs: headers['x-signs'] })
    },
  }
  const held: (() => void)[] = []
  const respond: Respond = (...call) => void held.push(() => greet(...call))
  for (const sharedCalls of ['same', 'guests'] as const) {
    const { url, base, calls } = await start(t, [plugin], { respond, sharedCalls })
    let saved = 0
    for (const [headers, isShared] of [
      [{ 'x-signs': 'common' }, true],
      [{}, true],
      [{ 'x-header': 'x-tenant' }, false],
      [{ 'x-header': 'user-agent' }, false],
      [{ 'x-signs': 'own' }, false],
    ] as const) {
      calls.length = 0
      const ask = (tenant: string) => post(url, { query: '{ hello }' }, { ...headers, 'x-tenant': tenant })
      const asked = Promise.all(['one', 'two'].map(ask))
      if (isShared) saved++
      const shared = new RegExp(`gateway_subgraph_shared_total\\{service="main"\\} ${saved}\\n`)
      const isSaved = async () => shared.test(await (await fetch(`${base}/metrics`)).text())
      await until(isShared ? 'one is saved' : 'both are asked', () => (isShared ? isSaved() : calls.length >= 2))
      for (const release of held.splice(0)) release()
      for (const { body } of await asked) t.same(body.data, { hello: 'x' })
      t.equal(calls.length, isShared ? 1 : 2, `${sharedCalls} ${JSON.stringify(headers)}`)
    }
  }
})

t.test('a call is signed with the bytes that are sent, and again for each retry', async (t) => {
  const attempts: number[] = []
  const signer: Signer = async ({ body, attempt, header }) => {
    attempts.push(attempt)
    await delay(1)
    return {
      'X-Signature': createHmac('sha256', 'k').update(body).digest('hex'),
      'x-attempt': `${attempt} ${header('store')}`,
    }
  }
  const respond: Respond = (response, call, calls) =>
    calls.length < 3 ? response.writeHead(503).end() : greet(response, call, calls)
  const plugin: GatewayPlugin = { onSubgraphRequest: ({ sign }) => sign(signer) }
  const { url, calls } = await start(t, [plugin], { respond })
  await post(url, { query: 'query ($x: String) { hello(x: $x) }', variables: { x: 'ä😀' } }, { store: 'de' })
  t.match(calls[0]?.body.toString(), 'ä😀')
  t.same(attempts, [1, 2, 3])
  for (const [index, { headers, body }] of calls.entries()) {
    t.equal(headers['x-signature'], createHmac('sha256', 'k').update(body).digest('hex'))
    t.equal(headers['x-attempt'], `${index + 1} de`)
  }
})

t.test('a plugin is created with the registry and the log, and closed with the gateway', async (t) => {
  const events: string[] = []
  const { Counter } = await import('prom-client')
  const { app, url, base } = await start(t, [
    async ({ registry, log }) => {
      const counter = new Counter({ name: 'my_operations_total', help: 'Mine.', registers: [registry] })
      log.info({}, 'created')
      return { onOperation: () => counter.inc(), close: () => void events.push('closed') }
    },
  ])
  await post(url, { query: '{ hello }' })
  t.match(await (await fetch(`${base}/metrics`)).text(), /my_operations_total 1/)
  await app.close()
  t.same(events, ['closed'])
})

t.test('the examples', async (t) => {
  const example = (name: string) => join(import.meta.dirname, `../../examples/plugins/${name}`)
  const key = 'k'.repeat(40)
  Object.assign(process.env, { SIGNING_KEY: key, TENANTS: 'acme,globex', DENY_LIST: example('denied.txt') })

  await t.test('HMAC signing, and how the subgraph checks it', async (t) => {
    const subgraph = Fastify()
    requireSignature(subgraph, 'main', key)
    subgraph.post('/graphql', () => ({ data: { hello: 'signed' } }))
    const url = `${await listen(t, subgraph)}/graphql`
    const signing = await startGateway(t, {
      supergraph,
      subgraphUrls: { main: url },
      plugins: [example('hmac-signing.ts')],
    })
    t.same((await post(signing.url, { query: '{ hello }' })).body, { data: { hello: 'signed' } })
    t.equal((await post(url, { query: '{ hello }' })).status, 401, 'the subgraph refuses everybody else')
    const time = Math.floor(Date.now() / 1000) - 3_600
    const body = '{"query":"{hello}"}'
    const v1 = createHmac('sha256', key).update(`${time}.main.${body}`).digest('hex')
    t.equal((await post(url, body, { 'x-signature': `t=${time},v1=${v1}` })).status, 401, 'and what is an hour old')
  })

  await t.test('a tenant header', async (t) => {
    const { base, calls } = await start(t, [example('tenant-header.ts')], { forwardHeaders: ['x-tenant'] })
    const { port } = new URL(base)
    const ask = async (host: string) => {
      const { request } = await import('node:http')
      const headers = { host, 'content-type': 'application/json', 'x-tenant': 'globex' }
      const sent = request({ port, host: '127.0.0.1', path: '/graphql', method: 'POST', headers }).end(
        '{"query":"{ hello }"}',
      )
      const [response] = await once(sent, 'response')
      response.resume()
      return response.statusCode as number
    }
    t.equal(await ask('acme.shop.example'), 200)
    t.same(
      calls.map(({ headers }) => headers['x-tenant']),
      ['acme'],
      "not the client's own",
    )
    t.equal(await ask('evil.shop.example'), 404)
    t.equal(calls.length, 1)
  })

  await t.test('a deny list', async (t) => {
    const sdl = 'type Query { hello: String } type Mutation { deleteCustomer: Boolean other: Boolean }'
    const supergraph = compose(t, { main: { sdl, url: 'http://127.0.0.1:1/' } })
    const { url } = await startGateway(t, { supergraph, plugins: [example('deny-list.ts')] })
    for (const [query, status] of [
      ['mutation { other x: deleteCustomer }', 403],
      ['mutation { ...F } fragment F on Mutation { deleteCustomer }', 403],
      ['query OldHomePage { hello }', 403],
      ['query NewHomePage { hello }', 200],
    ] as const) {
      t.equal((await post(url, { query })).status, status, query)
    }
  })
})
