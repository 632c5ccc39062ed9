/** What Apollo's planner and executor make of `@interfaceObject`: see gateway/planning/interface-objects.ts. */
import { cases, type Suite, typed } from './support.ts'

const INTERFACE_OBJECTS = 'a subgraph with @interfaceObject overwrites __typename, and type conditions get lost'

const boom = (message: string) => () => {
  throw new Error(message)
}
const contacts: Record<string, object> = {
  1: typed('Person', { id: '1', displayName: 'P1', first: 'F' }),
  2: typed('Group', { id: '2', displayName: 'G2', size: 3 }),
}
const contact = ({ id }: { id: string }) => contacts[id]
const interfaceObjects: Suite = {
  name: '__typename beside what an interface object has',
  subgraphs: {
    a: {
      sdl: `type Query { search: [Contact!]! one: Contact person: Person }
        interface Contact @key(fields: "id") { id: ID! displayName: String! }
        type Person implements Contact @key(fields: "id") { id: ID! displayName: String! first: String }
        type Group implements Contact @key(fields: "id") { id: ID! displayName: String! size: Int }`,
      resolvers: {
        Query: { search: () => Object.values(contacts), one: () => contacts[1], person: () => contacts[1] },
        Contact: { __resolveReference: contact },
        Person: { __resolveReference: contact },
        Group: { __resolveReference: contact },
      },
    },
    b: {
      sdl: `type Query { recent: [Contact] top: Contact }
        type Contact @interfaceObject @key(fields: "id") { id: ID! country: String friend: Contact n: Int! }`,
      resolvers: {
        Query: { recent: () => [{ id: '2' }, { id: '1' }], top: () => ({ id: '1' }) },
        Contact: {
          country: ({ id }: { id: string }) => `c${id}`,
          friend: ({ id }: { id: string }) => ({ id: id === '1' ? '2' : '1' }),
          n: ({ id }: { id: string }) => Number(id),
        },
      },
    },
  },
  cases: cases(
    INTERFACE_OBJECTS,
    {
      query: '{ person { __typename country } }',
      data: { person: typed('Person', { country: 'c1' }) },
    },
    { query: '{ person { country __typename } }', data: { person: { country: 'c1', __typename: 'Person' } } },
    {
      query: '{ search { __typename displayName ... on Person { __typename country } } }',
      data: {
        search: [typed('Person', { displayName: 'P1', country: 'c1' }), typed('Group', { displayName: 'G2' })],
      },
    },
    { query: '{ one { ... on Person { __typename country } } }', data: { one: typed('Person', { country: 'c1' }) } },
    { query: '{ one { ... on Group { __typename country } } }', data: { one: {} } },
    {
      query: '{ person { __typename friend { __typename displayName } n } }',
      data: { person: typed('Person', { friend: typed('Group', { displayName: 'G2' }), n: 1 }) },
    },
    {
      query: '{ recent { __typename n ... on Group { __typename size country } ... on Person { first } } }',
      data: {
        recent: [typed('Group', { n: 2, size: 3, country: 'c2' }), typed('Person', { n: 1, first: 'F' })],
      },
    },
    {
      query: '{ top { t: __typename friend { __typename friend { __typename id } } } }',
      data: { top: { t: 'Person', friend: typed('Group', { friend: typed('Person', { id: '1' }) }) } },
    },
    {
      query: '{ one { a: __typename country: __typename id: country n: displayName } }',
      data: { one: { a: 'Person', country: 'Person', id: 'c1', n: 'P1' } },
    },
    {
      query: '{ top { __typename ... on Person { displayName friend { ... on Group { __typename size } } } } }',
      data: { top: typed('Person', { displayName: 'P1', friend: typed('Group', { size: 3 }) }) },
    },
    {
      query: '{ search { ... on Contact { __typename n ... on Group { friend { __typename } } } } }',
      data: { search: [typed('Person', { n: 1 }), typed('Group', { n: 2, friend: { __typename: 'Person' } })] },
    },
  ),
}

