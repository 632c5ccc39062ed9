/** What browsers and CDNs may store of the gateway's answers. */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { CachePolicy } from '../../gateway/http/cache-policy.ts'
import type { GatewayOptions } from '../../gateway/server.ts'
import { compose, createTokens, listen, post, startGateway } from './support.ts'

interface Sent {
  readonly status?: number
  readonly headers?: Record<string, string | string[]>
  readonly body?: object
}

/** A subgraph that sends what it is told to. */
async function startTold(t: Test, body: object) {
  const told = { sent: { body } as Sent, calls: 0, seen: {} as IncomingHttpHeaders }
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      told.calls++
      told.seen = request.headers
      const { status = 200, headers = {}, body: own = body } = told.sent
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(own))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { told, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql` }
}

const PRODUCTS = `type Query { product: Product search: [Found] } type Mutation { change: Int } union Found = Product | Page
  type Page { id: ID! } type Product @key(fields: "id") { id: ID! name: String }`
const PRICES = 'type Product @key(fields: "id") { id: ID! price: Int @shareable }'

/** A gateway over two subgraphs, and GETs to it. */
async function start(t: Test, options: Partial<GatewayOptions> = {}) {
  const product = { __typename: 'Product', id: '1', name: 'Chair' }
  const products = await startTold(t, { data: { product, search: [product], change: 1 } })
  const prices = await startTold(t, { data: { _entities: [{ __typename: 'Product', price: 5 }] } })
  const supergraph = compose(t, {
    products: { sdl: PRODUCTS, url: products.url },
    prices: { sdl: PRICES, url: prices.url },
  })
  const gateway = await startGateway(t, { supergraph, ...options })
  const get = (query: string, headers: Record<string, string> = {}, more: Record<string, string> = {}) =>
    fetch(`${gateway.url}?${new URLSearchParams({ query, ...more })}`, { headers })
  const control = async (query: string, headers: Record<string, string> = {}) => {
    const response = await get(query, headers)
    await response.arrayBuffer()
    return response.headers.get('cache-control')
  }
  /** The headers of both subgraphs' answers. */
  const say = (one: Sent['headers'] | string, two: Sent['headers'] | string = one) => {
    const asHeaders = (header: Sent['headers'] | string) =>
      typeof header === 'string' ? { 'cache-control': header } : (header ?? {})
    products.told.sent = { headers: asHeaders(one) }
    prices.told.sent = { headers: asHeaders(two) }
  }
  return { ...gateway, get, control, say, products: products.told, prices: prices.told }
}

const ONE = '{ product { name } }'
const BOTH = '{ product { name price } }'

t.test('an answer is stored for the least time that its subgraphs allow', async (t) => {
  const { control, say } = await start(t)
  say('public, max-age=60')
  t.equal(await control(ONE), 'public, max-age=60')
  const cases: [Sent['headers'] | string, Sent['headers'] | string, string][] = [
    ['max-age=60', 'max-age=30', 'public, max-age=30'],
    ['max-age=60', 'max-age=30, private', 'private, max-age=30'],
    ['max-age=60', {}, 'no-store'],
    ['max-age=60', 'no-store', 'no-store'],
    ['max-age=60', 'no-cache, max-age=60', 'no-store'],
    ['max-age=60', 'public, max-age=0', 'no-store'],
    ['max-age=60, s-maxage=600', 'max-age=90', 'public, max-age=60, s-maxage=90'],
    ['max-age=60', { 'cache-control': 'max-age=50', age: '20' }, 'public, max-age=30'],
    ['max-age=60', { 'cache-control': 'max-age=50', age: '51' }, 'no-store'],
    ['max-age=60', { 'cache-control': ['max-age=50', 'private'] }, 'private, max-age=50'],
    ['max-age=60, must-revalidate', 'max-age=60', 'public, max-age=60, must-revalidate'],
    [
      'max-age=60, stale-while-revalidate=30',
      'max-age=60, stale-while-revalidate=20, stale-if-error=9',
      'public, max-age=60, stale-while-revalidate=20',
    ],
  ]
  for (const [one, two, expected] of cases) {
    say(one, two)
    t.equal(await control(BOTH), expected, `${JSON.stringify(one)} and ${JSON.stringify(two)}`)
  }
  say('max-age=60', {})
  t.equal(await control(ONE), 'public, max-age=60', 'only the subgraphs that were asked count')
})

t.test('a header is read in all its forms, and on doubt nothing is stored', async (t) => {
  const policy = (header: string, more: Record<string, string | string[]> = {}) => {
    const made = new CachePolicy()
    made.add('a', 200, { 'cache-control': header, ...more })
    return made.control
  }
  t.equal(policy('Max-Age="60" , PUBLIC'), 'public, max-age=60')
  t.equal(policy('public, max-age=60, max-age=600'), 'public, max-age=60')
  t.equal(policy('max-age=99999999999'), 'public, max-age=2147483647')
  t.equal(policy('private="x-user", max-age=60'), 'private, max-age=60')
  t.equal(policy('max-age=0, s-maxage=60'), 'public, max-age=0, s-maxage=60')
  t.equal(policy('s-maxage=60'), 'public, max-age=0, s-maxage=60')
  t.equal(policy('s-maxage=0, max-age=60'), 'private, max-age=60')
  t.equal(policy('max-age=60, stale-while-revalidate=5, must-revalidate'), 'public, max-age=60, must-revalidate')
  for (const header of ['', 'public', 'max-age', 'max-age=', 'max-age=-1', 'max-age=1.5', 'max-age=1h', 'immutable']) {
    t.equal(policy(header), undefined, header)
  }
  t.equal(policy('max-age=60, no-cache="set-cookie"'), undefined)
  t.equal(policy('private, s-maxage=60'), undefined)
  t.equal(policy('max-age=60', { age: 'soon' }), undefined)
  for (const vary of ['*', 'Store, X-Forwarded-For', 'traceparent', ['store', '*']]) {
    t.equal(policy('max-age=60', { vary }), undefined, `Vary: ${vary}`)
  }
  t.equal(policy('max-age=60', { vary: 'Store' }), 'public, max-age=60')
  t.equal(new CachePolicy().control, undefined, 'without any part')
})

t.test('what depends on who asks, or failed, or changes something is not stored', async (t) => {
  const tokens = createTokens()
  const keys = Fastify()
  keys.get('/jwks', () => ({ keys: [tokens.jwk] }))
  const jwksUrl = `${await listen(t, keys)}/jwks`
  const forwardHeaders = ['authorization', 'cookie', 'store']
  const { url, get, control, say, products } = await start(t, {
    tokenKeys: { jwksUrl },
    forwardHeaders,
    batchLimit: 2,
    showPlans: true,
    returnHeaders: ['set-cookie'],
  })
  say('public, max-age=60')
  t.equal(await control(ONE), 'public, max-age=60')
  const token = tokens.sign('1')
  t.equal(await control(ONE, { authorization: `Bearer ${token}` }), 'no-store')
  t.equal(await control(ONE, { authorization: 'Bearer forged' }), 'no-store', 'and 401')
  t.equal(await control(ONE, { authorization: 'Basic YTpi' }), 'no-store', 'another scheme')
  t.equal(await control(ONE, { cookie: 'session=1' }), 'no-store', 'a cookie that goes down')
  t.equal(await control(ONE, { 'x-query-plan': '1' }), 'no-store')
  t.equal(await control('{ nothing }'), 'no-store', 'an invalid document')
  t.equal(await control('{ __typename }'), 'no-store', 'nothing was fetched')
  t.equal(await control('{ __schema { queryType { name } } }'), 'no-store')
  t.equal(await control(`query($if: Boolean = false) { product @include(if: $if) { name } }`), 'no-store')
  t.equal((await post(url, { query: 'mutation { change }' })).headers.get('cache-control'), 'no-store')
  t.equal((await post(url, [{ query: ONE }])).headers.get('cache-control'), 'no-store', 'a batch')
  t.equal((await post(url, { query: ONE })).headers.get('cache-control'), 'public, max-age=60', 'a POST')
  t.equal((await post(url, { query: ONE })).headers.get('etag'), null)

  const cached = { 'cache-control': 'max-age=60' }
  products.sent = { headers: { ...cached, 'set-cookie': 'session=2' } }
  t.equal(await control(ONE), 'no-store', 'a cookie for this client')
  products.sent = { headers: cached, body: { data: { product: null }, errors: [{ message: 'no' }] } }
  t.equal(await control(ONE), 'no-store', 'an error')
  products.sent = { headers: cached, body: { data: { product: { __typename: 'Product', name: 7 } } } }
  t.equal(await control(ONE), 'no-store', 'a value that breaks the schema')
  products.sent = { status: 203, headers: cached }
  t.equal(await control(ONE), 'no-store', 'another status')
  products.sent = { headers: cached }

  const sha256Hash = '5ca1ab1e'.repeat(8)
  const extensions = JSON.stringify({ persistedQuery: { version: 1, sha256Hash } })
  const unknown = await fetch(`${url}?${new URLSearchParams({ extensions })}`)
  t.match(await unknown.json(), { errors: [{ message: 'PersistedQueryNotFound' }] })
  t.equal(unknown.headers.get('cache-control'), 'no-store')
  t.equal((await get(ONE, { accept: 'text/html' })).headers.get('cache-control'), 'no-store', 'status 406')
})

t.test('a part that is denied to guests is not stored for them', async (t) => {
  const { told, url } = await startTold(t, { data: { open: 1, closed: 2 } })
  told.sent = { headers: { 'cache-control': 'max-age=60' } }
  const sdl = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@authenticated"])
    type Query { open: Int closed: Int @authenticated }`
  const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }) })
  const control = async (query: string) => {
    const response = await fetch(`${gateway.url}?${new URLSearchParams({ query })}`)
    return response.headers.get('cache-control')
  }
  t.equal(await control('{ open }'), 'public, max-age=60')
  t.equal(await control('{ open closed }'), 'no-store')
})

