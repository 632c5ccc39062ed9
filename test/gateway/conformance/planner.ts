/** Where Apollo's planner is at fault, or what it plans has to be read with care: see gateway/planning/. */
import { cases, type Suite, typed } from './support.ts'

const CONDITIONS = 'https://github.com/apollographql/federation/issues/3317'
const TYPE_CONDITIONS = 'https://github.com/apollographql/router/pull/4748'
const ALIASES = 'https://github.com/apollographql/federation/issues/3036'
const PATHS = 'stock shows the aliases of the planner'

const boom = (message: string) => () => {
  throw new Error(message)
}
const product = { id: '1', weight: 7, name: 'N', dims: { w: 3 } }
const conditions: Suite = {
  name: 'conditions on fields that require others',
  subgraphs: {
    cat: {
      sdl: `type Query { product: Product products: [Product] }
        type Product @key(fields: "id") { id: ID! weight: Int name: String dims: Dims } type Dims { w: Int h: Int! }`,
      resolvers: {
        Dims: { h: boom('no height') },
        Query: { product: () => product, products: () => [product] },
        Product: { __resolveReference: () => product },
      },
    },
    inv: {
      sdl: `type Product @key(fields: "id") { id: ID! stock: Int weight: Int @external dims: Dims @external
          ship: String @requires(fields: "weight") size: String @requires(fields: "dims { w }") }
        type Dims @external { w: Int }`,
      resolvers: {
        Product: {
          __resolveReference: (sent: object) => ({ ...sent, stock: 4 }),
          ship: ({ weight }: { weight?: number }) => `ship${weight}`,
          size: ({ dims }: { dims?: { w: number } }) => `size${dims?.w}`,
        },
      },
    },
  },
  cases: cases(
    CONDITIONS,
    ...[true, false].flatMap((t) => [
      {
        query: 'query ($t: Boolean!) { product { stock ship @skip(if: $t) } }',
        variables: { t },
        data: { product: t ? { stock: 4 } : { stock: 4, ship: 'ship7' } },
      },
      {
        query: 'query ($t: Boolean = true) { products { ... @skip(if: $t) { ship size } name stock } }',
        ...(!t && { variables: { t } }),
        data: { products: [{ ...(!t && { ship: 'ship7', size: 'size3' }), name: 'N', stock: 4 }] },
      },
      {
        query: `query ($t: Boolean!, $u: Boolean = false) {
            product { ...F @skip(if: $t) ...G @include(if: $u) weight @include(if: $t) } }
          fragment F on Product { ship } fragment G on Product { size }`,
        variables: { t },
        data: { product: t ? { weight: 7 } : { ship: 'ship7' } },
      },
    ]),
    { query: '{ product { name stock ship @include(if: false) } }', data: { product: { name: 'N', stock: 4 } } },
    { query: '{ product { stock size @skip(if: true) } }', data: { product: { stock: 4 } } },
    { query: '{ product { stock ship @skip(if: false) @include(if: false) } }', data: { product: { stock: 4 } } },
    {
      query: '{ product { ship @include(if: false) } products { id } }',
      data: { product: {}, products: [{ id: '1' }] },
    },
    { query: '{ product { weight @skip(if: true) ship } }', data: { product: { ship: 'ship7' } } },
    { query: '{ product { dims @skip(if: true) { w } size } }', data: { product: { size: 'size3' } } },
    { query: '{ product @skip(if: true) { ship } }', data: {} },
    {
      query: '{ product { dims { h } size } }',
      data: { product: { dims: null, size: 'size3' } },
      errors: [['product.dims.h', /no height/]],
    },
  ),
}

