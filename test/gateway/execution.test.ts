import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { GraphQLError } from 'graphql'
import t from 'tap'
import { compose, listen, post, startGateway, startSubgraph, type Test } from './support.ts'

const shopSdl = `
  type Query { shelves: [Shelf] shelf: Shelf strict: Strict }
  type Mutation { touch(name: String!): String }
  type Shelf { books: [Book] }
  type Book @key(fields: "id") { id: ID! }
  type Strict @key(fields: "id") { id: ID! }
`
const reviewSdl = `
  type Query { reviews: [Review] }
  type Review { text: String }
  type Book @key(fields: "id") { id: ID! rating: Int reviews(limit: Int): [Review] }
  type Strict @key(fields: "id") { id: ID! rating: Int! }
`
const refusal = (message: string) =>
  new GraphQLError(message, { extensions: { category: 'graphql-input', code: 'BAD_USER_INPUT', more: { deep: [1] } } })

const touched: string[] = []
const shopResolvers = {
  Query: {
    shelves: () => [{ books: [{ id: '1' }, null, { id: '2' }] }, null, { books: [{ id: '3' }] }],
    shelf: () => ({ books: [{ id: '1' }] }),
    strict: () => ({ id: '1' }),
  },
  Mutation: {
    touch: (_root: unknown, { name }: { name: string }) => {
      touched.push(name)
      if (name === 'refused') throw refusal('Not this one.')
      return name
    },
  },
}
const reviewResolvers = {
  Query: { reviews: () => [{ text: 'good' }] },
  Book: {
    __resolveReference: ({ id }: { id: string }) => ({ id }),
    rating: ({ id }: { id: string }) => {
      if (id !== '1') throw refusal(`No rating for ${id}.`)
      return 5
    },
    reviews: () => [{ text: 'a' }, { text: 'unreadable' }],
  },
  Review: {
    text: ({ text }: { text: string }) => {
      if (text === 'unreadable') throw refusal('Unreadable.')
      return text
    },
  },
}

/** A supergraph over the two subgraphs; a URL in `urls` stands in for a real one. */
async function start(t: Test, urls: { shop?: string; reviews?: string } = {}, options: { timeout?: number } = {}) {
  const seen: { url: string; headers: Record<string, unknown>; body: unknown }[] = []
  const shop =
    urls.shop ??
    (await startSubgraph(t, shopSdl, shopResolvers, ({ headers, body }) => seen.push({ url: 'shop', headers, body })))
  const reviews =
    urls.reviews ??
    (await startSubgraph(t, reviewSdl, reviewResolvers, ({ headers, body }) =>
      seen.push({ url: 'reviews', headers, body }),
    ))
  const supergraph = compose(t, { shop: { sdl: shopSdl, url: shop }, reviews: { sdl: reviewSdl, url: reviews } })
  const log: string[] = []
  const gateway = await startGateway(t, {
    supergraph,
    executor,
    subgraphSecret: 'a secret of sixteen',
    subgraphSecretFor: ['shop', 'reviews'],
    subgraphTimeoutMs: options.timeout ?? 5000,
    logger: { level: 'info', stream: { write: (line: string) => void log.push(line) } },
  })
  return { ...gateway, seen, log }
}

/** A server that answers each request in its own way, as no GraphQL server should. */
async function strange(t: Test, answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
}

/** Whose turn it is. */
let executor: 'compiled' | 'apollo'