const people: Record<string, object> = {
  1: typed('Person', { id: '1', displayName: 'P1' }),
  2: typed('Group', { id: '2', displayName: 'G2', size: 2 }),
  3: typed('Group', { id: '3', displayName: 'G3' }),
}
const someone = ({ id }: { id: string }) => people[id]
const narrowed: Suite = {
  name: 'type conditions on interface objects',
  subgraphs: {
    a: {
      sdl: `type Query { all: [Contact] one: Contact } interface Contact @key(fields: "id") { id: ID! displayName: String! }
        type Person implements Contact @key(fields: "id") { id: ID! displayName: String! }
        type Group implements Contact @key(fields: "id") { id: ID! displayName: String! size: Int! }`,
      resolvers: {
        Query: { all: () => [people[1], people[2]], one: () => people[1] },
        Contact: { __resolveReference: someone },
        Person: { __resolveReference: someone },
        Group: { __resolveReference: someone },
      },
    },
    b: {
      sdl: `type Query { recent: [Contact!] top: Contact broken: [Contact] }
        type Contact @interfaceObject @key(fields: "id") { id: ID! displayName: String! @external
          greet: String @requires(fields: "displayName") n: Int friend: Contact }`,
      resolvers: {
        Query: {
          recent: () => [{ id: '1' }, { id: '2' }],
          top: () => ({ id: '2' }),
          broken: () => [{ id: '3' }, { id: '1' }],
        },
        Contact: {
          __resolveReference: (sent: { id?: string }) => {
            if (sent.id === undefined) throw new Error('no key')
            return sent
          },
          greet: ({ displayName }: { displayName?: string }) => `hello ${displayName}`,
          n: ({ id }: { id: string }) => Number(id),
          friend: ({ id }: { id: string }) => ({ id: id === '1' ? '2' : '1' }),
        },
      },
    },
    c: {
      sdl: `type Contact @interfaceObject @key(fields: "id") { id: ID! country: String! }`,
      resolvers: {
        Contact: {
          country: ({ id }: { id: string }) => {
            if (id === '1') throw new Error('no country')
            return `c${id}`
          },
        },
      },
    },
  },
  cases: cases(
    INTERFACE_OBJECTS,
    { query: '{ recent { ... on Group { greet } } }', data: { recent: [{}, { greet: 'hello G2' }] } },
    { query: '{ one { n ... on Group { greet } } }', data: { one: { n: 1 } } },
    { query: '{ top { n ... on Group { greet } } }', data: { top: { n: 2, greet: 'hello G2' } } },
    {
      query: '{ all { n ... on Group { country } } recent { ... on Group { country } n } }',
      data: { all: [{ n: 1 }, { n: 2, country: 'c2' }], recent: [{ n: 1 }, { country: 'c2', n: 2 }] },
    },
    {
      query: '{ top { ... on Group { friend { country } } } one { ... on Group { friend { country } } } }',
      data: { top: { friend: null }, one: {} },
      errors: [['top.friend.country', /no country/]],
    },
    {
      query:
        '{ top { ... on Group { id: displayName friend { ... on Person { greet friend { ... on Group { n: country } } } } } } }',
      data: { top: { id: 'G2', friend: { greet: 'hello P1', friend: { n: 'c2' } } } },
    },
    {
      query: `query ($no: Boolean = false) { top { ...F ...G @include(if: $no) } }
        fragment F on Group { greet: n constructor: id } fragment G on Contact { country }`,
      data: { top: { greet: 2, constructor: '2' } },
    },
    {
      query: '{ broken { ... on Group { size } n } }',
      data: { broken: [null, { n: 1 }] },
      errors: [['broken.0.size', /Group\.size/]],
    },
  ),
}

