/** Fields that require what requires something itself: see gateway/planning/requirement-stages.ts. */
import { cases, type Suite, typed } from './support.ts'

interface Sent {
  readonly id: string
  readonly [name: string]: unknown
}

const sent = (name: string, of: Sent, ...names: string[]): string =>
  `${name}(${names.map((each) => JSON.stringify(of[each])).join()})`

const kinds = [
  typed('P', { id: '1', h: 'h1', p: 'p1' }),
  typed('Q', { id: '2', h: null }),
  typed('P', { id: '3', h: 'h3', p: null }),
]
const find = ({ id }: { id: string }) => kinds.find((each) => 'id' in each && each.id === id)
const refer = { __resolveReference: (reference: Sent) => reference }

const objects: Suite = {
  name: 'chains of @requires over interface objects',
  subgraphs: {
    a: {
      sdl: `type Query { q: N qs: [N] p: P any: [U] js: [J] } union U = P | Q interface J { l: String }
        interface N @key(fields: "id") { id: ID! h: String }
        type P implements N & J @key(fields: "id") { id: ID! h: String p: String l: String }
        type Q implements N & J @key(fields: "id") { id: ID! h: String l: String }`,
      resolvers: {
        Query: {
          q: () => kinds[0],
          qs: () => kinds,
          p: () => kinds[2],
          any: () => [kinds[1], kinds[0]],
          js: () => [kinds[1], kinds[0]],
        },
        N: { __resolveReference: find, __resolveType: ({ __typename }: { __typename: string }) => __typename },
        P: { __resolveReference: find, l: () => 'l' },
        Q: { __resolveReference: find, l: () => 'l' },
      },
    },
    b: {
      sdl: `type Query { top: N tops: [[N]] } type V @shareable { a: String b: String }
        type N @interfaceObject @key(fields: "id") { id: ID! h: String @external r: String @requires(fields: "h")
          n(x: Int, c: String = "c"): String @requires(fields: "h") v: V @requires(fields: "h") vs: [V!] @requires(fields: "h")
          z(k: Int): String @external y: String @requires(fields: "z") other: N }`,
      resolvers: {
        Query: { top: () => ({ id: '2' }), tops: () => [[{ id: '3' }], null, [{ id: '1' }, null]] },
        N: {
          ...refer,
          r: (of: Sent) => sent('r', of, 'h'),
          n: (of: Sent, args: object) => sent(`n${JSON.stringify(args)}`, of, 'h'),
          v: (of: Sent) => ({ a: sent('a', of, 'h'), b: null }),
          vs: (of: Sent) => [{ a: sent('a', of, 'h') }, { a: 'fixed' }],
          y: (of: Sent) => sent('y', of, 'z'),
          other: ({ id }: Sent) => ({ id: id === '1' ? '2' : '1' }),
        },
      },
    },
    c: {
      sdl: `type V @shareable { a: String b: String } type N @interfaceObject @key(fields: "id") { id: ID! r: String @external
          n(x: Int, c: String = "c"): String @external v: V @external vs: [V!] @external y: String @external other: N @external
          h: String @external z(k: Int): String @requires(fields: "r") nested: String @requires(fields: "v { a b } vs { a }")
          given: String @requires(fields: "n(x: 5)") last: String @requires(fields: "y h")
          far: String @requires(fields: "other { r }") w: V @requires(fields: "r") }`,
      resolvers: {
        N: {
          ...refer,
          z: (of: Sent, { k }: { k?: number }) => sent(`z${k ?? ''}`, of, 'r'),
          nested: (of: Sent) => sent('nested', of, 'v', 'vs'),
          given: (of: Sent) => sent('given', of, 'n'),
          last: (of: Sent) => sent('last', of, 'y', 'h'),
          far: (of: Sent) => sent('far', of, 'other'),
          w: (of: Sent) => ({ a: sent('w', of, 'r'), b: 'b' }),
        },
      },
    },
  },
  cases: [],
}

