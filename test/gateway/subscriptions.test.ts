/** Subscriptions through the gateway, with the clients and servers that people use: graphql-sse and graphql-ws. */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import { createClient as createWebSocketClient } from 'graphql-ws'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t from 'tap'
import { WebSocket } from 'ws'
import type { GatewayPlugin as Plugin } from '../../gateway/plugin.ts'
import { until } from '../support/until.ts'
import {
  CATALOG,
  type Listening,
  listen,
  ON_CHANGE,
  ORDERS,
  order,
  start,
  startStreaming,
  Topic,
} from './streaming-subgraph.ts'
import { compose, createTokens, listen as listenOn, post, startGateway, startSubgraph } from './support.ts'

for (const to of ['sse', 'websocket'] as const) {
  for (const from of ['sse', 'websocket'] as const) {
    t.test(`to clients by ${to}, from subgraphs by ${from}: entity fields are fetched for each event`, async (t) => {
      const { topic, url, orders, asked, app } = await start(t, from)
      const listening = listen(url, to, ON_CHANGE, { variables: { id: '7' }, token: 'abc' })
      await until('one listens', () => topic.size === 1)
      topic.publish(order('1'))
      t.same(await listening.next(), { data: { orderChanged: { id: '1', product: { name: 'Product p1' } } } })
      topic.publish(order('2'))
      t.same(await listening.next(), { data: { orderChanged: { id: '2', product: { name: 'Product p2' } } } })
      t.equal(asked(), 2)
      t.match(orders.opened, [{ authorization: 'Bearer abc', 'x-correlation-id': String }])
      if (from === 'websocket') t.same(orders.payloads, [{ authorization: 'Bearer abc' }])
      listening.stop()
      await until('nobody listens', () => topic.size === 0)
      const metrics = (await app.inject('/metrics')).body
      t.match(metrics, `gateway_subscriptions{transport="${to}"} 0`)
      t.match(metrics, 'gateway_subscription_events_total 2')
      t.match(metrics, 'gateway_subscriptions_ended_total{reason="client"} 1')
    })
  }

  t.test(`by ${to}: results like those of queries`, async (t) => {
    const { topic, url } = await start(t)
    const exact = listen(url, to, 'subscription { it: orderChanged { total product { upc } } }')
    await until('one listens', () => topic.size === 1)
    topic.publish(order('1'))
    t.same((await exact.next()).data, { it: { total: 19.9, product: { upc: 'p1' } } })
    topic.end()
    t.same(await exact.rest(), [], 'the end of the subgraph is the end')

    const bubbling = listen(url, to, 'subscription { orderChanged { id note product { price } } }')
    await until('one listens', () => topic.size === 1)
    topic.publish(order('1'))
    t.match(await bubbling.next(), {
      data: { orderChanged: null },
      errors: [{ path: ['orderChanged', 'note'], message: /Cannot return null/ }],
    })
    topic.publish(order('0', { note: 'x' }))
    t.match(await bubbling.next(), {
      data: { orderChanged: null },
      errors: [{ path: ['orderChanged', 'product', 'price'] }],
    })
    topic.publish(order('3', { note: 'x' }))
    t.same((await bubbling.next()).data, { orderChanged: { id: '3', note: 'x', product: { price: 1 } } })
    bubbling.stop()

    t.match(await listen(url, to, ON_CHANGE, { variables: { id: 'none' } }).rest(), [
      { errors: [{ message: 'There is no such order.' }] },
    ])
    t.same(await listen(url, to, '{ orders { id product { name } } }').rest(), [
      { data: { orders: [{ id: '1', product: { name: 'Product p1' } }] } },
    ])
    t.same(await listen(url, to, 'mutation { pay(id: 3) { id } }').rest(), [{ data: { pay: { id: '3' } } }])
  })

  t.test(`by ${to}: an operation that is refused is told so`, async (t) => {
    const { url } = await start(t, 'sse', { limits: { aliases: 4 } })
    const refusal = async (query: string, more: object = {}) => {
      const [result] = await listen(url, to, query, more).rest()
      return result?.errors?.[0] ?? result?.refused?.[0] ?? result?.refused
    }
    t.match(await refusal('subscription { nothing }'), { extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } })
    t.match(await refusal('subscription {'), { extensions: { code: 'GRAPHQL_PARSE_FAILED' } })
    t.match(await refusal('subscription { a: orderChanged { id } b: orderChanged { id } }'), {
      extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
    })
    t.match(await refusal(ON_CHANGE, { variables: { id: {} } }), { extensions: { code: 'BAD_USER_INPUT' } })
    t.match(await refusal('subscription { orderChanged { a: id b: id c: id d: id e: id } }'), {
      extensions: { code: 'OPERATION_TOO_COMPLEX' },
    })
  })
}

