/** `@defer` over HTTP: who gets parts, what is refused, how a request ends, and the clients that are in use. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import * as four from '@apollo/client'
import { Defer20220824Handler, GraphQL17Alpha9Handler } from '@apollo/client/incremental'
import * as three from '@apollo/client3/core/index.js'
import t from 'tap'
import type { GatewayOptions } from '../../gateway/server.ts'
import { until } from '../support/until.ts'
import { ACCEPTS } from './incremental.ts'
import { parts, startSlowGraph as start } from './slow-graph.ts'
import { post } from './support.ts'

t.test('who gets the answer in one piece', async (t) => {
  const { url, openAll, calls } = await start(t, { batchLimit: 2 })
  openAll()
  const deferring = '{ fast ... @defer { slow } }'
  const whole = { data: { fast: 'fast', slow: 'slow' } }
  const typeOf = async (query: string, accept: string, more = {}) => {
    const headers = { 'content-type': 'application/json', accept }
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query, ...more }) })
    return [
      response.status,
      response.headers.get('content-type')?.replace('multipart/mixed; boundary="-"; ', ''),
      await response.text(),
    ] as const
  }
  for (const [accept, expected] of [
    ['*/*', 'application/json; charset=utf-8'],
    ['application/json', 'application/json; charset=utf-8'],
    ['application/graphql-response+json', 'application/graphql-response+json; charset=utf-8'],
    [
      'multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9',
      'deferSpec=20220824',
    ],
    ['multipart/mixed;incrementalSpec=v0.2,application/json', 'incrementalSpec=v0.2'],
    ['application/json, multipart/mixed', 'deferSpec=20220824'],
    ['multipart/mixed;deferSpec="20220824"', 'deferSpec=20220824'],
    ['multipart/mixed;q=0.5, application/json', 'application/json; charset=utf-8'],
    ['multipart/mixed;deferSpec=20220824;q=0, application/json;q=0.1', 'application/json; charset=utf-8'],
    ['multipart/mixed;deferSpec=20220824;q=0.8, multipart/mixed;incrementalSpec=v0.2;q=0.9', 'incrementalSpec=v0.2'],
    ['multipart/mixed;deferSpec=20220824, multipart/mixed;incrementalSpec=v0.2', 'deferSpec=20220824'],
    ['multipart/mixed;incrementalSpec=v9, application/json', 'application/json; charset=utf-8'],
    ['multipart/mixed;deferSpec=1, application/json', 'application/json; charset=utf-8'],
  ] as const) {
    const [status, type, text] = await typeOf(deferring, accept)
    t.same([status, type], [200, expected], accept)
    if (type?.startsWith('application/')) t.same(JSON.parse(text), whole, accept)
  }
  t.equal((await typeOf(deferring, 'multipart/mixed;incrementalSpec=v9'))[0], 406)
  const accept = ACCEPTS['v0.2']
  for (const [query, variables, data] of [
    ['{ fast ... @defer(if: false) { slow } }', {}, whole.data],
    ['query ($d: Boolean!) { fast ... @defer(if: $d) { slow } }', { d: false }, whole.data],
    ['query ($d: Boolean) { fast ... @defer(if: $d) { slow } }', { d: null }, whole.data],
    ['{ product(id: 1) { inner { ... @defer { a } } } }', {}, { product: { inner: { a: 1 } } }],
    ['{ product(id: 1) { ... @defer { __typename } } }', {}, { product: { __typename: 'Product' } }],
    ['{ ... @defer { __typename } }', {}, { __typename: 'Query' }],
    ['{ ... @defer { slow } fast @skip(if: true) __type(name: "Inner") { ... @defer { name } } }', {}, undefined],
    ['mutation { change { id ... @defer { rating } } }', {}, { change: { id: '1', rating: 5 } }],
  ] as const) {
    const [status, type, text] = await typeOf(query, accept, { variables })
    if (data) t.same([status, type, JSON.parse(text)], [200, 'application/json; charset=utf-8', { data }], query)
    else t.match(text, /"__type":\{"name":"Inner"\}/, 'introspection is answered at once')
  }
  const [, left] = await typeOf('query ($d: Boolean) { fast ... @defer(if: $d) { slow } }', accept)
  t.equal(left, 'incrementalSpec=v0.2', '`if` is true where its variable was not sent')
  const batch = await post(url, [{ query: deferring }, { query: '{ fast }' }], { accept })
  t.same(batch.body, [whole, { data: { fast: 'fast' } }], 'a batch')

  calls.length = 0
  await typeOf('{ product(id: 1) { id ... @defer(if: false) { name } } }', accept)
  t.same(calls, ['catalog'], '@defer(if: false) costs no call')
})