const q = (text: unknown): string => JSON.stringify(text)
const h = (id: number): unknown => (id === 2 ? null : `h${id}`)
const r = (id: number) => `r(${q(h(id))})`
const z = (id: number, k = '') => `z${k}(${q(r(id))})`
const y = (id: number) => `y(${q(z(id))})`
const last = (id: number) => `last(${q(y(id))},${q(h(id))})`
const nested = (id: number) => {
  const a = `a(${q(h(id))})`
  return `nested(${q({ a, b: null })},${q([{ a }, { a: 'fixed' }])})`
}
const given = (id: number) => `given(${q(`n${q({ x: 5, c: 'c' })}(${q(h(id))})`)})`
const far = (id: number) => `far(${q({ r: r(id === 1 ? 2 : 1) })})`

const objectCases = cases(
  'the planner refuses them',
  { query: '{ q { z } }', data: { q: { z: z(1) } } },
  {
    query: '{ qs { __typename z(k: 2) h } }',
    data: { qs: [1, 2, 3].map((id) => ({ __typename: id === 2 ? 'Q' : 'P', z: z(id, '2'), h: h(id) })) },
  },
  { query: '{ q { id: h h: z z: r r: id last } }', data: { q: { id: 'h1', h: z(1), z: r(1), r: '1', last: last(1) } } },
  { query: '{ qs { last y } }', data: { qs: [1, 2, 3].map((id) => ({ last: last(id), y: y(id) })) } },
  {
    query: '{ qs { nested given far } }',
    data: { qs: [1, 2, 3].map((id) => ({ nested: nested(id), given: given(id), far: far(id) })) },
  },
  {
    query: '{ qs { n(x: 1) given x: n(x: 5, c: "d") v { b } nested } }',
    data: {
      qs: [1, 2, 3].map((id) => ({
        n: `n${q({ x: 1, c: 'c' })}(${q(h(id))})`,
        given: given(id),
        x: `n${q({ x: 5, c: 'd' })}(${q(h(id))})`,
        v: { b: null },
        nested: nested(id),
      })),
    },
  },
  {
    query: '{ top { z ... on Q { last } ... on P { y } } tops { z } }',
    data: { top: { z: z(2), last: last(2) }, tops: [[{ z: z(3) }], null, [{ z: z(1) }, null]] },
  },
  { query: '{ p { z p far } }', data: { p: { z: z(3), p: null, far: far(3) } } },
  {
    query: '{ any { ... on N { z } ... on P { last } } js { l ... on N { y } ... on Q { z } } }',
    data: {
      any: [{ z: z(2) }, { z: z(1), last: last(1) }],
      js: [
        { l: 'l', y: y(2), z: z(2) },
        { l: 'l', y: y(1) },
      ],
    },
  },
  {
    query: '{ q { other { z other { last w { c: a } } } } }',
    data: { q: { other: { z: z(2), other: { last: last(1), w: { c: `w(${q(r(1))})` } } } } },
  },
  {
    query:
      'query ($yes: Boolean!, $k: Int) { qs { z(k: $k) @include(if: $yes) r @skip(if: $yes) ... on P @include(if: $yes) { a: last } ...F @skip(if: $yes) } } fragment F on N { y }',
    variables: { yes: true, k: 7 },
    data: { qs: [{ z: z(1, '7'), a: last(1) }, { z: z(2, '7') }, { z: z(3, '7'), a: last(3) }] },
  },
  {
    query:
      'query ($yes: Boolean!, $k: Int) { qs { z(k: $k) @include(if: $yes) r @skip(if: $yes) ... on P @include(if: $yes) { a: last } ...F @skip(if: $yes) } } fragment F on N { y }',
    variables: { yes: false },
    data: { qs: [1, 2, 3].map((id) => ({ r: r(id), y: y(id) })) },
  },
)

/** Each step requires the two before it, which other subgraphs have, by other keys. */
const step = (id: string, n: number): string => (n < 2 ? `${n}${id}` : `${n}[${step(id, n - 1)} ${step(id, n - 2)}]`)
const steps = (idOf: (of: Sent) => string, ...numbers: number[]) =>
  Object.fromEntries(
    numbers.map((n) => [
      `s${n}`,
      (of: Sent) => (n < 2 ? `${n}${idOf(of)}` : `${n}[${of[`s${n - 1}`]} ${of[`s${n - 2}`]}]`),
    ]),
  )
