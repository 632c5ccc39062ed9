/**
 * A random supergraph, and what is true in it: each object is a type's name and an identity, and each field's value follows
 * from these, the field and its arguments. Subgraphs and the one server that holds everything answer from the same truth.
 */
import {
  type ArgumentNode,
  type GraphQLFieldResolver,
  Kind,
  parse,
  parseType,
  type SelectionSetNode,
  type TypeNode,
  valueFromASTUntyped,
} from 'graphql'
import { createRandom, hash, type Random } from './random.ts'

/** A field of a type, in all subgraphs together. */
export interface Field {
  readonly name: string
  /** As SDL has it: `[Item!]`. */
  readonly type: string
  /** As SDL has them, with the brackets; or an empty text. */
  readonly args: string
  /** The subgraphs that resolve it. */
  readonly owners: string[]
  /** The selection that it needs from other subgraphs. */
  readonly requires?: string
  /** The subgraph that had it before (`@override`): what that one answers is wrong. */
  readonly from?: string
  readonly provides?: string
  /** Never fails: others depend on it. */
  safe: boolean
  /** Others provide it, too. */
  shared?: boolean
}

type Kinds = 'entity' | 'value' | 'interface' | 'union' | 'root'

export interface Type {
  readonly name: string
  readonly kind: Kinds
  readonly fields: Map<string, Field>
  /** Of an entity: by subgraph, the keys that it resolves there. */
  readonly keys: Map<string, readonly string[]>
  /** By subgraph, the fields of others that it mentions. */
  readonly external: Map<string, Set<string>>
  /** Of an abstract type. */
  readonly members: readonly string[]
  readonly interfaces: string[]
}

export interface World {
  readonly seed: number
  readonly subgraphs: readonly string[]
  readonly types: ReadonlyMap<string, Type>
  /** The interface that subgraphs other than the first take for an object. */
  readonly objectified: string
}

export interface Thing {
  readonly __typename: string
  readonly id: string
  readonly sent?: Record<string, unknown>
}

const KEYS = ['id', 'k', 'org { id }'] as const
const HUB = 's0'
const NAMES = ['name', 'code', 'price', 'weight', 'size', 'other', 'item', 'items', 'label']
const ARGS = ['', '', '', '(c: String = "USD")', '(n: Int)', '(f: Filter)']
const LEAVES = ['String', 'Int', 'String', 'ID', 'Float']
const WRAPS = ['*', '*', '*', '*!', '[*]', '[*!]', '[*!]!', '[[*]]']

const wrap = (random: Random, name: string): string => random.pick(WRAPS).replace('*', name)

const baseOf = (type: string): string => type.replace(/[[\]!]/g, '')

function newType(name: string, kind: Kinds, members: readonly string[] = []): Type {
  return { name, kind, fields: new Map(), keys: new Map(), external: new Map(), members, interfaces: [] }
}

