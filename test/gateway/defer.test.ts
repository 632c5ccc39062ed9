/** `@defer`: what is slow arrives later, in both formats, and what the parts make together is the whole answer. */
import { join } from 'node:path'
import t from 'tap'
import { plan } from '../../bin/commands/plan.ts'
import { ACCEPTS, type Payload, readParts } from './incremental.ts'
import { startSlowGraph as start } from './slow-graph.ts'
import { answer, compose, serve, startGateway } from './support.ts'

t.test('slow entities and root fields arrive later, in both formats', async (t) => {
  const query = `{
    fast
    product(id: 1) { name ...Reviews @defer(label: "reviews") }
    ... @defer(label: "root") { slow }
  }
  fragment Reviews on Product { id name reviews { body author { ... @defer(label: "author") { name } } } }`

  t.test('2022', async (t) => {
    const { gates, ask } = await start(t)
    const { response, next, left } = await ask(query, '2022')
    t.equal(response.status, 200)
    t.equal(response.headers.get('content-type'), 'multipart/mixed; boundary="-"; deferSpec=20220824')
    t.equal(response.headers.get('cache-control'), 'no-store')
    t.same(
      await next(),
      { data: { fast: 'fast', product: { name: 'Product 1' } }, hasNext: true },
      'while the others wait',
    )
    gates.reviews.open()
    const arrived = [await next(), await next()].flatMap((each) => each?.incremental ?? [])
    const byLabel = (label: string) => arrived.find((each) => each.label === label)
    t.same(byLabel('root'), { label: 'root', path: [], data: { slow: 'slow' } })
    const data = { id: '1', name: 'Product 1', reviews: [{ body: 'of 1', author: {} }] }
    t.same(byLabel('reviews'), { label: 'reviews', path: ['product'], data })
    gates.users.open()
    const path = ['product', 'reviews', 0, 'author']
    t.same(await next(), { incremental: [{ label: 'author', path, data: { name: 'Ann' } }], hasNext: false })
    t.equal(await next(), undefined)
    t.equal(left(), '--\r\n', 'and the final boundary')
  })

  t.test('v0.2', async (t) => {
    const { gates, ask } = await start(t)
    const { response, next } = await ask(query, 'v0.2')
    t.equal(response.headers.get('content-type'), 'multipart/mixed; boundary="-"; incrementalSpec=v0.2')
    const pending = [
      { id: '0', path: [], label: 'root' },
      { id: '1', path: ['product'], label: 'reviews' },
    ]
    t.same(await next(), { data: { fast: 'fast', product: { name: 'Product 1' } }, pending, hasNext: true })
    gates.reviews.open()
    const both = [await next(), await next()] as Payload[]
    const data = { id: '1', reviews: [{ body: 'of 1', author: {} }] }
    t.same(
      both.flatMap((each) => each.incremental ?? []).sort((a, b) => Number(a.id) - Number(b.id)),
      [
        { id: '0', data: { slow: 'slow' } },
        { id: '1', data },
      ],
      'without the name, which the client has',
    )
    t.same(
      both
        .flatMap((each) => each.completed ?? [])
        .map(({ id }) => id)
        .sort(),
      ['0', '1'],
    )
    const author = { id: '2', path: ['product', 'reviews', 0, 'author'], label: 'author' }
    t.same(
      both.flatMap((each) => each.pending ?? []),
      [author],
    )
    gates.users.open()
    t.same(await next(), {
      incremental: [{ id: '2', data: { name: 'Ann' } }],
      completed: [{ id: '2' }],
      hasNext: false,
    })
    t.equal(await next(), undefined)
  })
})

