/** The subgraphs of a random world: their schemas, and how they resolve. */
import type { GraphQLFieldResolver } from 'graphql'
import type { Service } from './services.ts'
import {
  computed,
  type Field,
  identityOf,
  kindOf,
  received,
  selectionOf,
  type Thing,
  type Type,
  truth,
  type World,
} from './world.ts'

const SHARED = `type Org @shareable { id: ID! name: String } input Filter { a: Int b: String }\n`
const KEY_FIELDS: Record<string, string> = { id: 'id: ID!', k: 'k: ID!', 'org { id }': 'org: Org!' }

const baseOf = (type: string): string => type.replace(/[[\]!]/g, '')

/** A subgraph's schema as SDL. */
function sdlOf(world: World, subgraph: string): string {
  const printed = new Map<string, string>()
  const print = (name: string): void => {
    const type = world.types.get(name)
    if (!type || printed.has(name)) return
    printed.set(name, '')
    const { text, uses } = printType(world, type, subgraph)
    printed.set(name, text)
    for (const each of uses) print(each)
  }
  for (const type of world.types.values()) {
    if (type.kind === 'root' ? ownFields(type, subgraph).length > 0 : type.keys.has(subgraph)) print(type.name)
  }
  return SHARED + [...printed.values()].join('\n')
}

const ownFields = (type: Type, subgraph: string): Field[] =>
  [...type.fields.values()].filter(
    ({ owners, from }) => owners.includes(subgraph) || owners.includes('*') || from === subgraph,
  )

function printType(world: World, type: Type, subgraph: string): { text: string; uses: string[] } {
  const { name, kind, members } = type
  if (kind === 'union') return { text: `union ${name} = ${members.join(' | ')}`, uses: [...members] }
  const isHub = subgraph === world.subgraphs[0]
  const asObject = kind === 'interface' && !isHub
  const mentioned = [...(type.external.get(subgraph) ?? [])].flatMap((each) => type.fields.get(each) ?? [])
  const fields = ownFields(type, subgraph)
  const inherited = isHub ? type.interfaces.flatMap((each) => ownFields(world.types.get(each) as Type, subgraph)) : []
  const keys = type.keys.get(subgraph) ?? []
  const keyFields = keys.map((key) => KEY_FIELDS[key] as string)
  if (kind === 'interface' && isHub && keys.length === 0) keyFields.push('id: ID!')
  const lines = [
    ...keyFields,
    ...mentioned.map((each) => `${each.name}${each.args}: ${each.type} @external`),
    ...[...fields, ...inherited].map((each) => printField(each, kind, subgraph)),
  ]
  const head = asObject ? `type ${name} @interfaceObject` : kind === 'interface' ? `interface ${name}` : `type ${name}`
  const kinds = isHub && type.interfaces.length > 0 ? ` implements ${type.interfaces.join(' & ')}` : ''
  const [first, ...rest] = head.split(' @')
  const directives = [...rest.map((each) => `@${each}`), ...keys.map((key) => `@key(fields: "${key}")`)]
  return {
    text: `${first}${kinds} ${directives.join(' ')} { ${lines.join(' ')} }`,
    uses: [
      ...[...mentioned, ...fields, ...inherited].map((each) => baseOf(each.type)),
      ...(kind === 'interface' && isHub ? members : []),
      ...(isHub ? type.interfaces : []),
    ],
  }
}

function printField(field: Field, kind: Type['kind'], subgraph: string): string {
  const text = `${field.name}${field.args}: ${field.type}`
  if (field.requires !== undefined) return `${text} @requires(fields: ${JSON.stringify(field.requires)})`
  if (field.from !== undefined && field.owners.includes(subgraph)) return `${text} @override(from: "${field.from}")`
  if (field.provides !== undefined) return `${text} @provides(fields: "${field.provides}")`
  return kind === 'value' || field.owners.length > 1 || field.shared ? `${text} @shareable` : text
}

/** Answers each field by the truth, but for what the subgraph has to compute from what it was sent. */
function resolverOf(world: World, subgraph: string): GraphQLFieldResolver<Thing | undefined, unknown> {
  return (source, args, _context, { fieldName, parentType }) => {
    const thing = source ?? { __typename: parentType.name, id: 'root' }
    const field = world.types.get(parentType.name)?.fields.get(fieldName)
    if (field?.from === subgraph) return field.type.startsWith('[') ? [] : null
    if (field?.requires === undefined) return truth(world, thing, fieldName, args)
    const given = Object.keys(args).length > 0 ? JSON.stringify(args) : ''
    return computed(fieldName, received(thing.sent ?? {}, selectionOf(field.requires)), given)
  }
}

/** How the entities of a type are found by what is sent for them. */
function referenceOf(world: World, name: string) {
  return (sent: Record<string, unknown>): Thing => {
    const id = identityOf(name, sent)
    return { __typename: name === world.objectified ? kindOf(id) : name, id, sent }
  }
}

/** A subgraph of the first generator's worlds. */
export function serviceOf(world: World, name: string): Service {
  const resolvers = Object.fromEntries(
    [...world.types.values()]
      .filter(({ keys }) => keys.has(name))
      .map((type) => [type.name, { __resolveReference: referenceOf(world, type.name) }]),
  )
  return { name, sdl: sdlOf(world, name), resolvers, fieldResolver: resolverOf(world, name) as never }
}
