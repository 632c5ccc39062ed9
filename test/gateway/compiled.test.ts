/** What the compiled executor does besides answering right: how often, and with what, it calls. Right answers: conformance/. */

import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { composeServices } from '@apollo/composition'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { execute, parse } from 'graphql'
import t, { type Test } from 'tap'
import { quote } from '../../gateway/execution/serialise.ts'
import { post, startGateway } from './support.ts'

interface Call {
  service: string
  query: string
  variables: Record<string, unknown>
}
type Resolvers = Record<string, Record<string, unknown>>

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.8",
  import: ["@key", "@shareable", "@override", "@external", "@requires", "@context", "@fromContext"])\n`

/** Subgraphs by graphql-js, which tell each call, and the gateway over them. */
async function start(t: Test, subgraphs: Record<string, { sdl: string; resolvers: Resolvers }>, options = {}) {
  const calls: Call[] = []
  const services = await Promise.all(
    Object.entries(subgraphs).map(async ([name, { sdl, resolvers }]) => {
      const typeDefs = parse(LINK + sdl)
      const schema = buildSubgraphSchema([{ typeDefs, resolvers: resolvers as never }])
      const server = createServer(async (request, response) => {
        const chunks: Buffer[] = []
        for await (const chunk of request) chunks.push(chunk as Buffer)
        const { query, variables = {} } = JSON.parse(Buffer.concat(chunks).toString())
        calls.push({ service: name, query, variables })
        const answer = await execute({ schema, document: parse(query), variableValues: variables })
        response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      t.teardown(() => {
        server.closeAllConnections()
        server.close()
      })
      return { name, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, typeDefs }
    }),
  )
  const { supergraphSdl, errors } = composeServices(services)
  if (!supergraphSdl) throw new AggregateError(errors ?? [])
  const supergraph = join(t.testdir({}), 'supergraph.graphql')
  writeFileSync(supergraph, supergraphSdl)
  const { url } = await startGateway(t, { supergraph, ...options })
  const ask = async (query: string, variables?: object) => {
    calls.length = 0
    return (await post(url, { query, variables })).body
  }
  return { ask, calls }
}

const shop = {
  sdl: `type Query { orders: [Order!]! other: [Order!]! one: Product two: Product }
    type Order { id: ID! product: Product owner: User }
    type Product @key(fields: "id") { id: ID! }
    type User @key(fields: "id") { id: ID! }`,
  resolvers: {
    Query: {
      orders: () => ['1', '2', '1', '3', '1'].map((id, n) => ({ id: `o${n}`, product: { id }, owner: { id } })),
      other: () => [{ id: 'x', product: { id: '9' }, owner: { id: '9' } }],
      one: () => ({ id: '1' }),
      two: () => ({ id: '1' }),
    },
  },
}
const things = {
  sdl: `type Product @key(fields: "id") { id: ID! name: String said(twice: Boolean): String }
    type User @key(fields: "id") { id: ID! name: String }`,
  resolvers: {
    Product: {
      __resolveReference: ({ id }: { id: string }) => (id === '3' ? new Error('No 3.') : { id, name: `product ${id}` }),
      said: (_: unknown, { twice }: { twice?: boolean }) => (twice ? 'yes yes' : 'yes'),
    },
    User: { __resolveReference: ({ id }: { id: string }) => ({ id, name: `user ${id}` }) },
  },
}

t.test('equal representations are sent once, and their errors told for each place', async (t) => {
  const { ask, calls } = await start(t, { shop, things })
  const { data, errors } = await ask('{ orders { product { name } } }')
  t.same(
    calls.map(({ service }) => service),
    ['shop', 'things'],
  )
  t.same(
    calls[1]?.variables.representations,
    ['1', '2', '3'].map((id) => ({ __typename: 'Product', id })),
  )
  t.same(
    data.orders.map(({ product }: { product: unknown }) => product),
    [{ name: 'product 1' }, { name: 'product 2' }, { name: 'product 1' }, { name: null }, { name: 'product 1' }],
  )
  t.match(errors, [{ message: 'No 3.', path: ['orders', 3, 'product'] }])
})

t.test('entities of one subgraph in one step are one call', async (t) => {
  const { ask, calls } = await start(t, { shop, things })
  const both = await ask('{ orders { product { name } owner { name } } other { product { name } } }')
  t.same(
    calls.map(({ service }) => service),
    ['shop', 'things'],
  )
  t.same(both.data.other, [{ product: { name: 'product 9' } }])
  t.same(both.data.orders[1], { product: { name: 'product 2' }, owner: { name: 'user 2' } })
  t.match(both.errors, [{ message: 'No 3.', path: ['orders', 3, 'product'] }])

  const same = await ask('{ a: orders { product { name } } b: other { product { name } } }')
  t.equal(calls.length, 2)
  t.match(calls[1]?.variables.representations, { length: 4 })
  t.match(same.errors, [{ path: ['a', 3, 'product'] }])

  const variables = { twice: true }
  const said = await ask(
    'query ($twice: Boolean) { one { said(twice: $twice) } two { name } other { owner { name } } }',
    variables,
  )
  t.same(said, {
    data: { one: { said: 'yes yes' }, two: { name: 'product 1' }, other: [{ owner: { name: 'user 9' } }] },
  })
  t.equal(calls.length, 2)
})

t.test('a field that moves in steps', async (t) => {
  const old = { sdl: 'type Query { a: String }', resolvers: { Query: { a: () => 'old' } } }
  const moved = (label: string) => ({
    sdl: `type Query { a: String @override(from: "old", label: "${label}") }`,
    resolvers: { Query: { a: () => 'new' } },
  })
  const run = async (label: string, options = {}) => {
    const { ask } = await start(t, { old, new: moved(label) }, options)
    const answers = new Set<string>()
    for (let i = 0; i < 60; i++) answers.add((await ask('{ a }')).data.a)
    return [...answers].sort()
  }
  t.same(await run('percent(0)'), ['old'])
  t.same(await run('percent(100)'), ['new'])
  t.same(await run('percent(50)'), ['new', 'old'])
  t.same(await run('launch'), ['old'])
  t.same(await run('launch', { overrideLabels: ['launch'] }), ['new'])
})

t.test('arguments from what is around an entity', async (t) => {
  const { ask, calls } = await start(t, {
    accounts: {
      sdl: `type Query { users: [User!]! }
        type User @key(fields: "id") @context(name: "user") { id: ID! currency: String! cart: Cart! }
        type Cart @key(fields: "id") { id: ID! total(currency: String @fromContext(field: "$user { currency }")): String }`,
      resolvers: {
        Query: {
          users: () => ['EUR', 'USD', 'EUR'].map((currency, id) => ({ id: `${id}`, currency, cart: { id: `c${id}` } })),
        },
        Cart: {
          __resolveReference: (cart: object) => cart,
          total: ({ id }: { id: string }, { currency }: { currency: string }) => `${id} ${currency}`,
        },
      },
    },
  })
  const { data, errors } = await ask('{ users { cart { total } } }')
  t.notOk(errors, JSON.stringify(errors))
  t.same(
    data?.users.map(({ cart }: { cart: { total: string } }) => cart.total),
    ['c0 EUR', 'c1 USD', 'c2 EUR'],
  )
  t.equal(calls.length, 3, 'one call for each currency')
})

t.test('a thousand different shapes of conditions', async (t) => {
  const { ask } = await start(t, { shop, things })
  const names = Array.from({ length: 8 }, (_, index) => `v${index}`)
  const query = `query (${names.map((name) => `$${name}: Boolean!`).join(' ')}) {
    one { ${names.map((name) => `${name}: id @include(if: $${name})`).join(' ')} last: id }
  }`
  for (let mask = 0; mask < 256; mask++) {
    const variables = Object.fromEntries(names.map((name, bit) => [name, ((mask >> bit) & 1) === 1]))
    const { data } = await ask(query, variables)
    const expected = [...names.filter((name) => variables[name]), 'last']
    if (JSON.stringify(Object.keys(data.one)) !== JSON.stringify(expected)) t.fail(JSON.stringify({ variables, data }))
  }
  t.pass()
})

t.test('texts are quoted as JSON has them, lone surrogates too', async (t) => {
  const texts = [
    'plain',
    'a "quote" and a \\',
    'line\nbreak\u0000',
    '\u2028',
    '\u{1f600}',
    '\ud83d',
    '\ude00',
    'a\ud83db',
    'a\ude00\ud83d',
    ['\ud83d', '\u{1f600}'].join(''),
  ]
  for (const [index, text] of texts.entries()) {
    const quoted = quote(text)
    t.ok(quoted === JSON.stringify(text), `text ${index}`)
    // On its way to the client it is UTF-8, which has no lone surrogates.
    t.ok(JSON.parse(Buffer.from(quoted).toString()) === text, `text ${index} arrives`)
  }
})
