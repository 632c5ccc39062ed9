import { cases, type Suite, typed } from './support.ts'

const goods = [
  { sku: 'g1', title: 'lamp', net: 10, grams: 2 },
  { sku: 'g2', title: 'desk', net: 20, grams: 5 },
]
const good = (sku: string) => goods.find((each) => each.sku === sku)
const RATES: Record<string, number> = { USD: 1, EUR: 2, GBP: 3 }
const inCurrency = (net: number, currency: string) => net * (RATES[currency] ?? Number.NaN)

const notes = ['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'b4'].map((id) => ({
  id,
  topic: id.slice(0, 1),
  writer: id.startsWith('a') ? 'w2' : 'w1',
  text: id === 'b4' ? 'text a3' : `text ${id}`,
}))
const notesOf = (topic: string, first: number) => notes.filter((each) => each.topic === topic).slice(0, first)

const ordersOf = (...totals: number[]) => totals.map((total) => ({ total }))

const ofInterfaceObjects: Suite = {
  name: "an interface object's fields that require what another subgraph knows of it",
  subgraphs: {
    a: {
      sdl: `type Query { all: [Contact!] } interface Contact @key(fields: "id") { id: ID! }
        type Person implements Contact @key(fields: "id") { id: ID! } type Group implements Contact @key(fields: "id") { id: ID! }`,
      resolvers: { Query: { all: () => [typed('Person', { id: '1' }), typed('Group', { id: '2' })] } },
    },
    b: {
      sdl: `interface Contact @key(fields: "id") { id: ID! } type Person implements Contact @key(fields: "id") { id: ID! }
        type Group implements Contact @key(fields: "id") { id: ID! }`,
      resolvers: {
        Contact: { __resolveReference: ({ id }: { id: string }) => typed(id === '1' ? 'Person' : 'Group', { id }) },
      },
    },
    c: {
      sdl: 'type Contact @interfaceObject @key(fields: "id") { id: ID! rank: Int }',
      resolvers: { Contact: { rank: ({ id }: { id: string }) => Number(id) * 10 } },
    },
    d: {
      sdl: `type Contact @interfaceObject @key(fields: "id") { id: ID! rank: Int @external plain: String
        x(n: Int): String @requires(fields: "rank") y: Int @requires(fields: "rank") z: Int @requires(fields: "rank") }`,
      resolvers: {
        Contact: {
          plain: ({ id }: { id: string }) => `plain ${id}`,
          x: ({ rank }: { rank?: number }, { n }: { n?: number }) => `x${n ?? ''} ${rank}`,
          y: ({ rank = Number.NaN }) => rank + 1,
          z: ({ rank = Number.NaN }) => rank + 2,
        },
      },
    },
  },
  cases: cases(
    'the planner fails: adding it as parent would create a cycle',
    {
      query: '{ all { x y z } }',
      data: {
        all: [
          { x: 'x 10', y: 11, z: 12 },
          { x: 'x 20', y: 21, z: 22 },
        ],
      },
    },
    {
      query:
        'query ($n: Int) { all { __typename a: x(n: $n) b: x(n: 2) plain c: x ...F } } fragment F on Group { x rank }',
      variables: { n: 1 },
      data: {
        all: [
          { __typename: 'Person', a: 'x1 10', b: 'x2 10', plain: 'plain 1', c: 'x 10' },
          { __typename: 'Group', a: 'x1 20', b: 'x2 20', plain: 'plain 2', c: 'x 20', x: 'x 20', rank: 20 },
        ],
      },
    },
  ),
}

