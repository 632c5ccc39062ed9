/** The quick check of variables accepts nothing that graphql refuses. */
import fc from 'fast-check'
import { buildSchema, getOperationAST, getVariableValues, parse } from 'graphql'
import t from 'tap'
import { quickCheck } from '../../subgraph/http/valid-variables.ts'

const schema = buildSchema(`
  enum Color { RED GREEN }
  scalar Custom
  input Inner { count: Int!, size: Float = 1.5, next: Inner, color: Color, tags: [String!] }
  input Either @oneOf { a: Int, b: String }
  type Query {
    field(inner: Inner!, id: ID, flag: Boolean!, list: [[Int]!], custom: Custom, either: Either): String
  }
`)
const document = parse(`
  query ($inner: Inner!, $id: ID, $flag: Boolean! = true, $list: [[Int]!], $custom: Custom, $either: Either) {
    field(inner: $inner, id: $id, flag: $flag, list: $list, custom: $custom, either: $either)
  }
`)
const declared = getOperationAST(document)?.variableDefinitions ?? []
const isValid = quickCheck(schema, declared)
const isRefused = (values: Record<string, unknown>) => getVariableValues(schema, declared, values).errors !== undefined

const leaf = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    'RED',
    'GREEN',
    'toString',
    '',
    0,
    -1,
    1.5,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    [],
    {},
  ),
  fc.constantFrom<unknown>(
    -(2 ** 31) - 1,
    'a',
    [1],
    [[1]],
    [[null]],
    [null],
    [['1']],
    ['a', null],
    { a: 1 },
    { b: null },
  ),
)
/** As a rule what fits, so that most values are almost valid. */
const mostly = (fitting: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 8, arbitrary: fitting }, { weight: 1, arbitrary: leaf })

const { inner } = fc.letrec((tie) => ({
  inner: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'inner' },
    mostly(fc.constant({ count: 1 })),
    fc.record(
      {
        count: mostly(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })),
        size: mostly(fc.double({ noNaN: true, noDefaultInfinity: true })),
        next: tie('inner'),
        color: mostly(fc.constantFrom('RED', null)),
        tags: mostly(fc.array(fc.string())),
        other: leaf,
      },
      { requiredKeys: ['count'] },
    ),
  ),
}))
const values = fc.record(
  {
    inner,
    id: mostly(fc.string()),
    flag: mostly(fc.boolean()),
    list: mostly(fc.constant([[1, null]])),
    custom: mostly(fc.constant(null)),
    either: mostly(fc.constant(null)),
  },
  { requiredKeys: ['inner'] },
)

t.test('whatever the quick check accepts, graphql accepts', async (t) => {
  let accepted = 0
  fc.assert(
    fc.property(values, (given) => {
      if (!isValid(given)) return
      accepted++
      if (isRefused(given)) throw new Error(`graphql refuses ${JSON.stringify(given)}`)
    }),
    { numRuns: 2_000 },
  )
  t.ok(accepted > 200, `and it accepts many: ${accepted}`)
})

t.test('it accepts what requests usually hold', async (t) => {
  for (const given of [
    { inner: { count: 1 } },
    { inner: { count: 1, size: 2.5, color: 'RED', tags: ['a', 'b'], next: { count: 2, next: null } }, flag: false },
    { inner: { count: 1 }, id: 'a', list: [[1, null], []], custom: null, either: null, unknown: 1 },
  ]) {
    t.ok(isValid(given), JSON.stringify(given))
  }
})