t.test('Vary names what goes down and changes answers; ETag and Cache-Tag describe them', async (t) => {
  const { url, get, say, products } = await start(t, {
    forwardHeaders: ['Authorization', 'idempotency-key', 'store', 'Content-Currency', 'user-agent'],
    corsOrigins: ['https://shop.example'],
  })
  say('max-age=60')
  const response = await get(BOTH, { origin: 'https://shop.example', store: 'de' })
  const { headers } = response
  t.equal(headers.get('vary'), 'Origin, Accept, Accept-Encoding, Authorization, Store, Content-Currency')
  t.equal(headers.get('cache-tag'), 'subgraph:prices,subgraph:products,type:Product')
  const tag = headers.get('etag') ?? ''
  t.match(tag, /^W\/"[\w-]{20,}"$/)
  t.match(await response.json(), { data: { product: { name: 'Chair', price: 5 } } })
  t.equal(
    (await get('{ search { __typename } }')).headers.get('cache-tag'),
    'subgraph:products,type:Found,type:Page,type:Product',
  )

  products.sent = { headers: { 'cache-control': 'max-age=60', vary: 'User-Agent, Accept-Language' } }
  t.match((await get(ONE)).headers.get('vary'), /Content-Currency, User-Agent$/)

  say('max-age=60')
  for (const known of [tag, tag.slice(2), `"other", ${tag}`, '*']) {
    const same = await get(BOTH, { 'if-none-match': known, origin: 'https://shop.example', store: 'de' })
    t.equal(same.status, 304, known)
    t.equal(await same.text(), '')
    t.equal(same.headers.get('etag'), tag)
    t.equal(same.headers.get('cache-control'), 'public, max-age=60')
    t.match(same.headers.get('vary'), /^Origin, Accept, /)
    t.equal(same.headers.get('content-type'), null)
  }
  t.equal((await get(BOTH, { 'if-none-match': '"other"' })).status, 200)
  const graphql = { accept: 'application/graphql-response+json' }
  t.equal((await get(BOTH, { ...graphql, 'if-none-match': tag })).status, 200, 'another media type is another answer')
  const head = await fetch(`${url}?${new URLSearchParams({ query: BOTH })}`, { method: 'HEAD' })
  t.equal(head.headers.get('etag'), tag)
  say('no-store')
  const fresh = await get(BOTH, { 'if-none-match': '*' })
  t.equal(fresh.status, 200, 'what may not be stored is not validated')
  t.equal(fresh.headers.get('etag'), null)
  t.match(fresh.headers.get('vary'), /Authorization/, 'a cache may remember that it is not stored')
})