t.test('plugins and settings by subgraph', async (t) => {
  const plugin: Plugin = {
    onRequest: ({ headers, reject }) => {
      if (headers['x-tenant'] === 'closed') reject({ message: 'This tenant is closed.', code: 'TENANT_CLOSED' })
    },
    onOperation: ({ name, fields, reject }) => {
      if (name === 'Denied') reject({ message: `No ${fields.join()}.` })
    },
    onSubgraphRequest: ({ subgraph, body, setHeader, sign }) => {
      setHeader('x-subgraph', subgraph)
      sign(({ body }) => ({ 'x-signature': createHash('sha256').update(body).digest('hex') }))
      if (body.length === 0) throw new Error('no body')
    },
  }
  const { url, topic, orders } = await start(t, 'sse', {
    plugins: [plugin],
    subgraphSettings: { all: {}, subgraphs: new Map([['orders', { headers: ['x-tenant'] }]]) },
  })
  for (const to of ['sse', 'websocket'] as const) {
    const refusal = async (query: string) => {
      const [result] = await listen(url, to, query).rest()
      return result?.errors?.[0] ?? result?.refused?.[0] ?? result?.refused
    }
    t.match(await refusal('subscription Denied { orderChanged { id } }'), { extensions: { code: 'FORBIDDEN' } })
    const listening = listen(url, to, ON_CHANGE, { variables: { id: '7' }, token: 'abc' })
    await until('one listens', () => topic.size === 1)
    topic.publish(order('1'))
    t.match(await listening.next(), { data: { orderChanged: { id: '1' } } })
    listening.stop()
    await until('nobody listens', () => topic.size === 0)
    const { authorization, ...sent } = orders.opened.at(-1) as Record<string, unknown>
    t.match(sent, { 'x-subgraph': 'orders', 'x-signature': /^[0-9a-f]{64}$/ })
    t.equal(authorization, undefined, 'this subgraph does not get it')
  }
})

const PLAIN = { 'content-type': 'application/json' }

t.test('what belongs to HTTP', async (t) => {
  const { url, topic, asked } = await start(t)
  const events = { ...PLAIN, accept: 'text/event-stream' }
  t.match((await post(url, { query: ON_CHANGE })).body, {
    errors: [{ message: /text\/event-stream/, extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } }],
  })
  const bad = await fetch(url, { method: 'POST', headers: events, body: '{}' })
  t.equal(bad.status, 400)
  t.match(await bad.json(), { errors: [{ extensions: { code: 'BAD_REQUEST' } }] })

  const byGet = `${url}?query=${encodeURIComponent(ON_CHANGE)}`
  const forged = { accept: 'text/event-stream', 'sec-fetch-site': 'cross-site' }
  t.equal((await fetch(byGet, { headers: forged })).status, 403)
  const mutation = await fetch(`${url}?query=${encodeURIComponent('mutation { pay(id: 1) { id } }')}`, {
    headers: events,
  })
  t.equal(mutation.status, 405)
  const leaving = new AbortController()
  const stream = await fetch(byGet, { headers: events, signal: leaving.signal })
  t.match(Object.fromEntries(stream.headers), {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-correlation-id': String,
    'x-accel-buffering': 'no',
  })
  await until('one listens', () => topic.size === 1)
  topic.publish(order('1'))
  const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (!text.includes('next')) text += (await reader?.read())?.value
  const data = JSON.stringify({ data: { orderChanged: { id: '1', product: { name: 'Product p1' } } } })
  t.equal(text, `:\n\nevent: next\ndata: ${data}\n\n`)
  leaving.abort()
  await until('nobody listens', () => topic.size === 0)
  t.equal(asked(), 1)

  // The digits are those that the subgraph wrote.
  const exact = await fetch(url, { method: 'POST', headers: events, body: '{"query":"{ orders { total } }"}' })
  t.match(await exact.text(), '"total":19.90000000000000000001')
})

