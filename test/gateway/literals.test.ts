/** Literals of documents go to the subgraphs as variables, and numbers keep their digits both ways. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buildSchema, parse, print, validate } from 'graphql'
import t, { type Test } from 'tap'
import { withoutLiterals } from '../../gateway/planning/literals.ts'
import { compose, post, startGateway, startSubgraph } from './support.ts'

const sdl = `
  scalar Json
  enum Kind { A B }
  input Inner { text: String kind: Kind list: [Int!] any: Json inner: Innermost }
  input Innermost { text: String }
  type Query {
    echo(text: String, id: ID, int: Int, float: Float, kind: Kind, flag: Boolean, list: [String], matrix: [[Int]],
      inner: Inner, inners: [Inner], any: Json, withDefault: Int! = 7): String
    thing(id: ID!): Thing
  }
  type Thing { id: ID! echo(text: String): String }
`
const seen: { query: string; variables?: Record<string, unknown> }[] = []
const url = await startSubgraph(
  t,
  sdl,
  {
    Query: {
      echo: (_: unknown, args: object) => JSON.stringify(args),
      thing: (_: unknown, { id }: { id: string }) => ({ id }),
    },
    Thing: { echo: (_: unknown, { text }: { text?: string }) => text ?? null },
  },
  (request) => void seen.push(structuredClone(request.body) as (typeof seen)[number]),
)
const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl, url } }) })

async function sent(query: string, variables?: object) {
  seen.length = 0
  const { body } = await post(gateway.url, { query, variables })
  return { body, query: seen[0]?.query ?? '', variables: seen[0]?.variables ?? {} }
}

t.test('documents that differ in literals alone are one to the subgraph', async (t) => {
  const first = await sent('{ thing(id: "1") { id echo(text: "x") } }')
  const second = await sent('{ thing(id: "2") { id echo(text: "yy") } }')
  t.same(first.body, { data: { thing: { id: '1', echo: 'x' } } })
  t.same(second.body, { data: { thing: { id: '2', echo: 'yy' } } })
  t.equal(first.query, second.query)
  t.same(Object.values(second.variables), ['2', 'yy'])
})

t.test('a variable may have a name that objects have', async (t) => {
  const query = (name: string) => `query($${name}: Inner = { text: "d", list: [5] }) { echo(inner: $${name}) }`
  for (const name of ['__proto__', 'constructor', 'toString', 'representations']) {
    for (const given of ['{"text":"x"}', undefined]) {
      const variables = given === undefined ? '{}' : `{"${name}":${given}}`
      const { body } = await post(gateway.url, `{"query":${JSON.stringify(query(name))},"variables":${variables}}`)
      const inner = given === undefined ? { text: 'd', list: [5] } : { text: 'x' }
      t.same(JSON.parse(body.data?.echo ?? null), { inner, withDefault: 7 }, `${name}: ${given}`)
    }
  }
})

t.test('every form of a literal means what it meant', async (t) => {
  const variables = { v: 'var', i: 3, n: null, k: 'B' }
  const head =
    'query($v: String, $i: Int!, $n: String, $k: Kind, $d: Int = 5, $ds: String = "default", $di: Inner = { text: "in", list: [1, 2] })'
  for (const [args, echoed] of [
    ['text: "a\\"b"', { text: 'a"b' }],
    ['text: """block"""', { text: 'block' }],
    ['text: null', { text: null }],
    ['text: $n', { text: null }],
    ['id: 17', { id: '17' }],
    ['id: 9007199254740993', { id: '9007199254740993' }],
    ['int: -3', { int: -3 }],
    ['float: 3', { float: 3 }],
    ['float: 19.90', { float: 19.9 }],
    ['kind: B', { kind: 'B' }],
    ['kind: $k', { kind: 'B' }],
    ['flag: true', { flag: true }],
    ['list: "one"', { list: ['one'] }],
    ['list: ["one", null, $v]', { list: ['one', null, 'var'] }],
    ['matrix: [[1], [2, null], null]', { matrix: [[1], [2, null], null] }],
    ['matrix: 5', { matrix: [[5]] }],
    ['matrix: [[1], [$i]]', { matrix: [[1], [3]] }],
    ['inner: { text: "t", kind: A, list: 4 }', { inner: { text: 't', kind: 'A', list: [4] } }],
    [
      'inner: { text: $v, kind: A, list: [4, $i], inner: { text: "deep" } }',
      { inner: { text: 'var', kind: 'A', list: [4, 3], inner: { text: 'deep' } } },
    ],
    ['inners: { text: "t" }', { inners: [{ text: 't' }] }],
    ['inners: [{ text: "t" }, { text: $v, list: [] }]', { inners: [{ text: 't' }, { text: 'var', list: [] }] }],
    ['any: { a: 1, b: ["x", true, null] }', { any: { a: 1, b: ['x', true, null] } }],
    ['any: { a: A }', { any: { a: 'A' } }],
    ['any: [{ a: $v }, "x"]', { any: [{ a: 'var' }, 'x'] }],
    ['withDefault: 8', { withDefault: 8 }],
    ['int: $d, text: $ds, inner: $di', { int: 5, text: 'default', inner: { text: 'in', list: [1, 2] } }],
  ] as const) {
    const used = {
      v: 'text: $v',
      i: 'int: $i',
      n: 'text: $n',
      k: 'kind: $k',
      d: 'int: $d',
      ds: 'text: $ds',
      di: 'inner: $di',
    }
    const others = Object.values(used).map((each, index) => `o${index}: echo(${each})`)
    const { body } = await sent(`${head} { echo(${args})\n ${others.join('\n')} }`, variables)
    t.equal(body.errors, undefined, args)
    t.same(JSON.parse(body.data?.echo ?? '{}'), { withDefault: 7, ...echoed }, args)
  }
})

t.test('what is merged without a change is merged with one', async (t) => {
  const { body, variables } = await sent(
    '{ thing(id: "1") { id } ...F ... @skip(if: false) { thing(id: "1") { echo(text: "x") } } } fragment F on Query { thing(id: "1") { e: echo(text: "x") } }',
  )
  t.same(body, { data: { thing: { id: '1', echo: 'x', e: 'x' } } })
  t.equal(Object.keys(variables).length, 2)
  const own = await sent('query($literal_0: ID!) { thing(id: $literal_0) { echo(text: "x") } }', { literal_0: '5' })
  t.same(own.body, { data: { thing: { echo: 'x' } } })
  const introspection = await sent('{ __type(name: "Thing") { name fields { name } } thing(id: 1.0) { id } }')
  t.equal(introspection.body.errors?.length, 1, 'an ID is no float')
  const both = await sent('{ __type(name: "Kind") { name } echo(float: 19.90) }')
  t.same(both.body.data, { __type: { name: 'Kind' }, echo: '{"float":19.9,"withDefault":7}' })
})

t.test('an explicit value counts before a default, and so does null', async (t) => {
  const query = 'query($t: String = "d") { echo(text: $t) }'
  const text = (answer: Awaited<ReturnType<typeof sent>>) => JSON.parse(answer.body.data.echo).text
  t.equal(text(await sent(query)), 'd')
  t.equal(text(await sent(query, { t: 'x' })), 'x')
  t.equal(text(await sent(query, { t: null })), null)
  const other = await sent('query($t: String = "other") { echo(text: $t) }')
  t.equal(text(other), 'other')
})

t.test('what comes of a document is valid', (t) => {
  const schema = buildSchema(sdl)
  const document = parse(
    'query($v: String) { echo(inner: { text: $v, list: [1] }, list: ["a"], any: 1.50, kind: A) thing(id: 5) { echo(text: "x") } }',
  )
  const { document: without, literals } = withoutLiterals(schema, document)
  t.same(validate(schema, without), [])
  t.notMatch(print(without), /1\.50|"x"|"a"/)
  t.ok(Object.values(literals ?? {}).some((value) => JSON.stringify(value) === '1.50'))
  t.end()
})

/** A gateway over a subgraph that answers with this text and keeps what it was sent. */
async function startRaw(t: Test, sdl: string, answer: (body: string) => string) {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      bodies.push(body)
      // A field with arguments is asked for under a name of the gateway's.
      const name = /(\w+): ?x\(/.exec(JSON.parse(body).query)?.[1] ?? 'x'
      const text = answer(body).replace('"x":', `"${name}":`)
      response.writeHead(200, { 'content-type': 'application/json' }).end(text)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
  const gateway = await startGateway(t, { supergraph: compose(t, { raw: { sdl, url } }) })
  const ask = async (body: string) => {
    bodies.length = 0
    const response = await fetch(gateway.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    return { status: response.status, text: await response.text() }
  }
  return { ask, bodies, url: gateway.url }
}

t.test('numbers of custom scalars keep their digits', async (t) => {
  const sdl = `scalar Big type Query { x(j: Big, i: Int, f: Float, id: ID, bigs: [Big], in: In): Big y: Big z: Z }
    input In { j: Big id: ID f: Float } type Z { id: ID float: Float int: Int big: Big bigs: [Big] }`
  let data = '{}'
  const { ask, bodies, url } = await startRaw(t, sdl, () => `{"data":${data}}`)
  const numbers = [
    '9007199254740993',
    '-9007199254740993',
    '19.90',
    '1.0',
    '0.1234567890123456789',
    '123456789.12345678',
    '1e21',
    '1E-7',
    '12345678901234567890',
  ]
  for (const number of numbers) {
    data = `{"x":{"deep":[${number},{"a":${number}}]},"y":${number}}`
    const { status, text } = await ask(JSON.stringify({ query: `{ x(j: ${number}, bigs: [${number}]) y }` }))
    t.equal(status, 200)
    t.equal(text, `{"data":${data}}`, number)
    t.match(bodies[0], `:${number}`, 'down as a literal')
    await ask(
      `{"query":"query($j: Big, $in: In) { x(j: $j, in: $in) }","variables":{"j":{"a":[${number}]},"in":{"j":${number}}}}`,
    )
    t.match(bodies[0], `"j":{"a":[${number}]}`, 'down in a variable')
    t.match(bodies[0], `"in":{"j":${number}}`, 'and within one')
    const variables = encodeURIComponent(`{"j":${number}}`)
    const get = await fetch(`${url}?query=${encodeURIComponent('query($j: Big) { x(j: $j) }')}&variables=${variables}`)
    t.equal(get.status, 200)
    t.match(bodies.at(-1), `"j":${number}`, 'down by GET')
    await ask(JSON.stringify({ query: `query($j: Big = ${number}) { x(j: $j) }` }))
    t.match(bodies[0], `"j":${number}`, 'down as a default')
  }
  data = '{"z":{"id":9007199254740993,"float":1.50,"int":1e2,"big":1e2,"bigs":[1.0,"1.0",null]}}'
  t.equal(
    (await ask('{"query":"{ z { id float int big bigs } }"}')).text,
    '{"data":{"z":{"id":null,"float":1.5,"int":100,"big":1e2,"bigs":[1.0,"1.0",null]}},"errors":[{"message":"Invalid value found for field Z.id.","path":["z","id"],"extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}',
  )
  for (const body of [
    '{"query":"{ x(j: 1e400) }"}',
    '{"query":"{ x(bigs: [1, 1e999]) }"}',
    '{"query":"{ x(in: { j: 1e400 }) }"}',
    '{"query":"{ x(f: 1e400) }"}',
    '{"query":"query($j: Big = 1e400) { x(j: $j) }"}',
    '{"query":"query($j: Big) { x(j: $j) }","variables":{"j":1e400}}',
    '{"query":"query($j: Big) { x(j: $j) }","variables":{"j":{"a":[-1e400]}}}',
    '{"query":"query($f: Float) { x(f: $f) }","variables":{"f":1e400}}',
    '{"query":"query($i: Int) { x(i: $i) }","variables":{"i":9007199254740993}}',
    '{"query":"query($id: ID) { x(id: $id) }","variables":{"id":1.5}}',
  ]) {
    const { status, text } = await ask(body)
    t.equal(status, 400, body)
    t.match(text, /BAD_USER_INPUT|GRAPHQL_VALIDATION_FAILED/)
    t.same(bodies, [])
  }
  for (const [id, down] of [
    ['9007199254740993', '"9007199254740993"'],
    ['12', '12'],
    ['1e2', '100'],
    ['"12.0"', '"12.0"'],
  ]) {
    t.equal(
      (
        await ask(
          `{"query":"query($id: ID, $in: In) { x(id: $id, in: $in) }","variables":{"id":${id},"in":{"id":${id}}}}`,
        )
      ).status,
      200,
    )
    t.match(bodies[0], `"id":${down}`)
  }
  await ask('{"query":"query($f: Float, $i: Int) { x(f: $f, i: $i) }","variables":{"f":19.90,"i":5.0}}')
  t.match(bodies[0], '"variables":{"f":19.9,"i":5}')
})

t.test("numbers in errors' extensions keep their digits", async (t) => {
  const extensions = '{"limit":9007199254740993,"price":19.90,"list":[[1E-7,{"a":12345678901234567890}]],"code":"X"}'
  const { ask } = await startRaw(
    t,
    'type Query { x: [Int] }',
    () => `{"data":{"x":null},"errors":[{"message":"no","path":["x"],"extensions":${extensions}}]}`,
  )
  t.equal(
    (await ask('{"query":"{ x }"}')).text,
    `{"data":{"x":null},"errors":[{"message":"no","path":["x"],"extensions":${extensions}}]}`,
  )
})

t.test('an id that lost its digits never becomes the key of another entity', async (t) => {
  const a = 'type Query { t: T } type T @key(fields: "id") { id: ID! name: String }'
  const b = 'type T @key(fields: "id") { id: ID! price: Int }'
  const asked: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      asked.push(body)
      const isEntities = body.includes('_entities')
      const data = isEntities ? '{"_entities":[null]}' : '{"t":{"__typename":"T","id":9007199254740993,"name":"n"}}'
      response.writeHead(200, { 'content-type': 'application/json' }).end(`{"data":${data}}`)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
  const { url: to } = await startGateway(t, { supergraph: compose(t, { a: { sdl: a, url }, b: { sdl: b, url } }) })
  const { body } = await post(to, { query: '{ t { name price } }' })
  t.same(body.data, { t: { name: 'n', price: null } })
  t.notMatch(asked.join(), '9007199254740992')
})

t.test('names of members that objects inherit pass through a JSON scalar', async (t) => {
  const { ask, bodies } = await startRaw(
    t,
    'scalar Json type Query { x(j: Json): Json }',
    (body) => `{"data":{"x":${JSON.stringify(JSON.parse(body).variables.j)}}}`,
  )
  for (const value of [
    '{"constructor":{"prototype":1}}',
    '{"__proto__":{"a":1.50}}',
    '{"toString":1,"a":{"__proto__":null}}',
  ]) {
    const { status, text } = await ask(`{"query":"query($j: Json) { x(j: $j) }","variables":{"j":${value}}}`)
    t.equal(status, 200, value)
    t.match(bodies[0], `"variables":{"j":${value}}`)
    t.match(text, '{"data":{"x":{')
  }
  t.equal(({} as { a?: unknown }).a, undefined)
})
