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

export const variableSuites: readonly Suite[] = [names]