t.test('a WebSocket is opened by pages of allowed origins alone', async (t) => {
  const { url } = await start(t, 'sse', { corsOrigins: ['https://shop.example'] })
  const status = (origin: string | undefined, protocol = 'graphql-transport-ws') =>
    new Promise<number | string>((resolve) => {
      const socket = new WebSocket(url.replace('http', 'ws'), protocol, origin === undefined ? {} : { origin })
      socket.on('open', () => socket.close())
      socket.on('close', (code) => resolve(code))
      socket.on('unexpected-response', (_request, response) => resolve(`${response.statusCode}`))
      socket.on('error', () => {})
    })
  t.equal(await status(undefined), 1005)
  t.equal(await status('https://shop.example'), 1005)
  t.equal(await status(new URL(url).origin), 1005)
  t.equal(await status('https://elsewhere.example'), '403')
  t.equal(await status('null'), '403')
})

t.test('the number of subscriptions is limited', async (t) => {
  const { url, topic } = await start(t, 'sse', { subscriptions: { perClient: 2 } })
  const refused = (of: Listening) => of.rest().then(([result]) => result?.refused)
  const first = listen(url, 'sse', ON_CHANGE)
  const second = listen(url, 'websocket', ON_CHANGE)
  await until('2 listen', () => topic.size === 2)
  t.match(await refused(listen(url, 'sse', ON_CHANGE)), { response: { status: 429 } })
  t.match(await refused(listen(url, 'websocket', ON_CHANGE)), [{ extensions: { code: 'SUBSCRIPTION_LIMIT' } }])
  first.stop()
  second.stop()
  await until('nobody listens', () => topic.size === 0)
  const again = listen(url, 'sse', ON_CHANGE)
  await until('one listens', () => topic.size === 1)
  again.stop()
})

t.test('persisted queries', async (t) => {
  const { url, topic } = await start(t)
  const sha256Hash = createHash('sha256').update(ON_CHANGE).digest('hex')
  const more = { extensions: { persistedQuery: { version: 1, sha256Hash } } }
  t.match((await listen(url, 'sse', '', { more }).rest())[0], { errors: [{ message: 'PersistedQueryNotFound' }] })
  const registering = listen(url, 'sse', ON_CHANGE, { more })
  await until('one listens', () => topic.size === 1)
  registering.stop()
  for (const by of ['sse', 'websocket'] as const) {
    await until('nobody listens', () => topic.size === 0)
    const listening = listen(url, by, '', { more })
    await until('one listens', () => topic.size === 1)
    topic.publish(order('1'))
    t.ok((await listening.next()).data)
    listening.stop()
  }
})

t.test('a graph without subscriptions', async (t) => {
  const catalog = await startSubgraph(t, CATALOG, {})
  const supergraph = compose(t, { catalog: { sdl: CATALOG, url: catalog } })
  const { url } = await startGateway(t, { supergraph })
  const body = JSON.stringify({ query: '{ products { upc } }' })
  t.equal((await fetch(url, { method: 'POST', headers: { ...PLAIN, accept: 'text/event-stream' }, body })).status, 406)
  t.match((await post(url, { query: 'subscription { products { upc } }' })).body, {
    errors: [{ message: 'This graph has no subscriptions.' }],
  })
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws')
  const refused = await new Promise((resolve) => {
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode))
    socket.on('error', () => {})
  })
  t.equal(refused, 400)
})