type Shown = Record<string, unknown>
const list = { id: 'l', x: 'X', y: 'Y', products: [{ us: 'u1', offer: 'o1' }], one: { us: 'u1', offer: 'o1' } }
const shown = (field: string) => (sent: Shown) => JSON.stringify(sent[field])
const nestedConditions: Suite = {
  name: 'conditions on fields that require what is in others',
  subgraphs: {
    a: {
      sdl: `type Query { items: [PL] } type PL @key(fields: "id") { id: ID! x: String y: String products: [Pr] one: Pr }
        type Pr { us: String offer: String }`,
      resolvers: { Query: { items: () => [list] }, PL: { __resolveReference: () => list } },
    },
    c: {
      sdl: `type PL @key(fields: "id") { id: ID! x: String @external y: String @external products: [Pr] @external
          one: Pr @external ox: String @requires(fields: "x") oy: String @requires(fields: "y")
          groups: String @requires(fields: "products { us }") flat: String @requires(fields: "products { us offer }")
          o1: String @requires(fields: "one { us }") o2: String @requires(fields: "one { offer }") }
        type Pr @external { us: String offer: String }`,
      resolvers: {
        PL: {
          __resolveReference: (sent: Shown) => sent,
          ox: ({ x }: Shown) => `ox${x}`,
          oy: ({ y }: Shown) => `oy${y}`,
          groups: shown('products'),
          flat: shown('products'),
          o1: shown('one'),
          o2: shown('one'),
        },
      },
    },
  },
  cases: cases(
    CONDITIONS,
    ...[true, false].flatMap((u) => [
      {
        query: 'query ($u: Boolean!) { items { ox @include(if: $u) oy @skip(if: $u) } }',
        variables: { u },
        data: { items: [u ? { ox: 'oxX' } : { oy: 'oyY' }] },
      },
      {
        query: `query ($u: Boolean!) { items { ...G @include(if: $u) ...F @skip(if: $u) } }
          fragment G on PL { groups } fragment F on PL { flat }`,
        variables: { u },
        data: { items: [u ? { groups: '[{"us":"u1"}]' } : { flat: '[{"us":"u1","offer":"o1"}]' }] },
      },
      {
        query: 'query ($u: Boolean!) { items { ... @include(if: $u) { o1 } ... @skip(if: $u) { o2 } } }',
        variables: { u },
        data: { items: [u ? { o1: '{"us":"u1"}' } : { o2: '{"offer":"o1"}' }] },
      },
    ]),
    {
      query: '{ items { one { us: offer } products { offer: us us: offer } o1 groups } }',
      data: {
        items: [
          {
            one: { us: 'o1' },
            products: [{ offer: 'u1', us: 'o1' }],
            o1: '{"us":"u1"}',
            groups: '[{"us":"u1"}]',
          },
        ],
      },
    },
  ),
}

const found = [
  typed('M', { id: 'm', item: { id: 'i1' }, items: [{ id: 'i1' }, { id: 'i2' }] }),
  typed('A', { id: 'a', item: { id: 'i1' }, items: [{ id: 'i2' }, { id: 'i3' }] }),
]
const typeConditions: Suite = {
  name: 'one name for different fields under type conditions',
  subgraphs: {
    s: {
      sdl: `type Query { search: [SR] one: SR nodes: [Node] lists: [[SR]] } union SR = M | A
        interface Node { id: ID! item: I } type I @key(fields: "id") { id: ID! }
        type M implements Node @key(fields: "id") { id: ID! item: I items: [I] }
        type A implements Node @key(fields: "id") { id: ID! item: I items: [I] }`,
      resolvers: {
        Query: { search: () => found, one: () => found[1], nodes: () => found, lists: () => [found, found.slice(1)] },
      },
    },
    b: {
      sdl: `type I @key(fields: "id") { id: ID! price(c: String = "USD"): String name: String sub: S size(n: Int): Int
          boom: String! twin: I }
        type S { v(k: Int): Int w: Int }`,
      resolvers: {
        I: {
          price: ({ id }: { id: string }, { c }: { c: string }) => `${id}:${c}`,
          name: ({ id }: { id: string }) => `n${id}`,
          sub: () => ({ w: 5 }),
          size: (_: unknown, { n }: { n: number }) => n,
          boom: () => {
            throw new Error('boom')
          },
          twin: () => ({ id: 'i9' }),
        },
        S: { v: (_: unknown, { k }: { k: number }) => k },
      },
    },
  },
  cases: cases(
    TYPE_CONDITIONS,
    {
      query: '{ search { ... on M { item { price(c: "EUR") } } ... on A { item { price(c: "USD") } } } }',
      data: { search: [{ item: { price: 'i1:EUR' } }, { item: { price: 'i1:USD' } }] },
    },
    {
      query: '{ search { ... on M { item { price(c: "EUR") } } ... on A { item { price } } } }',
      data: { search: [{ item: { price: 'i1:EUR' } }, { item: { price: 'i1:USD' } }] },
    },
    {
      query: '{ search { ... on M { item { x: name } } ... on A { item { x: price } } } }',
      data: { search: [{ item: { x: 'ni1' } }, { item: { x: 'i1:USD' } }] },
    },
    {
      query: '{ search { ... on M { item { name: price } } ... on A { item { price: name name: price } } } }',
      data: { search: [{ item: { name: 'i1:USD' } }, { item: { price: 'ni1', name: 'i1:USD' } }] },
    },
    {
      query: '{ one { ... on M { item { price(c: "EUR") } } ... on A { item { price(c: "GBP") } } } }',
      data: { one: { item: { price: 'i1:GBP' } } },
    },
    {
      query: '{ nodes { ... on M { item { size(n: 1) } } ... on A { item { size(n: 2) } } item { name } } }',
      data: { nodes: [1, 2].map((size) => ({ item: { size, name: 'ni1' } })) },
    },
    {
      query: '{ lists { ... on M { items { sub { v(k: 1) } } } ... on A { items { sub { v(k: 2) } } } } }',
      data: {
        lists: [
          [1, 2].map((v) => ({ items: [{ sub: { v } }, { sub: { v } }] })),
          [{ items: [{ sub: { v: 2 } }, { sub: { v: 2 } }] }],
        ],
      },
    },
    {
      query: '{ search { ... on M { k: item { v: id } } ... on A { k: items { v: name } } } }',
      data: null,
      errors: [[undefined, /conflict/]],
    },
    {
      query: '{ search { ... on M { items { v: id } } ... on A { items { v: twin { name } } } } }',
      data: null,
      errors: [[undefined, /conflict/]],
    },
    {
      query: '{ search { ... on M { item { boom } } ... on A { item { name } } } }',
      data: { search: [{ item: null }, { item: { name: 'ni1' } }] },
      errors: [['search.0.item.boom']],
    },
    {
      query:
        '{ search { ... on A { x: item { twin { y: price(c: "EUR") } } } ... on M { x: item { twin { y: name } } } } }',
      data: { search: [{ x: { twin: { y: 'ni9' } } }, { x: { twin: { y: 'i9:EUR' } } }] },
    },
  ),
}

