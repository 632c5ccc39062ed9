/** The subgraphs of the second generator's worlds: their schemas, and how they resolve. */
import type { GraphQLFieldResolver } from 'graphql'
import { identityOf, isBroken, kindOf, lostBy, received, type Thing, thing, truth, WRONG } from './data.ts'
import { type Field, fieldOf, type Type, typeOf, type World } from './types.ts'

const COMMON = 'enum Color {RED GREEN BLUE} scalar JSON input In {a:Int=3 b:[String!] c:Color n:In l:[[Int]]}'

/** The types that a subgraph knows. */
function typesIn(world: World, subgraph: string): ReadonlySet<string> {
  const found = new Set<string>()
  const queue: Type[] = []
  const mention = (name: string): void => {
    const type = world.types.get(name)
    if (!type || found.has(name)) return
    found.add(name)
    queue.push(type)
  }
  for (const type of world.types.values()) {
    if (type.kind === 'root') {
      for (const field of type.fields.values()) if (field.owners.has(subgraph)) mention(field.base)
    } else if (type.keys.has(subgraph) || type.objectIn.has(subgraph)) mention(type.name)
  }
  for (let type = queue.pop(); type; type = queue.pop()) {
    if (!type.objectIn.has(subgraph)) for (const member of type.members) mention(member)
    for (const field of type.fields.values()) if (isIn(type, field, subgraph)) mention(field.base)
  }
  return found
}

const isIn = (type: Type, field: Field, subgraph: string): boolean =>
  type.kind === 'value' ||
  field.owners.has(subgraph) ||
  field.from === subgraph ||
  (type.external.get(subgraph)?.has(field.name) ?? false) ||
  (field.isKey && field.name === 'org')

export function sdlOf(world: World, subgraph: string): string {
  const known = typesIn(world, subgraph)
  const types = [...world.types.values()].flatMap((type) => {
    if (type.kind !== 'root') return known.has(type.name) ? [printType(world, type, subgraph, known)] : []
    const own = [...type.fields.values()].filter(({ owners }) => owners.has(subgraph))
    return own.length > 0
      ? [`type ${type.name} {${own.map((each) => printField(type, each, subgraph)).join(' ')}}`]
      : []
  })
  return [COMMON, ...types].join('\n')
}