t.test('in lists, under aliases, on interfaces, and where they overlap', async (t) => {
  const { openAll, ask } = await start(t)
  openAll()
  const query = `query ($yes: Boolean!, $no: Boolean!) {
    all: products {
      key: id
      inner { a }
      ...F @defer(label: "f", if: $yes) @include(if: $yes)
      ...F @defer(label: "g", if: $no)
      ... on Item @defer(label: "h") @skip(if: $yes) { id }
      ... on Item @defer(label: "i") { id inside: __typename ... on Product { stars: broken } }
    }
  }
  fragment F on Product { inner { b ... @defer { a } } said: reviews { body } }`
  const variables = { yes: true, no: false }
  const old = await (await ask(query, '2022', { variables })).rest()
  const said = (id: number) => [{ body: `of ${id}` }]
  const first = (id: number) => ({ key: `${id}`, inner: { a: 1, b: 2 }, said: said(id) })
  t.same(old[0], { data: { all: [first(1), first(2)] }, hasNext: true }, 'what is there without defer is not deferred')
  const items = [0, 1].map((index) => ({
    data: { id: `${index + 1}`, inside: 'Product', stars: null },
    path: ['all', index],
    label: 'i',
    errors: [{ message: 'broken', path: ['all', index, 'stars'] }],
  }))
  const later = old.slice(1).flatMap((each) => each.incremental ?? [])
  t.same(
    later.filter(({ label }) => label === 'i'),
    items,
  )
  t.equal(
    later.some(({ label }) => label !== 'i'),
    false,
  )
  t.equal(old.at(-1)?.hasNext, false)

  const both = await (await ask(query, '2022', { variables: { yes: true, no: true } })).rest()
  t.same(both[0]?.data, { all: [1, 2].map((id) => ({ key: `${id}`, inner: { a: 1 } })) })
  const twice = both.slice(1).flatMap((each) => each.incremental ?? [])
  for (const label of ['f', 'g']) {
    const expected = [1, 2].map((id) => [['all', id - 1], { inner: { b: 2, a: 1 }, said: said(id) }])
    const found = twice.filter((each) => each.label === label)
    t.same(
      found.map(({ path, data }) => [path, data]),
      expected,
      `one fragment in two places: ${label}`,
    )
  }

  const { rest } = await ask('{ product(id: 1) { inner { a } ... @defer { inner { a b } reviews { id } } } }', 'v0.2')
  const [, second] = await rest()
  t.same(
    second,
    {
      incremental: [
        { id: '0', subPath: ['inner'], data: { b: 2 } },
        { id: '0', data: { reviews: [{ id: 'r1' }] } },
      ],
      completed: [{ id: '0' }],
      hasNext: false,
    },
    'each field is sent once',
  )
})

t.test('an error is told in the part that it belongs to, and its null goes no further', async (t) => {
  const { openAll, ask } = await start(t)
  openAll()
  const query = `{
    fast
    products { id ... @defer(label: "rating") { rating } }
    ... @defer(label: "fails") { fails }
    ... @defer(label: "mustNot") { mustNot again: slow }
  }`
  const data = { fast: 'fast', products: [{ id: '1' }, { id: '2' }] }
  const rating = { message: 'no rating', path: ['products', 1, 'rating'] }
  const fails = { message: 'no good', path: ['fails'] }
  const mustNot = { message: 'must not fail', path: ['mustNot'] }

  const [first, ...old] = await (await ask(query, '2022')).rest()
  t.same(first, { data, hasNext: true }, 'not in the first part')
  const found = old.flatMap((each) => each.incremental ?? [])
  const byLabel = (label: string) => found.filter((each) => each.label === label)
  t.same(byLabel('rating'), [
    { label: 'rating', path: ['products', 0], data: { rating: 5 } },
    { label: 'rating', path: ['products', 1], data: null, errors: [rating] },
  ])
  t.same(byLabel('fails'), [{ label: 'fails', path: [], data: { fails: null }, errors: [fails] }])
  t.same(byLabel('mustNot'), [{ label: 'mustNot', path: [], data: null, errors: [mustNot] }])

  const [begin, ...newer] = await (await ask(query, 'v0.2')).rest()
  const idOf = (label: string, at = 0) => begin?.pending?.filter((each) => each.label === label)[at]?.id
  const completed = newer.flatMap((each) => each.completed ?? [])
  const of = (id: string | undefined) => completed.find((each) => each.id === id)
  t.same(of(idOf('rating', 1)), { id: idOf('rating', 1), errors: [rating] })
  t.same(of(idOf('mustNot')), { id: idOf('mustNot'), errors: [mustNot] })
  t.same(of(idOf('fails')), { id: idOf('fails') })
  const incremental = newer.flatMap((each) => each.incremental ?? [])
  t.same(
    incremental.find(({ id }) => id === idOf('fails')),
    { id: idOf('fails'), data: { fails: null }, errors: [fails] },
  )
})

