import t from 'tap'
import { buildSamples } from '../../examples/commerce/server.ts'
import { type Answer, listen, post, sampleSupergraph, startCustomers, startGateway } from './support.ts'

const customers = await startCustomers(t)
const samples = await listen(t, await buildSamples({ keys: { jwksUrl: `${customers}/.well-known/jwks.json` } }))
const options = {
  supergraph: sampleSupergraph,
  subgraphUrls: {
    customers: `${customers}/graphql`,
    catalog: `${samples}/catalog/graphql`,
    orders: `${samples}/orders/graphql`,
  },
}
const { base, url } = await startGateway(t, options)
const code = ({ body }: Answer) => body.errors[0].extensions.code

async function get(parameters: Record<string, string>): Promise<Answer> {
  const response = await fetch(`${url}?${new URLSearchParams(parameters)}`)
  return { status: response.status, headers: response.headers, body: await response.json() }
}

t.test('POST: what is executed answers 200', async (t) => {
  const answer = await post(url, { query: '{ product(sku: "24-MB01") { name } nothing: product(sku: "x") { name } }' })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8')
  t.same(answer.body, { data: { product: { name: 'Joust Duffle Bag' }, nothing: null } })
  const charset = await post(url, { query: '{ __typename }' }, { 'content-type': 'application/json; charset=utf-8' })
  t.same(charset.body, { data: { __typename: 'Query' } })
})

t.test('GET: for queries only', async (t) => {
  const query = 'query P($sku: String!) { product(sku: $sku) { sku } }'
  t.same((await get({ query, variables: '{"sku":"24-MB01"}', operationName: 'P' })).body.data.product, {
    sku: '24-MB01',
  })

  const mutation = await get({ query: 'mutation { revokeCustomerToken { result } }' })
  t.equal(mutation.status, 405)
  t.equal(mutation.headers.get('allow'), 'POST')
  t.equal(mutation.body.errors[0].message, 'Mutation requests allowed only for POST requests')

  t.equal((await get({ query, variables: '{"sku"' })).status, 400)
  t.equal((await get({})).status, 400)
})

t.test('a body that is not JSON is refused with a GraphQL error', async (t) => {
  for (const type of ['text/plain', 'application/graphql', 'application/x-www-form-urlencoded', 'application/jsonx']) {
    const answer = await post(url, '{"query":"{ __typename }"}', { 'content-type': type })
    t.equal(answer.status, 415, type)
    t.same(answer.body.errors, [
      { message: 'Request content type must be application/json', extensions: { code: 'BAD_REQUEST' } },
    ])
  }
  for (const body of ['{"query":', '', '"text"', '[]', '[{"query":"{ __typename }"}]', 'null', '{}', '{"query":""}']) {
    const answer = await post(url, body)
    t.equal(answer.status, 400, JSON.stringify(body))
    t.equal(code(answer), 'BAD_REQUEST')
    t.notOk('data' in answer.body)
  }
  for (const wrong of [{ query: 1 }, { operationName: 1 }, { variables: [] }, { variables: 'x' }, { extensions: 1 }]) {
    t.equal((await post(url, { query: '{ __typename }', ...wrong })).status, 400, JSON.stringify(wrong))
  }
  const nulls = { query: '{ __typename }', operationName: null, variables: null, extensions: null }
  t.equal((await post(url, nulls)).status, 200, 'null stands for nothing')
})

t.test('documents: syntax, validation and size', async (t) => {
  const syntax = await post(url, { query: '{ customer { }' })
  t.equal(syntax.status, 400)
  t.equal(code(syntax), 'GRAPHQL_PARSE_FAILED')
  t.match(syntax.body.errors[0].message, /^Syntax Error: /)
  t.same(syntax.body.errors[0].locations, [{ line: 1, column: 14 }])

  const invalid = await post(url, { query: '{ customer { nothing } other }' })
  t.equal(invalid.status, 400)
  t.same(
    invalid.body.errors.map((error: { message: string }) => error.message),
    ['Cannot query field "nothing" on type "Customer".', 'Cannot query field "other" on type "Query".'],
  )
  t.equal(code(invalid), 'GRAPHQL_VALIDATION_FAILED')

  const deep = await post(url, { query: '{a'.repeat(10_000) + '}'.repeat(10_000) })
  t.equal(deep.status, 400)
  t.equal(deep.body.errors[0].message, 'The document is nested too deeply.')
  const large = await post(url, { query: `{ __typename } #${'x'.repeat(2_000_000)}` })
  t.equal(large.status, 413)
  t.equal(large.body.errors[0].message, 'Request body is too large')

  const required = await post(url, { query: 'mutation { updateCustomerAddress(input: {}) { id } }' })
  t.match(required.body.errors[0].message, 'argument "id" of type "Int!" is required')
})

t.test('variables are checked before anything is executed', async (t) => {
  const query =
    'mutation ($id: Int!, $input: CustomerAddressInput) { updateCustomerAddress(id: $id, input: $input) { id } }'
  const messages = async (variables: unknown) => {
    const answer = await post(url, { query, variables })
    t.equal(answer.status, 400)
    t.equal(code(answer), 'BAD_USER_INPUT')
    return answer.body.errors.map((error: { message: string }) => error.message).join('\n')
  }
  t.match(await messages({}), 'Variable "$id" of required type "Int!" was not provided.')
  t.match(await messages({ id: '' }), 'Int cannot represent non-integer value: ""')
  t.match(await messages({ id: 1, input: '' }), 'Expected type "CustomerAddressInput" to be an object.')
  t.match(await messages({ id: 1, input: { x: 1 } }), 'Field "x" is not defined by type "CustomerAddressInput".')
  t.match(
    await messages({ id: 1, input: { country_id: 'XX' } }),
    'Value "XX" does not exist in "CountryCodeEnum" enum.',
  )
})