/** @param seed the same seed makes the same world */
export function createWorld(seed: number): World {
  const random = createRandom(seed)
  const subgraphs = Array.from({ length: 3 + random.int(4) }, (_, index) => `s${index}`)
  const types = new Map<string, Type>()
  const add = (type: Type): Type => {
    types.set(type.name, type)
    return type
  }
  const entities = ['E0', 'E1', 'E2', 'E3'].slice(0, 2 + random.int(3)).map((name) => add(newType(name, 'entity')))
  const values = ['V0', 'V1'].map((name) => add(newType(name, 'value')))
  const kinds = ['P0', 'G0'].map((name) => add(newType(name, 'entity')))
  const contact = add(newType('C0', 'interface', ['P0', 'G0']))
  for (const kind of kinds) kind.interfaces.push('C0')
  const node = add(newType('N0', 'interface', ['E0', 'E1']))
  for (const entity of entities.slice(0, 2)) entity.interfaces.push('N0')
  add(newType('U0', 'union', ['E0', 'E1', 'V0']))
  add(newType('U1', 'union', ['E1', 'P0']))
  const query = add(newType('Query', 'root'))
  const mutation = add(newType('Mutation', 'root'))

  for (const entity of entities) {
    entity.keys.set(HUB, [...KEYS])
    for (const subgraph of subgraphs.slice(1)) {
      if (random.chance(0.75)) {
        const keys = random.some(KEYS, 0.4)
        entity.keys.set(subgraph, keys.length > 0 ? keys : ['id'])
      }
    }
  }
  for (const kind of kinds) kind.keys.set(HUB, ['id'])
  contact.keys.set(HUB, ['id'])
  for (const subgraph of subgraphs.slice(1)) {
    if (random.chance(0.5)) contact.keys.set(subgraph, ['id'])
    else for (const kind of random.some(kinds, 0.4)) kind.keys.set(subgraph, ['id'])
  }

  const references = (subgraph: string): string[] => [
    ...entities.filter(({ keys }) => keys.has(subgraph)).map(({ name }) => name),
    'V0',
    'V1',
    ...(subgraph === HUB ? ['U0', 'U1', 'N0', 'C0', 'C0', 'P0', 'G0'] : contact.keys.has(subgraph) ? ['C0', 'C0'] : []),
  ]
  const field = (type: Type, subgraph: string, name: string, extra: Partial<Field> = {}): Field => {
    const made: Field = {
      name,
      type: random.chance(0.6) ? wrap(random, random.pick(LEAVES)) : wrap(random, random.pick(references(subgraph))),
      args: random.pick(ARGS),
      owners: [subgraph],
      safe: false,
      ...extra,
    }
    type.fields.set(name, made)
    return made
  }

  for (const [index, value] of values.entries()) {
    for (const name of random.some(NAMES, 0.4)) {
      const type = wrap(random, index === 0 && random.chance(0.2) ? 'V1' : random.pick(LEAVES))
      field(value, '*', name, { type })
    }
    field(value, '*', 'w', { type: 'Int', args: '' })
  }
  const commonType = random.pick(['String', 'String!', 'Int'])
  field(node, HUB, 'common', { type: commonType, args: random.pick(ARGS) })
  field(node, HUB, 'link', { type: random.pick(['E0', 'E1', '[E1]', 'V0']), args: '' })
  field(contact, HUB, 'displayName', { type: 'String!', args: '', safe: true })
  for (const type of [...entities, ...kinds]) {
    for (const name of NAMES) {
      if (random.chance(0.45)) continue
      const subgraph = random.pick([...type.keys.keys()])
      const made = field(type, subgraph, name)
      const other = random.pick([...type.keys.keys()])
      if (other !== subgraph && references(other).concat(LEAVES).includes(baseOf(made.type))) {
        if (random.chance(0.3)) made.owners.push(other)
        else if (random.chance(0.15)) type.fields.set(name, { ...made, owners: [other], from: subgraph })
      }
    }
  }
  addInterfaceFields(random, contact, field)
  for (const type of entities) addRequirements(random, types, type)
  addProvided(random, types)
  for (const subgraph of subgraphs) {
    const count = subgraph === HUB ? 5 : 2
    for (let index = 0; index < count; index++) {
      const type = wrap(random, random.pick(references(subgraph)))
      field(query, subgraph, `q${subgraph.slice(1)}${index}`, { type })
    }
    if (random.chance(0.4))
      field(mutation, subgraph, `m${subgraph.slice(1)}`, { type: random.pick(references(subgraph)) })
  }
  return { seed, subgraphs, types, objectified: 'C0' }
}

type AddField = (type: Type, subgraph: string, name: string, extra?: Partial<Field>) => Field

/** Fields of subgraphs that take the interface for an object. */
function addInterfaceFields(random: Random, contact: Type, field: AddField): void {
  for (const subgraph of contact.keys.keys()) {
    if (subgraph === HUB) continue
    for (const name of [`country`, `friend`, `n`, 'code2'].filter(() => random.chance(0.5))) {
      if (contact.fields.has(name)) continue
      if (name === 'friend') field(contact, subgraph, name, { type: wrap(random, 'C0') })
      else field(contact, subgraph, name)
    }
    if (random.chance(0.4) && !contact.fields.has('greet')) {
      mention(contact, subgraph, ['displayName'])
      field(contact, subgraph, 'greet', { type: 'String', args: '', requires: 'displayName' })
    }
  }
}

function addProvided(random: Random, types: ReadonlyMap<string, Type>): void {
  for (const type of types.values()) {
    if (type.kind !== 'entity') continue
    for (const [name, made] of type.fields) {
      const target = types.get(baseOf(made.type))
      const [owner] = made.owners as [string]
      if (made.owners.length > 1 || made.from || made.requires || target?.kind !== 'entity' || !random.chance(0.3))
        continue
      const given = [...target.fields.values()].find(
        (each) => !each.owners.includes(owner) && !each.requires && !each.from && each.args === '' && isLeaf(each.type),
      )
      // What a subgraph provides it knows where it requires it, too: then nothing is sent to it.
      const isRequired = [...target.fields.values()].some(
        (each) => each.owners.includes(owner) && each.requires?.includes(given?.name ?? ''),
      )
      if (!given || isRequired || !target.keys.has(owner)) continue
      mention(target, owner, [given.name])
      given.shared = true
      type.fields.set(name, { ...made, provides: given.name })
    }
  }
}