const things: Record<string, object> = {
  1: typed('Person', { id: '1', label: 'L1', name: 'N1' }),
  2: typed('Group', { id: '2', name: 'N2' }),
}
const thing = ({ id }: { id: string }) => things[id]
const otherConditions: Suite = {
  name: 'unions and other interfaces as conditions on interface objects',
  subgraphs: {
    a: {
      sdl: `type Query { all: [Contact] found: [Found] any: [Any] person: Person } union Found = Person | Page union Any = Page | Person | Group type Page { x: Int }
        interface Labelled { label: String } interface Contact @key(fields: "id") { id: ID! name: String }
        type Person implements Contact & Labelled @key(fields: "id") { id: ID! label: String name: String }
        type Group implements Contact @key(fields: "id") { id: ID! name: String }`,
      resolvers: {
        Query: {
          all: () => Object.values(things),
          found: () => [things[1]],
          any: () => Object.values(things),
          person: () => things[1],
        },
        Contact: { __resolveReference: thing },
        Person: { __resolveReference: thing },
        Group: { __resolveReference: thing },
      },
    },
    b: {
      sdl: `type Query { recent: [Contact] }
        type Contact @interfaceObject @key(fields: "id") { id: ID! n: Int friend: Contact fails: Int strict: Int!
          name: String @external hello: String @requires(fields: "name") }`,
      resolvers: {
        Query: { recent: () => [{ id: '1' }, { id: '2' }] },
        Contact: {
          n: ({ id }: { id: string }) => Number(id),
          friend: ({ id }: { id: string }) => ({ id: id === '1' ? '2' : '1' }),
          fails: boom('fails'),
          strict: ({ id }: { id: string }) => (id === '1' ? boom('strict')() : 2),
          hello: ({ name }: { name?: string }) => `hello ${name}`,
        },
      },
    },
  },
  cases: cases(
    INTERFACE_OBJECTS,
    ...['recent', 'all'].flatMap((root) => [
      {
        query: `{ ${root} { ... on Found { __typename } n } }`,
        data: { [root]: [typed('Person', { n: 1 }), { n: 2 }] },
      },
      {
        query: `{ ${root} { ... on Labelled { label ... on Contact { n } } } }`,
        data: { [root]: [{ label: 'L1', n: 1 }, {}] },
      },
      {
        query: `{ ${root} { ... on Found { ... on Contact { hello ... on Group { fails } } } friend { ...F } } }
          fragment F on Labelled { x: label }`,
        data: { [root]: [{ hello: 'hello N1', friend: {} }, { friend: { x: 'L1' } }] },
      },
      {
        query: `{ ${root} { ... on Group { ... on Contact { ... on Found { ... on Contact { n fails } } } } } }`,
        data: { [root]: [{}, {}] },
      },
      {
        query: `{ ${root} { ... on Group { ... on Contact { ... on Labelled { ... on Contact { fails } } } n } } }`,
        data: { [root]: [{}, { n: 2 }] },
      },
    ]),
    {
      query: '{ any { ... on Person { n } ... on Group { strict } } }',
      data: { any: [{ n: 1 }, { strict: 2 }] },
    },
    {
      query: '{ any { ... on Contact { n ... on Group { strict } } ... on Labelled { ... on Contact { hello } } } }',
      data: {
        any: [
          { n: 1, hello: 'hello N1' },
          { n: 2, strict: 2 },
        ],
      },
    },
    {
      query:
        'query ($yes: Boolean = true) { any { ...F @include(if: $yes) ... on Person { id name } } } fragment F on Any { ... on Group { strict friend { n } } ... on Person { fails } }',
      data: {
        any: [
          { fails: null, id: '1', name: 'N1' },
          { strict: 2, friend: { n: 1 } },
        ],
      },
      errors: [['any.0.fails', /fails/]],
    },
    {
      query: '{ found { ... on Labelled { ... on Contact { hello friend { ... on Found { __typename } } } } } }',
      data: { found: [{ hello: 'hello N1', friend: {} }] },
    },
    {
      query: '{ person { friend { ... on Found { __typename } friend { ... on Labelled { label } } } } }',
      data: { person: { friend: { friend: { label: 'L1' } } } },
    },
  ),
}

