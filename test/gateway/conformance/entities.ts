import type { Suite } from './support.ts'

const log: string[] = []
let total = 0

const books = [
  { upc: 'u1', id: '1', author: 'Ann' },
  { upc: 'u2', id: '2', author: 'Bob' },
  { upc: 'u3', id: '3', author: 'Cy' },
]

export const entitySuites: readonly Suite[] = [
  {
    name: 'entities that a subgraph on the way does not know, and keys that follow from each other',
    subgraphs: {
      a: {
        sdl: 'type Query { boxes: [Box] } type Box { book: Book } type Book @key(fields: "upc") { upc: ID! }',
        resolvers: { Query: { boxes: () => books.map(({ upc }) => ({ book: { upc } })) } },
      },
      b: {
        sdl: 'type Book @key(fields: "id") @key(fields: "upc") { id: ID! upc: ID! }',
        resolvers: {
          Book: {
            __resolveReference: (sent: { upc?: string; id?: string }) =>
              books.find(({ upc, id }) => (upc === sent.upc || id === sent.id) && id !== '3') ?? null,
          },
        },
      },
      c: {
        sdl: 'type Book @key(fields: "id") { id: ID! author: Author } type Author { name: String! }',
        resolvers: {
          Book: {
            __resolveReference: ({ id }: { id?: string }) => {
              if (id === undefined) throw new Error('Without a key.')
              return { id, author: { name: books.find((book) => book.id === id)?.author } }
            },
          },
        },
      },
    },
    cases: [
      {
        query: '{ boxes { book { upc author { name } } } }',
        data: {
          boxes: [
            { book: { upc: 'u1', author: { name: 'Ann' } } },
            { book: { upc: 'u2', author: { name: 'Bob' } } },
            { book: { upc: 'u3', author: null } },
          ],
        },
      },
    ],
  },
  {
    name: 'mutations in order, across subgraphs',
    subgraphs: {
      a: {
        sdl: `type Query { log: [String!]! product(id: ID!): Product @shareable } type Mutation { add(by: Int!): Int end: Int make(name: String!): Product }
          type Product @key(fields: "id") { id: ID! name: String! price: Int! }`,
        resolvers: {
          Query: { log: () => log, product: (_: unknown, { id }: { id: string }) => ({ id, name: id, price: 700 }) },
          Mutation: {
            add: async (_: unknown, { by }: { by: number }) => {
              await new Promise((resolve) => setTimeout(resolve, 5))
              total += by
              return total
            },
            end: () => {
              const result = total
              total = 0
              return result
            },
            make: (_: unknown, { name }: { name: string }) => ({ id: name, name, price: 700 }),
          },
          Product: { __resolveReference: ({ id }: { id: string }) => ({ id, name: id, price: 700 }) },
        },
      },
      b: {
        sdl: `type Query { product(id: ID!): Product @shareable } type Mutation { multiply(by: Int!): Int fail: Int }
          type Product @key(fields: "id") { id: ID! price: Int! @external isDear: Boolean! @requires(fields: "price") isThere: Boolean }`,
        resolvers: {
          Query: { product: (_: unknown, { id }: { id: string }) => ({ id }) },
          Mutation: {
            multiply: (_: unknown, { by }: { by: number }) => {
              total *= by
              return total
            },
            fail: () => {
              throw new Error('Not this.')
            },
          },
          Product: {
            __resolveReference: (product: object) => product,
            isThere: () => true,
            isDear: ({ price }: { price: number }) => price > 500,
          },
        },
      },
    },
    cases: [
      {
        query: 'mutation { five: add(by: 5) ten: multiply(by: 2) twelve: add(by: 2) final: end }',
        data: { five: 5, ten: 10, twelve: 12, final: 12 },
      },
      {
        query: 'mutation { a: add(by: 1) fail b: add(by: 2) end }',
        data: { a: 1, fail: null, b: 3, end: 3 },
        errors: [['fail', /Not this/]],
      },
      {
        query: 'mutation { make(name: "new") { name price isDear isThere } }',
        data: { make: { name: 'new', price: 700, isDear: true, isThere: true } },
      },
      {
        query: '{ product(id: "p") { id name isDear isThere } }',
        data: { product: { id: 'p', name: 'p', isDear: true, isThere: true } },
      },
    ],
  },
  {
    name: 'what a subgraph provides on the way, and nothing more of it',
    subgraphs: {
      owner: {
        sdl: `type Entity @key(fields: "id") { id: ID! name: String! @shareable note: String! @shareable extra: String! } type Query { x: Int }
          interface Pet { id: ID! } type Dog implements Pet @key(fields: "id") { id: ID! name: String! @shareable age: Int }
          type Cat implements Pet @key(fields: "id") { id: ID! name: String! @shareable age: Int }`,
        resolvers: {
          Entity: {
            __resolveReference: ({ id }: { id: string }) => ({
              id,
              name: `owner ${id}`,
              note: 'n',
              extra: `extra ${id}`,
            }),
          },
          Dog: { __resolveReference: ({ id }: { id: string }) => ({ id, name: 'owner dog', age: 1 }) },
          Cat: { __resolveReference: ({ id }: { id: string }) => ({ id, name: 'owner cat', age: 2 }) },
          Pet: { __resolveType: () => 'Dog' },
        },
      },
      guest: {
        sdl: `type Query { entity: Entity @provides(fields: "name note") entities: [Entity!]! @provides(fields: "name note")
            pet: Pet @provides(fields: "... on Dog { name }") pets: [Pet] }
          type Entity @key(fields: "id") { id: ID! name: String! @external note: String! @external }
          interface Pet { id: ID! } type Dog implements Pet @key(fields: "id") { id: ID! name: String! @external }
          type Cat implements Pet @key(fields: "id") { id: ID! }`,
        resolvers: {
          Query: {
            entity: () => ({ id: 'e1', name: 'guest e1' }),
            entities: () => [
              { id: 'e1', name: 'guest e1' },
              { id: 'e2', name: 'guest e2' },
            ],
            pet: () => ({ __typename: 'Dog', id: 'd', name: 'guest dog' }),
            pets: () => [{ __typename: 'Dog', id: 'd' }, null, { __typename: 'Cat', id: 'c' }],
          },
          Entity: {
            note: () => {
              throw new Error('Nobody asked for it.')
            },
          },
          Pet: { __resolveType: ({ __typename }: { __typename: string }) => __typename },
        },
      },
    },
    cases: [
      { query: '{ entity { id } }', data: { entity: { id: 'e1' } } },
      { query: '{ entity { id shown: name } }', data: { entity: { id: 'e1', shown: 'guest e1' } } },
      {
        query: '{ entities { name extra ... on Entity @skip(if: true) { note } } }',
        data: {
          entities: [
            { name: 'guest e1', extra: 'extra e1' },
            { name: 'guest e2', extra: 'extra e2' },
          ],
        },
      },
      { query: '{ pet { ... on Dog { name } } }', data: { pet: { name: 'guest dog' } } },
      { query: '{ pet { id ... on Dog { age name } } }', data: { pet: { id: 'd', age: 1, name: 'guest dog' } } },
      {
        query: '{ pets { __typename ... on Dog { name } ... on Cat { age } } }',
        data: { pets: [{ __typename: 'Dog', name: 'owner dog' }, null, { __typename: 'Cat', age: 2 }] },
      },
    ],
  },
  {
    name: 'shared roots, overridden fields and arguments from a context',
    subgraphs: {
      names: {
        sdl: `type Query { product: Product @shareable products: [Product!]! @shareable }
          type Product @shareable { id: ID! name: Name } type Name @shareable { id: ID! brand: String }`,
        resolvers: {
          Query: {
            product: () => ({ id: '1', name: { id: '1', brand: 'b' } }),
            products: () => [{ id: '1', name: { id: '1', brand: 'b' } }],
          },
        },
      },
      prices: {
        sdl: `type Query { product: Product @shareable products: [Product!]! @shareable }
          type Product @shareable { id: ID! price: Price } type Price @shareable { id: ID! amount: Int }`,
        resolvers: {
          Query: {
            product: () => ({ id: '1', price: { id: '1', amount: 9 } }),
            products: () => [{ id: '1', price: { id: '1', amount: 9 } }],
          },
        },
      },
      old: {
        sdl: 'type Query { shop: Shop } type Shop @key(fields: "id") { id: ID! title: String city: String }',
        resolvers: {
          Query: { shop: () => ({ id: 's', title: 'old', city: 'old' }) },
          Shop: { __resolveReference: (shop: object) => ({ ...shop, title: 'old', city: 'old' }) },
        },
      },
      new: {
        sdl: `type Shop @key(fields: "id") @context(name: "shop") { id: ID! title: String @override(from: "old")
            city: String @override(from: "old", label: "percent(0)") locale: String shelf: Shelf }
          type Shelf @key(fields: "id") { id: ID! text(in: String @fromContext(field: "$shop { locale }")): String }`,
        resolvers: {
          Shop: {
            __resolveReference: (shop: object) => ({
              ...shop,
              title: 'new',
              city: 'new',
              locale: 'de',
              shelf: { id: '1' },
            }),
          },
          Shelf: {
            __resolveReference: (shelf: object) => shelf,
            text: (_: unknown, sent: { in: string }) => `in ${sent.in}`,
          },
        },
      },
    },
    cases: [
      {
        query: '{ product { id name { brand } price { amount } } products { id price { amount } name { id brand } } }',
        data: {
          product: { id: '1', name: { brand: 'b' }, price: { amount: 9 } },
          products: [{ id: '1', price: { amount: 9 }, name: { id: '1', brand: 'b' } }],
        },
      },
      { query: '{ shop { id title city } }', data: { shop: { id: 's', title: 'new', city: 'old' } } },
      {
        query: '{ shop { shelf { text } } }',
        data: { shop: { shelf: { text: 'in de' } } },
        notStock: 'it does not execute @fromContext',
      },
    ],
  },
  {
    name: 'all entities of a call fail together: by a throw, and not by a promise',
    subgraphs: {
      a: {
        sdl: 'type Query { t: T t2: T ts: [T] } type T @key(fields: "id") { id: ID! }',
        resolvers: { Query: { t: () => ({ id: '1' }), t2: () => ({ id: '2' }), ts: () => [{ id: '3' }, { id: '4' }] } },
      },
      b: {
        sdl: 'type T @key(fields: "id") { id: ID! n: Int }',
        resolvers: {
          T: {
            __resolveReference() {
              throw new Error('no reference')
            },
          },
        },
      },
    },
    cases: [
      {
        query: '{ t { n } t2 { x: n } ts { n } }',
        data: { t: { n: null }, t2: { x: null }, ts: [{ n: null }, { n: null }] },
        errors: [
          ['t', /no reference/],
          ['t2', /no reference/],
          ['ts', /no reference/],
        ],
        notStock: 'several calls of stock are one of ours',
      },
      { query: '{ t { n } t2 { n } }', data: { t: { n: null }, t2: { n: null } }, errors: [['t'], ['t2']] },
    ],
  },
  {
    name: 'nulls and errors at each level of nested lists of entities',
    subgraphs: {
      a: {
        sdl: `type Query { rows: [[Cell]] halls: [Hall!] strict: [Hall!]! } type Hall { cells: [Cell!] }
          type Cell @key(fields: "id") { id: ID! }`,
        resolvers: {
          Query: {
            rows: () => [[{ id: '1' }, null, { id: '2' }], null, [], [{ id: 'bad' }, { id: 'none' }]],
            halls: () => [{ cells: [{ id: '1' }] }, { cells: null }, { cells: [{ id: 'bad' }, { id: '1' }] }],
            strict: () => [{ cells: [] }, null],
          },
        },
      },
      b: {
        sdl: 'type Cell @key(fields: "id") { id: ID! value: Int must: Int! parts: [Part!] } type Part { size: Int! }',
        resolvers: {
          Cell: {
            __resolveReference: ({ id }: { id: string }) => {
              if (id === 'bad') return new Error('A bad cell.')
              return id === 'none' ? null : { id }
            },
            value: ({ id }: { id: string }) => Number(id),
            must: ({ id }: { id: string }) => (id === '2' ? null : Number(id)),
            parts: ({ id }: { id: string }) => (id === '2' ? [{ size: 1 }, { size: null }] : [{ size: 2 }]),
          },
        },
      },
    },
    cases: [
      {
        query: '{ rows { id value } }',
        data: {
          rows: [
            [{ id: '1', value: 1 }, null, { id: '2', value: 2 }],
            null,
            [],
            [
              { id: 'bad', value: null },
              { id: 'none', value: null },
            ],
          ],
        },
        errors: [['rows.3.0', /A bad cell/]],
      },
      {
        query: '{ rows { must } }',
        data: { rows: [[{ must: 1 }, null, null], null, [], [null, null]] },
        errors: [
          ['rows.0.2.must', /non-nullable/],
          ['rows.3.0', /A bad cell/],
          ['rows.3.1.must', /non-nullable/],
        ],
        notStock: 'it tells the null of a cell that is bad a second time',
      },
      {
        query: '{ rows { parts { size } } }',
        data: {
          rows: [[{ parts: [{ size: 2 }] }, null, { parts: null }], null, [], [{ parts: null }, { parts: null }]],
        },
        errors: [
          ['rows.0.2.parts.1.size', /non-nullable/],
          ['rows.3.0', /A bad cell/],
        ],
      },
      {
        query: '{ halls { cells { must } } }',
        data: { halls: [{ cells: [{ must: 1 }] }, { cells: null }, { cells: null }] },
        errors: [['halls.2.cells.0', /A bad cell/]],
        notStock: 'it tells the null of a cell that is bad a second time',
      },
      { query: '{ strict { cells { id } } }', data: null, errors: [['strict.1', /non-nullable/]] },
    ],
  },
]
