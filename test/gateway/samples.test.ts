import Fastify from 'fastify'
import t from 'tap'
import { serveSubgraph } from '../../examples/commerce/mercurius.ts'
import { buildSamples } from '../../examples/commerce/server.ts'
import {
  createTokens,
  listen,
  post,
  sampleSupergraph,
  startCustomers,
  startGateway,
  startSubgraph,
  type Test,
} from './support.ts'

/** The gateway over the three subgraphs; `keys` is what the customer subgraph publishes, `fetched` how often it was asked. */
async function start(t: Test, keys: object[], refetchAfterMs = 10_000) {
  const state = { fetched: 0 }
  const customers = await startCustomers(t, () => {
    state.fetched++
    return keys
  })
  const jwksUrl = `${customers}/.well-known/jwks.json`
  const samples = await listen(t, await buildSamples({ keys: { jwksUrl, refetchAfterMs } }))
  const orders = `${samples}/orders/graphql`
  const subgraphUrls = { customers: `${customers}/graphql`, CATALOG: `${samples}/catalog/graphql`, orders }
  const { url } = await startGateway(t, { supergraph: sampleSupergraph, subgraphUrls })
  return { url, orders, state }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const refused = (code: string) => ({
  message: "The current customer isn't authorized.",
  extensions: { category: 'graphql-authorization', code },
})
const entities = (...ids: number[]) => ({
  query: 'query ($r: [_Any!]!) { _entities(representations: $r) { ... on Customer { id orders { number } } } }',
  variables: { r: ids.map((id) => ({ __typename: 'Customer', id })) },
})

t.test('one query goes through three subgraphs: customer -> orders -> products', async (t) => {
  const tokens = createTokens()
  const { url, state } = await start(t, [tokens.jwk])
  const query = `query MyOrders {
    customer { email orders { number order_date status total { value currency } items { quantity product { name price { value } } } } }
  }`
  const { body } = await post(url, { query }, bearer(tokens.sign('1')))
  t.notOk(body.errors)
  t.equal(body.data.customer.email, 'customer1@example.com')
  t.equal(body.data.customer.orders.length, 3)
  t.same(body.data.customer.orders[0], {
    number: '000000003',
    order_date: '2025-03-02 18:20:41',
    status: 'Processing',
    total: { value: 75, currency: 'USD' },
    items: [
      { quantity: 1, product: { name: 'Sprite Yoga Companion Kit', price: { value: 61 } } },
      { quantity: 2, product: { name: 'Affirm Water Bottle', price: { value: 7 } } },
    ],
  })

  const other = await post(url, { query }, bearer(tokens.sign('2')))
  t.same(other.body, { data: { customer: { email: 'customer2@example.com', orders: [] } } })
  t.equal(state.fetched, 1, 'the keys are fetched once')

  for (const order of body.data.customer.orders) {
    const sum = order.items.reduce(
      (total: number, item: { quantity: number; product: { price: { value: number } } }) =>
        total + item.quantity * item.product.price.value,
      0,
    )
    t.equal(order.total.value, sum, 'the sample data add up')
  }
})

t.test("orders are the customer's own", async (t) => {
  const tokens = createTokens()
  const stranger = createTokens()
  const { url, orders } = await start(t, [tokens.jwk])
  const forged = stranger.sign('1')
  const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${forged.split('.')[1]}.`
  const [header, , signature] = tokens.sign('2').split('.')
  const changed = `${header}.${forged.split('.')[1]}.${signature}`

  for (const [name, headers] of Object.entries({
    'no token': {},
    'not a token': bearer('one'),
    'another key with the same id': bearer(forged),
    'no signature': bearer(unsigned),
    "another token's signature": bearer(changed),
    expired: bearer(tokens.sign('1', -1000)),
    'no subject': bearer(tokens.sign('')),
  })) {
    const { status, body } = await post(orders, entities(1), headers)
    t.equal(status, 200, name)
    t.same(body.data, { _entities: [{ id: 1, orders: null }] })
    t.match(body.errors, [{ ...refused('UNAUTHENTICATED'), path: ['_entities', 0, 'orders'] }])
  }

  const mixed = await post(orders, entities(2, 1), bearer(tokens.sign('1')))
  t.equal(mixed.body.data._entities[0].orders, null)
  t.equal(mixed.body.data._entities[1].orders.length, 3)
  t.match(mixed.body.errors, [{ ...refused('FORBIDDEN'), path: ['_entities', 0, 'orders'] }])

  const through = await post(url, { query: '{ customer { id orders { number } } }' }, bearer('one'))
  t.same(through.body.data, { customer: { id: 1, orders: null } })
  t.strictSame(through.body.errors, [{ ...refused('UNAUTHENTICATED'), path: ['customer', 'orders'] }])
})

t.test('unknown keys do not cause a fetch each', async (t) => {
  const tokens = createTokens()
  const { orders, state } = await start(t, [tokens.jwk])
  t.equal((await post(orders, entities(1), bearer(tokens.sign('1')))).body.data._entities[0].orders.length, 3)
  for (const kid of ['x', 'y', 'z']) {
    const { body } = await post(orders, entities(1), bearer(createTokens(kid).sign('1')))
    t.match(body.errors, [refused('UNAUTHENTICATED')])
  }
  t.equal(state.fetched, 1)
})

t.test('a new key is found, and one that is gone no longer counts', async (t) => {
  const before = createTokens('before')
  const after = createTokens('after')
  const keys: object[] = [before.jwk]
  const { orders, state } = await start(t, keys, 0)
  const found = async (token: string) => (await post(orders, entities(1), bearer(token))).body.data._entities[0].orders
  t.equal((await found(before.sign('1'))).length, 3)
  keys.splice(0, 1, after.jwk)
  t.equal((await found(after.sign('1'))).length, 3)
  t.equal(await found(before.sign('1', 90_000)), null)
  t.equal(state.fetched, 3)
})

t.test('keys outlast an outage of their source, keys of other kinds are passed over', async (t) => {
  const tokens = createTokens('one')
  let isAway = false
  const customers = await startCustomers(t, () => {
    if (isAway) throw new Error('away')
    return [
      { kty: 'RSA', kid: 'two', n: 'AQAB', e: 'AQAB' },
      { ...tokens.jwk, use: 'sig', alg: 'EdDSA' },
    ]
  })
  const jwksUrl = `${customers}/.well-known/jwks.json`
  const orders = `${await listen(t, await buildSamples({ keys: { jwksUrl, refetchAfterMs: 0 } }))}/orders/graphql`
  const ask = async (token: string) => (await post(orders, entities(1), bearer(token))).body
  t.equal((await ask(tokens.sign('1'))).data._entities[0].orders.length, 3)
  t.match((await ask(createTokens('two').sign('1'))).errors, [refused('UNAUTHENTICATED')], 'not a key for these tokens')
  isAway = true
  t.equal((await ask(tokens.sign('1', 90_000))).data._entities[0].orders.length, 3, 'a known key, another token')
  const unknown = await ask(createTokens('three').sign('1'))
  t.match(
    unknown.errors,
    [{ extensions: { code: 'INTERNAL_SERVER_ERROR' } }],
    "an unknown key is not the client's fault",
  )
  isAway = false
  t.match((await ask(createTokens('three').sign('1'))).errors, [refused('UNAUTHENTICATED')])
})

t.test("while the keys can not be had, the fault is not the client's", async (t) => {
  const samples = await listen(t, await buildSamples({ keys: { jwksUrl: 'http://127.0.0.1:1/jwks.json' } }))
  const { body } = await post(`${samples}/orders/graphql`, entities(1), bearer(createTokens().sign('1')))
  t.match(body.errors, [{ message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR' } }])
})

t.test('a key given directly', async (t) => {
  const { createPublicKey } = await import('node:crypto')
  const tokens = createTokens()
  const publicKey = createPublicKey({ key: tokens.jwk as never, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const samples = await listen(t, await buildSamples({ keys: { publicKey: String(publicKey) } }))
  const { body } = await post(`${samples}/orders/graphql`, entities(1), bearer(tokens.sign('1')))
  t.equal(body.data._entities[0].orders.length, 3)
})

t.test('the catalogue', async (t) => {
  const { url } = await start(t, [])
  const { body } = await post(url, {
    query: '{ products { sku } product(sku: "24-UG06") { name price { value currency } } }',
  })
  t.same(
    body.data.products.map(({ sku }: { sku: string }) => sku),
    ['24-MB01', '24-UG06', '24-WG080', '24-WG085', 'MS04-M-Blue'],
  )
  t.same(body.data.product, { name: 'Affirm Water Bottle', price: { value: 7, currency: 'USD' } })
})

t.test('Mercurius answers the operation that is asked for, compiled or not', async (t) => {
  const url = await startSubgraph(t, 'type Query { a: Int b: [Int] }', { Query: { a: () => 1, b: () => [1, 'x'] } })
  const query = 'query A { a } query B { b }'
  for (let i = 0; i < 4; i++) {
    t.same((await post(url, { query, operationName: 'A' })).body, { data: { a: 1 } })
    const b = (await post(url, { query, operationName: 'B' })).body
    t.same(b.data, { b: [1, null] })
    t.strictSame(b.errors[0].path, ['b', 1], 'and numbers its lists')
    t.match((await post(url, { query })).body.errors[0].message, 'Must provide operation name')
    t.match((await post(url, { query, operationName: 'C' })).body.errors[0].message, 'Unknown operation named "C"')
    t.equal((await post(url, { query, operationName: 'B\n}{' })).status, 400)
  }
})

t.test('Mercurius masks what nobody meant for the client', async (t) => {
  const { buildSubgraphSchema } = await import('@apollo/subgraph')
  const { parse } = await import('graphql')
  const log: string[] = []
  const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => void log.push(line) } } })
  const resolvers = {
    Query: {
      a: () => {
        throw new Error('secret detail')
      },
    },
  }
  await serveSubgraph(app, buildSubgraphSchema({ typeDefs: parse('type Query { a: Int }'), resolvers }), () => ({}))
  const url = `${await listen(t, app)}/graphql`
  for (let i = 0; i < 3; i++) {
    const { body } = await post(url, { query: '{ a }' })
    t.match(body.errors, [{ message: 'Internal server error', path: ['a'] }])
    t.notMatch(JSON.stringify(body), 'secret')
  }
  t.match(log.join(''), 'secret detail')
})
