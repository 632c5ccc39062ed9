/** The specification "GraphQL over HTTP", by its own audit and by hand. */
import { serverAudits } from 'graphql-http'
import t from 'tap'
import { compose, post, startGateway, startSubgraph } from './support.ts'

const sdl = 'type Query { hello(name: String): String broken: String }'
const resolvers = {
  Query: {
    hello: (_: unknown, { name }: { name?: string }) => `hello ${name}`,
    broken: () => {
      throw new Error('x')
    },
  },
}
const subgraph = await startSubgraph(t, sdl, resolvers)
const supergraph = compose(t, { hello: { sdl, url: subgraph } })
const { url } = await startGateway(t, { supergraph })

t.test('the audit of graphql-http', async (t) => {
  const audits = serverAudits({ url, fetchFn: fetch })
  t.ok(audits.length >= 60)
  for (const audit of audits) {
    const { status, ...result } = await audit.fn()
    t.equal(status, 'ok', `${audit.id} ${audit.name}${'reason' in result ? `: ${result.reason}` : ''}`)
  }
})

t.test('media types and their status codes', async (t) => {
  const graphql = 'application/graphql-response+json'
  const invalid = { query: '{ nothing }' }
  for (const [accept, type, status] of [
    [graphql, graphql, 400],
    [`${graphql}, application/json;q=0.9`, graphql, 400],
    [`application/json, ${graphql};q=0.5`, 'application/json', 200],
    ['application/json; charset=utf-8', 'application/json', 200],
    ['text/html, */*;q=0.1', 'application/json', 400],
    ['*/*', 'application/json', 400],
  ] as const) {
    const answer = await post(url, invalid, { accept })
    t.equal(answer.status, status, accept)
    t.match(answer.headers.get('content-type'), type)
    const good = await post(url, { query: '{ hello }' }, { accept })
    t.equal(good.status, 200)
    t.match(good.headers.get('content-type'), type)
    t.equal((await post(url, '{', { accept })).status, 400, 'a request that is not well formed')
  }
  for (const accept of ['text/html', 'application/graphql-response+json;q=0', 'image/png, application/xml']) {
    const answer = await post(url, { query: '{ hello }' }, { accept })
    t.equal(answer.status, 406, accept)
    t.equal(answer.body.errors[0].extensions.code, 'NOT_ACCEPTABLE')
  }
})

t.test('a parameter of a GET that is there twice is refused: which one counts would be a guess', async (t) => {
  const query = 'query($name: String) { hello(name: $name) }'
  for (const name of ['query', 'variables', 'extensions', 'operationName']) {
    const given: [string, string][] =
      name === 'query'
        ? [['query', query]]
        : [
            ['query', query],
            [name, '{}'],
          ]
    const response = await fetch(`${url}?${new URLSearchParams([...given, [name, '{}']])}`)
    t.equal(response.status, 400, name)
    t.match(await response.json(), { errors: [{ extensions: { code: 'BAD_REQUEST' } }] })
    t.equal(response.headers.get('cache-control'), 'no-store')
  }
})

t.test('other methods are refused, whatever they carry', async (t) => {
  for (const method of ['PUT', 'PATCH', 'DELETE']) {
    const response = await fetch(url, { method, body: 'anything', headers: { 'content-type': 'text/plain' } })
    t.equal(response.status, 405)
    t.equal(response.headers.get('allow'), 'GET, POST')
    t.match(await response.json(), { errors: [{ extensions: { code: 'METHOD_NOT_ALLOWED' } }] })
  }
})

t.test('what a page of another site could send unasked is refused', async (t) => {
  const get = (headers: Record<string, string>) => fetch(`${url}?query={hello}`, { headers })
  const forged = [
    { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64)' },
    { origin: 'https://evil.example' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site', origin: 'https://shop.example' },
  ]
  for (const headers of forged) {
    const response = await get(headers)
    t.equal(response.status, 403, JSON.stringify(headers))
    t.match(await response.json(), { errors: [{ extensions: { code: 'CSRF_PREVENTED' } }] })
    for (const asked of ['apollo-require-preflight', 'x-apollo-operation-name', 'store']) {
      t.equal((await get({ ...headers, [asked]: '1' })).status, 200, asked)
    }
    t.equal((await get({ ...headers, 'x-apollo-operation-name': 'X' })).status, 200)
  }
  t.equal((await get({ 'user-agent': 'curl/8' })).status, 200)
  t.equal((await get({ 'user-agent': 'Mozilla/5.0', 'sec-fetch-site': 'same-origin' })).status, 200)
})

t.test('security headers and the correlation id', async (t) => {
  for (const answer of [
    await post(url, { query: '{ hello }' }),
    await post(url, '{'),
    await post(url, { query: '{' }),
  ]) {
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
    t.equal(answer.headers.get('x-frame-options'), 'DENY')
  }
  const [one, two] = [await post(url, { query: '{ hello }' }), await post(url, { query: '{ hello }' })]
  t.match(one.headers.get('x-correlation-id'), /./)
  t.not(one.headers.get('x-correlation-id'), two.headers.get('x-correlation-id'))
})

t.test('CORS: only pages of the listed origins read answers', async (t) => {
  const { url } = await startGateway(t, { supergraph, corsOrigins: ['https://shop.example'] })
  const preflight = (origin: string) =>
    fetch(url, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
    })
  const allowed = await preflight('https://shop.example')
  t.equal(allowed.status, 204)
  t.equal(allowed.headers.get('access-control-allow-origin'), 'https://shop.example')
  t.equal((await preflight('https://evil.example')).headers.get('access-control-allow-origin'), null)
  const answer = await post(url, { query: '{ hello }' }, { origin: 'https://shop.example' })
  t.equal(answer.headers.get('access-control-allow-origin'), 'https://shop.example')
  const other = await post(url, { query: '{ hello }' }, { origin: 'https://evil.example' })
  t.equal(other.headers.get('access-control-allow-origin'), null)
})

t.test('batches: off, unless a limit says how large one may be', async (t) => {
  const batch = [{ query: '{ hello(name: "a") }' }, { query: '{ nothing }' }, { query: '{ hello(name: "b") }' }]
  t.equal((await post(url, batch)).status, 400)
  const open = await startGateway(t, { supergraph, batchLimit: 3 })
  const { status, body } = await post(open.url, batch)
  t.equal(status, 200)
  t.same([body[0], body[2]], [{ data: { hello: 'hello a' } }, { data: { hello: 'hello b' } }])
  t.equal(body[1].errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED')
  t.match((await post(open.url, [...batch, ...batch])).body.errors[0].message, /6 requests; at most 3/)
  t.equal((await post(open.url, [])).status, 400)
  const wrong = await post(open.url, [{ query: 1 }, 'x'])
  t.same(
    wrong.body.map((each: { errors: { extensions: { code: string } }[] }) => each.errors[0]?.extensions.code),
    ['BAD_REQUEST', 'BAD_REQUEST'],
  )
})