t.test('a document with several operations answers the one that is named', async (t) => {
  const query =
    'query A { a: __typename } query B { product(sku: "24-MB01") { sku } } mutation C { revokeCustomerToken { result } }'
  for (let i = 0; i < 3; i++) {
    t.same((await post(url, { query, operationName: 'A' })).body, { data: { a: 'Query' } })
    t.same((await post(url, { query, operationName: 'B' })).body, { data: { product: { sku: '24-MB01' } } })
  }
  const none = await post(url, { query })
  t.equal(none.status, 400)
  t.equal(none.body.errors[0].message, 'Must provide operation name if query contains multiple operations.')
  t.equal((await post(url, { query, operationName: 'D' })).body.errors[0].message, 'Unknown operation named "D".')
  t.equal((await get({ query, operationName: 'C' })).status, 405)
  t.equal((await get({ query, operationName: 'A' })).status, 200)
})

t.test('introspection is served by the gateway, unless it is off', async (t) => {
  const query = '{ __schema { queryType { name } } __type(name: "Product") { fields { name } } }'
  t.same((await post(url, { query })).body.data, {
    __schema: { queryType: { name: 'Query' } },
    __type: { fields: [{ name: 'sku' }, { name: 'name' }, { name: 'price' }] },
  })
  const closed = await startGateway(t, { ...options, introspection: false, editor: false })
  const refused = await post(closed.url, { query })
  t.equal(refused.status, 400)
  t.match(refused.body.errors[0].message, 'introspection')
  t.equal((await post(closed.url, { query: '{ __typename }' })).status, 200)
  const page = await fetch(closed.base, { headers: { accept: 'text/html' } })
  t.equal(page.status, 404)
  t.not((await fetch(closed.url, { headers: { accept: 'text/html,*/*' } })).status, 200, 'nor at /graphql')
})

t.test('the editor is one page that asks nothing of the network', async (t) => {
  const response = await fetch(base, { headers: { accept: 'text/html,*/*' } })
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/html/)
  const html = await response.text()
  const there = await fetch(url, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } })
  t.match(there.headers.get('content-type'), /^text\/html/, 'a browser gets it at /graphql, too')
  t.equal(await there.text(), html)
  t.match((await fetch(url)).headers.get('content-type'), /json/, 'others do not')
  t.match(html, 'generateCustomerToken', 'its first query signs in')
  t.match(html, 'query MyOrders', 'and goes through the samples')
  t.match(html, '"endpoint":"/graphql"')

  // What a page loads by itself: scripts, styles, images and frames of other hosts, style imports and url()s.
  const markup = html.replace(/<script>[\s\S]*<\/script>/, '')
  t.notMatch(markup, /<(script|link|img|iframe)[^>]*(src|href)=["']?(https?:)?\/\//i)
  t.notMatch(html, /<(script|link)[^>]*(src|href)=["']?(https?:)?\/\//i)
  t.notMatch(html, /@import\s+(url\()?["']?(https?:)?\/\//i)
  t.notMatch(html, /url\(\s*\\?["']?(https?:)?\/\//i)
  t.notMatch(html, /unpkg\.com|jsdelivr\.net|cdnjs|esm\.sh|googleapis\.com|gstatic\.com/i)
  const policy = response.headers.get('content-security-policy')
  t.match(policy, "default-src 'none'", 'and the browser holds it to that')
  t.match(policy, "connect-src 'self'")
  t.notMatch(policy, /https?:/)

  t.equal((await fetch(base)).status, 404, 'only for browsers')
})

t.test("an answer with a fault of the service is counted as one, and the client's own faults are not", async (t) => {
  const { base, url } = await startGateway(t, {
    ...options,
    subgraphUrls: { ...options.subgraphUrls, catalog: 'http://127.0.0.1:9/graphql' },
  })
  const faults = async () => {
    const text = await (await fetch(`${base}/metrics`)).text()
    return [...text.matchAll(/^gateway_faulty_answers_total\{type="(\w+)"\} ([1-9]\d*)$/gm)].map(([, type, count]) => [
      type,
      count,
    ])
  }
  t.equal(code(await post(url, { query: '{ customer { email } }' })), 'UNAUTHENTICATED')
  t.equal(code(await post(url, { query: '{ nonsense }' })), 'GRAPHQL_VALIDATION_FAILED')
  t.same(await faults(), [])
  // Two fields fail, and one request.
  t.equal(
    code(await post(url, { query: '{ product(sku: "a") { name } other: product(sku: "b") { name } }' })),
    'SERVICE_UNAVAILABLE',
  )
  t.same(await faults(), [['query', '1']])
})

t.test('health, readiness and metrics', async (t) => {
  t.same(await (await fetch(`${base}/healthz`)).json(), { status: 'ok' })
  t.match(await (await fetch(`${base}/readyz`)).json(), { status: 'ok', supergraph: /^[0-9a-f]{64}$/ })
  const text = await (await fetch(`${base}/metrics`)).text()
  t.match(text, /gateway_requests_total\{operation="",type="query",outcome="success"\} [1-9]/)
  t.match(text, /gateway_requests_total\{operation="",type="unknown",outcome="rejected"\} [1-9]/)
  t.match(text, /gateway_request_duration_seconds_bucket\{le="0.01",operation="",type="query"\} [1-9]/)
  t.match(text, /gateway_supergraph_info\{hash="[0-9a-f]{64}"\} 1/)
  t.match(text, 'process_cpu_seconds_total')
})
