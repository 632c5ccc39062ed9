import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parse, printSchema } from 'graphql'
import t, { type Test } from 'tap'
import { compose } from '../../bin/commands/compose.ts'
import { composeSupergraph } from '../../gateway/planning/compose.ts'
import { loadSupergraph } from '../../gateway/planning/supergraph.ts'

const link = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key"])\n'
const config = (...names: string[]) =>
  `subgraphs:\n${names.map((name) => `  ${name}:\n    routing_url: http://x/${name}\n    schema: { file: ./${name}.graphql }\n`).join('')}`
const run = (...args: string[]) =>
  spawnSync(process.execPath, ['bin/customers.js', 'compose', ...args], { encoding: 'utf8', timeout: 60_000 })

/** The command in this process: a process costs more than all that it does. */
async function runHere(t: Test, config: string, output?: string, excludeTag: readonly string[] = []) {
  const said = t.capture(console, 'error')
  t.capture(console, 'log')
  const before = process.exitCode
  process.exitCode = 0
  await compose(config, output, { excludeTag })
  const status = process.exitCode
  process.exitCode = before
  return {
    status,
    stderr: said()
      .map(({ args }) => `${args.join(' ')}\n`)
      .join(''),
  }
}

t.test('the committed supergraphs are what their configurations compose to', async (t) => {
  for (const path of ['schema/supergraph', 'examples/commerce/supergraph']) {
    const result = await composeSupergraph(`${path}.yaml`)
    t.equal(
      result.supergraph,
      readFileSync(`${path}.graphql`, 'utf8'),
      `${path}.graphql: run npm run compose ${path}.yaml`,
    )
  }
})

t.test('where the supergraph can not be written, it is said in one line, and nothing is left', async (t) => {
  const folder = t.testdir({ 'a.yaml': config('a'), 'a.graphql': `${link}type Query { a: Int }`, folder: {} })
  for (const [name, reason] of [
    ['folder', 'EISDIR'],
    ['none/x.graphql', 'ENOENT'],
  ] as const) {
    const output = join(folder, name)
    const { status, stderr } = await runHere(t, join(folder, 'a.yaml'), output)
    t.equal(status, 1)
    t.equal(stderr, `${JSON.stringify(output)} can't be written (${reason}).\n`)
  }
  t.same(readdirSync(folder).sort(), ['a.graphql', 'a.yaml', 'folder'])
})

t.test('composing does not depend on the order of the subgraphs', async (t) => {
  const sdl = (field: string) => `${link}type Query { ${field}: T } type T @key(fields: "id") { id: ID! ${field}: Int }`
  const folder = t.testdir({
    'ab.yaml': config('a', 'b'),
    'ba.yaml': config('b', 'a'),
    'a.graphql': sdl('one'),
    'b.graphql': sdl('two'),
  })
  const ab = await composeSupergraph(join(folder, 'ab.yaml'))
  t.ok(ab.supergraph?.includes('type T'))
  t.same(ab, await composeSupergraph(join(folder, 'ba.yaml')))
})

t.test('errors say which subgraph, which rule and where', async (t) => {
  const folder = t.testdir({
    'clash.yaml': config('a', 'b'),
    'syntax.yaml': config('broken', 'unclear'),
    'missing.yaml': config('nowhere'),
    'noconfig.yaml': 'subgraphs:\n  a:\n    routing_url: nonsense\n',
    'notyaml.yaml': 'subgraphs: [',
    'nothing.yaml': 'federation_version: 2',
    'list.yaml': 'subgraphs: [a]',
    'a.graphql': `${link}type Query { a: Int }\ntype T @key(fields: "id") { id: ID! name: String }`,
    'b.graphql': `${link}type Query { b: Int }\ntype T @key(fields: "id") { id: ID! name: Int }`,
    'broken.graphql': 'type Query {\n  a Int\n}',
    'unclear.graphql': 'type Query { a: Unknown }',
  })
  const errors = async (file: string) => {
    const result = await composeSupergraph(join(folder, file))
    return result.supergraph === undefined ? result.errors.join('\n') : ''
  }
  t.match(
    await errors('clash.yaml'),
    /FIELD_TYPE_MISMATCH: .*"T.name".*\n {2}at .*a\.graphql:3:\d+\n {2}at .*b\.graphql:3:\d+/,
  )
  t.match(await errors('syntax.yaml'), /INVALID_GRAPHQL: \[broken\] Syntax Error.*\n {2}at .*broken\.graphql:2:5/)
  t.match(await errors('missing.yaml'), /\[nowhere\] ENOENT.*nowhere\.graphql/)
  t.match(await errors('noconfig.yaml'), /noconfig\.yaml: subgraphs\.a\.routing_url: /)
  t.match(await errors('notyaml.yaml'), /notyaml\.yaml: /)
  t.match(await errors('nothing.yaml'), /nothing\.yaml: subgraphs: the subgraphs are needed here, by name/)
  t.match(await errors('list.yaml'), /list\.yaml: subgraphs: the subgraphs are needed here, by name/)
  t.match(await errors('none.yaml'), /none\.yaml: ENOENT/)
})