const thing = { id: '1', org: { id: 'o1', name: 'orgname' }, name: 'n', code: 'c' }
const priced = { id: '1', k: 'k1', other: 'victim', price: 100, cheap: 1 }
const aliases: Suite = {
  name: 'aliases that have the name of a key or of a required field',
  subgraphs: {
    a: {
      sdl: `type Query { t: T ts: [T] } type Mutation { make: T }
        type T @key(fields: "id") @key(fields: "org { id }") { id: ID! org: Org name: String code: String }
        type Org { id: ID! name: String }`,
      resolvers: {
        Query: { t: () => thing, ts: () => [thing] },
        Mutation: { make: () => thing },
        T: { __resolveReference: () => thing },
      },
    },
    b: {
      sdl: `type T @key(fields: "id") @key(fields: "k") { id: ID! k: ID! other: ID! price: Int cheap: Int }`,
      resolvers: {
        T: {
          __resolveReference: ({ id, k }: { id?: string; k?: string }) => (id === '1' || k === 'k1' ? priced : null),
        },
      },
    },
    c: {
      sdl: `type T @key(fields: "k") { k: ID! secret: String price: Int @external tax: Int @requires(fields: "price") }`,
      resolvers: {
        T: {
          __resolveReference: (sent: object) => sent,
          secret: ({ k }: { k: string }) => `secret of ${k}`,
          tax: ({ price }: { price: number }) => price / 10,
        },
      },
    },
    d: {
      sdl: `type T @key(fields: "org { id }") { org: Org d: String } type Org { id: ID! }`,
      resolvers: {
        T: {
          __resolveReference: (sent: object) => sent,
          d: ({ org }: { org: { id: string } }) => `d of ${org.id}`,
        },
      },
    },
  },
  cases: cases(
    ALIASES,
    {
      query: '{ ts { ...F price } } fragment F on T { id: code }',
      data: { ts: [{ id: 'c', price: 100 }] },
    },
    { query: '{ t { price: cheap tax } }', data: { t: { price: 1, tax: 10 } } },
    { query: '{ t { tax price: cheap } }', data: { t: { tax: 10, price: 1 } } },
    { query: '{ t { k: other secret } }', data: { t: { k: 'victim', secret: 'secret of k1' } } },
    {
      query: '{ t { id: name k: code secret tax } }',
      data: { t: { id: 'n', k: 'c', secret: 'secret of k1', tax: 10 } },
    },
    { query: '{ t { org { id: name } d } }', data: { t: { org: { id: 'orgname' }, d: 'd of o1' } } },
    { query: '{ t { org: name d } }', data: { t: { org: 'n', d: 'd of o1' } } },
    { query: '{ t { id: name @skip(if: true) price } }', data: { t: { price: 100 } } },
    {
      query: 'query ($no: Boolean!) { t { price: cheap @include(if: $no) tax } }',
      variables: { no: false },
      data: { t: { tax: 10 } },
    },
    {
      query: 'mutation { id: make { id: code secret } t: make { k: name price: tax tax: price } }',
      data: { id: { id: 'c', secret: 'secret of k1' }, t: { k: 'n', price: 10, tax: 100 } },
    },
    {
      query: '{ t { price__alias_0: cheap price__1: cheap id__1: code code__1: id tax } }',
      data: { t: { price__alias_0: 1, price__1: 1, id__1: 'c', code__1: '1', tax: 10 } },
    },
    { query: '{ t { tax: __typename id: __typename price } }', data: { t: { tax: 'T', id: 'T', price: 100 } } },
  ),
}