t.test('what is refused', async (t) => {
  const { url } = await start(t)
  for (const [query, message] of [
    [
      '{ ... @defer(label: "a") { fast } ... @defer(label: "a") { slow } }',
      'The labels of @defer must be unique: "a" is there twice.',
    ],
    ['query ($l: String) { ... @defer(label: $l) { fast } }', 'The label of @defer must be a text in the document.'],
    ['mutation { ... @defer { change { id } } }', '@defer cannot be used at the root of a mutation.'],
    [
      'mutation { ...F @defer } fragment F on Mutation { change { id } }',
      '@defer cannot be used at the root of a mutation.',
    ],
    ['{ fast @defer }', 'Directive "@defer" may not be used on FIELD.'],
    ['{ ... @defer @defer { fast } }', 'The directive "@defer" can only be used once at this location.'],
  ] as const) {
    const { status, body } = await post(url, { query }, { accept: ACCEPTS['v0.2'] })
    t.same([status, body.data, body.errors[0].message], [200, undefined, message])
  }
  const directives = '{ __schema { directives { name } } }'
  const names = async (options: Partial<GatewayOptions>) => {
    const off = await start(t, options)
    const { body } = await post(off.url, { query: directives })
    const deferred = await post(off.url, { query: '{ fast ... @defer { fast } }' }, { accept: ACCEPTS['2022'] })
    return [body.data.__schema.directives.some(({ name }: { name: string }) => name === 'defer'), deferred.body]
  }
  const [isThere, refused] = await names({ defer: false })
  t.equal(isThere, false)
  t.equal(refused.errors[0].message, 'Unknown directive "@defer".')
  t.same(
    await names({ executor: 'apollo' }),
    [true, { data: { fast: 'fast' } }],
    "and Apollo's executor answers in one piece",
  )
})

t.test('GET, and persisted queries', async (t) => {
  const { url, gates } = await start(t)
  const query = '{ fast ... @defer { slow } }'
  const extensions = { persistedQuery: { version: 1, sha256Hash: createHash('sha256').update(query).digest('hex') } }
  const headers = { accept: ACCEPTS['2022'], 'apollo-require-preflight': 'true' }
  const get = (parameters: Record<string, string>) => fetch(`${url}?${new URLSearchParams(parameters)}`, { headers })
  const unknown = await get({ extensions: JSON.stringify(extensions) })
  t.match(unknown.headers.get('content-type'), 'application/json')
  t.match(await unknown.json(), { errors: [{ extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } }] })
  for (const parameters of [{ query }, {}]) {
    const { next, rest } = parts(await get({ ...parameters, extensions: JSON.stringify(extensions) }))
    t.same(await next(), { data: { fast: 'fast' }, hasNext: true })
    gates.reviews.open()
    t.same(await rest(), [{ incremental: [{ data: { slow: 'slow' }, path: [] }], hasNext: false }])
  }
})

t.test('all parts together may be as large as an answer', async (t) => {
  const { openAll, ask } = await start(t, { answerLimit: 2_000 })
  openAll()
  const [first, second, ...others] = await (
    await ask('{ fast ... @defer { many } ... @defer { slow } }', 'v0.2')
  ).rest()
  t.same(first?.data, { fast: 'fast' })
  const all = [second, ...others]
  const failed = all.flatMap((each) => each?.completed ?? []).find(({ errors }) => errors)
  t.match(failed?.errors, [{ message: /more than 2000 bytes/, extensions: { code: 'ANSWER_TOO_LARGE' } }])
  t.equal(all.at(-1)?.hasNext, false)
})