t.test('the command writes the supergraph whole or not at all', async (t) => {
  const folder = t.testdir({ 'graph.yaml': config('a'), 'a.graphql': `${link}type Query { a: Int }` })
  const yaml = join(folder, 'graph.yaml')
  const output = join(folder, 'graph.graphql')

  const good = run(yaml)
  t.equal(good.status, 0, good.stderr)
  const written = readFileSync(output, 'utf8')
  t.match(written, 'a: Int')

  writeFileSync(join(folder, 'a.graphql'), 'type Query {')
  const bad = run(yaml)
  t.equal(bad.status, 1)
  t.match(bad.stderr, /\[a\] Syntax Error.*\n {2}at .*a\.graphql:1:13\n\n.*does not compose: 1 error/)
  t.equal(readFileSync(output, 'utf8'), written, 'the old file stays')
  t.equal((await runHere(t, yaml, join(folder, 'other.graphql'))).status, 1)
  t.notOk(existsSync(join(folder, 'other.graphql')))
  t.same(readdirSync(folder).sort(), ['a.graphql', 'graph.graphql', 'graph.yaml'], 'nothing half-written is left')
})

t.test('hints are printed and do not fail the composition', async (t) => {
  const folder = t.testdir({
    'graph.yaml': config('a', 'b'),
    'a.graphql': `${link}type Query { a: T }\n"one" type T @key(fields: "id") { id: ID! a: Int }`,
    'b.graphql': `${link}type Query { b: T }\n"two" type T @key(fields: "id") { id: ID! b: Int }`,
  })
  const result = await runHere(t, join(folder, 'graph.yaml'))
  t.equal(result.status, 0)
  t.match(result.stderr, /WARN INCONSISTENT_DESCRIPTION: .*"T"/)
})

