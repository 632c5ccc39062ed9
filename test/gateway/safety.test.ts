/** Limits, estimated cost, persisted queries and rate limits: each by itself, and through the gateway. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildASTSchema, getIntrospectionQuery, parse } from 'graphql'
import t from 'tap'
import { DEFAULT_LIMITS } from '../../gateway/accepted-values.ts'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { createPersistedQueries } from '../../gateway/http/persisted-queries.ts'
import { createRateLimiter } from '../../gateway/limits/rate-limits.ts'
import { gatewayOptions } from '../../gateway/options.ts'
import { checkDocument, costOf, isTooDeep, parseDocument, readCosts } from '../../gateway/planning/document-limits.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { startClock } from '../support/clock.ts'
import { startRedis, startRedisCluster } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { start } from './streaming-subgraph.ts'
import { compose, post, startGateway, startSubgraph } from './support.ts'

const sdl =
  'type Query { hello: String me: Me } type Me { id: ID! me: Me } type Mutation { generateCustomerToken: String }'
const resolvers = {
  Query: { hello: () => 'hello', me: () => ({ id: '1' }) },
  Mutation: { generateCustomerToken: () => 'token' },
}
const supergraph = compose(t, { a: { sdl, url: await startSubgraph(t, sdl, resolvers) } })
const code = ({ body }: { body: { errors: { extensions: { code: string } }[] } }) => body.errors[0]?.extensions.code

t.test('limits: exactly so much, and no more', (t) => {
  const messages = (query: string, limits = {}) =>
    checkDocument(parse(query), { ...DEFAULT_LIMITS, ...limits }).map(({ message }) => message)
  const nested = (levels: number) => `{ ${'me { '.repeat(levels)}id${' }'.repeat(levels)} }`
  t.same(messages(nested(20)), [])
  t.same(messages(nested(21)), ['The operation has 21 levels; at most 20 are allowed.'])
  t.same(messages(`{ ${'id '.repeat(300)} }`, { rootFields: 300 }), [])
  t.match(messages(`{ ${'id '.repeat(301)} }`, { rootFields: 301 }), ['301 fields'])
  const unused = (fields: number) => `{ id } fragment F on Q { ${'me(a: 1) { id } '.repeat(fields / 2)} }`
  t.same(messages(unused(300)), [])
  t.same(messages(unused(302)), ['A fragment has 302 fields; at most 300 are allowed.'], 'though nothing uses it')
  t.match(messages('{ a: id b: id }', { aliases: 1 }), ['2 aliases'])
  t.match(messages('{ a ... on Query { b } ...F } fragment F on Query { c }', { rootFields: 2 }), ['3 root fields'])
  t.match(messages('{ a @include(if: true) @skip(if: true) }', { directives: 1 }), ['2 directives'])
  t.same(messages('query { ...A } fragment A on Q { x ...B } fragment B on Q { ...A }'), [], 'a cycle ends')
  t.same(messages(getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true })), [], 'introspection passes')
  t.throws(() => parseDocument('{ a b c d }', { ...DEFAULT_LIMITS, tokens: 4 }), {
    message: 'The document has more than 4 tokens.',
    extensions: { code: 'OPERATION_TOO_LARGE' },
  })
  t.notOk(isTooDeep(`{ a(b: "${'{'.repeat(500)}", c: """${'['.repeat(500)}\\""" {""") # ${'('.repeat(500)}\n }`))
  t.ok(isTooDeep(`{ a(b: ${'['.repeat(300)}`))
  t.end()
})

t.test('the estimated cost', (t) => {
  const schema = buildASTSchema(
    parse(`
      directive @cost(weight: Int!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
      directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION
      type Query {
        one: Item  many: [Item]  slow: Int @cost(weight: 7)
        first(first: Int, page: Page): [Item] @listSize(slicingArguments: ["first", "page.size"], assumedSize: 3)
        paged(first: Int!): Paged @listSize(slicingArguments: ["first"], sizedFields: ["items"])
        usual(first: Int = 6, page: Page2 = { size: 4 }): [Item] @listSize(slicingArguments: ["first", "page.size"], assumedSize: 3)
        below: [Item] @cost(weight: -500) @listSize(assumedSize: -4)  matrix: [[Item]]
        gives: Gives
      }
      input Page { size: Int inner: Page }
      input Page2 { size: Int = 9 }
      type Paged { items: [Item] total: Int }
      type Item { id: ID items: [Item] heavy: Heavy }
      type Heavy @cost(weight: 5) { id: ID }
      type Gives @cost(weight: -100) { many: [Item] @cost(weight: -9) }
      type Mutation { change: Item }`),
  )
  const cost = (query: string, values = {}) => {
    const document = parse(query)
    return costOf(readCosts(schema), schema, document, document.definitions[0] as never)(values)
  }
  t.equal(cost('{ __typename }'), 0)
  t.equal(cost('{ one { id } }'), 1)
  t.equal(cost('{ slow }'), 7)
  t.equal(cost('{ many { id } }'), 10)
  t.equal(cost('{ many { items { id } } }'), 110)
  t.equal(cost('{ first { id } }'), 3)
  t.equal(cost('{ first(first: 50) { heavy { id } } }'), 300)
  t.equal(cost('query ($n: Int) { first(first: $n) { id } }', { n: 40 }), 40)
  t.equal(cost('query ($p: Page) { first(page: $p) { id } }', { p: { size: 8 } }), 8)
  t.equal(cost('{ paged(first: 6) { items { id } total } }'), 7)
  t.equal(cost('query ($n: Int) { first(page: { size: $n }) { id } }', { n: 12 }), 12, 'in an input object')
  t.equal(cost('query ($n: Int) { first(page: { size: $n }) { id } }'), 3, 'one that is not sent')
  for (const n of [-1, -1_000_000, null]) {
    t.equal(cost(`{ first(first: ${n}) { id } }`), 3, 'counts as the assumed size')
    t.equal(cost('query ($n: Int) { first(first: $n) { id } }', { n }), 3)
    t.equal(cost('query ($n: Int) { first(page: { size: $n }) { id } }', { n }), 3)
    t.equal(cost('query ($n: Int, $m: Int) { first(first: $n, page: { size: $m }) { id } }', { n, m: 8 }), 8)
  }
  t.equal(cost('{ usual { id } }'), 6, "the schema's defaults")
  t.equal(cost('{ usual(first: 2, page: {}) { id } }'), 9)
  t.equal(cost('{ usual(first: 0, page: null) { id } }'), 0)
  t.equal(cost('{ below { id } slow }'), 17, 'nothing pays for something else')
  t.equal(cost('{ below { heavy { id } } }'), 60, 'nor for what is within')
  t.equal(cost('{ gives { many { id } } slow }'), 17)
  t.equal(cost('{ matrix { id } }'), 100, 'a list of lists')
  t.equal(cost('mutation { change { id } }'), 11)
  t.equal(cost('{ ...F ... on Query { slow } } fragment F on Query { slow }'), 14)
  t.end()
})

t.test('costs through composition: what is too dear is not executed', async (t) => {
  const dear = `type Query { things(first: Int): [Thing!]! @listSize(slicingArguments: ["first"]) }
    type Thing @cost(weight: 9) { id: ID! }`
  let calls = 0
  const plain = dear.replaceAll(/@(listSize|cost)\([^)]*\)/g, '')
  const url = await startSubgraph(t, plain, { Query: { things: () => [] } }, () => calls++)
  const folder = compose(t, { dear: { sdl: dear, url } })
  const gateway = await startGateway(t, { supergraph: folder, limits: { cost: 900 } })
  const query = 'query ($first: Int) { things(first: $first) { id } }'
  t.same((await post(gateway.url, { query, variables: { first: 100 } })).body, { data: { things: [] } })
  const refused = await post(gateway.url, { query, variables: { first: 101 } })
  t.equal(refused.status, 400)
  t.match(refused.body.errors, [
    { message: /may cost 909; at most 900/, extensions: { code: 'OPERATION_TOO_COMPLEX' } },
  ])
  t.equal(calls, 1)
  for (const pair of [
    'a: things(first: -1000000) { id } b: things(first: 1000000) { id }',
    'b: things(first: 101) { id }',
  ]) {
    const literal = await post(gateway.url, { query: `{ ${pair} }` })
    t.equal(literal.status, 400, pair)
    t.match(literal.body.errors, [{ extensions: { code: 'OPERATION_TOO_COMPLEX' } }])
  }
  const byDefault = await post(gateway.url, { query: 'query ($first: Int = 101) { things(first: $first) { id } }' })
  t.match(byDefault.body.errors, [{ message: /may cost 909/ }])
  t.equal(calls, 1)
})

t.test('the lists of our own schema have their real sizes', async (t) => {
  const { url } = await startGateway(t, { supergraph: 'schema/supergraph.graphql' })
  const aliases = (count: number, field: string) => Array.from({ length: count }, (_, n) => `a${n}: ${field}`).join(' ')
  for (const [count, field] of [
    [50, 'countries { id available_regions { id code name } }'],
    [20, 'customer { addresses { id city region { region } } }'],
    [20, 'customer { addressesV2(pageSize: 500) { items { id region { region } } } }'],
    [50, 'customer { addresses { id } }'],
  ] as const) {
    const refused = await post(url, { query: `{ ${aliases(count, field)} }` })
    t.equal(refused.status, 400, field)
    t.match(refused.body.errors, [{ extensions: { code: 'OPERATION_TOO_COMPLEX' } }])
  }
})

const sha = (text: string) => createHash('sha256').update(text).digest('hex')

t.test('automatic persisted queries', async (t) => {
  const { url } = await startGateway(t, { supergraph })
  const query = '{ hello }'
  const extensions = { persistedQuery: { version: 1, sha256Hash: sha(query) } }
  const unknown = await post(url, { extensions })
  t.equal(unknown.status, 200)
  t.match(unknown.body.errors, [
    { message: 'PersistedQueryNotFound', extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } },
  ])
  t.same((await post(url, { query, extensions })).body, { data: { hello: 'hello' } })
  t.same((await post(url, { extensions })).body, { data: { hello: 'hello' } })
  const get = await fetch(`${url}?extensions=${encodeURIComponent(JSON.stringify(extensions))}`)
  t.same(await get.json(), { data: { hello: 'hello' } })
  // The forms of GraphQL over HTTP's appendix, of Relay's guide, and of graphql-codegen.
  for (const name of ['documentId', 'doc_id', 'id']) {
    for (const id of [sha(query), `sha256:${sha(query)}`]) {
      t.same((await post(url, { [name]: id })).body, { data: { hello: 'hello' } })
      t.same(await (await fetch(`${url}?${name}=${id}`)).json(), { data: { hello: 'hello' } })
    }
  }
  const prefixed = { persistedQuery: { version: 1, sha256Hash: `sha256:${sha(query)}` } }
  t.same((await post(url, { extensions: prefixed })).body, { data: { hello: 'hello' } })
  t.equal(code(await post(url, { query: '{ me { id } }', extensions: prefixed })), 'PERSISTED_QUERY_HASH_MISMATCH')
  for (const sha256Hash of [`sha1:${sha(query)}`, `sha256:sha256:${sha(query)}`, 'sha256:', 7]) {
    t.equal(code(await post(url, { extensions: { persistedQuery: { version: 1, sha256Hash } } })), 'BAD_REQUEST')
  }
  t.equal(code(await post(url, { query: '{ me { id } }', extensions })), 'PERSISTED_QUERY_HASH_MISMATCH')
  t.equal(
    code(await post(url, { extensions: { persistedQuery: { version: 2, sha256Hash: sha(query) } } })),
    'BAD_REQUEST',
  )
  const off = await startGateway(t, { supergraph, persistedQueries: { mode: 'off' } })
  t.equal(code(await post(off.url, { query, extensions })), 'PERSISTED_QUERY_NOT_SUPPORTED')
})

t.test('the safe list runs what its manifest has, and nothing else', async (t) => {
  const body = 'query Hello { hello }'
  const apollo = {
    format: 'apollo-persisted-query-manifest',
    version: 1,
    operations: [{ id: sha(body), name: 'Hello', type: 'query', body }],
  }
  for (const [manifest, id] of [
    [JSON.stringify(apollo), sha(body)],
    [JSON.stringify({ 'relay-1': body }), 'relay-1'],
    [JSON.stringify({ [`sha256:${sha(body)}`]: body }), sha(body)],
    [JSON.stringify({ [sha(body)]: body }), `sha256:${sha(body)}`],
  ] as const) {
    const { url } = await startGateway(t, { supergraph, persistedQueries: { mode: 'safelist', manifest } })
    t.same((await post(url, { documentId: id })).body, { data: { hello: 'hello' } })
    const named = { persistedQuery: { version: 1, sha256Hash: id } }
    t.same((await post(url, { extensions: named })).body, { data: { hello: 'hello' } })
    t.same((await post(url, { query: body })).body, { data: { hello: 'hello' } })
    t.same((await post(url, { query: 'query Hello {\n  hello # said\n}' })).body, { data: { hello: 'hello' } })
    for (const query of ['{ hello }', 'query Hello { hello me { id } }', '{']) {
      const { status, body } = await post(url, { query })
      t.equal(status, 403)
      t.equal(body.errors[0].extensions.code, 'QUERY_NOT_IN_SAFELIST')
    }
    const other = '{ me { id } }'
    const extensions = { persistedQuery: { version: 1, sha256Hash: sha(other) } }
    t.equal(code(await post(url, { query: other, extensions })), 'QUERY_NOT_IN_SAFELIST')
    t.equal(code(await post(url, { extensions })), 'PERSISTED_QUERY_NOT_FOUND')
  }
  // Whatever is longer is not parsed to its end, only to be refused.
  const runs = (maxTokens: number, query: string) => {
    const { resolve } = createPersistedQueries({
      mode: 'safelist',
      manifest: JSON.stringify(apollo),
      maxEntries: 10,
      maxTokens,
    })
    return resolve({ query, documentId: undefined, extensions: undefined })
  }
  t.ok(runs(5, body))
  t.throws(() => runs(4, body), { message: 'This gateway runs only the documents of its list.' })
  for (const [manifest, what] of [
    ['{', 'not JSON'],
    ['[]', 'not an object'],
    ['{"format":"apollo-persisted-query-manifest","version":2}', 'version 1'],
    ['{"a":1}', 'entry 1'],
    ['{"a":"{ hello"}', 'entry "a" is no document'],
  ] as const) {
    t.throws(
      () => createPersistedQueries({ mode: 'safelist', manifest, maxEntries: 10, maxTokens: 100 }),
      new RegExp(what),
    )
  }
  t.throws(
    () => createPersistedQueries({ mode: 'safelist', maxEntries: 10, maxTokens: 100 }),
    /needs PERSISTED_QUERIES_MANIFEST/,
  )
})

t.test('a changed manifest is applied while the gateway runs; one that is no good is not', async (t) => {
  const [one, two] = ['query One { hello }', 'query Two { hello }']
  const manifest = JSON.stringify({ one })
  const manifestFile = `${t.testdir({ 'manifest.json': manifest })}/manifest.json`
  const log: string[] = []
  const { url } = await startGateway(t, {
    supergraph,
    persistedQueries: { mode: 'safelist', manifest, manifestFile },
    watchIntervalMs: 5,
    logger: { level: 'info', stream: { write: (line: string) => void (line.includes('anifest') && log.push(line)) } },
  })
  const replace = async (text: string) => {
    const before = log.length
    writeFileSync(`${manifestFile}.new`, text)
    renameSync(`${manifestFile}.new`, manifestFile)
    await until('it is noticed', () => log.length > before)
  }
  const runs = async (query: string) => (await post(url, { query })).status === 200
  t.same([await runs(one), await runs(two)], [true, false])
  await replace('{"two": "{"}')
  t.match(log.at(-1), /cannot be used; the previous one stays/)
  t.match(log.at(-1), /entry \\"two\\" is no document/)
  t.same([await runs(one), await runs(two)], [true, false])
  await replace(JSON.stringify({ two }))
  t.match(log.at(-1), /"documents":1/)
  t.same([await runs(one), await runs(two)], [false, true])
  t.same((await post(url, { documentId: 'two' })).body, { data: { hello: 'hello' } })
  t.equal(code(await post(url, { documentId: 'one' })), 'PERSISTED_QUERY_NOT_FOUND')
})

t.test('rate limits: a stricter one for sign-in, counted by field', async (t) => {
  const rateLimits = { perMinute: 120, signInPerMinute: 12 } // 20 and 2 at once
  const { url, base } = await startGateway(t, { supergraph, rateLimits })
  const signIn = 'mutation { generateCustomerToken }'
  t.equal((await post(url, { query: signIn })).status, 200)
  const twice = await post(url, {
    query: 'mutation { a: generateCustomerToken ...F } fragment F on Mutation { b: generateCustomerToken }',
  })
  t.equal(twice.status, 429)
  t.match(twice.body.errors, [
    { message: /^Too many requests: try again in \d+ s\.$/, extensions: { code: 'RATE_LIMITED' } },
  ])
  t.ok(Number(twice.headers.get('retry-after')) >= 1)
  t.equal((await post(url, { query: '{ hello }' })).status, 200)
  const rest = await Promise.all(Array.from({ length: 25 }, () => post(url, { query: '{ hello }' })))
  t.ok(rest.some(({ status }) => status === 429) && rest.some(({ status }) => status === 200))
  t.match(await (await fetch(`${base}/metrics`)).text(), /gateway_rate_limited_total\{bucket="strict"\} 1/)
})

t.test('rate limits count each request of a batch', async (t) => {
  const { url } = await startGateway(t, {
    supergraph,
    batchLimit: 10,
    rateLimits: { perMinute: 24, signInPerMinute: 6 },
  })
  const hello = { query: '{ hello }' }
  const signIn = { query: 'mutation { generateCustomerToken }' }
  const both = await post(url, [signIn, signIn])
  t.same(
    both.body.map(({ errors }: { errors?: { extensions: { code: string } }[] }) => errors?.[0]?.extensions.code),
    [undefined, 'RATE_LIMITED'],
  )
  t.equal((await post(url, [hello, hello, hello])).status, 429, 'four at once')
})

t.test('rate limits in Redis are counted together; without it each gateway counts alone', async (t) => {
  const redis = await startRedis(t)
  const told: string[] = []
  const buckets = { default: { capacity: 4, perMinute: 1 }, strict: { capacity: 1, perMinute: 1 } }
  const options = { buckets, redisUrl: redis.url, onFallback: (reason: string) => void told.push(reason) }
  const [one, two] = [await createRateLimiter(options), await createRateLimiter(options)]
  t.teardown(() => Promise.all([one.close(), two.close()]))
  await until('Redis counts', async () => {
    told.length = 0
    await one.take('default', 'warm')
    return told.length === 0
  })
  await two.take('default', 'warm')
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  told.length = 0
  const taken = []
  for (const limiter of [one, two, one, two, one, two]) taken.push((await limiter.take('default', 'ann')).allowed)
  t.same(taken, [true, true, true, true, false, false])
  t.ok((await one.take('strict', 'ann')).allowed)
  const refused = await two.take('strict', 'ann')
  t.notOk(refused.allowed)
  t.ok(refused.retryAfterSeconds > 30 && refused.retryAfterSeconds <= 60)
  t.same(told, [])

  await redis.stop()
  const elapsed = startClock(t)
  const alone = []
  for (let i = 0; i < 6; i++) alone.push((await one.take('default', 'eve')).allowed)
  t.same(alone, [true, true, true, true, false, false])
  t.ok(elapsed() < 1_500)
  t.equal(told.length, 1)
})

t.test('a client that leaves while it is counted or waits for its turn holds no place', async (t) => {
  const redis = await startRedis(t)
  const rateLimits = { perMinute: 60_000, redisUrl: redis.url }
  const { url } = await start(t, 'sse', { rateLimits, subscriptions: { perClient: 2 } })
  const { hostname, port } = new URL(url)
  const query = JSON.stringify({ query: '{ orders { id } }' })
  const head = 'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`
  const upgrade =
    'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n'
  const connected = async (bytes: string) => {
    const socket = connect(Number(port), hostname)
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(bytes)
    return socket
  }
  const leaving = async (bytes: string) => {
    const sockets = await Promise.all([1, 2, 3, 4].map(() => connected(bytes)))
    await sleep(50)
    for (const socket of sockets) socket.destroy()
  }
  const isWell = async (what: string) => {
    const socket = await connected(`${chunked}${query.length.toString(16)}\r\n${query}\r\n0\r\n\r\n`)
    const [answer] = await once(socket, 'data', { signal: AbortSignal.timeout(60_000) })
    t.match(String(answer), /^HTTP\/1.1 200/, what)
    const webSocket = await connected(upgrade)
    t.match(String((await once(webSocket, 'data'))[0]), /^HTTP\/1.1 101/, what)
    for (const each of [socket, webSocket]) each.destroy()
  }
  await isWell('at first') // and what is loaded later is
  await sleep(1_100) // until Redis is asked, whether or not it was at first
  redis.freeze()
  const pipelined = `${head}Content-Length: ${query.length}\r\n\r\n${query}${chunked}`
  await Promise.all([chunked, `${chunked}zz\r\n`, pipelined, upgrade].map(leaving))
  await sleep(500)
  redis.thaw()
  await isWell('they left while Redis was asked')
})

t.test('rate limits in a cluster are counted together, whichever of its nodes are named', async (t) => {
  const cluster = await startRedisCluster(t)
  const buckets = { default: { capacity: 4, perMinute: 6 }, strict: { capacity: 1, perMinute: 6 } }
  const [, hosts] = cluster.url.split('://') as [string, string]
  const urls = [cluster.url, `redis-cluster://127.0.0.1:1,${hosts}`]
  const limiters = await Promise.all(urls.map((redisUrl) => createRateLimiter({ buckets, redisUrl })))
  t.teardown(() => Promise.all(limiters.map((limiter) => limiter.close())))
  for (let i = 0; i < 40; i++) {
    // Each client that two gateways have counted, since both are connected, has nothing left for either.
    await Promise.all(limiters.map((limiter) => limiter.take('default', 'warm')))
    await sleep(50)
    const taken = []
    for (const limiter of limiters) taken.push((await limiter.take('strict', `client ${i}`)).allowed)
    if (taken[0] && !taken[1]) return t.pass()
  }
  t.fail('each counts alone')
})

t.test(
  'a URL of Redis that can not be used is refused with the name of its variable, and without its password',
  async (t) => {
    const refused = ['redis://:s3cret@h:99999', 'redis://u:s3cret/x@h', 'redis://u:s3cret%zz@h', 'redis://:s3cret@h/x']
    for (const url of refused) {
      for (const [name, env] of [
        ['RATE_LIMIT_REDIS_URL', { RATE_LIMIT_REDIS_URL: url }],
        ['READMODEL_URL', { READMODEL_URL: url }],
      ] as const) {
        const options = () => gatewayOptions(loadConfiguration(env), loadGatewayConfiguration(env))
        t.throws(
          options,
          { name: 'ConfigurationError', message: new RegExp(`^${name}: (?!.*s3cret)`) },
          `${name} ${url}`,
        )
      }
    }
    const env = { READMODEL_URL: 'redis-sentinel://a,b/main' }
    t.equal(
      gatewayOptions(loadConfiguration(env), loadGatewayConfiguration(env)).rateLimits?.redisUrl,
      env.READMODEL_URL,
    )
  },
)