function plain({ name, args, base, wrap }: Field): string {
  const open = wrap.replace(/[^[]/g, '')
  const given = args.map((each) => `${each.name}:${each.type}${each.fallback ? `=${each.fallback}` : ''}`).join(' ')
  return `${name}${given && `(${given})`}:${open}${base}${wrap.slice(open.length)}`
}

function printField(type: Type, field: Field, subgraph: string): string {
  const { owners, isKey, isShareable, requires, provides, from } = field
  const isOwn = owners.has(subgraph)
  if (!isOwn && !isKey && type.external.get(subgraph)?.has(field.name)) return `${plain(field)} @external`
  return [
    plain(field),
    requires && `@requires(fields:${JSON.stringify(requires.text)})`,
    isOwn && provides && `@provides(fields:"${provides}")`,
    (isShareable || (isKey && type.kind === 'entity')) && type.kind !== 'value' && '@shareable',
    isOwn && from && `@override(from:"${from}")`,
  ]
    .filter(Boolean)
    .join(' ')
}

function printType(world: World, type: Type, subgraph: string, known: ReadonlySet<string>): string {
  const { name, kind, members } = type
  const all = [...type.fields.values()]
  const print = (fields: readonly Field[]) => fields.map((each) => printField(type, each, subgraph)).join(' ')
  const label = type.hasLabel && known.has('J') ? ['J'] : []
  switch (kind) {
    case 'union':
      return `union ${name} = ${members.join('|')}`
    case 'value':
      return `type ${name} ${label.length > 0 ? 'implements J' : ''} @shareable {${print(all)}}`
    case 'split':
      return `type ${name} {${print(all.filter(({ owners }) => owners.has(subgraph)))}}`
    case 'interface': {
      const isEverywhere = members
        .map((member) => typeOf(world, member))
        .every((each) => each.kind === 'value' || each.fields.get('label')?.owners.has(subgraph))
      return `interface ${name} {${print(all.filter((field) => field.name === 'jid' || isEverywhere))}}`
    }
    case 'objectified': {
      const isObject = type.objectIn.has(subgraph)
      const mentioned = (field: Field) => isObject && type.external.get(subgraph)?.has(field.name)
      const fields = all.filter((field) => field.isKey || field.owners.has(subgraph) || mentioned(field))
      const text = isObject ? print(fields) : fields.map(plain).join(' ')
      return `${isObject ? 'type' : 'interface'} ${name} ${isObject ? '@interfaceObject' : ''} @key(fields:"id") {${text}}`
    }
    default:
      return printEntity(type, subgraph, known, label)
  }
}

function printEntity(type: Type, subgraph: string, known: ReadonlySet<string>, label: readonly string[]): string {
  const { name, keys, external, objectified } = type
  const interfaces = [...(objectified !== undefined && known.has(objectified) ? [objectified] : []), ...label]
  const own = keys.get(subgraph)
  // The kinds of an interface have its key.
  const isResolvable = own !== undefined || interfaces.some((each) => each === objectified)
  const texts = own ?? ['id']
  const names = new Set(texts.flatMap((text) => text.replace(/\{.*\}/, '').split(' ')))
  const fields = [...type.fields.values()].filter((field) => {
    if (field.name === 'jid') return known.has('J')
    if (!field.isKey) return isIn(type, field, subgraph)
    return (
      names.has(field.name) || (field.name === 'id' && (objectified !== undefined || external.get(subgraph)?.has('id')))
    )
  })
  const directives = texts.map((text) => `@key(fields:"${text}"${isResolvable ? '' : ' resolvable:false'})`).join(' ')
  const head = `type ${name} ${interfaces.length > 0 ? `implements ${interfaces.join(' & ')}` : ''}`
  return `${head} ${directives} {${fields.map((field) => printField(type, field, subgraph)).join(' ')}}`
}

/** How entities are found, and what kind they are of. */
export function resolversOf(world: World, subgraph: string): Record<string, Record<string, unknown>> {
  const known = typesIn(world, subgraph)
  const resolvers: Record<string, Record<string, unknown>> = {}
  for (const type of [...world.types.values()].filter(({ name }) => known.has(name))) {
    const { kind, name, objectIn } = type
    const isObject = objectIn.has(subgraph)
    const isAbstract = kind === 'interface' || kind === 'union' || (kind === 'objectified' && !isObject)
    const isEntity = kind === 'entity' || kind === 'objectified'
    resolvers[name] = {
      ...(isAbstract && { __resolveType: (each: Thing) => each.type }),
      ...(isEntity && {
        __resolveReference: async (sent: Record<string, unknown>): Promise<Thing | null> => {
          const id = identityOf(name, sent)
          const lost = world.broken.find(
            (each) => each.subgraph === subgraph && each.type === name && isBroken(each, id),
          )
          if (lost?.mode === 'throw') throw new Error('not found')
          if (lost) return null
          const found = { ...thing(kind === 'objectified' ? kindOf(world, name, id) : name, id), sent }
          return isObject ? { ...found, __typename: name } : found
        },
      }),
    }
  }
  return resolvers
}

const ROOT = thing('Query', '')

/** Answers each field by the truth, but for what the subgraph has to compute from what it was sent. */
export function resolverOf(world: World, subgraph: string): GraphQLFieldResolver<Thing | undefined, unknown> {
  return (source, args, _context, { fieldName, parentType, path }) => {
    const of = path.prev === undefined ? { ...ROOT, type: parentType.name } : (source as Thing)
    const field = fieldOf(world, of.type, fieldName)
    if (field?.from === subgraph) throw new Error(`${WRONG}${fieldName} has moved from here`)
    if (!field?.requires) return truth(world, of, fieldName, args)
    const lost = lostBy(world, field, of.type, of.id)
    if (lost?.mode === 'throw') throw new Error('not found')
    if (lost) return null
    // Objects that the subgraph found by itself it may know whole.
    if (!of.sent)
      return isProvided(world, subgraph, field) ? truth(world, of, fieldName, args) : `${WRONG}nothing was sent`
    return JSON.stringify([received(world, field.requires.set, of.sent), args])
  }
}

const isProvided = (world: World, subgraph: string, { at }: Field): boolean =>
  [...world.types.values()].some(({ fields }) =>
    [...fields.values()].some((each) => each.provides !== undefined && each.owners.has(subgraph) && each.base === at),
  )

/** For the one server that holds everything. */
export const trueResolver =
  (world: World): GraphQLFieldResolver<Thing | undefined, unknown> =>
  (source, args, _context, { fieldName, parentType, path }) =>
    truth(world, path.prev === undefined ? { ...ROOT, type: parentType.name } : (source as Thing), fieldName, args)