t.test("rover's other ways to name a schema", async (t) => {
  const sdl = `${link}type Query { one: Int }`
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.headers['x-key']}`)
    if (request.url === '/closed') response.end('{"errors":[{"message":"Introspection is off."}]}')
    else if (request.url === '/page') response.writeHead(404).end('<html>')
    else response.end(JSON.stringify({ data: { _service: { sdl } } }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const composed = (subgraph: string, env: Record<string, string> = {}) => {
    const folder = t.testdir({ 'graph.yaml': `subgraphs:\n  a: ${subgraph}\n`, 'a.graphql': sdl })
    return composeSupergraph(join(folder, 'graph.yaml'), env)
  }
  const supergraph = async (subgraph: string, env = {}) => {
    const result = await composed(subgraph, env)
    t.match(result.supergraph, 'one: Int', subgraph)
    return result.supergraph ?? ''
  }
  const errors = async (subgraph: string, env = {}) => {
    const result = await composed(subgraph, env)
    return result.supergraph === undefined ? result.errors.join('\n') : ''
  }

  t.match(
    await supergraph(`{ schema: { subgraph_url: "${url}/graphql" } }`),
    `url: "${url}/graphql"`,
    'routed there, too',
  )
  t.match(
    await supergraph(`{ routing_url: "http://x/a", schema: { subgraph_url: "${url}/graphql" } }`),
    'url: "http://x/a"',
  )
  // biome-ignore lint/suspicious/noTemplateCurlyInString: as it stands in the file
  const header = '{ schema: { subgraph_url: "${env.URL}", introspection_headers: { x-key: "a${env.KEY:-none}$$" } } }'
  await supergraph(header, { URL: url })
  t.equal(asked.at(-1), 'POST anone$')
  await supergraph(header, { URL: url, KEY: 'secret' })
  t.equal(asked.at(-1), 'POST asecret$')
  await supergraph(`{ routing_url: "http://x/a", schema: { sdl: ${JSON.stringify(sdl)} } }`)

  t.match(await errors(header), /graph\.yaml: \$\{env\.URL\}: the environment variable URL is not set/)
  // biome-ignore lint/suspicious/noTemplateCurlyInString: as it stands in the file
  const unknown = '{ routing_url: "${HOME}", schema: { file: a.graphql } }'
  t.match(await errors(unknown), /\$\{HOME\} can't be expanded; accepted/)
  t.match(
    await errors('{ schema: { graphref: "shop@main", subgraph: a } }'),
    /subgraphs\.a\.schema: a graphref is .*rover/,
  )
  t.match(await errors('{ routing_url: "http://x/a", schema: {} }'), /subgraphs\.a\.schema: one of `file`/)
  t.match(await errors('{ schema: { file: a.graphql } }'), /subgraphs\.a\.routing_url: the URL .* is needed/)
  t.match(
    await errors(`{ schema: { subgraph_url: "${url}/closed" } }`),
    /\[a\] .*closed does not give its schema .*off/,
  )
  t.match(await errors(`{ schema: { subgraph_url: "${url}/page" } }`), /\[a\] .*page does not give .*: HTTP 404/)
  t.match(
    await errors('{ schema: { subgraph_url: "http://127.0.0.1:1" } }'),
    /\[a\] .* can't be asked for its schema: /,
  )
})

t.test('a contract leaves out what has a tag, and the planner still uses it', async (t) => {
  const head = (imports: string) =>
    `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@external", "@requires"${imports}])\n`
  const folder = t.testdir({
    'graph.yaml': config('a', 'b'),
    'a.graphql': `${head(', "@tag", "@shareable"')}
      type Query { t(public: Int, inner: Int @tag(name: "internal")): T  search: [Found]  secret: Secret @tag(name: "beta") }
      type T @key(fields: "id") { id: ID!  cost: Int @tag(name: "internal")  state: State }
      type Secret @tag(name: "internal") { value: Int }
      union Found = T | Secret
      enum State { OPEN  AUDITED @tag(name: "internal") }
      input In { plain: Int  hidden: Int @tag(name: "internal") }
      type Mutation { change(in: In): Int }`,
    'b.graphql': `${head('')}
      type T @key(fields: "id") { id: ID!  cost: Int @external  price: Int @requires(fields: "cost") }`,
  })
  const yaml = join(folder, 'graph.yaml')
  const whole = await composeSupergraph(yaml)
  const partners = await composeSupergraph(yaml, {}, { excludeTags: ['internal', 'beta'] })
  t.match(loadSupergraph(whole.supergraph ?? '').schema.getType('Secret'), Object)
  const { schema, plan } = loadSupergraph(partners.supergraph ?? '')
  const shown = printSchema(schema)
  for (const name of ['inner', 'cost', 'Secret', 'secret', 'AUDITED', 'hidden']) t.notMatch(shown, name)
  t.match(shown, /t\(public: Int\): T/)
  const planned = JSON.stringify(plan(parse('{ t { price } }'), undefined))
  t.match(planned, 'cost', 'what is left out for clients is fetched for what requires it')

  const errors = async (...excludeTags: string[]) => {
    const result = await composeSupergraph(yaml, {}, { excludeTags })
    return result.supergraph === undefined ? result.errors.join('\n') : ''
  }
  t.match(await errors('internal', 'intern'), /nothing has the tag "intern"; there are "beta", "internal"/)
  t.match(await errors('internal'), /Secret/, 'a field that shows a type that is left out')

  const output = join(folder, 'partners.graphql')
  t.equal(run(yaml, output, '--exclude-tag', 'internal', '--exclude-tag', 'beta').status, 0)
  t.equal(readFileSync(output, 'utf8'), partners.supergraph)
  const wrong = await runHere(t, yaml, output, ['intern'])
  t.equal(wrong.status, 1)
  t.match(wrong.stderr, /nothing has the tag "intern"/)
  t.equal(readFileSync(output, 'utf8'), partners.supergraph, 'the old file stays')
})

t.test('a contract over a graph that hides elements already, and under other names', async (t) => {
  const folder = t.testdir({
    'graph.yaml': config('a'),
    'a.graphql': `extend schema
        @link(url: "https://specs.apollo.dev/federation/v2.3", import: [{ name: "@tag", as: "@label" }, { name: "@inaccessible", as: "@private" }])
      type Query { a: Int  b: Int @private  c: Int @label(name: "internal")  d: Int @private @label(name: "internal") }`,
  })
  const result = await composeSupergraph(join(folder, 'graph.yaml'), {}, { excludeTags: ['internal'] })
  t.equal(printSchema(loadSupergraph(result.supergraph ?? '').schema), 'type Query {\n  a: Int\n}')
})
