import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { composeSupergraph } from '../../gateway/planning/compose.ts'

const link = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key"])\n'
const config = (...names: string[]) =>
  `subgraphs:\n${names.map((name) => `  ${name}:\n    routing_url: http://x/${name}\n    schema: { file: ./${name}.graphql }\n`).join('')}`
const run = (...args: string[]) =>
  spawnSync(process.execPath, ['bin/customers.js', 'compose', ...args], { encoding: 'utf8', timeout: 15_000 })

t.test('the committed supergraphs are what their configurations compose to', async (t) => {
  for (const path of ['schema/supergraph', 'examples/commerce/supergraph']) {
    const result = composeSupergraph(`${path}.yaml`)
    t.equal(
      result.supergraph,
      readFileSync(`${path}.graphql`, 'utf8'),
      `${path}.graphql: run npm run compose ${path}.yaml`,
    )
  }
})

t.test('composing does not depend on the order of the subgraphs', async (t) => {
  const sdl = (field: string) => `${link}type Query { ${field}: T } type T @key(fields: "id") { id: ID! ${field}: Int }`
  const folder = t.testdir({
    'ab.yaml': config('a', 'b'),
    'ba.yaml': config('b', 'a'),
    'a.graphql': sdl('one'),
    'b.graphql': sdl('two'),
  })
  const ab = composeSupergraph(join(folder, 'ab.yaml'))
  t.ok(ab.supergraph?.includes('type T'))
  t.same(ab, composeSupergraph(join(folder, 'ba.yaml')))
})

t.test('errors say which subgraph, which rule and where', async (t) => {
  const folder = t.testdir({
    'clash.yaml': config('a', 'b'),
    'syntax.yaml': config('broken', 'unclear'),
    'missing.yaml': config('nowhere'),
    'noconfig.yaml': 'subgraphs:\n  a:\n    routing_url: nonsense\n',
    'notyaml.yaml': 'subgraphs: [',
    'a.graphql': `${link}type Query { a: Int }\ntype T @key(fields: "id") { id: ID! name: String }`,
    'b.graphql': `${link}type Query { b: Int }\ntype T @key(fields: "id") { id: ID! name: Int }`,
    'broken.graphql': 'type Query {\n  a Int\n}',
    'unclear.graphql': 'type Query { a: Unknown }',
  })
  const errors = (file: string) => {
    const result = composeSupergraph(join(folder, file))
    return result.supergraph === undefined ? result.errors.join('\n') : ''
  }
  t.match(
    errors('clash.yaml'),
    /FIELD_TYPE_MISMATCH: .*"T.name".*\n {2}at .*a\.graphql:3:\d+\n {2}at .*b\.graphql:3:\d+/,
  )
  t.match(errors('syntax.yaml'), /INVALID_GRAPHQL: \[broken\] Syntax Error.*\n {2}at .*broken\.graphql:2:5/)
  t.match(errors('missing.yaml'), /\[nowhere\] ENOENT.*nowhere\.graphql/)
  t.match(errors('noconfig.yaml'), /noconfig\.yaml: subgraphs\.a\.routing_url: /)
  t.match(errors('notyaml.yaml'), /notyaml\.yaml: /)
  t.match(errors('none.yaml'), /none\.yaml: ENOENT/)
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
  t.equal(run(yaml, join(folder, 'other.graphql')).status, 1)
  t.notOk(existsSync(join(folder, 'other.graphql')))
  t.same(readdirSync(folder).sort(), ['a.graphql', 'graph.graphql', 'graph.yaml'], 'nothing half-written is left')
})

t.test('hints are printed and do not fail the composition', async (t) => {
  const folder = t.testdir({
    'graph.yaml': config('a', 'b'),
    'a.graphql': `${link}type Query { a: T }\n"one" type T @key(fields: "id") { id: ID! a: Int }`,
    'b.graphql': `${link}type Query { b: T }\n"two" type T @key(fields: "id") { id: ID! b: Int }`,
  })
  const result = run(join(folder, 'graph.yaml'))
  t.equal(result.status, 0)
  t.match(result.stderr, /WARN INCONSISTENT_DESCRIPTION: .*"T"/)
})