const isLeaf = (type: string): boolean => LEAVES.includes(baseOf(type))

function mention(type: Type, subgraph: string, names: readonly string[]): void {
  const known = type.external.get(subgraph) ?? new Set()
  for (const name of names) known.add(name)
  type.external.set(subgraph, known)
}

function addRequirements(random: Random, types: ReadonlyMap<string, Type>, type: Type): void {
  for (const [index, subgraph] of [...type.keys.keys()].entries()) {
    if (!random.chance(0.6)) continue
    const known = [...type.fields.values()].filter((each) => {
      const kind = types.get(baseOf(each.type))?.kind
      return !each.owners.includes(subgraph) && each.from !== subgraph && (isLeaf(each.type) || kind === 'value')
    })
    for (const name of ['tax', 'ship'].filter(() => random.chance(0.6))) {
      const needed = random.some(known, 0.5).slice(0, 3)
      if (needed.length === 0) continue
      const texts = needed.map((each) => {
        const value = types.get(baseOf(each.type))
        each.safe = true
        const given = each.args && random.chance(0.6) ? argumentsFor(each.args, random) : ''
        if (value?.kind !== 'value') return each.name + given
        const inner = [...value.fields.values()].filter(({ type, args }) => isLeaf(type) && args === '').slice(0, 2)
        for (const leaf of inner) leaf.safe = true
        return `${each.name}${given} { ${inner.map((leaf) => leaf.name).join(' ')} }`
      })
      mention(
        type,
        subgraph,
        needed.map((each) => each.name),
      )
      type.fields.set(`${name}${index}`, {
        name: `${name}${index}`,
        type: random.pick(['String', 'String!']),
        args: random.pick(['', '(n: Int)']),
        owners: [subgraph],
        requires: texts.join(' '),
        safe: false,
      })
    }
  }
}

/** Arguments as a document has them, with literals. */
export function argumentsFor(args: string, random: Random): string {
  if (args.startsWith('(c')) return `(c: "${random.pick(['EUR', 'USD', 'GBP'])}")`
  if (args.startsWith('(n')) return `(n: ${random.int(3)})`
  return random.pick(['(f: {a: 1, b: "x"})', '(f: {b: "x", a: 1})', '(f: {a: 2})'])
}

/** The definition of a field, by the type that an object has at runtime or by its interface. */
function fieldOf({ types }: World, typename: string, name: string): { owner: string; field: Field } | undefined {
  const type = types.get(typename)
  const own = type?.fields.get(name)
  if (own) return { owner: typename, field: own }
  for (const each of type?.interfaces ?? []) {
    const field = types.get(each)?.fields.get(name)
    if (field) return { owner: each, field }
  }
  return undefined
}

/** The runtime type of the objects of an interface that some take for an object. */
export const kindOf = (id: string): string => (hash(id) % 2 === 0 ? 'P0' : 'G0')

/** The identity that a key stands for. @throws Error when it is none, or keys disagree */
export function identityOf(typename: string, sent: Record<string, unknown>): string {
  const org = sent.org as { id?: unknown } | undefined
  const found = new Set(
    [sent.id, strip(sent.k, 'k:'), strip(org?.id, 'o:')].filter((each) => each !== undefined).map(String),
  )
  const [id] = found
  if (id === undefined || found.size > 1 || !/^[A-Z]\d-\d$/.test(id)) {
    throw new Error(`No ${typename} has the key ${JSON.stringify(sent)}.`)
  }
  return id
}

const strip = (value: unknown, prefix: string): unknown =>
  typeof value === 'string' && value.startsWith(prefix)
    ? value.slice(prefix.length)
    : value === undefined
      ? undefined
      : NaN

/** The value of a field by the truth. @throws Error where the world has the field fail */
export function truth(world: World, thing: Thing, name: string, args: Record<string, unknown>): unknown {
  const { __typename: typename, id } = thing
  if (name === 'id') return id
  if (name === 'k') return `k:${id}`
  if (name === 'org') return { __typename: 'Org', id: `o:${id}` }
  if (typename === 'Org') return `org ${id}`
  const found = fieldOf(world, typename, name)
  if (!found) throw new Error(`There is no field ${typename}.${name}.`)
  const { owner, field } = found
  const given = Object.keys(args).length > 0 ? JSON.stringify(sortKeys(args)) : ''
  if (field.requires !== undefined) return computed(field.name, required(world, thing, field.requires), given)
  const place = `${owner}:${id}.${name}${given}`
  const random = createRandom(hash(`${world.seed} ${place}`))
  if (!field.safe && random.chance(0.06)) throw new Error(`${typename}.${name} fails`)
  return make(world, random, parseType(field.type), place, field.safe)
}