const identity = (id: string) => typed('T', { id, k: `k${id}`, org: { id: `o${id}` } })
let turn = 0

const long: Suite = {
  name: 'long chains of @requires',
  subgraphs: {
    a: {
      sdl: `type Query { t: T is: [I] us: [U] } type Mutation { next: T! } union U = T | O interface I { s6(n: Int): String }
        type O implements I { s6(n: Int): String } type Org @shareable { id: ID! }
        type T implements I @key(fields: "id") @key(fields: "k") @key(fields: "org { id }") { id: ID! k: ID! org: Org!
          s0: String s1: String @external s2: String @external s3: String @requires(fields: "s2 s1") s4: String @external
          s5: String @external s6(n: Int): String @requires(fields: "s5 s4") }`,
      resolvers: {
        Query: {
          t: () => identity('1'),
          is: () => [identity('1'), typed('O', {})],
          us: () => [typed('O', {}), identity('2')],
        },
        Mutation: {
          next: () => {
            turn = (turn % 2) + 1
            return identity('1')
          },
        },
        T: { ...refer, ...steps(({ id }) => id, 0, 3, 6) },
        O: { s6: () => 'o' },
      },
    },
    b: {
      sdl: `type T @key(fields: "k") { k: ID! now: String s1: String s2: String @external s3: String @external
          s4: String @requires(fields: "s3 s2") s5: String @external s6(n: Int): String @external s7: String @requires(fields: "s6 s5") }`,
      resolvers: { T: { ...refer, ...steps(({ k }) => String(k).slice(1), 1, 4, 7), now: () => `turn ${turn}` } },
    },
    c: {
      sdl: `type Org @shareable { id: ID! } type T @key(fields: "org { id }") { org: Org! s0: String @external
          s1: String @external s2: String @requires(fields: "s1 s0") s3: String @external s4: String @external
          s5: String @requires(fields: "s4 s3") s6(n: Int): String @external s7: String @external s8: String @requires(fields: "s7 s6")
          seen: String @requires(fields: "s4") hidden: String @inaccessible @requires(fields: "s4") }`,
      resolvers: {
        T: {
          ...refer,
          ...steps(({ org }) => (org as { id: string }).id.slice(1), 2, 5, 8),
          seen: ({ s4 }: Sent) => s4 && `turn ${turn}`,
          hidden: ({ s4 }: Sent) => `hidden ${s4}`,
        },
      },
    },
    d: {
      sdl: `type T @key(fields: "id") { id: ID! hidden: String @external last: String @requires(fields: "hidden") }`,
      resolvers: { T: { ...refer, last: ({ hidden }: Sent) => `last ${hidden}` } },
    },
  },
  cases: cases(
    'the planner takes long for them, or takes calls in the wrong order',
    { query: '{ t { s8 } }', data: { t: { s8: step('1', 8) } } },
    {
      query: '{ t { s0: s8 s4: s0 k: s6 s2 } }',
      data: { t: { s0: step('1', 8), s4: '01', k: step('1', 6), s2: step('1', 2) } },
    },
    {
      query: '{ is { __typename s6 ... on T { s7 } } us { ... on I { s6 } ... on T { s5 } } }',
      data: {
        is: [
          { __typename: 'T', s6: step('1', 6), s7: step('1', 7) },
          { __typename: 'O', s6: 'o' },
        ],
        us: [{ s6: 'o' }, { s6: step('2', 6), s5: step('2', 5) }],
      },
    },
    { query: '{ t { last } }', data: { t: { last: `last hidden ${step('1', 4)}` } } },
    { query: 'mutation { x: next { now } y: next { now } }', data: { x: { now: 'turn 1' }, y: { now: 'turn 2' } } },
    {
      query: 'mutation { x: next { seen s2 } y: next { seen } }',
      data: { x: { seen: 'turn 1', s2: step('1', 2) }, y: { seen: 'turn 2' } },
    },
  ),
}

