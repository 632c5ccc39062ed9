/** The order of calls: each is sent once what it requires is there. */
import { cases, type Suite, typed } from './support.ts'

const asIs = (value: object) => ({ ...value })

export const callOrderSuites: readonly Suite[] = [
  {
    name: 'calls that the planner sends beside the one that gives what they require',
    subgraphs: {
      a: {
        sdl: `interface J { jid: ID! }
          type Root @key(fields: "id") { id: ID! j: J @shareable a: String @external }
          type E implements J @key(fields: "id k") { jid: ID! @shareable id: ID! k: Int! label: String @external
            f: Root @external second: String @requires(fields: "f { id a } label") }`,
        resolvers: {
          Root: { __resolveReference: asIs, j: () => typed('E', { id: '1', jid: 'j1', k: 7 }) },
          E: {
            __resolveReference: asIs,
            second: ({ f, label }: { f?: { id: string; a: string }; label?: string }) =>
              f && label ? `${f.id} ${f.a} ${label}` : null,
          },
        },
      },
      b: {
        sdl: `type Query { one: Root }
          type Root { id: ID! @shareable }
          type E @key(fields: "k org { id }") @key(fields: "id") { label: String id: ID! k: Int! org: Org!
            g: String @external b: B @external first: String @requires(fields: "g b { c }") }
          type Org { id: ID! }
          type B { id: ID! @shareable c: String @external }`,
        resolvers: {
          Query: { one: () => ({ id: 'r' }) },
          E: {
            __resolveReference: (given: object) => ({ ...given, id: '1', k: 7, org: { id: 'o' }, label: 'l' }),
            first: ({ g, b }: { g?: string; b?: { c: string } }) => (g && b ? `${g} ${b.c}` : null),
          },
        },
      },
      c: {
        sdl: `interface J { jid: ID! }
          type Root @key(fields: "id") { id: ID! j: J @shareable }
          type E implements J { jid: ID! @shareable id: ID! @shareable }
          type F implements J @key(fields: "id") { jid: ID! id: ID! }
          type B @key(fields: "id") { id: ID! c: String }`,
        resolvers: {
          Root: { __resolveReference: asIs, j: () => typed('E', { id: '1', jid: 'j1', k: 7 }) },
          B: { __resolveReference: asIs, c: () => 'c' },
        },
      },
      d: {
        sdl: `type E @key(fields: "k org { id }") { k: Int! org: Org! x: Int g: String f: Root b: B }
          type Org { id: ID! }
          type Root @key(fields: "id") { id: ID! a: String }
          type B @key(fields: "id") { id: ID! }`,
        resolvers: {
          E: { __resolveReference: asIs, x: () => 3, g: () => 'g', f: () => ({ id: 'f' }), b: () => ({ id: 'b' }) },
          Root: { __resolveReference: asIs, a: () => 'a' },
        },
      },
    },
    cases: cases(
      'Apollo merges two calls and sends them before a requirement of one of them is there.',
      {
        query: '{ one { j { ... on E { x first second } } } }',
        data: { one: { j: { x: 3, first: 'g c', second: 'f a l' } } },
      },
      {
        query: '{ one { j { ... on E { second first } } } }',
        data: { one: { j: { second: 'f a l', first: 'g c' } } },
      },
      {
        query: '{ one { j { jid ... on E { second b { c } f { id } } } } }',
        data: { one: { j: { jid: 'j1', second: 'f a l', b: { c: 'c' }, f: { id: 'f' } } } },
      },
    ),
  },
]