t.test('a subgraph that is away or too slow fails its part alone', async (t) => {
  const { gates, app, base, ask } = await start(t, { subgraphTimeoutMs: 2_000 })
  const [first, second] = await (
    await ask('{ fast product(id: 1) { name ... @defer { reviews { id } } } }', '2022')
  ).rest()
  t.same(first, { data: { fast: 'fast', product: { name: 'Product 1' } }, hasNext: true })
  const [part] = second?.incremental ?? []
  t.match(part, {
    data: null,
    path: ['product'],
    errors: [{ path: ['product', 'reviews'], extensions: { code: 'SERVICE_UNAVAILABLE', service: 'reviews' } }],
  })
  t.equal(second?.hasNext, false)
  gates.reviews.open()
  const metrics = await (await fetch(`${base}/metrics`)).text()
  t.match(
    metrics,
    /gateway_requests_total\{operation="",type="query",outcome="errors"\} 1/,
    'counted once, with its errors',
  )
  t.match(metrics, /gateway_request_duration_seconds_count\{operation="",type="query"\} 1/)
  t.match(metrics, /gateway_faulty_answers_total\{type="query"\} 1/, 'also where only a later part has one')
  await app.close()
})

t.test('a fragment ends, too, if what it follows can not even be asked for', async (t) => {
  const link =
    'extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@external", "@requires"])\n'
  // Deeper than JSON can be written, as an argument of the next fetch.
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`
  const url = await serve(t, ({ response, query }) => {
    if (query.includes('_entities')) return answer(response, { _entities: [{ z: 1 }] })
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(`{"data":{"t":{"__typename":"T","id":"1","deep":${deep}}}}`)
  })
  const a = { sdl: `${link}scalar JSON type Query { t: T } type T @key(fields: "id") { id: ID! deep: JSON }`, url }
  const y = 'deep: JSON @external y: Int @requires(fields: "deep")'
  const b = { sdl: `${link}scalar JSON type T @key(fields: "id") { id: ID! ${y} }`, url }
  const z = 'y: Int @external z: Int @requires(fields: "y")'
  const c = { sdl: `${link}type T @key(fields: "id") { id: ID! ${z} }`, url }
  const gateway = await startGateway(t, { supergraph: compose(t, { a, b, c }) })
  const response = await fetch(gateway.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: ACCEPTS['2022'] },
    body: JSON.stringify({ query: '{ t { id ... @defer { y ... @defer { z } } } }' }),
    signal: AbortSignal.timeout(10_000),
  })
  const parts = readParts(String(response.headers.get('content-type')), await response.text())
  t.match(parts, [
    { data: { t: { id: '1' } }, hasNext: true },
    {
      incremental: [{ data: { y: null }, errors: [{ extensions: { code: 'INTERNAL_SERVER_ERROR' } }] }],
      hasNext: true,
    },
    { incremental: [{ data: { z: null } }], hasNext: false },
  ])
  t.match(await (await fetch(`${gateway.base}/metrics`)).text(), /gateway_requests_total\{[^}]*outcome="errors"\} 1/)
})

t.test('`customers plan` shows what is deferred', async (t) => {
  const query = 'query ($d: Boolean!) { customer { id ... @defer(label: "later", if: $d) { orders { number } } } }'
  const file = join(t.testdir({ 'query.graphql': query }), 'query.graphql')
  const printed = t.capture(console, 'log', () => {})
  const shown = (variables: object) => {
    plan(file, { variables: JSON.stringify(variables) })
    return String(printed().at(-1)?.args[0])
  }
  t.match(shown({ d: true }), /Deferred\(depends: \[0\], path: "", label: "later"\)/)
  t.notMatch(shown({ d: false }), 'Deferred')
})