/** `b` knows members by their ids only: it can't say of which type they are. */
const members = [typed('P', { id: '1', d: 'd1' }), typed('Q', { id: '2' })]
const member = ({ id }: { id: string }) => members.find((each) => 'id' in each && each.id === id)
const itemOf = ({ id }: { id: string }) => typed('Item', { id })
const typeOf = ({ __typename }: { __typename: string }) => __typename
const untyped: Suite = {
  name: 'requirements with objects whose type their subgraph does not know',
  subgraphs: {
    a: {
      sdl: `type Query { items: [Item] parcels: [Parcel] } union Parcel = Box | Bag interface L { l: Int }
        interface N @key(fields: "id") { id: ID! h: String }
        type P implements N @key(fields: "id") { id: ID! h: String d: String }
        type Q implements N @key(fields: "id") { id: ID! h: String } type Box implements L { l: Int }
        type Bag implements L { l: Int } type V @shareable { n: N ns: [[N!]] }
        type Item implements L @key(fields: "id") { id: ID! l: Int owner: N @external tags: [V] @external step: String @external
          conditional: String @requires(fields: "owner { id ... on P { d } } tags { n { id } }")
          chained: String @requires(fields: "step tags { ns { id } }") }`,
      resolvers: {
        Query: {
          items: () => ['1', '2'].map((id) => itemOf({ id })),
          parcels: () => [typed('Box', { l: 1 }), typed('Bag', {})],
        },
        N: { __resolveReference: member, __resolveType: typeOf },
        P: { __resolveReference: member },
        Q: { __resolveReference: member },
        Item: {
          ...refer,
          conditional: ({ id, owner, tags }: Sent) => {
            const { id: of, d } = owner as Sent
            return `conditional(${JSON.stringify([id, of, d, tags])})`
          },
          chained: (of: Sent) => sent('chained', of, 'step', 'tags'),
        },
      },
    },
    b: {
      sdl: `type N @interfaceObject @key(fields: "id") { id: ID! x: Int } type V @shareable { n: N ns: [[N!]] }
        type Item @key(fields: "id") { id: ID! owner: N tags: [V] }`,
      resolvers: {
        N: refer,
        Item: {
          ...refer,
          owner: ({ id }: Sent) => ({ id }),
          tags: ({ id }: Sent) => [{ n: { id }, ns: [[{ id: '1' }], []] }, null, { n: null, ns: null }],
        },
      },
    },
    c: {
      sdl: `type Item @key(fields: "id") { id: ID! first: String @external step: String @requires(fields: "first") }`,
      resolvers: { Item: { ...refer, step: (of: Sent) => sent('step', of, 'first') } },
    },
    d: {
      sdl: `type Item @key(fields: "id") { id: ID! first: String }`,
      resolvers: { Item: { ...refer, first: ({ id }: Sent) => `first ${id}` } },
    },
  },
  cases: cases(
    'the planner refuses the condition, or takes calls in the wrong order',
    {
      query: '{ items { conditional } }',
      data: {
        items: ['1', '2'].map((id) => ({
          conditional: `conditional(${JSON.stringify([id, id, id === '1' ? 'd1' : undefined, [{ n: { id } }, null, { n: null }]])})`,
        })),
      },
    },
    {
      query: '{ items { chained tags { n { h } } } }',
      data: {
        items: ['1', '2'].map((id) => ({
          chained: `chained(${JSON.stringify(`step("first ${id}")`)},[{"ns":[[{"id":"1"}],[]]},null,{"ns":null}])`,
          tags: [{ n: { h: null } }, null, { n: null }],
        })),
      },
    },
    {
      query: '{ ...F } fragment F on Query { parcels { ... on L { l ... on Item { conditional } } } }',
      data: { parcels: [{ l: 1 }, { l: null }] },
    },
  ),
}

export const chainSuites: readonly Suite[] = [{ ...objects, cases: objectCases }, long, untyped]