for (const to of ['sse', 'websocket'] as const) {
  t.test(`by ${to}: every end has a code`, async (t) => {
    const { topic, url, orders, supergraph, app } = await start(t, to, {
      subscriptions: { bufferedEvents: 3, silenceMs: 60_000 },
    })
    const begin = async () => {
      await until('nobody listens', () => topic.size === 0)
      const listening = listen(url, to, ON_CHANGE)
      await until('one listens', () => topic.size === 1)
      return listening
    }
    const broken = await begin()
    orders.breakOff()
    t.match(await broken.rest(), [
      { errors: [{ path: ['orderChanged'], extensions: { code: 'SERVICE_UNAVAILABLE', service: 'orders' } }] },
    ])

    const swapped = await begin()
    const text = readFileSync(supergraph, 'utf8')
    const changing = setInterval(() => writeFileSync(supergraph, `${text}\n# ${performance.now()}\n`), 100)
    t.match(await swapped.rest(), [{ errors: [{ extensions: { code: 'SUBSCRIPTION_SCHEMA_RELOAD' } }] }])
    clearInterval(changing)
    const written = createHash('sha256').update(readFileSync(supergraph)).digest('hex')
    await until('it is served', async () => (await app.inject('/readyz')).json().supergraph === written)

    const slow = await begin()
    // More than the client can have taken meanwhile.
    for (let id = 0; id < 100; id++) topic.publish(order('1'))
    const results = await slow.rest()
    t.match(results.at(-1), { errors: [{ extensions: { code: 'SUBSCRIPTION_TOO_SLOW' } }] })
    t.equal(results.filter(({ errors }) => errors).length, 1)

    const closing = await begin()
    const isClosed = app.close()
    t.match(await closing.rest(), [{ errors: [{ extensions: { code: 'SUBSCRIPTION_SERVER_CLOSING' } }] }])
    await isClosed
    await until('nobody listens', () => topic.size === 0)
  })
}

t.test('a subgraph that hangs', async (t) => {
  for (const by of ['sse', 'websocket'] as const) {
    const { topic, url, orders } = await start(t, by, { subgraphTimeoutMs: 200, subscriptions: { silenceMs: 300 } })
    const silent = listen(url, 'sse', ON_CHANGE)
    await until('one listens', () => topic.size === 1)
    orders.pause()
    t.match(await silent.rest(), [
      { errors: [{ message: /has sent nothing for 300 ms/, extensions: { code: 'SERVICE_UNAVAILABLE' } }] },
    ])
  }
  // It accepts connections, and that is all.
  const hung = createServer()
  await new Promise<void>((resolve) => hung.listen(0, '127.0.0.1', resolve))
  t.teardown(() => hung.close())
  const { port } = hung.address() as AddressInfo
  const supergraph = compose(t, { orders: { sdl: ORDERS, url: `http://127.0.0.1:${port}/graphql` } })
  for (const urls of [{}, { orders: `ws://127.0.0.1:${port}/graphql` }]) {
    const { url } = await startGateway(t, { supergraph, subgraphTimeoutMs: 200, subscriptions: { urls } })
    t.match(await listen(url, 'sse', 'subscription { orderChanged { id } }').rest(), [
      { errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', service: 'orders' } }] },
    ])
  }
})

t.test('tokens', async (t) => {
  const tokens = createTokens()
  const revoked = new Set<string>()
  const introspection = Fastify()
  introspection.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    async (_: unknown, body: unknown) => body,
  )
  introspection.post('/introspect', async ({ body }) => ({
    active: !revoked.has(new URLSearchParams(String(body)).get('token') ?? ''),
  }))
  introspection.get('/jwks', async () => ({ keys: [tokens.jwk] }))
  const base = await listenOn(t, introspection)
  const { topic, url, orders } = await start(t, 'sse', {
    tokenKeys: { jwksUrl: `${base}/jwks` },
    tokenStatus: { url: `${base}/introspect` },
  })
  for (const by of ['sse', 'websocket'] as const) {
    const forged = await listen(url, by, ON_CHANGE, { token: `${tokens.sign('1')}x` }).rest()
    const refusal = (by === 'sse' ? forged[0]?.errors : forged[0]?.refused)?.[0]
    t.match(refusal, { extensions: { code: 'UNAUTHENTICATED', category: 'graphql-authentication' } })
    t.equal(orders.opened.length, by === 'sse' ? 0 : 3, 'no subgraph is asked')

    const token = tokens.sign('2')
    const [ending, other] = [
      listen(url, by, ON_CHANGE, { token }),
      listen(url, by, ON_CHANGE, { token: tokens.sign('3') }),
    ]
    const expiring = listen(url, by, ON_CHANGE, { token: tokens.sign('4', 1_500) })
    await until('2 listen', () => topic.size >= 2)
    revoked.add(token)
    t.match(await ending.rest(), [
      { errors: [{ message: 'User token has been revoked', extensions: { code: 'UNAUTHENTICATED' } }] },
    ])
    t.match(await expiring.rest(), [{ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] }])
    await until('one listens', () => topic.size === 1)
    topic.publish(order('1'))
    t.ok((await other.next()).data)
    other.stop()
    await until('nobody listens', () => topic.size === 0)
    revoked.clear()
  }
})