t.test('a client that goes away in the middle, and a server that closes', async (t) => {
  const { url, base, gates, calls, app, ask } = await start(t)
  const query = '{ product(id: 1) { name ... @defer { reviews { author { name } } } } }'
  const headers = { 'content-type': 'application/json', accept: ACCEPTS['2022'] }
  const client = httpRequest(url, { method: 'POST', headers, agent: false })
  client.on('error', () => {})
  client.end(JSON.stringify({ query }))
  const [response] = await once(client, 'response')
  await once(response, 'data')
  client.destroy()
  const outcome = async (name: string) =>
    (await (await fetch(`${base}/metrics`)).text()).includes(
      `gateway_requests_total{operation="",type="query",outcome="${name}"} 1`,
    )
  await until('its request is over', () => outcome('cancelled'))
  calls.length = 0

  const { next, rest } = await ask(query, '2022')
  t.match(await next(), { hasNext: true })
  const closed = app.close()
  await until('it drains', async () => (await fetch(`${base}/readyz`)).status === 503)
  gates.reviews.open()
  gates.users.open()
  t.same((await rest()).at(-1), {
    incremental: [{ data: { reviews: [{ author: { name: 'Ann' } }] }, path: ['product'] }],
    hasNext: false,
  })
  await closed
  t.same(
    calls.filter((name) => name === 'users'),
    ['users'],
    'nothing was fetched for the first client any more',
  )
})

const QUERY = `query Product {
  product(id: "1") { __typename id name ... @defer(label: "reviews") { reviews { __typename id body author { __typename id ...Author @defer(label: "author") } } } }
}
fragment Author on User { name }`
const COMPLETE = {
  product: {
    __typename: 'Product',
    id: '1',
    name: 'Product 1',
    reviews: [{ __typename: 'Review', id: 'r1', body: 'of 1', author: { __typename: 'User', id: 'u1', name: 'Ann' } }],
  },
}
const FIRST = { product: { __typename: 'Product', id: '1', name: 'Product 1' } }

t.test('Apollo Client 3', async (t) => {
  const { url, gates } = await start(t)
  const client = new three.ApolloClient({
    cache: new three.InMemoryCache(),
    link: new three.HttpLink({ uri: url, fetch }),
  })
  t.teardown(() => client.stop())
  const seen: unknown[] = []
  await new Promise<void>((resolve, reject) => {
    client.watchQuery({ query: three.gql(QUERY) }).subscribe({
      next: ({ data }) => {
        seen.push(data)
        if (seen.length === 1) gates.reviews.open()
        else gates.users.open()
        if (JSON.stringify(data).includes('Ann')) resolve()
      },
      error: reject,
    })
  })
  t.same(seen[0], FIRST, 'it renders what is there')
  t.same(seen.at(-1), COMPLETE)
})

for (const [name, handler] of [
  ['2022', () => new Defer20220824Handler()],
  ['v0.2', () => new GraphQL17Alpha9Handler()],
] as const) {
  t.test(`Apollo Client 4, ${name}`, async (t) => {
    const { url, gates } = await start(t)
    const accepted: (string | null)[] = []
    const watched: typeof fetch = async (input, init) => {
      const response = await fetch(input, init)
      accepted.push(response.headers.get('content-type'))
      return response
    }
    const client = new four.ApolloClient({
      cache: new four.InMemoryCache(),
      link: new four.HttpLink({ uri: url, fetch: watched }),
      incrementalHandler: handler() as Defer20220824Handler,
    })
    t.teardown(() => client.stop())
    const seen: unknown[] = []
    await new Promise<void>((resolve, reject) => {
      client.watchQuery({ query: four.gql(QUERY) }).subscribe({
        next: ({ data, error, dataState }) => {
          if (error) reject(error)
          if (!data) return
          seen.push(data)
          if (seen.length === 1) gates.reviews.open()
          else gates.users.open()
          if (dataState === 'complete') resolve()
        },
        error: reject,
      })
    })
    t.match(accepted[0], name === '2022' ? 'deferSpec=20220824' : 'incrementalSpec=v0.2')
    t.same(seen[0], FIRST, 'it renders what is there')
    t.same(seen.at(-1), COMPLETE)
    gates.reviews.open()
    const failing = four.gql('{ fast ... @defer(label: "f") { fails } }')
    const { error, data } = await client.query({ query: failing, errorPolicy: 'all', fetchPolicy: 'no-cache' })
    t.match(data, { fast: 'fast', fails: null })
    t.match(error?.message, 'no good')
  })
}