export const requiresSuites: readonly Suite[] = [
  {
    name: 'required fields with arguments',
    subgraphs: {
      stock: {
        sdl: `type Query { goods: [Good!]! }
          type Good @key(fields: "sku") { sku: ID! title: String grams: Int price(currency: String!): Int
            shelf: Shelf reviews(first: Int = 2): [Review!] }
          type Shelf { fee(currency: String!): Int }
          type Review { stars: Int }`,
        resolvers: {
          Query: { goods: () => goods },
          Good: {
            __resolveReference: ({ sku }: { sku: string }) => good(sku),
            price: ({ net }: { net: number }, { currency }: { currency: string }) => inCurrency(net, currency),
            shelf: ({ grams }: { grams: number }) => ({ grams }),
            reviews: (_: unknown, { first }: { first: number }) =>
              Array.from({ length: first }, (_, stars) => ({ stars })),
          },
          Shelf: {
            fee: ({ grams }: { grams: number }, { currency }: { currency: string }) => inCurrency(grams, currency),
          },
        },
      },
      shipping: {
        sdl: `type Good @key(fields: "sku") { sku: ID! grams: Int @external price(currency: String!): Int @external
            shelf: Shelf @external reviews(first: Int = 2): [Review!] @external
            estimate: Int @requires(fields: "price(currency: \\"USD\\") grams")
            estimateEur: Int @requires(fields: "price(currency: \\"EUR\\") grams")
            scaled(by: Int = 1): Int @requires(fields: "price(currency: \\"GBP\\")")
            isDear: Boolean @requires(fields: "shelf { fee(currency: \\"USD\\") }")
            dearness: Int @requires(fields: "shelf { fee(currency: \\"EUR\\") }")
            stars: Int @requires(fields: "reviews(first: 4) { stars }")
            plain: String }
          type Shelf @external { fee(currency: String!): Int }
          type Review @external { stars: Int }`,
        resolvers: {
          Good: {
            __resolveReference: (sent: object) => sent,
            estimate: ({ price, grams }: { price: number; grams: number }) => price * grams,
            estimateEur: ({ price, grams }: { price: number; grams: number }) => price * grams,
            scaled: ({ price }: { price: number }, { by }: { by: number }) => price * by,
            isDear: ({ shelf }: { shelf: { fee: number } }) => shelf.fee > 3,
            dearness: ({ shelf }: { shelf: { fee: number } }) => shelf.fee,
            stars: ({ reviews }: { reviews: { stars: number }[] }) =>
              reviews.reduce((sum, { stars }) => sum + stars, 0),
            plain: () => 'plain',
          },
        },
      },
    },
    cases: [
      {
        query: '{ goods { sku title estimate } }',
        data: {
          goods: [
            { sku: 'g1', title: 'lamp', estimate: 20 },
            { sku: 'g2', title: 'desk', estimate: 100 },
          ],
        },
      },
      {
        query: '{ goods { price(currency: "EUR") estimate } }',
        data: {
          goods: [
            { price: 20, estimate: 20 },
            { price: 40, estimate: 100 },
          ],
        },
      },
      {
        query: '{ goods { estimate estimateEur isDear plain } }',
        data: {
          goods: [
            { estimate: 20, estimateEur: 40, isDear: false, plain: 'plain' },
            { estimate: 100, estimateEur: 200, isDear: true, plain: 'plain' },
          ],
        },
      },
      {
        query: `query ($currency: String!, $by: Int, $with: Boolean!) { goods { price(currency: $currency)
          usd: price(currency: "USD") estimateEur scaled(by: $by) isDear dearness estimate @include(if: $with)
          ... @skip(if: $with) { twice: scaled(by: 2) } } }`,
        variables: { currency: 'GBP', by: 10, with: true },
        data: {
          goods: [
            { price: 30, usd: 10, estimateEur: 40, scaled: 300, isDear: false, dearness: 4, estimate: 20 },
            { price: 60, usd: 20, estimateEur: 200, scaled: 600, isDear: true, dearness: 10, estimate: 100 },
          ],
        },
      },
      {
        query: 'query ($with: Boolean!) { goods { scaled ... @skip(if: $with) { twice: scaled(by: 2) estimate } } }',
        variables: { with: false },
        data: {
          goods: [
            { scaled: 30, twice: 60, estimate: 20 },
            { scaled: 60, twice: 120, estimate: 100 },
          ],
        },
      },
      {
        query: '{ goods { stars reviews(first: 1) { stars } } }',
        data: { goods: goods.map(() => ({ stars: 6, reviews: [{ stars: 0 }] })) },
      },
    ],
  },
  {
    name: 'required lists with arguments, through entities',
    subgraphs: {
      topics: {
        sdl: `type Query { topics: [Topic] }
          type Topic @key(fields: "id") { id: ID! notes(first: Int!): [Note] @external }
          type Note @key(fields: "id") { id: ID! writer: ID text: String! elsewhere: [Topic] @external
            isSpam: Boolean @requires(fields: "elsewhere { notes(first: 50) { id } }") }`,
        resolvers: {
          Query: { topics: () => [{ id: 'a' }, { id: 'b' }] },
          Topic: { __resolveReference: (topic: object) => topic },
          Note: {
            __resolveReference: (sent: { id: string; elsewhere?: { notes: { id: string }[] }[] }) => ({
              ...notes.find(({ id }) => id === sent.id),
              isSpam:
                (sent.elsewhere?.length ?? 0) > 0 && sent.elsewhere?.every(({ notes }) => notes.every(({ id }) => id)),
            }),
          },
        },
      },
      writers: {
        sdl: `type Topic @key(fields: "id") { id: ID! notes(first: Int!): [Note]
            lastWriter: Writer @requires(fields: "notes(first: 3) { writer }") }
          type Note @key(fields: "id") { id: ID! writer: ID @external elsewhere: [Topic] }
          type Writer { id: ID! }`,
        resolvers: {
          Topic: {
            __resolveReference: (topic: object) => topic,
            notes: ({ id }: { id: string }, { first }: { first: number }) =>
              notesOf(id, first).map(({ id }) => ({ id })),
            lastWriter: ({ notes }: { notes: { writer: string }[] }) => {
              if (notes.length !== 3) throw new Error(`There are ${notes.length} notes.`)
              return { id: notes[2]?.writer }
            },
          },
          Note: {
            __resolveReference: ({ id }: { id: string }) => ({ id }),
            elsewhere: ({ id }: { id: string }) => {
              const { text, topic } = notes.find((each) => each.id === id) ?? {}
              return notes
                .filter((each) => each.text === text && each.topic !== topic)
                .map(({ topic }) => ({ id: topic }))
            },
          },
        },
      },
    },
    cases: [
      {
        query: '{ topics { lastWriter { id } } }',
        data: { topics: [{ lastWriter: { id: 'w2' } }, { lastWriter: { id: 'w1' } }] },
      },
      {
        query: '{ topics { lastWriter { id } notes(first: 1) { id } } }',
        data: {
          topics: [
            { lastWriter: { id: 'w2' }, notes: [{ id: 'a1' }] },
            { lastWriter: { id: 'w1' }, notes: [{ id: 'b1' }] },
          ],
        },
      },
      {
        query: '{ topics { notes(first: 3) { isSpam } } }',
        data: {
          topics: [
            { notes: [{ isSpam: false }, { isSpam: false }, { isSpam: true }] },
            { notes: [{ isSpam: false }, { isSpam: false }, { isSpam: false }] },
          ],
        },
      },
      {
        query: `query ($first: Int = 1) { topics { lastWriter { id } ...One ...Two } }
          fragment One on Topic { notes(first: $first) { id } }
          fragment Two on Topic { notes(first: $first) { text } }`,
        data: {
          topics: [
            { lastWriter: { id: 'w2' }, notes: [{ id: 'a1', text: 'text a1' }] },
            { lastWriter: { id: 'w1' }, notes: [{ id: 'b1', text: 'text b1' }] },
          ],
        },
      },
    ],
  },
  {
    name: 'required fields that require, and go round',
    subgraphs: {
      posts: {
        sdl: `type Query { posts: [Post] }
          type Post @key(fields: "id") { id: ID! byNovice: Boolean! @external byExpert: Boolean! @requires(fields: "byNovice") }
          type Writer @key(fields: "id") { id: ID! years: Int! }`,
        resolvers: {
          Query: { posts: () => [{ id: '1' }, { id: '2' }] },
          Post: {
            __resolveReference: (post: object) => post,
            byExpert: ({ byNovice }: { byNovice?: boolean }) => (byNovice === undefined ? null : !byNovice),
          },
          Writer: { __resolveReference: ({ id }: { id: string }) => ({ id, years: id === 'w1' ? 0 : 20 }) },
        },
      },
      people: {
        sdl: `type Post @key(fields: "id") { id: ID! writer: Writer! byNovice: Boolean! @requires(fields: "writer { years }") }
          type Writer @key(fields: "id") { id: ID! years: Int! @external }`,
        resolvers: {
          Post: {
            __resolveReference: (sent: { id: string }) => ({
              ...sent,
              writer: { id: `w${sent.id}`, ...(sent as object) },
            }),
            writer: ({ id }: { id: string }) => ({ id: `w${id}` }),
            byNovice: (sent: { writer?: { years?: number } }) => (sent.writer?.years ?? 0) < 5,
          },
          Writer: { __resolveReference: (writer: object) => writer },
        },
      },
    },
    cases: [
      {
        query: '{ posts { writer { id years } } }',
        data: { posts: [{ writer: { id: 'w1', years: 0 } }, { writer: { id: 'w2', years: 20 } }] },
      },
    ],
  },
  {
    name: 'required fields through interfaces, fragments and nulls',
    subgraphs: {
      people: {
        sdl: `type Query { people: [Person!]! }
          type Person @key(fields: "id") { id: ID! address: Address @external
            city: String @requires(fields: "address { id ... on Home { street } }") }
          interface Address { id: ID! } type Home implements Address @key(fields: "id") { id: ID! street: String @external }
          type Work implements Address @key(fields: "id") { id: ID! }`,
        resolvers: {
          Query: { people: () => ['1', '2', '3'].map((id) => ({ id })) },
          Person: {
            __resolveReference: (person: object) => person,
            city: ({ address }: { address?: { id: string; street?: string } | null }) =>
              address ? `${address.id} ${address.street ?? 'none'}` : 'nowhere',
          },
          Address: { __resolveType: () => 'Home' },
        },
      },
      addresses: {
        sdl: `type Person @key(fields: "id") { id: ID! address: Address }
          interface Address { id: ID! } type Home implements Address @key(fields: "id") { id: ID! street: String }
          type Work implements Address @key(fields: "id") { id: ID! floor: Int }`,
        resolvers: {
          Person: {
            __resolveReference: ({ id }: { id: string }) => ({
              id,
              address: [null, { __typename: 'Home', id: 'h', street: 's' }, { __typename: 'Work', id: 'w', floor: 3 }][
                Number(id) % 3
              ],
            }),
          },
        },
      },
    },
    cases: [
      {
        query: '{ people { city } }',
        data: { people: [{ city: 'h s' }, { city: 'w none' }, { city: 'nowhere' }] },
      },
      {
        query: '{ people { id address { __typename ... on Work { floor } ... on Home { street } } city } }',
        data: {
          people: [
            { id: '1', address: { __typename: 'Home', street: 's' }, city: 'h s' },
            { id: '2', address: { __typename: 'Work', floor: 3 }, city: 'w none' },
            { id: '3', address: null, city: 'nowhere' },
          ],
        },
      },
    ],
  },
  {
    name: 'a required field that fails',
    subgraphs: {
      accounts: {
        sdl: `type Query { buyers: [Buyer] }
          type Buyer @key(fields: "id") { id: ID! orders(last: Int): [Order] @external
            spent: Int @requires(fields: "orders(last: 2) { total }") name: String }
          type Order @external { total: Int! }`,
        resolvers: {
          Query: { buyers: () => ['1', '2', '3'].map((id) => ({ id, name: `buyer ${id}` })) },
          Buyer: {
            __resolveReference: (buyer: { id: string }) => ({ ...buyer, name: `buyer ${buyer.id}` }),
            spent: ({ orders }: { orders?: { total: number }[] | null }) =>
              orders ? orders.reduce((sum, { total }) => sum + total, 0) : null,
          },
        },
      },
      orders: {
        sdl: `type Buyer @key(fields: "id") { id: ID! orders(last: Int): [Order] } type Order { total: Int! }`,
        resolvers: {
          Buyer: {
            __resolveReference: ({ id }: { id: string }) => (id === '3' ? null : { id }),
            orders: ({ id }: { id: string }, { last }: { last: number }) => {
              if (id === '2') throw new Error('Not these.')
              return ordersOf(1, 2, 3).slice(-last)
            },
          },
        },
      },
    },
    cases: [
      {
        query: '{ buyers { name spent orders(last: 1) { total } } }',
        data: {
          buyers: [
            { name: 'buyer 1', spent: 5, orders: [{ total: 3 }] },
            { name: 'buyer 2', spent: null, orders: null },
            { name: 'buyer 3', spent: null, orders: null },
          ],
        },
        errors: [
          ['buyers.1.orders', /Not these/],
          ['buyers.1', /Not these/],
        ],
      },
    ],
  },
  ofInterfaceObjects,
]