const required: Suite = {
  name: 'arguments in the requirements of an interface and of its types',
  subgraphs: {
    a: {
      sdl: `type Query { p: Person } interface Contact @key(fields: "id") { id: ID! }
        type Person implements Contact @key(fields: "id") { id: ID! g(c: String): [G] } type G { x: String }`,
      resolvers: {
        Query: { p: () => things[1] },
        Person: { g: (_: unknown, { c }: { c: string }) => [{ x: c }] },
        Contact: { __resolveReference: thing },
      },
    },
    d: {
      sdl: `interface Contact @key(fields: "id") { id: ID! h(e: Int): String }
        type Person implements Contact @key(fields: "id") { id: ID! h(e: Int): String
          g(c: String): [G] @external r: String @requires(fields: "g(c: \\"EUR\\") { x }") } type G @external { x: String }`,
      resolvers: {
        Contact: { __resolveReference: (sent: object) => ({ ...sent, __typename: 'Person' }) },
        Person: {
          h: (_: unknown, { e }: { e: number }) => `h${e}`,
          r: ({ g }: { g?: object }) => `r of ${JSON.stringify(g)}`,
        },
      },
    },
    b: {
      sdl: `type Contact @interfaceObject @key(fields: "id") { id: ID! h(e: Int): String @external
          s: String @requires(fields: "h(e: 1)") }`,
      resolvers: { Contact: { s: ({ h }: { h?: string }) => `s of ${h}` } },
    },
  },
  cases: cases(
    'the call names the interface, so what was to be renamed for one of its types kept the name of the planner',
    { query: '{ p { s r } }', data: { p: { s: 's of h1', r: 'r of [{"x":"EUR"}]' } } },
    { query: '{ p { r } }', data: { p: { r: 'r of [{"x":"EUR"}]' } } },
    {
      query: '{ p { g: h(e: 2) h: g(c: "USD") { x } s r } }',
      data: { p: { g: 'h2', h: [{ x: 'USD' }], s: 's of h1', r: 'r of [{"x":"EUR"}]' } },
    },
  ),
}

const only = typed('Only', { id: '1' })
const oneType: Suite = {
  name: 'an interface object that can be of one type only',
  subgraphs: {
    a: {
      sdl: `type Query { all: [Contact] } interface Contact @key(fields: "id") { id: ID! h(j: Int): [String] }
        type Only implements Contact @key(fields: "id") { id: ID! h(j: Int): [String] @shareable }
        type E @key(fields: "id") { id: ID! label: Int }`,
      resolvers: {
        Query: { all: () => [only] },
        Only: { h: (_: unknown, { j }: { j: number }) => [`h${j}`] },
        Contact: { __resolveReference: () => only },
      },
    },
    b: {
      sdl: `interface Contact @key(fields: "id") { id: ID! h(j: Int): [String] }
        type Only implements Contact @key(fields: "id") { id: ID! h(j: Int): [String] @shareable }
        type E @key(fields: "id") { id: ID! g: String }`,
      resolvers: {
        Only: { h: (_: unknown, { j }: { j: number }) => [`h${j}`] },
        Contact: { __resolveReference: () => only },
        E: { g: ({ id }: { id: string }) => `g${id}` },
      },
    },
    c: {
      sdl: 'type Contact @interfaceObject @key(fields: "id") { id: ID! n: Contact @shareable }',
      resolvers: { Contact: { n: () => ({ id: '1' }) } },
    },
    d: {
      sdl: `type E @key(fields: "id") { id: ID! }
        type Contact @interfaceObject @key(fields: "id") { id: ID! h(j: Int): [String] @external n: Contact @shareable
          e: [[E!]] r: String @requires(fields: "h(j: 1)") }`,
      resolvers: {
        Contact: {
          n: () => ({ id: '1' }),
          e: () => [[{ id: '5' }]],
          r: ({ h }: { h?: string[] }) => `r of ${JSON.stringify(h)}`,
        },
      },
    },
  },
  cases: cases(
    'the planner never comes to an end',
    {
      query: '{ all { n { ... on Only { r e { g } } } } }',
      data: { all: [{ n: { r: 'r of ["h1"]', e: [[{ g: 'g5' }]] } }] },
    },
    { query: '{ all { n { r e { g } } } }', data: { all: [{ n: { r: 'r of ["h1"]', e: [[{ g: 'g5' }]] } }] } },
  ),
}

const lost: Suite = {
  name: "an interface object's key under another name, where its subgraph can't find what it lists",
  subgraphs: {
    objects: {
      sdl: 'type Query { all: [Contact!]! } type Contact @interfaceObject @key(fields: "id") { id: ID! n: Int }',
      resolvers: {
        Query: { all: () => [{ id: '1' }, { id: '2' }] },
        Contact: { __resolveReference: ({ id }: { id: string }) => (id === '1' ? { id } : null) },
      },
    },
    kinds: {
      sdl: `interface Contact @key(fields: "id") { id: ID! } type Person implements Contact @key(fields: "id") { id: ID! @shareable }
        type Robot implements Contact @key(fields: "id") { id: ID! @shareable }`,
      resolvers: { Contact: { __resolveReference: ({ id }: { id: string }) => typed('Person', { id }) } },
    },
  },
  cases: cases(
    'the key is fetched once more under the other name, from the subgraph that has just sent it',
    { query: '{ all { ... on Person { key: id } } }', data: { all: [{ key: '1' }, { key: '2' }] } },
    { query: '{ all { ... on Person { id } } }', data: { all: [{ id: '1' }, { id: '2' }] } },
    {
      query: '{ all { ... on Person { key: id } ... on Robot { key: id } } }',
      data: { all: [{ key: '1' }, { key: '2' }] },
    },
  ),
}