const errorPaths: Suite = {
  name: "the planner's aliases in the paths of errors",
  subgraphs: {
    a: {
      sdl: `type Query { search: [S] usr: S } union S = Repository | User
        type Repository @key(fields: "id") { id: ID! repository_name: String! @shareable boom: String @shareable }
        type User @key(fields: "id") { id: ID! bad: String boom: String! @shareable }`,
      resolvers: {
        Query: {
          search: () => [typed('Repository', { id: 'r', repository_name: 'R', boom: 'b' }), typed('User', { id: 'u' })],
          usr: () => typed('User', { id: 'u' }),
        },
        User: { bad: boom('bad'), boom: boom('boom') },
      },
    },
    b: {
      sdl: `type Repository @key(fields: "id") { id: ID! repository_name: String @shareable stars: Int }
        type User @key(fields: "id") { id: ID! boom: String @shareable fail: Int }`,
      resolvers: { Repository: { stars: () => 5 }, User: { boom: () => 'fine', fail: boom('fail') } },
    },
  },
  cases: cases(
    PATHS,
    {
      query: '{ search { ... on Repository { x: repository_name } ... on User { x: bad } } }',
      data: { search: [{ x: 'R' }, { x: null }] },
      errors: [['search.1.x', /bad/]],
    },
    {
      query:
        '{ search { ... on Repository { x__alias_0: repository_name x: id } ... on User { x: id x__alias_0: bad } } }',
      data: {
        search: [
          { x__alias_0: 'R', x: 'r' },
          { x: 'u', x__alias_0: null },
        ],
      },
      errors: [['search.1.x__alias_0', /bad/]],
    },
    {
      query: '{ search { ... on Repository { x: stars } ... on User { x: fail } } }',
      data: { search: [{ x: 5 }, { x: null }] },
      errors: [['search.1.x', /fail/]],
    },
    {
      query: '{ usr { ... on User { y: fail z: fail bad: id } } }',
      data: { usr: { y: null, z: null, bad: 'u' } },
      errors: [
        ['usr.y', /fail/],
        ['usr.z', /fail/],
      ],
    },
    {
      query: '{ usr { ... on Repository { boom } ... on User { y: boom } } }',
      data: { usr: null },
      errors: [['usr.y', /boom/]],
    },
  ),
}

