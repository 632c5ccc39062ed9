/** Kinds of operations that users of other gateways reported as answered wrongly. */
import { type Suite, typed } from './support.ts'

const refer = { __resolveReference: (sent: object) => sent }

/** https://github.com/graphql-hive/router/pull/1190 */
const relay: Suite = {
  name: 'the query type as the type of fields',
  subgraphs: {
    a: {
      sdl: `type Query { viewer: Viewer a(n: Int): String } type Viewer { name: String query: Query! queries: [Query] }
        type Mutation { rename(to: String!): Renamed } type Renamed { name: String query: Query viewer: Viewer }`,
      resolvers: {
        Query: {
          viewer: () => ({ name: 'V', query: {}, queries: [{}, null, {}] }),
          a: (_: object, { n }: { n?: number }) => `a${n ?? ''}`,
        },
        Mutation: {
          rename: (_: object, { to }: { to: string }) => ({ name: to, query: {}, viewer: { name: to, query: {} } }),
        },
      },
    },
    b: {
      sdl: 'type Query { b: String fails: String! e: E } type E @key(fields: "id") { id: ID! x: String }',
      resolvers: {
        Query: {
          b: () => 'B',
          fails: () => {
            throw new Error('no')
          },
          e: () => ({ id: '1', x: 'X' }),
        },
      },
    },
    c: {
      sdl: 'type E @key(fields: "id") { id: ID! y: String }',
      resolvers: { E: { ...refer, y: ({ id }: { id: string }) => `y${id}` } },
    },
  },
  cases: [
    { query: '{ viewer { name query { b } } }', data: { viewer: { name: 'V', query: { b: 'B' } } } },
    {
      query: '{ viewer { query { __typename b: a(n: 1) a: b e { y x } viewer { query { b } } } } b a(n: 2) }',
      data: {
        viewer: {
          query: { __typename: 'Query', b: 'a1', a: 'B', e: { y: 'y1', x: 'X' }, viewer: { query: { b: 'B' } } },
        },
        b: 'B',
        a: 'a2',
      },
    },
    {
      query: '{ viewer { queries { b a } } }',
      data: { viewer: { queries: [{ b: 'B', a: 'a' }, null, { b: 'B', a: 'a' }] } },
    },
    { query: '{ viewer { name query { fails } } }', data: { viewer: null }, errors: [['viewer.query.fails', /no/]] },
    {
      query: 'mutation { rename(to: "W") { name query { b e { y } } viewer { name query { a } } } }',
      data: { rename: { name: 'W', query: { b: 'B', e: { y: 'y1' } }, viewer: { name: 'W', query: { a: 'a' } } } },
    },
  ],
}

/** https://github.com/graphql-hive/router/issues/1310, https://github.com/apollographql/apollo-server/issues/3848 */
const nested: Suite = {
  name: 'requirements in what a requirement led to',
  subgraphs: {
    clinic: {
      sdl: `type Query { pet: Pet pets: [Pet] } type N1 @shareable { n2: N2 } type N2 @shareable { a: String b: String }
        type Pet @key(fields: "id") { id: ID! weight: Int @external age: Int @external n1: N1 @external
          checkup: Checkup @requires(fields: "weight age") checkups: [Checkup!] @requires(fields: "age")
          a: String @requires(fields: "n1 { n2 { a } }") b: String @requires(fields: "n1 { n2 { b } }") }
        type Checkup @key(fields: "id") { id: ID! fee: Int @external grade: String @requires(fields: "fee") }`,
      resolvers: {
        Query: { pet: () => ({ id: '1' }), pets: () => [{ id: '1' }, { id: '2' }] },
        Pet: {
          ...refer,
          checkup: ({ weight, age }: { weight: number; age: number }) => ({ id: `${weight}-${age}` }),
          checkups: ({ age }: { age: number }) => [{ id: `0-${age}` }, { id: `1-${age}` }],
          a: ({ n1 }: { n1?: { n2?: { a?: string } } }) => n1?.n2?.a,
          b: ({ n1 }: { n1?: { n2?: { b?: string } } }) => n1?.n2?.b,
        },
        Checkup: { ...refer, grade: ({ fee }: { fee?: number }) => `grade ${fee}` },
      },
    },
    records: {
      sdl: `type Pet @key(fields: "id") { id: ID! weight: Int n1: N1 } type N1 @shareable { n2: N2 }
        type N2 @shareable { a: String b: String } type Checkup @key(fields: "id") { id: ID! fee: Int }`,
      resolvers: {
        Pet: { ...refer, weight: ({ id }: { id: string }) => Number(id) * 10, n1: () => ({ n2: { a: 'A', b: 'B' } }) },
        Checkup: { ...refer, fee: ({ id }: { id: string }) => id.length },
      },
    },
    ages: {
      sdl: 'type Pet @key(fields: "id") { id: ID! age: Int }',
      resolvers: { Pet: { ...refer, age: ({ id }: { id: string }) => Number(id) } },
    },
  },
  cases: [
    { query: '{ pet { checkup { grade } } }', data: { pet: { checkup: { grade: 'grade 4' } } } },
    {
      query: '{ pets { checkups { fee: grade id: fee } weight: age checkup { id fee } a b } }',
      data: {
        pets: [1, 2].map((id) => ({
          checkups: [
            { fee: 'grade 3', id: 3 },
            { fee: 'grade 3', id: 3 },
          ],
          weight: id,
          checkup: { id: `${id}0-${id}`, fee: 4 },
          a: 'A',
          b: 'B',
        })),
      },
      notStock: 'an alias has the name of a required field',
    },
  ],
}