const names = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H']
const ofId = (id: string) => typed(names[Number(id)] as string, { id, label: `l${id}`, own: `own ${id}` })
/** The next one, the last one of which is the first one again. */
const after = ({ id }: { id: string }) => ({ id: String((Number(id) + 1) % names.length) })
const many: Suite = {
  name: 'an interface of many types that several subgraphs take for an object, and several know',
  subgraphs: {
    a: {
      sdl: `type Query { first: Contact all: [Contact] } interface Contact @key(fields: "id") { id: ID! label: String }
        ${names.map((name) => `type ${name} implements Contact @key(fields: "id") { id: ID! label: String own: String }`).join(' ')}`,
      resolvers: {
        Query: { first: () => ofId('0'), all: () => [ofId('6'), null, ofId('7')] },
        Contact: { __resolveReference: ({ id }: { id: string }) => ofId(id) },
        ...Object.fromEntries(
          names.map((name) => [name, { __resolveReference: ({ id }: { id: string }) => ofId(id) }]),
        ),
      },
    },
    b: {
      sdl: `interface Contact @key(fields: "id") { id: ID! }
        ${names.map((name) => `type ${name} implements Contact @key(fields: "id") { id: ID! }`).join(' ')}`,
      resolvers: { Contact: { __resolveReference: ({ id }: { id: string }) => ofId(id) } },
    },
    ...Object.fromEntries(
      ['c', 'd'].map((name) => [
        name,
        {
          sdl: `type Query { ${name}: Contact } type Contact @interfaceObject @key(fields: "id") { id: ID!
            next: Contact @shareable ${name}Only(n: Int): String label: String @external ${name}Label: String @requires(fields: "label") }`,
          resolvers: {
            Query: { [name]: () => ({ id: '3' }) },
            Contact: {
              __resolveReference: (sent: object) => sent,
              next: after,
              [`${name}Only`]: ({ id }: { id: string }, { n }: { n?: number }) => `${name}${id}${n ?? ''}`,
              [`${name}Label`]: ({ label }: { label?: string }) => `${name} ${label}`,
            },
          },
        },
      ]),
    ),
  },
  cases: cases(
    'the planner takes all memory',
    {
      query: '{ first { next { label cOnly next { dOnly next { __typename id next { cLabel dLabel } } } } } }',
      data: {
        first: {
          next: {
            label: 'l1',
            cOnly: 'c1',
            next: { dOnly: 'd2', next: { __typename: 'D', id: '3', next: { cLabel: 'c l4', dLabel: 'd l4' } } },
          },
        },
      },
    },
    {
      query: `{ all { __typename x: cOnly(n: 1) dOnly next { ...N ... on H { own next { label } } ... on A { own: dOnly } } } }
        fragment N on Contact { next { __typename dLabel } }`,
      data: {
        all: [
          {
            __typename: 'G',
            x: 'c61',
            dOnly: 'd6',
            next: { next: { __typename: 'A', dLabel: 'd l0', label: 'l0' }, own: 'own 7' },
          },
          null,
          { __typename: 'H', x: 'c71', dOnly: 'd7', next: { next: { __typename: 'B', dLabel: 'd l1' }, own: 'd0' } },
        ],
      },
    },
    {
      query:
        '{ c { cOnly next { __typename next { id: label label: id } } } d { ... on D { own cLabel next { dLabel } } } }',
      data: {
        c: { cOnly: 'c3', next: { __typename: 'E', next: { id: 'l5', label: '5' } } },
        d: { own: 'own 3', cLabel: 'c l3', next: { dLabel: 'd l4' } },
      },
    },
  ),
}

export const interfaceObjectSuites: readonly Suite[] = [
  interfaceObjects,
  narrowed,
  otherConditions,
  required,
  oneType,
  lost,
  many,
]
