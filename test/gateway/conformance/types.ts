import type { Suite } from './support.ts'

const typed = (__typename: string, fields: object) => ({ __typename, ...fields })
const byTypename = { __resolveType: ({ __typename }: { __typename: string }) => __typename }

const nodes: Record<string, { id: string; label: string; size: number }> = {
  b1: { id: 'b1', label: 'label b1', size: 11 },
  b2: { id: 'b2', label: 'label b2', size: 22 },
}

export const typeSuites: readonly Suite[] = [
  {
    name: 'enum values that only one subgraph has, and hidden ones',
    subgraphs: {
      a: {
        sdl: `type Query { people: [Person] } type Person @key(fields: "id") { id: ID role: Role @shareable }
          enum Role { KNOWN }`,
        resolvers: {
          Query: {
            people: () => [
              { id: '1', role: 'KNOWN' },
              { id: '2', role: 'SECRET' },
            ],
          },
        },
      },
      b: {
        sdl: `type Query { others: [Person] strict: Strict byRole(role: Role!): [Person!] things: [Thing] thing: Thing
            visible(role: Role = SECRET @inaccessible): String } union Thing = Person | Hidden
          type Hidden @inaccessible { id: ID } type Strict { role: Role! }
          type Person @key(fields: "id") { id: ID role: Role @shareable } enum Role { KNOWN SECRET @inaccessible }`,
        resolvers: {
          Query: {
            others: () => [
              { id: '1', role: 'KNOWN' },
              { id: '2', role: 'SECRET' },
            ],
            strict: () => ({ role: 'SECRET' }),
            byRole: (_: unknown, { role }: { role: string }) => [{ id: '1', role }],
            things: () => [typed('Person', { id: '1' }), typed('Hidden', { id: '2' })],
            thing: () => typed('Hidden', { id: '2' }),
            visible: (_: unknown, { role }: { role: string }) => role,
          },
          Thing: byTypename,
        },
      },
    },
    cases: [
      { query: '{ people { id } }', data: { people: [{ id: '1' }, { id: '2' }] } },
      {
        query: '{ people { id role } }',
        data: {
          people: [
            { id: '1', role: 'KNOWN' },
            { id: '2', role: null },
          ],
        },
        errors: [['people.1.role', /cannot represent value/]],
      },
      {
        query: '{ others { id role } }',
        data: {
          others: [
            { id: '1', role: 'KNOWN' },
            { id: '2', role: null },
          ],
        },
        notStock: 'a hidden value is right: it is no error that clients do not see it',
      },
      {
        query: '{ strict { role } }',
        data: { strict: null },
        errors: [['strict.role', /non-nullable field Strict\.role/]],
        notStock: 'another message',
      },
      { query: '{ byRole(role: KNOWN) { id role } }', data: { byRole: [{ id: '1', role: 'KNOWN' }] } },
      { query: '{ byRole(role: SECRET) { id } }', data: null, errors: [[undefined, /SECRET/]] },
      { query: '{ visible }', data: { visible: 'SECRET' } },
      { query: '{ visible(role: KNOWN) }', data: null, errors: [[undefined, /Unknown argument/]] },
      {
        query: '{ things { __typename } thing { ... on Person { id } } }',
        data: { things: [{ __typename: 'Person' }, null], thing: null },
        notStock: 'a hidden type is no error either',
      },
    ],
  },
  {
    name: 'interface objects that nobody can resolve',
    subgraphs: {
      a: {
        sdl: `type Query { a: Node product: Product! } interface Node @key(fields: "id") { id: ID! }
          type Product @interfaceObject @key(fields: "id", resolvable: false) { id: ID! }`,
        resolvers: {
          Query: { a: () => ({ id: 'n1' }), product: () => ({ id: 'p1' }) },
          Node: { __resolveType: () => 'Node' },
        },
      },
      b: {
        sdl: `type Query { b: Node } type Node @interfaceObject @key(fields: "id", resolvable: false) { id: ID! field: String }
          interface Product @key(fields: "id") { id: ID! } type Bread implements Product @key(fields: "id") { id: ID! name: String! }`,
        resolvers: {
          Query: { b: () => ({ id: 'n1', field: 'foo' }) },
          Bread: { __resolveReference: ({ id }: { id: string }) => ({ id, name: 'Baguette' }) },
          Product: {
            __resolveType: () => 'Bread',
            __resolveReference: ({ id }: { id: string }) => typed('Bread', { id, name: 'Baguette' }),
          },
        },
      },
    },
    cases: [
      { query: '{ b { id field } }', data: { b: { id: 'n1', field: 'foo' } } },
      { query: '{ a { field } }', data: null, errors: [['a', /No subgraph can answer the field Query\.a/]] },
      { query: '{ a @skip(if: true) { field } }', data: {} },
      { query: 'query ($no: Boolean!) { a @include(if: $no) { field } }', variables: { no: false }, data: {} },
      { query: '{ b { id } }', data: { b: { id: 'n1' } } },
      { query: '{ a { id } }', data: { a: null }, errors: [['a']] },
      { query: '{ product { id } }', data: { product: { id: 'p1' } } },
      { query: '{ product { id name } }', data: null, errors: [[undefined, /Cannot query field "name"/]] },
      { query: '{ product { ... on Bread { id } } }', data: { product: { id: 'p1' } } },
      {
        query: '{ product { ... on Bread { name } __typename } }',
        data: { product: { name: 'Baguette', __typename: 'Bread' } },
      },
    ],
  },
  {
    name: 'interface objects',
    subgraphs: {
      a: {
        sdl: `type Query { boxes: [Sized!]! } interface Sized @key(fields: "id") { id: ID! size: Int }
          type Box implements Sized @key(fields: "id") { id: ID! size: Int colour: String }`,
        resolvers: {
          Query: { boxes: () => Object.values(nodes).map((node) => typed('Box', node)) },
          Sized: { ...byTypename, __resolveReference: ({ id }: { id: string }) => typed('Box', nodes[id] ?? {}) },
          Box: { __resolveReference: ({ id }: { id: string }) => nodes[id], colour: () => 'red' },
        },
      },
      b: {
        sdl: `type Query { others: [Sized] } type Sized @interfaceObject @key(fields: "id") { id: ID! size: Int @external
            label: String note: String @requires(fields: "size") }`,
        resolvers: {
          Query: { others: () => Object.keys(nodes).map((id) => ({ id })) },
          Sized: {
            __resolveReference: (sent: { id: string }) => ({ ...sent, label: nodes[sent.id]?.label }),
            label: ({ id }: { id: string }) => nodes[id]?.label,
            note: ({ size }: { size: number }) => `size ${size}`,
          },
        },
      },
    },
    cases: [
      {
        query: '{ others { id size label note } }',
        data: {
          others: [
            { id: 'b1', size: 11, label: 'label b1', note: 'size 11' },
            { id: 'b2', size: 22, label: 'label b2', note: 'size 22' },
          ],
        },
      },
      {
        query: '{ boxes { id label note __typename } }',
        data: {
          boxes: [
            { id: 'b1', label: 'label b1', note: 'size 11', __typename: 'Box' },
            { id: 'b2', label: 'label b2', note: 'size 22', __typename: 'Box' },
          ],
        },
      },
      { query: '{ others { ... on Box { colour } } }', data: { others: [{ colour: 'red' }, { colour: 'red' }] } },
      {
        query: '{ others { __typename kind: __typename ... on Box { note id } id } }',
        data: {
          others: [
            { __typename: 'Box', kind: 'Box', note: 'size 11', id: 'b1' },
            { __typename: 'Box', kind: 'Box', note: 'size 22', id: 'b2' },
          ],
        },
      },
    ],
  },
  {
    name: 'unions that differ between subgraphs, with members of different types',
    subgraphs: {
      a: {
        sdl: `type Query { media: Media @shareable book: Book @shareable song: Media owners: [Owner!]! }
          union Media = Book | Song type Book @shareable { title: String! } type Song { title: String! }
          union Owner = User | Admin type User @key(fields: "id") { id: ID! name: String } type Admin { id: ID name: String friends: [Owner!]! }`,
        resolvers: {
          Query: {
            media: () => typed('Book', { title: 'A book' }),
            book: () => ({ title: 'A book' }),
            song: () => typed('Song', { title: 'A song' }),
            owners: () => [
              typed('User', { id: 'u1', name: 'U' }),
              typed('Admin', {
                id: 'a1',
                name: 'A',
                friends: [typed('User', { id: 'u1', name: 'U' }), typed('Admin', { id: 'a2', friends: [] })],
              }),
            ],
          },
          Media: byTypename,
          Owner: byTypename,
        },
      },
      b: {
        sdl: `type Query { media: Media @shareable book: Media @shareable } union Media = Book | Movie
          type Book @shareable { title: String! } type Movie { title: String! } type User @key(fields: "id") { id: ID age: Int }`,
        resolvers: {
          Query: { media: () => typed('Book', { title: 'A book' }), book: () => typed('Book', { title: 'A book' }) },
          Media: byTypename,
          User: { __resolveReference: ({ id }: { id: string }) => ({ id, age: 7 }) },
        },
      },
    },
    cases: [
      { query: '{ media { ... on Movie { title } } }', data: { media: {} } },
      { query: '{ media { ... on Book { title } ... on Movie { title } } }', data: { media: { title: 'A book' } } },
      {
        query:
          '{ media { __typename ... on Song { title } } book { __typename ... on Movie { title } ... on Book { title } } song { __typename ... on Song { title } ... on Movie { title } } }',
        data: {
          media: { __typename: 'Book' },
          book: { __typename: 'Book', title: 'A book' },
          song: { __typename: 'Song', title: 'A song' },
        },
      },
      {
        query:
          '{ owners { ... on User { id age } ... on Admin { id friends { ... on User { id name age } ... on Admin { id name } } } } }',
        data: {
          owners: [
            { id: 'u1', age: 7 },
            {
              id: 'a1',
              friends: [
                { id: 'u1', name: 'U', age: 7 },
                { id: 'a2', name: null },
              ],
            },
          ],
        },
      },
    ],
  },
  {
    name: 'directives of documents that subgraphs have composed',
    subgraphs: Object.fromEntries(
      ['a', 'b'].map((name) => [
        name,
        {
          sdl: `extend schema @link(url: "https://specs.apollo.dev/federation/v2.1", import: ["@composeDirective"])
            @link(url: "https://shop.example/access/v1.0", import: ["@access"]) @composeDirective(name: "@access")
            directive @access(scope: Scope!${name === 'b' ? ' = PUBLIC' : ''}) on FIELD enum Scope { PUBLIC PRIVATE }
            type Query { ${name}: String }`,
          resolvers: { Query: { [name]: () => name } },
        },
      ]),
    ),
    cases: [
      { query: '{ a @access b @access(scope: PRIVATE) }', data: { a: 'a', b: 'b' } },
      { query: '{ a @access(scope: OTHER) }', data: null, errors: [[undefined, /OTHER/]] },
      { query: 'query @access { a }', data: null, errors: [[undefined, /may not be used on QUERY/]] },
    ],
  },
  {
    name: 'fragments on unions that exclude each other',
    subgraphs: {
      a: {
        sdl: `type Query { found: Found found2: Found @shareable } union Found = Shop | Person union Seller = Brand | Shop
          type Brand { name: String } type Shop { name: String } type Person @key(fields: "id") { id: ID! name: String }`,
        resolvers: {
          Query: { found: () => typed('Person', { id: '1', name: 'Ann' }), found2: () => typed('Shop', { name: 'S' }) },
          Found: byTypename,
          Seller: byTypename,
        },
      },
      b: {
        sdl: 'type Person @key(fields: "id") { id: ID! age: Int }',
        resolvers: { Person: { __resolveReference: ({ id }: { id: string }) => ({ id, age: 7 }) } },
      },
    },
    cases: [
      {
        query: `{ found { ... on Seller { ... on Found { ... on Person { name age } } } }
          found2 { ... on Seller { ... on Found { ... on Person { name } ... on Shop { name } } } } }`,
        data: { found: {}, found2: { name: 'S' } },
        notStock: 'the planner refuses fragments that apply to no type',
      },
      {
        query:
          '{ found { ... on Seller { ...S } ... on Person { age } } } fragment S on Found { ... on Person { name } }',
        data: { found: { age: 7 } },
      },
    ],
  },
  {
    name: 'values that are missing because a call failed, in an object that is null for another reason',
    subgraphs: {
      a: {
        sdl: 'type Query { shared: Shared @shareable thrown: Int! } type Shared { a: Int! }',
        resolvers: {
          Query: {
            shared: () => ({ a: 1 }),
            thrown: () => {
              throw new Error('thrown')
            },
          },
        },
      },
      b: {
        sdl: 'type Query { shared: Shared @shareable } type Shared { b: Int }',
        resolvers: { Query: { shared: () => ({ b: 2 }) } },
      },
    },
    cases: [
      {
        query: '{ shared { a b __typename } thrown }',
        data: null,
        errors: [['thrown', /thrown/]],
        notStock: 'it tells of each value that the failed call did not send',
      },
    ],
  },
]