t.test('a registered document is stored under its hash', async (t) => {
  const { url, say } = await start(t)
  say('max-age=60')
  const { createHash } = await import('node:crypto')
  const sha256Hash = createHash('sha256').update(ONE).digest('hex')
  const persistedQuery = { version: 1, sha256Hash }
  await post(url, { query: ONE, extensions: { persistedQuery } })
  const response = await fetch(`${url}?${new URLSearchParams({ extensions: JSON.stringify({ persistedQuery }) })}`)
  t.equal(response.headers.get('cache-control'), 'public, max-age=60')
  t.ok(response.headers.get('etag'))
})

t.test('guests who share a call share its policy; Apollo’s executor has the same', async (t) => {
  for (const executor of ['compiled', 'apollo'] as const) {
    const { control, say, products } = await start(t, { executor })
    say('max-age=60', 'max-age=30')
    const all = await Promise.all(Array.from({ length: 4 }, () => control(BOTH)))
    t.same(all, Array(4).fill('public, max-age=30'))
    t.ok(products.calls <= 4)
  }
})

t.test('it can be turned off, and tags have other names', async (t) => {
  const off = await start(t, { answerCaching: false })
  off.say('max-age=60')
  const { headers } = await off.get(ONE)
  t.equal(headers.get('cache-control'), 'no-store')
  t.equal(headers.get('etag'), null)
  const fastly = await start(t, { cacheTagHeader: 'surrogate-key', answerEncodings: [] })
  fastly.say('max-age=60')
  const answer = await fastly.get(ONE)
  t.equal(answer.headers.get('surrogate-key'), 'subgraph:products type:Product')
  t.equal(answer.headers.get('vary'), 'Accept, Authorization, Store')
  const none = await start(t, { cacheTagHeader: 'none', forwardHeaders: [] })
  none.say('max-age=60')
  const untagged = await none.get(ONE, { authorization: 'Bearer x' })
  t.equal(untagged.headers.get('cache-tag'), null)
  t.equal(untagged.headers.get('cache-control'), 'public, max-age=60', 'nobody looked at the token')
  t.equal(untagged.headers.get('vary'), 'Accept, Accept-Encoding')
})

t.test('many types do not make a header that proxies refuse', async (t) => {
  const types = Array.from({ length: 120 }, (_, n) => `type T${n}${'x'.repeat(20)} implements I { id: ID! }`)
  const { told, url } = await startTold(t, { data: { all: null } })
  told.sent = { headers: { 'cache-control': 'max-age=60' } }
  const sdl = `type Query { all: I } interface I { id: ID! } ${types.join(' ')}`
  const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }) })
  const response = await fetch(`${gateway.url}?query={all{id}}`)
  t.equal(response.headers.get('cache-tag'), 'subgraph:a,type:any')
})

t.test('headers that describe a whole answer are not passed back from one subgraph', async (t) => {
  const ofCaches = [
    'CDN-Cache-Control',
    'cloudflare-cdn-cache-control',
    'surrogate-control',
    'x-accel-expires',
    'last-modified',
  ]
  for (const name of ['etag', 'Cache-Control', 'vary', 'age', ...ofCaches]) {
    await t.rejects(start(t, { returnHeaders: [name] }), /can't be passed on/, randomUUID())
  }
})