const sortKeys = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(
        Object.entries(value)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([key, each]) => [key, sortKeys(each)]),
      )
    : value

/** What a field with `@requires` makes of what it was sent. */
export const computed = (name: string, sent: unknown, given: string): string =>
  `${name}${given} of ${JSON.stringify(sent)}`

/** What a requirement is, by the truth. */
function required(world: World, thing: Thing, selection: string): unknown {
  const pick = (value: unknown, set: SelectionSetNode | undefined): unknown => {
    if (!set || value === null || value === undefined) return value ?? null
    if (Array.isArray(value)) return value.map((item) => pick(item, set))
    return Object.fromEntries(
      set.selections.map((each) => {
        if (each.kind !== Kind.FIELD) throw new Error('A requirement has fields only.')
        const field = fieldOf(world, (value as Thing).__typename, each.name.value)?.field
        const args = literalArguments(field?.args ?? '', each.arguments ?? [])
        return [each.name.value, pick(truth(world, value as Thing, each.name.value, args), each.selectionSet)]
      }),
    )
  }
  return pick(thing, selectionOf(selection))
}

/** What a requirement is, by what a subgraph was sent. */
export function received(sent: unknown, selection: SelectionSetNode): unknown {
  if (sent === null || typeof sent !== 'object') return sent ?? null
  if (Array.isArray(sent)) return sent.map((item) => received(item, selection))
  return Object.fromEntries(
    selection.selections.map((each) => {
      if (each.kind !== Kind.FIELD) throw new Error('A requirement has fields only.')
      const name = each.name.value
      if (!Object.hasOwn(sent, name)) return [name, 'NOT SENT']
      const value = (sent as Record<string, unknown>)[name]
      return [name, each.selectionSet ? received(value, each.selectionSet) : value]
    }),
  )
}

export function selectionOf(text: string): SelectionSetNode {
  const [operation] = parse(`{${text}}`).definitions
  if (operation?.kind !== Kind.OPERATION_DEFINITION) throw new Error(text)
  return operation.selectionSet
}

function literalArguments(declared: string, given: readonly ArgumentNode[]): Record<string, unknown> {
  const args = Object.fromEntries(given.map(({ name, value }) => [name.value, valueFromASTUntyped(value)]))
  return declared.startsWith('(c') && !('c' in args) ? { c: 'USD' } : args
}

function make(world: World, random: Random, type: TypeNode, place: string, safe: boolean): unknown {
  if (type.kind !== Kind.NON_NULL_TYPE && random.chance(0.1)) return null
  const bare = type.kind === Kind.NON_NULL_TYPE ? type.type : type
  if (bare.kind === Kind.LIST_TYPE) {
    return Array.from({ length: random.int(4) }, (_, index) =>
      !safe && random.chance(0.04)
        ? new Error('an item fails')
        : make(world, random, bare.type, `${place}.${index}`, safe),
    )
  }
  const name = bare.name.value
  switch (name) {
    case 'String':
    case 'ID':
      return `${place} ${random.int(10)}`
    case 'Int':
      return random.int(1000)
    case 'Float':
      return random.int(1000) / 8
  }
  const described = world.types.get(name)
  if (described?.kind === 'value') return { __typename: name, id: place }
  const id = `${name === 'P0' || name === 'G0' ? 'C0' : name}-${1 + random.int(4)}`
  if (name === 'P0' || name === 'G0') {
    const own = ['1', '2', '3', '4', '5', '6'].map((n) => `C0-${n}`).filter((each) => kindOf(each) === name)
    return { __typename: name, id: random.pick(own) }
  }
  if (name === world.objectified) return { __typename: kindOf(id), id }
  if (described?.kind === 'union' || described?.kind === 'interface') {
    return make(world, random, parseType(`${random.pick(described.members)}!`), place, safe)
  }
  return { __typename: name, id }
}

/** Answers each field by the truth: for the one server that holds everything. */
export const trueResolver =
  (world: World): GraphQLFieldResolver<Thing | undefined, unknown> =>
  (source, args, _context, { fieldName, parentType }) =>
    truth(world, source ?? { __typename: parentType.name, id: 'root' }, fieldName, args)