const shared = (failing: 'a' | 'b', late: 'a' | 'b'): Suite => ({
  name: `a shared root field that ${failing} fails to answer, where ${late} is late`,
  subgraphs: Object.fromEntries(
    (['a', 'b'] as const).map((name) => [
      name,
      {
        sdl: `type Query { v: V @shareable vs: [V] @shareable } type V { ${name}: String both: String @shareable }`,
        resolvers: {
          Query: Object.fromEntries(
            ['v', 'vs'].map((field) => [
              field,
              async () => {
                if (name === late) await new Promise((resolve) => setTimeout(resolve, 10))
                if (name === failing) throw new Error(`no ${field}`)
                const value = { [name]: name.toUpperCase(), both: 'B' }
                return field === 'v' ? value : [value]
              },
            ]),
          ),
        },
      },
    ]),
  ),
  cases: cases(
    'stock lets the last answer overwrite the first',
    {
      query: '{ v { a b } }',
      data: { v: failing === 'b' ? { a: 'A', b: null } : { a: null, b: 'B' } },
      errors: [['v', /no v/]],
    },
    {
      query: '{ x: vs { y: b a } }',
      data: { x: [failing === 'b' ? { y: null, a: 'A' } : { y: 'B', a: null }] },
      errors: [['x', /no vs/]],
    },
  ),
})

const chain = { id: '1', x: 'X' }
const chains: Suite = {
  name: 'fields that require what requires something itself',
  subgraphs: {
    a: {
      sdl: `type Query { t: T } type T @key(fields: "id") { id: ID! x: String @external
          y: String @requires(fields: "x") v: V @requires(fields: "x") } type V @shareable { w: String }`,
      resolvers: {
        Query: { t: () => ({ id: '1' }) },
        T: {
          __resolveReference: (sent: object) => sent,
          y: ({ x }: { x?: string }) => `y of ${x}`,
          v: ({ x }: { x?: string }) => ({ w: `w of ${x}` }),
        },
      },
    },
    b: {
      sdl: `type Query { other: T } type T @key(fields: "id") { id: ID! x: String }`,
      resolvers: { Query: { other: () => chain }, T: { __resolveReference: () => chain } },
    },
    c: {
      sdl: `type T @key(fields: "id") { id: ID! y: String @external v: V @external z: String @requires(fields: "y")
          u: String @requires(fields: "v { w } z2") z2: String @external } type V @shareable { w: String }`,
      resolvers: {
        T: {
          __resolveReference: (sent: object) => sent,
          z: ({ y }: { y?: string }) => `z of ${y}`,
          u: ({ v, z2 }: { v?: { w: string }; z2?: string }) => `u of ${v?.w} and ${z2}`,
        },
      },
    },
    d: {
      sdl: `type T @key(fields: "id") { id: ID! z: String @external z2: String @requires(fields: "z") }`,
      resolvers: {
        T: { __resolveReference: (sent: object) => sent, z2: ({ z }: { z?: string }) => `z2 of ${z}` },
      },
    },
  },
  cases: cases(
    'the planner merges the call for what is in the middle into one that comes too early',
    { query: '{ t { z } }', data: { t: { z: 'z of y of X' } } },
    { query: '{ other { z y } t { y } }', data: { other: { z: 'z of y of X', y: 'y of X' }, t: { y: 'y of X' } } },
    {
      query: '{ t { u x: y y: x } }',
      data: { t: { u: 'u of w of X and z2 of z of y of X', x: 'y of X', y: 'X' } },
    },
    {
      query: '{ t { v { w: __typename x: w } z2 } }',
      data: { t: { v: { w: 'V', x: 'w of X' }, z2: 'z2 of z of y of X' } },
    },
  ),
}

const fails: Suite = {
  name: 'what fails beside others',
  subgraphs: {
    a: {
      sdl: `type Query { x: String! y: String! t: T } type T @key(fields: "id") { id: ID! v: V @shareable }
        type V @key(fields: "id") { id: ID! one: Int }`,
      resolvers: {
        Query: { x: boom('no x'), y: () => 'y', t: () => ({ id: '1' }) },
        T: { v: boom('no v') },
      },
    },
    b: {
      sdl: `type T @key(fields: "id") { id: ID! v: V @shareable } type V @key(fields: "id") { id: ID! two: Int }`,
      resolvers: { T: { v: boom('no v') } },
    },
  },
  cases: cases(
    'stock tells errors of its own beside',
    { query: '{ a: y x }', data: null, errors: [['x', /no x/]] },
    { query: '{ t { v { one two } } }', data: { t: { v: null } }, errors: [['t.v', /no v/]] },
  ),
}

export const plannerSuites: readonly Suite[] = [
  conditions,
  nestedConditions,
  typeConditions,
  aliases,
  errorPaths,
  chains,
  fails,
  ...(['a', 'b'] as const).flatMap((failing) => (['a', 'b'] as const).map((late) => shared(failing, late))),
]