const owner = { name: 'O' }
const category = { id: 'c', owner }
/**
 * https://github.com/wundergraph/cosmo/issues/2346, https://github.com/apollographql/apollo-server/issues/3983,
 * https://github.com/apollographql/federation/issues/2683, https://github.com/mercurius-js/mercurius/issues/743
 */
const fragments: Suite = {
  name: 'fragments in fragments, and names of types as aliases',
  subgraphs: {
    a: {
      sdl: `type Query { productA: ProductA base: Base ab: [AB] page: Page } interface Base { id: ID category: Category } union AB = ProductA | ProductB
        type ProductA implements Base @key(fields: "id") { id: ID category: Category } type ProductB implements Base { id: ID category: Category }
        type Category { id: ID owner: Owner } type Owner { name: String } type Page @shareable { edges: [ProductA] }`,
      resolvers: {
        Query: {
          productA: () => ({ id: 'a', category }),
          base: () => typed('ProductA', { id: 'a', category }),
          ab: () => [typed('ProductA', { id: '1', category }), typed('ProductB', { id: '2' })],
          page: () => ({ edges: [{ id: 'a', category }] }),
        },
      },
    },
    b: {
      sdl: 'type Query { unused: Page } type Page @shareable { edges: [ProductA] } type ProductA @key(fields: "id") { id: ID name: String again: ProductA }',
      resolvers: {
        ProductA: {
          ...refer,
          name: ({ id }: { id: string }) => `n${id}`,
          again: ({ id }: { id: string }) => ({ id: `${id}${id}` }),
        },
      },
    },
  },
  cases: [
    {
      query: `{ productA { category { id } ... on Base { ...F } } base { ...F } }
        fragment F on Base { ... on ProductB { category { id } } ... on ProductA { category { owner { name } } } }`,
      data: { productA: { category: { id: 'c', owner } }, base: { category: { owner } } },
      notStock: 'what a fragment asks of one kind is lost beside another kind',
    },
    {
      query:
        '{ ab { __typename ... on ProductA { id ... on AB { ... on ProductA { id } ... on ProductB { id } } } ... on ProductB { id } } }',
      data: {
        ab: [
          { __typename: 'ProductA', id: '1' },
          { __typename: 'ProductB', id: '2' },
        ],
      },
    },
    {
      query:
        '{ page { items: edges { ProductA: again { name Page: id Query: name } Category: category { Owner: owner { name } } } } }',
      data: { page: { items: [{ ProductA: { name: 'naa', Page: 'aa', Query: 'naa' }, Category: { Owner: owner } }] } },
    },
  ],
}

/** https://github.com/apollographql/router/issues/7581 */
const override = (activeLabels: readonly string[]): Suite => ({
  name: `fields that move in steps, with an interface that only one of both knows (${activeLabels.join() || 'none moved'})`,
  options: { overrideLabels: activeLabels },
  subgraphs: {
    a: {
      sdl: `interface IImage { id: ID! uri: String! } type Image implements IImage @key(fields: "id") { id: ID! @shareable uri: String! @shareable }
        type Query { images: [IImage] } type Asset @key(fields: "id") { id: ID! image: Image @shareable }`,
      resolvers: {
        Query: { images: () => [typed('Image', { id: 'i', uri: 'old' })] },
        Image: { __resolveReference: ({ id }: { id: string }) => ({ id, uri: 'old' }) },
        Asset: { __resolveReference: ({ id }: { id: string }) => ({ id, image: { id: 'old', uri: 'old' } }) },
      },
    },
    b: {
      sdl: `type Image @key(fields: "id") { id: ID! @shareable uri: String! @override(from: "a", label: "images") }
        type Asset @key(fields: "id") { id: ID! image: Image @override(from: "a", label: "images") }`,
      resolvers: {
        Image: { __resolveReference: ({ id }: { id: string }) => ({ id, uri: 'new' }) },
        Asset: { __resolveReference: ({ id }: { id: string }) => ({ id, image: { id: 'new', uri: 'new' } }) },
      },
    },
    c: {
      sdl: 'type Query { assets: [Asset] } type Asset @key(fields: "id") { id: ID! name: String }',
      resolvers: { Query: { assets: () => [{ id: '1', name: 'A' }] } },
    },
  },
  cases: [
    {
      query: '{ assets { name image { id uri } } }',
      data: {
        assets: [{ name: 'A', image: activeLabels.length > 0 ? { id: 'new', uri: 'new' } : { id: 'old', uri: 'old' } }],
      },
    },
    {
      query: '{ images { id: uri uri: id ... on Image { image: uri } } }',
      data: {
        images: [
          activeLabels.length > 0 ? { id: 'new', uri: 'i', image: 'new' } : { id: 'old', uri: 'i', image: 'old' },
        ],
      },
      notStock: 'aliases of keys',
    },
  ],
})

export const reportSuites: readonly Suite[] = [relay, nested, fragments, override([]), override(['images'])]