t.test('a token of another issuer goes to the subgraphs that are named for it alone', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const keys = Fastify()
  keys.get('/keys', async () => ({ keys: [await exportJWK(publicKey)] }))
  const issuer = {
    issuer: 'https://login.example',
    audience: ['shop'],
    jwksUrl: `${await listenOn(t, keys)}/keys`,
    algorithms: ['ES256' as const],
    scopes: ['scope'],
    policies: ['policies'],
    claims: { 'x-staff-id': ['sub'] },
  }
  const claims = { iss: issuer.issuer, aud: 'shop', sub: '1', exp: Math.floor(Date.now() / 1000) + 60 }
  const token = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(privateKey)
  for (const subgraphs of [[], ['orders']]) {
    for (const by of ['sse', 'websocket'] as const) {
      const { topic, url, orders } = await start(t, by, { trustedIssuers: [{ ...issuer, subgraphs }] })
      const staff = listen(url, by, ON_CHANGE, { token })
      await until('one listens', () => topic.size === 1)
      const { authorization, 'x-staff-id': id } = orders.opened.at(-1) as Record<string, unknown>
      t.same([authorization, id], subgraphs.length > 0 ? [`Bearer ${token}`, '1'] : [undefined, undefined])
      staff.stop()
      await until('nobody listens', () => topic.size === 0)
    }
  }
})

t.test('fields that need a scope', async (t) => {
  const tokens = createTokens()
  const topic = new Topic<object>()
  const sdl = `
    type Query { a: Int }
    type Note { text: String secret: String @authenticated }
    type Subscription { noted: Note hidden: Int @requiresScopes(scopes: [["staff"]]) }
  `
  const link = '@link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@authenticated", "@requiresScopes"])'
  const resolve = (note: object) => note
  const notes = await startStreaming(t, `extend schema ${link}\n${sdl}`, {
    Subscription: {
      noted: { subscribe: () => topic.subscribe(), resolve },
      hidden: { subscribe: () => topic.subscribe() },
    },
  })
  const supergraph = compose(t, { notes: { sdl: `extend schema ${link}\n${sdl}`, url: notes.url } })
  const jwks = Fastify()
  jwks.get('/jwks', async () => ({ keys: [tokens.jwk] }))
  const { url } = await startGateway(t, { supergraph, tokenKeys: { jwksUrl: `${await listenOn(t, jwks)}/jwks` } })
  const query = 'subscription { noted { text secret } }'
  // Another scheme is no token, now and when it is checked again.
  const [guest, user] = [
    listen(url, 'sse', query, { authorization: 'Basic x' }),
    listen(url, 'websocket', query, { token: tokens.sign('1') }),
  ]
  await until('2 listen', () => topic.size === 2)
  await delay(1_100)
  topic.publish({ text: 'a', secret: 'b' })
  t.match(await guest.next(), {
    data: { noted: { text: 'a', secret: null } },
    errors: [{ path: ['noted', 'secret'], extensions: { code: 'FORBIDDEN' } }],
  })
  t.same(await user.next(), { data: { noted: { text: 'a', secret: 'b' } } })
  guest.stop()
  user.stop()
  t.match(await listen(url, 'sse', 'subscription { hidden }').rest(), [
    { data: { hidden: null }, errors: [{ path: ['hidden'], extensions: { code: 'FORBIDDEN' } }] },
  ])
})

