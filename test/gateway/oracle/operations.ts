/** Random operations over a schema: aliases that collide with whatever they can, conditions everywhere, `__typename` first. */
import {
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isCompositeType,
  isInterfaceType,
  isObjectType,
  parse,
  validate,
} from 'graphql'
import type { Random } from './random.ts'
import { argumentsFor } from './world.ts'

export type Asked = { readonly query: string; readonly variables: Record<string, unknown> }

/** Names of keys and fields, and those that planners and gateways make up. */
const ALIASES = [
  ...['id', 'k', 'org', 'name', 'code', 'price', 'weight', 'item', 'items', 'tax0', 'ship1', 'displayName', 'country'],
  ...['id__alias_0', 'name__alias_0', 'price__1', 'name__1', 'item__2', '_0', '_entities', 'representations', 'a', 'b'],
  ...['__proto__', 'constructor', 'toString'].slice(1),
]
const CONDITIONS = ['true', 'false', '$yes', '$no', '$late', '$early']
const FIELD_LIMIT = 45

/** @returns a valid operation and its variables; undefined where none was found in a few tries */
export function createOperation(schema: GraphQLSchema, random: Random): Asked | undefined {
  for (let attempt = 0; attempt < 20; attempt++) {
    const asked = attemptOperation(schema, random)
    if (validate(schema, parse(asked.query)).length === 0) return asked
  }
  return undefined
}

function attemptOperation(schema: GraphQLSchema, random: Random): Asked {
  const fragments = new Map<string, { readonly type: string; text: string }>()
  const aliased = random.chance(0.75) ? 0.35 : 0
  const conditional = random.chance(0.6) ? 0.12 : 0
  /** In front, as some clients have it everywhere. */
  const typenames = random.pick([0, 0.3, 1])
  let fields = 0

  const condition = (): string => {
    if (!random.chance(conditional)) return ''
    const one = ` @${random.pick(['skip', 'include'])}(if: ${random.pick(CONDITIONS)})`
    const both = ` @skip(if: ${random.pick(CONDITIONS)}) @include(if: ${random.pick(CONDITIONS)})`
    return random.chance(0.9) ? one : both
  }

  function field({ name, type, args }: GraphQLField<unknown, unknown>, depth: number, alias?: string): string {
    fields++
    const named = getNamedType(type)
    const own = alias ?? (random.chance(aliased) ? random.pick(ALIASES) : undefined)
    const inner = isCompositeType(named) ? ` ${set(named, depth - 1)}` : ''
    return `${own === undefined ? '' : `${own}: `}${name}${given(args, random)}${condition()}${inner}`
  }

  /** What both sides of a type condition ask for under one name. */
  function twins(types: readonly GraphQLObjectType[], depth: number): string[] {
    const alias = random.pick(ALIASES)
    return types.slice(0, 2).map((type) => {
      const all = Object.values(type.getFields())
      const wanted = all.filter((each) => depth > 0 || !isCompositeType(getNamedType(each.type)))
      return `... on ${type.name}${condition()} { ${random.chance(0.3) ? '__typename ' : ''}${field(random.pick(wanted), depth, alias)} }`
    })
  }

  function set(type: GraphQLCompositeType, depth: number): string {
    const own =
      isAbstractType(type) && !isInterfaceType(type) ? [] : Object.values((type as GraphQLObjectType).getFields())
    const wanted = own.filter((each) => depth > 0 || !isCompositeType(getNamedType(each.type)))
    const possible = isAbstractType(type) ? schema.getPossibleTypes(type) : []
    const parts: string[] = []
    if (random.chance(typenames)) parts.push(typename())
    const count = 1 + random.int(4)
    for (let index = 0; index < count && fields < FIELD_LIMIT; index++) {
      if (possible.length > 1 && random.chance(0.3)) parts.push(...twins(possible, depth))
      else if (random.chance(possible.length > 0 ? 0.45 : 0.15)) parts.push(fragment(type, possible, depth))
      else if (wanted.length > 0) parts.push(field(random.pick(wanted), depth))
    }
    if (random.chance(0.1)) parts.push(typename())
    return `{ ${parts.length > 0 ? parts.join(' ') : '__typename'} }`
  }

  const typename = (): string =>
    `${random.chance(aliased) ? `${random.pick(ALIASES)}: ` : ''}__typename${random.chance(0.2) ? condition() : ''}`

  function fragment(type: GraphQLCompositeType, possible: readonly GraphQLObjectType[], depth: number): string {
    const kinds: GraphQLCompositeType[] = [...possible, type]
    for (const each of isObjectType(type) ? [type] : possible) kinds.push(...each.getInterfaces())
    if (random.chance(0.4)) kinds.push(...abstractKinds(schema, isObjectType(type) ? [type] : possible))
    const on = random.pick(kinds)
    if (random.chance(0.3)) {
      const known = [...fragments].filter(
        ([, each]) => kinds.some(({ name }) => name === each.type) && each.text !== '',
      )
      if (known.length > 0 && random.chance(0.5)) return `...${random.pick(known)[0]}${condition()}`
      const name = `F${fragments.size}`
      const made = { type: on.name, text: '' }
      fragments.set(name, made)
      made.text = `fragment ${name} on ${on.name} ${set(on, depth)}`
      return `...${name}${condition()}`
    }
    if (random.chance(0.15)) return `...${condition()} ${set(type, depth)}`
    return `... on ${on.name}${condition()} ${set(on, depth)}`
  }

  const mutation = random.chance(0.08) ? schema.getMutationType() : undefined
  const root = mutation ?? (schema.getQueryType() as GraphQLObjectType)
  const body = set(root, 2 + random.int(3))
  const text = [body, ...[...fragments.values()].map((each) => each.text)].join('\n')
  const { head, variables } = variablesOf(text, random)
  const query = `${mutation ? 'mutation' : 'query'} ${head} ${text}`
  return random.chance(0.15) ? renamed(query, variables, random) : { query, variables }
}

