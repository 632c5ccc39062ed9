import type { Suite } from './support.ts'

/** Parts of a catalogue under several keys; `resolvable: false` says that a subgraph only mentions them so. */
const parts = [{ id: '1', code: 'c1', place: { hall: 'h1', shelf: 's1', box: 'b1' }, name: 'bolt' }]
const part = (id: string) => parts.find((each) => each.id === id)

export const keySuites: readonly Suite[] = [
  {
    name: 'keys that are not resolvable',
    subgraphs: {
      catalogue: {
        sdl: `type Part @key(fields: "id", resolvable: true) @key(fields: "code", resolvable: false)
            @key(fields: "place { hall shelf }", resolvable: false) @key(fields: "id place { shelf box }", resolvable: false) {
            id: ID! code: ID! place: Place! name: String! }
          type Place { hall: ID! shelf: ID! box: ID! }`,
        resolvers: { Part: { __resolveReference: ({ id }: { id: string }) => part(id) ?? null } },
      },
      machines: {
        sdl: `type Query { machine: Machine }
          type Machine @key(fields: "id") { id: ID! parts: [Part!]! }
          type Part @key(fields: "place { hall shelf }", resolvable: false) @key(fields: "id place { shelf box }")
            @key(fields: "code", resolvable: false) @key(fields: "id", resolvable: false) {
            id: ID! code: ID! place: Place! name: String! @external label: String! @requires(fields: "name") }
          type Place { hall: ID! shelf: ID! box: ID! }`,
        resolvers: {
          Query: { machine: () => ({ id: 'm', parts: parts.map(({ name: _, ...rest }) => rest) }) },
          Part: {
            __resolveReference: ({
              id,
              place,
              name,
            }: {
              id?: string
              place?: { shelf?: string; box?: string }
              name?: string
            }) => (id && place?.shelf && place.box ? { id, name } : null),
            label: ({ name }: { name?: string }) => {
              if (!name) throw new Error('The name was not sent.')
              return `label of ${name}`
            },
          },
        },
      },
    },
    cases: [
      {
        query: '{ machine { id parts { id name label } } }',
        data: { machine: { id: 'm', parts: [{ id: '1', name: 'bolt', label: 'label of bolt' }] } },
      },
      { query: '{ machine { parts { label } } }', data: { machine: { parts: [{ label: 'label of bolt' }] } } },
    ],
  },
]