t.test('a client that does not read is bounded in what waits for it', async (t) => {
  const { topic, url, app } = await start(t)
  const query = 'subscription { orderChanged { id note } }'
  const headers = { ...PLAIN, accept: 'text/event-stream' }
  const leaving = new AbortController()
  // Kept until the end: undici leaves where the answer is garbage, and then it would not be slow.
  const unread = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query }), signal: leaving.signal })
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws')
  socket.on('open', () => socket.send('{"type":"connection_init"}'))
  socket.once('message', () => {
    socket.send(JSON.stringify({ type: 'subscribe', id: '1', payload: { query } }))
    socket.pause()
  })
  await until('2 listen', () => topic.size === 2)
  const big = order('1', { note: 'x'.repeat(100_000) })
  await until('both are ended', () => {
    topic.publish(big)
    return topic.size === 0
  })
  t.match((await app.inject('/metrics')).body, 'gateway_subscriptions_ended_total{reason="slow"} 2')
  t.notOk(unread.bodyUsed)
  leaving.abort()
  socket.terminate()
})

/** All of 10,000 take most of a minute. */
const ROUNDS = Number(process.env.SUBSCRIPTION_ROUNDS ?? 200)

t.test(`${ROUNDS} rounds of subscribing and unsubscribing leave nothing behind`, { timeout: 600_000 }, async (t) => {
  const { topic, url, app } = await start(t, 'sse')
  const client = createWebSocketClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket, lazy: false })
  const body = JSON.stringify({ query: ON_CHANGE })
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  const bySse = async () => {
    const leaving = new AbortController()
    const headers = { ...PLAIN, accept: 'text/event-stream' }
    const { body: results } = await fetch(url, { method: 'POST', headers, body, signal: leaving.signal })
    await results?.getReader().read()
    leaving.abort()
  }
  const byWebSocket = () =>
    new Promise<void>((resolve, reject) => {
      const next = () => {
        stop()
        resolve()
      }
      const stop = client.subscribe({ query: ON_CHANGE }, { next, error: reject, complete: () => {} })
    })
  const twenty = (subscribe: () => Promise<void>) => Promise.all(Array.from({ length: 20 }, subscribe))
  async function run(rounds: number): Promise<number> {
    for (let round = 0; round < rounds; round += 40) {
      await twenty(bySse)
      await until('nobody listens', () => topic.size === 0)
      const subscribed = twenty(byWebSocket)
      await until('20 listen', () => topic.size === 20)
      topic.publish(order('1'))
      await subscribed
    }
    await until('nobody listens', () => topic.size === 0)
    collect()
    return process.memoryUsage().heapUsed
  }
  const warm = await run(Math.min(ROUNDS, 200))
  const after = await run(ROUNDS)
  t.comment(`heap: ${Math.round(warm / 1e5) / 10} MB, then ${Math.round(after / 1e5) / 10} MB`)
  t.ok(after - warm < 4e6, 'the heap does not grow')
  const metrics = (await app.inject('/metrics')).body
  t.match(metrics, 'gateway_subscriptions{transport="sse"} 0')
  t.match(metrics, 'gateway_subscriptions{transport="websocket"} 0')
  await client.dispose()
})