/** With a variable that has a name of the planner's. */
function renamed(query: string, variables: Asked['variables'], random: Random): Asked {
  const [own, name] = [random.pick(['n', 'c', 'f', 'late']), random.pick(['representations', 'representations_0'])]
  const { [own]: value, ...others } = variables
  return {
    query: query.replace(new RegExp(`\\$${own}\\b`, 'g'), `$${name}`),
    variables: own in variables ? { ...others, [name]: value } : variables,
  }
}

/** Unions and interfaces that some of the types are of, related to what was asked for or not. */
const abstractKinds = (schema: GraphQLSchema, types: readonly GraphQLObjectType[]) =>
  Object.values(schema.getTypeMap())
    .filter(isAbstractType)
    .filter((kind) => types.some((type) => schema.isSubType(kind, type)))

/** The variables that a text uses: how they are declared, and values for them. */
function variablesOf(text: string, random: Random): { readonly head: string; readonly variables: Asked['variables'] } {
  const declared = [
    ['yes', 'Boolean!'],
    ['no', 'Boolean!'],
    ['late', 'Boolean = true'],
    ['early', 'Boolean! = false'],
    ['c', 'String'],
    ['d', 'String = "GBP"'],
    ['n', 'Int = 7'],
    ['f', 'Filter'],
    ['a', 'Int'],
  ].filter(([name]) => new RegExp(`\\$${name}\\b`).test(text))
  const names = new Set(declared.map(([name]) => name))
  const variables: Record<string, unknown> = {}
  const give = (name: string, value: unknown, always = false) => {
    if (names.has(name) && (always || random.chance(0.5))) variables[name] = value
  }
  give('yes', true, true)
  give('no', false, true)
  give('late', random.chance(0.1) ? null : random.chance(0.5))
  give('early', random.chance(0.5))
  give('c', random.pick(['EUR', 'CHF', null]))
  give('d', 'USD')
  give('n', random.pick([1, 2, null]))
  give('f', { a: 3 })
  give('a', 1)
  const head = declared.length > 0 ? `(${declared.map(([name, type]) => `$${name}: ${type}`).join(' ')})` : ''
  return { head, variables }
}

function given(args: GraphQLField<unknown, unknown>['args'], random: Random): string {
  const [arg] = args
  if (!arg || random.chance(0.4)) return ''
  if (random.chance(0.6)) return argumentsFor(`(${arg.name}`, random)
  const variable = { c: ['$c', '$d'], n: ['$n', '$a'], f: ['$f', '{b: $c, a: $n}'] }[arg.name] ?? []
  return `(${arg.name}: ${random.pick(variable)})`
}