for (const each of ['compiled', 'apollo'] as const) {
  t.test(`the ${each} executor`, async (t) => {
    executor = each

    await t.test('which headers reach the subgraphs, through entity hops too', async (t) => {
      const { url, seen } = await start(t)
      await post(
        url,
        { query: '{ shelf { books { rating } } }' },
        {
          authorization: 'Bearer abc',
          'idempotency-key': 'key-1',
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
          store: 'de',
          'user-agent': 'test',
          'x-subgraph-secret': 'guessed',
          cookie: 'session=1',
          'x-other': 'stays here',
        },
      )
      t.equal(seen.length, 2)
      t.type(seen[0]?.headers['x-correlation-id'], 'string')
      for (const { headers } of seen) {
        t.match(headers, {
          authorization: 'Bearer abc',
          'idempotency-key': 'key-1',
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
          store: 'de',
          'user-agent': 'test',
          'x-forwarded-for': '127.0.0.1',
          'x-correlation-id': seen[0]?.headers['x-correlation-id'],
          'x-subgraph-secret': 'a secret of sixteen',
        })
        t.notOk('cookie' in headers || 'x-other' in headers)
      }
    })

    await t.test("a subgraph's error comes through with message, path and extensions", async (t) => {
      const { url } = await start(t)
      const extensions = { category: 'graphql-input', code: 'BAD_USER_INPUT', more: { deep: [1] } }
      for (let i = 0; i < 3; i++) {
        // three times: Mercurius interprets, compiles, then runs the compiled one
        const lists = await post(url, { query: '{ all: shelves { books { id stars: rating } } }' })
        t.equal(lists.status, 200)
        t.same(lists.body.data, {
          all: [
            { books: [{ id: '1', stars: 5 }, null, { id: '2', stars: null }] },
            null,
            { books: [{ id: '3', stars: null }] },
          ],
        })
        t.strictSame(lists.body.errors, [
          { message: 'No rating for 2.', path: ['all', 0, 'books', 2, 'stars'], extensions },
          { message: 'No rating for 3.', path: ['all', 2, 'books', 0, 'stars'], extensions },
        ])
        const inner = await post(url, { query: '{ shelf { books { reviews(limit: 2) { text } } } }' })
        t.strictSame(inner.body.data, { shelf: { books: [{ reviews: [{ text: 'a' }, { text: null }] }] } })
        t.strictSame(inner.body.errors, [
          { message: 'Unreadable.', path: ['shelf', 'books', 0, 'reviews', 1, 'text'], extensions },
        ])
      }
    })

    await t.test('mutations run one after the other, and a refused one stops no other', async (t) => {
      const { url } = await start(t)
      touched.length = 0
      const query = 'mutation M($last: String!) { a: touch(name: "a") b: touch(name: "refused") c: touch(name: $last) }'
      const { body } = await post(url, { query, variables: { last: 'c', unknown: 1 } })
      t.same(body.data, { a: 'a', b: null, c: 'c' })
      t.match(body.errors, [{ message: 'Not this one.', path: ['b'], extensions: { code: 'BAD_USER_INPUT' } }])
      t.same(touched, ['a', 'refused', 'c'])
    })

    await t.test('a subgraph that is down takes only its own fields with it', async (t) => {
      const { url, log, base } = await start(t, { reviews: 'http://127.0.0.1:1/graphql' })
      const extensions = { code: 'SERVICE_UNAVAILABLE', service: 'reviews' }
      const message = 'The "reviews" service is not available.'

      const list = await post(url, { query: '{ shelves { books { id rating } } }' })
      t.equal(list.status, 200)
      t.same(list.body.data.shelves[0].books[0], { id: '1', rating: null })
      t.same(list.body.errors, [{ message, path: ['shelves'], extensions }])

      const root = await post(url, { query: '{ said: reviews { text } shelf { books { id } } }' })
      t.same(root.body.data, { said: null, shelf: { books: [{ id: '1' }] } })
      t.same(root.body.errors, [{ message, path: ['said'], extensions }])

      const strict = await post(url, { query: '{ strict { id rating } }' })
      t.same(strict.body.data, { strict: null })
      t.same(strict.body.errors, [{ message, path: ['strict', 'rating'], extensions }])

      t.match(log.join(''), /"service":"reviews","reason":"connect ECONNREFUSED 127\.0\.0\.1:1"/)
      t.match(await (await fetch(`${base}/metrics`)).text(), 'gateway_subgraph_failures_total{service="reviews"} 3')
    })

    await t.test('a subgraph that is too slow', async (t) => {
      const reviews = await strange(t, () => {})
      const { url } = await start(t, { reviews }, { timeout: 200 })
      const { body } = await post(url, { query: '{ reviews { text } }' })
      t.equal(body.errors[0].message, 'The "reviews" service did not answer within 200 ms.')
      t.equal(body.errors[0].extensions.code, 'SERVICE_UNAVAILABLE')
    })

    await t.test('a subgraph that answers with something else than GraphQL', async (t) => {
      const json = { 'content-type': 'application/json' }
      const answers: [RequestListener, RegExp][] = [
        [(_, response) => response.writeHead(502).end('<html>Bad gateway</html>'), /answered with HTTP status 502/],
        [(_, response) => response.writeHead(500, json).end('{"oops":1}'), /answered with HTTP status 500/],
        [(_, response) => response.writeHead(200).end('<html></html>'), /sent an answer that is not JSON/],
        [
          (_, response) => response.writeHead(200, json).end('{"data":{"reviews":[{"te'),
          /sent an answer that is not JSON/,
        ],
        [(_, response) => response.writeHead(200, json).end('{"a":ann@a.example}'), /sent an answer that is not JSON/],
        [(_, response) => response.writeHead(200, json).end(), /sent an answer that is not JSON/],
        [(_, response) => response.writeHead(200, json).end('[]'), /sent an answer that is not GraphQL/],
        [(_, response) => response.writeHead(200, json).end('{"errors":["x"]}'), /sent an answer that is not GraphQL/],
        [(_, response) => response.socket?.destroy(), /is not available/],
        [
          (_, response) =>
            response.writeHead(200, { ...json, 'content-length': 99 }).write('{') && response.socket?.end(),
          /is not available/,
        ],
      ]
      let next: RequestListener = () => {}
      const reviews = await strange(t, (request, response) => request.resume().on('end', () => next(request, response)))
      const { url, log } = await start(t, { reviews })
      const healthy: RequestListener = (_, response) => response.writeHead(200, json).end('{"data":{"reviews":[]}}')
      for (const [answer, message] of answers) {
        next = healthy // between the failures: after five in a row it would not be asked any more
        t.same((await post(url, { query: '{ reviews { text } }' })).body, { data: { reviews: [] } })
        next = answer
        const { status, body } = await post(url, { query: '{ reviews { text } shelf { books { id } } }' })
        t.equal(status, 200)
        t.match(body.errors, [
          { message, path: ['reviews'], extensions: { code: 'SERVICE_UNAVAILABLE', service: 'reviews' } },
        ])
        t.same(body.data, { reviews: null, shelf: { books: [{ id: '1' }] } })
      }
      t.match(log.join(''), 'sent an answer that is not JSON')
      t.notMatch(log.join(''), 'ann@a', 'a parser quotes what it can not read')

      next = (_, response) => response.writeHead(200, json).end('{"data":{"_entities":[]}}')
      const few = await post(url, { query: '{ shelf { books { id rating } } }' })
      t.match(few.body.errors, [{ message: /does not fit the question/, path: ['shelf', 'books'] }])

      const withStack = {
        message: 'Inside',
        path: ['reviews', '0', 'text'],
        extensions: { stacktrace: ['at x'], exception: {} },
      }
      next = (_, response) => response.writeHead(200, json).end(JSON.stringify({ data: null, errors: [withStack] }))
      const inside = await post(url, { query: '{ reviews { text } }' })
      t.strictSame(inside.body.errors, [{ message: 'Inside', path: ['reviews', 0, 'text'], extensions: {} }])

      next = (_, response) => response.writeHead(200, json).end('{"data":{"reviews":"hunter2"}}')
      const wrong = await post(
        url,
        { query: '{ reviews { text } shelf { books { id } } }' },
        { authorization: 'Bearer hunter3' },
      )
      t.equal(wrong.status, 200)
      const logged = log.join('')
      if (executor === 'compiled') {
        t.same(wrong.body.data, { reviews: null, shelf: { books: [{ id: '1' }] } })
        t.match(wrong.body.errors, [{ message: 'Invalid value found for field Query.reviews.', path: ['reviews'] }])
      } else {
        t.match(wrong.body, {
          data: null,
          errors: [
            { message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: /.+/ } },
          ],
        })
        t.match(
          logged,
          `"reqId":"${wrong.body.errors[0].extensions.correlationId}"`,
          'the log has it, to be found by its id',
        )
      }
      t.notMatch(logged, /hunter|sixteen/, 'but no value, token or secret')
    })

    await t.test('a null that must not be is an error with its path', async (t) => {
      const app = Fastify()
      app.post('/graphql', () => ({ data: { _entities: [{ __typename: 'Strict', rating: null }] } }))
      const { url } = await start(t, { reviews: `${await listen(t, app)}/graphql` })
      const { body } = await post(url, { query: '{ strict { rating } shelf { books { id } } }' })
      t.strictSame(body, {
        data: { strict: null, shelf: { books: [{ id: '1' }] } },
        errors: [
          {
            message: 'Cannot return null for non-nullable field Strict.rating.',
            path: ['strict', 'rating'],
            extensions: { code: 'INTERNAL_SERVER_ERROR' },
          },
        ],
      })
    })

    await t.test('@skip and @include, fragments, aliases and defaults', async (t) => {
      const { url, seen } = await start(t)
      const query = `
    query ($with: Boolean = false, $limit: Int = 1) {
      shelf { ...Books books { id @skip(if: $with) rating @include(if: $with) } }
    }
    fragment Books on Shelf { books { said: reviews(limit: $limit) @include(if: $with) { __typename } } }
  `
      t.same((await post(url, { query })).body, { data: { shelf: { books: [{ id: '1' }] } } })
      t.equal(seen.length, 1, 'what is left out is not fetched')
      const { body } = await post(url, { query, variables: { with: true } })
      t.same(body.data.shelf.books, [{ said: [{ __typename: 'Review' }, { __typename: 'Review' }], rating: 5 }])
    })
  })
}
