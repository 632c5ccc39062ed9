/** Variables on their way to the subgraphs. */
import { cases, type Suite } from './support.ts'

/** Clients' names that the planner, or the merging of calls, gives to variables of its own. */
const NAMES = ['representations', 'representations_0', 'representations_1', 'contextualArgument_1_0']

const names: Suite = {
  name: "variables with the planner's names",
  subgraphs: {
    a: {
      sdl: 'type Query { t: T u: U } type T @key(fields: "id") { id: ID! } type U @key(fields: "id") { id: ID! }',
      resolvers: { Query: { t: () => ({ id: '1' }), u: () => ({ id: '2' }) } },
    },
    b: {
      sdl: `type T @key(fields: "id") { id: ID! x(by: Int = 1, in: In): String }
        type U @key(fields: "id") { id: ID! y(by: [Int]): String } input In { by: Int }`,
      resolvers: {
        T: { x: ({ id }: { id: string }, by: object) => `${id}${JSON.stringify(by)}` },
        U: { y: ({ id }: { id: string }, by: object) => `${id}${JSON.stringify(by)}` },
      },
    },
  },
  cases: cases(
    'the planner gives a variable of its own the same name',
    ...NAMES.flatMap((name) => [
      {
        query: `query ($${name}: Int!) { t { x(by: $${name}) } u { y(by: [$${name}]) } }`,
        variables: { [name]: 7 },
        data: { t: { x: '1{"by":7}' }, u: { y: '2{"by":[7]}' } },
      },
      { query: `query ($${name}: Int = 5) { t { x(by: $${name}) } }`, data: { t: { x: '1{"by":5}' } } },
      { query: `query ($${name}: In) { t { x(in: $${name}) } }`, data: { t: { x: '1{"by":1}' } } },
      {
        query: `query ($${name}: Boolean = true, $${name}_: Int) { t { x @skip(if: $${name}) y: x(by: $${name}_) } }`,
        variables: { [name]: false, [`${name}_`]: 3 },
        data: { t: { x: '1{"by":1}', y: '1{"by":3}' } },
      },
    ]),
  ),
}

const IF = /"if" of non-null type "Boolean!" must not be null/
let made = 0
const nulls: Suite = {
  name: 'conditions that are null',
  subgraphs: {
    a: {
      sdl: `type Query { t: T ts: [T!]! u: U made: Int } union U = T type T @key(fields: "id") { id: ID! n: T nn: T! }
        type Mutation { make: T }`,
      resolvers: {
        Query: {
          t: () => ({ id: '1' }),
          ts: () => [{ id: '1' }, { id: '2' }],
          u: () => ({ id: '1', __typename: 'T' }),
          made: () => made,
        },
        T: { n: () => ({ id: '2' }), nn: () => ({ id: '3' }) },
        Mutation: { make: () => ({ id: String(++made) }) },
      },
    },
    b: {
      sdl: 'type T @key(fields: "id") { id: ID! x: String }',
      resolvers: { T: { x: ({ id }: { id: string }) => `x${id}` } },
    },
  },
  cases: cases(
    'Apollo takes null for false',
    {
      query: 'query ($c: Boolean = true) { t { id n { id x @include(if: $c) } } }',
      variables: { c: null },
      data: { t: { id: '1', n: null } },
      errors: [['t.n', IF]],
    },
    {
      query: 'query ($c: Boolean = true) { t { id nn { ...F } } } fragment F on T { ... @skip(if: $c) { x } }',
      variables: { c: null },
      data: { t: null },
      errors: [['t.nn', IF]],
    },
    {
      query: 'query ($c: Boolean = false, $d: Boolean = true) { t { id x @include(if: $c) @skip(if: $d) } }',
      variables: { c: null },
      data: { t: { id: '1' } },
    },
    {
      query: 'query ($c: Boolean = true) { t @skip(if: true) { x @skip(if: $c) } made }',
      variables: { c: null },
      data: { made: 0 },
    },
    {
      query: 'query ($c: Boolean = true) { u { ... on T { x @skip(if: $c) } } t { x } }',
      variables: { c: null },
      data: { u: null, t: { x: 'x1' } },
      errors: [['u', IF]],
    },
    {
      query: 'query ($c: Boolean = true) { t { x } ts @include(if: $c) { id } }',
      variables: { c: null },
      data: null,
      errors: [[undefined, IF]],
    },
    {
      query: 'mutation ($c: Boolean = true) { make { x } again: make @include(if: $c) { x } }',
      variables: { c: null },
      data: null,
      errors: [[undefined, IF]],
    },
    { query: '{ made }', data: { made: 0 } },
    { query: 'query ($c: Boolean = true) { t { x @include(if: $c) } }', data: { t: { x: 'x1' } } },
  ),
}

export const variableSuites: readonly Suite[] = [names, nulls]
