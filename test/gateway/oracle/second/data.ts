/** What is true in a world of the second generator: every value follows from its object, the field and the arguments. */
import { type ArgumentNode, Kind, type SelectionSetNode, valueFromASTUntyped } from 'graphql'
import { hash as fnv } from '../random.ts'
import { type Broken, type Field, fieldOf, typeOf, type World } from './types.ts'

export interface Thing {
  readonly __typename: string
  /** The type at runtime: subgraphs with interface objects call it otherwise. */
  readonly type: string
  readonly id: string
  readonly sent?: Record<string, unknown>
}

export const thing = (type: string, id: string): Thing => ({ __typename: type, type, id })

/** The prefix of errors that only a wrong plan leads to. */
export const WRONG = 'WRONG: '

function hash(text: string): number {
  let value = fnv(text)
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d)
  value = Math.imul(value ^ (value >>> 12), 0x297a2d39)
  return (value ^ (value >>> 15)) >>> 0
}

export const isBroken = ({ modulus }: Broken, id: string): boolean => hash(id) % modulus === 0

const numberOf = (id: string): number => Number(id.split('_')[1])

/** The ids of an interface's kinds are ids of the interface. */
function pooledId(world: World, type: string, number: number): string {
  const { objectified } = typeOf(world, type)
  if (objectified === undefined) return `${type}_${number % world.pool}`
  const { members } = typeOf(world, objectified)
  return `${objectified}_${(number % 2) * members.length + members.indexOf(type)}`
}

/** The type that an object of an objectified interface has. */
export function kindOf(world: World, objectified: string, id: string): string {
  const { members } = typeOf(world, objectified)
  return members[numberOf(id) % members.length] as string
}

function keyValue({ type, id }: Thing, { name, base }: Field): unknown {
  if (type === 'Org') return name === 'id' ? `o-${id}` : thing('OrgSub', id)
  if (type === 'OrgSub') return `n-${id}`
  if (name === 'id') return id
  if (name === 'k') return base === 'Int' ? 1000 + numberOf(id) : `k-${id}`
  return thing('Org', id)
}

/** The value of a field. @throws Error where it fails */
export function truth(world: World, of: Thing, name: string, args: Readonly<Record<string, unknown>>): unknown {
  const { type, id } = of
  if (name === 'jid') return `j-${id}`
  const field = fieldOf(world, type, name)
  if (!field) throw new Error(`${WRONG}there is no ${type}.${name}`)
  if (field.isKey) return keyValue(of, field)
  const lost = lostBy(world, field, type, id)
  if (lost?.mode === 'throw') throw new Error('not found')
  if (lost) return null
  if (field.requires) return JSON.stringify([required(world, field.requires.set, of), args])
  const key = `${world.seed}|${field.at}|${id}|${name}|${JSON.stringify(args)}`
  if (field.throws && hash(`${key}T`) % 3 === 0) throw new Error('thrown')
  return make(world, field, key, field.wrap, `${id}/${name}`)
}

/** Why a field has no value: its subgraph can't find the entity. */
export function lostBy(world: World, field: Field, typename: string, id: string): Broken | undefined {
  return world.broken.find(
    (each) =>
      (typename === each.type || typeOf(world, typename).objectified === each.type) &&
      field.owners.size === 1 &&
      field.owners.has(each.subgraph) &&
      field.at === each.type &&
      isBroken(each, id),
  )
}

function make(world: World, field: Field, key: string, wrap: string, place: string): unknown {
  const isNonNull = wrap.endsWith('!')
  const inner = isNonNull ? wrap.slice(0, -1) : wrap
  const value = hash(key)
  if (!isNonNull && value % 6 === 0) return null
  if (isNonNull && field.throws && value % 9 === 0) return null
  if (inner.startsWith('[')) {
    const length = [0, 1, 2, 2, 3][value % 5] as number
    return Array.from({ length }, (_, index) =>
      make(world, field, `${key}[${index}]`, inner.slice(1, -1), `${place}.${index}`),
    )
  }
  const target = world.types.get(field.base)
  if (!target) return scalar(field.base, value, key)
  const all = target.members.length > 0 ? target.members : [field.base]
  const concrete = all[hash(`${key}g`) % all.length] as string
  const isEntity = typeOf(world, concrete).kind === 'entity'
  return thing(concrete, isEntity ? pooledId(world, concrete, hash(`${key}p`) % 7) : `${place}_${value % 100}`)
}

const OBJECTS = (value: number): readonly unknown[] => [
  ...[value % 77, { a: value % 5, id: 'zz', __typename: 'E0', l: [[null, { b: 1 }]] }],
  ...['text', [1, [2]], true, {}, []],
]

function scalar(type: string, value: number, key: string): unknown {
  switch (type) {
    case 'Int':
      return value % 1000
    case 'Float':
      return (value % 1000) / 8
    case 'Boolean':
      return value % 2 === 0
    case 'ID':
      return value % 3 === 0 ? String(value % 50) : `i${value % 50}`
    case 'Color':
      return ['RED', 'GREEN', 'BLUE'][value % 3]
    case 'JSON':
      return OBJECTS(value)[value % 7]
    default:
      return key.slice(key.indexOf('|') + 1)
  }
}

const deep = (value: unknown, change: (item: unknown) => unknown): unknown => {
  if (Array.isArray(value)) return value.map((item) => deep(item, change))
  return value === null || value === undefined ? null : change(value)
}

const sorted = (value: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))

const fits = (world: World, type: string, on: string | undefined): boolean =>
  on === undefined || type === on || (world.types.get(on)?.members.includes(type) ?? false)

/** What a requirement is, by the truth. */
function required(world: World, set: SelectionSetNode, of: Thing): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  for (const each of set.selections) {
    if (each.kind === Kind.INLINE_FRAGMENT) {
      const isMeant = fits(world, of.type, each.typeCondition?.name.value)
      if (isMeant) Object.assign(found, required(world, each.selectionSet, of))
    } else if (each.kind === Kind.FIELD) {
      const name = each.name.value
      const args = literals(fieldOf(world, of.type, name), each.arguments ?? [])
      const value = truth(world, of, name, args)
      const { selectionSet } = each
      found[name] = selectionSet ? deep(value, (item) => required(world, selectionSet, item as Thing)) : value
    }
  }
  return sorted(found)
}

/** What a requirement is, by what a subgraph was sent. */
export function received(world: World, set: SelectionSetNode, sent: Record<string, unknown>): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  for (const each of set.selections) {
    if (each.kind === Kind.INLINE_FRAGMENT) {
      const inner = received(world, each.selectionSet, sent)
      const { __typename } = sent
      const isMeant = typeof __typename === 'string' && fits(world, __typename, each.typeCondition?.name.value)
      // An object without its type has what is meant for it, and nothing else.
      const known = __typename === undefined ? Object.entries(inner).filter(([name]) => Object.hasOwn(sent, name)) : []
      Object.assign(found, isMeant ? inner : Object.fromEntries(known))
    } else if (each.kind === Kind.FIELD) {
      const name = each.name.value
      const { selectionSet } = each
      const value = Object.hasOwn(sent, name) ? sent[name] : 'NOT SENT'
      found[name] = selectionSet
        ? deep(value, (item) => received(world, selectionSet, item as Record<string, unknown>))
        : value
    }
  }
  return sorted(found)
}

/** An input object as its schema has it. */
function withFallbacks(value: unknown): unknown {
  const given = value as Record<string, unknown>
  const names = ['a', 'b', 'c', 'n', 'l'].filter((name) => name === 'a' || name in given)
  return Object.fromEntries(
    names.map((name) => {
      if (!(name in given)) return [name, 3]
      return [name, name === 'n' && given.n ? withFallbacks(given.n) : given[name]]
    }),
  )
}

function literals(field: Field | undefined, given: readonly ArgumentNode[]): Record<string, unknown> {
  const args: Record<string, unknown> = {}
  for (const { name, fallback } of field?.args ?? []) {
    const node = given.find((each) => each.name.value === name)
    if (!node) {
      if (fallback !== undefined) args[name] = JSON.parse(fallback)
      continue
    }
    const value: unknown = valueFromASTUntyped(node.value)
    args[name] = name === 'in' || name === 'll' ? deep(value, withFallbacks) : value
  }
  return args
}

/** The identity that a representation stands for. @throws Error where its keys tell of different ones, or of none */
export function identityOf(type: string, sent: Readonly<Record<string, unknown>>): string {
  const org = sent.org as { readonly id?: string; readonly sub?: { readonly n?: string } } | undefined
  const ids = new Set<string>()
  if (sent.id !== undefined) ids.add(String(sent.id))
  if (typeof sent.k === 'number') ids.add(`${type}_${sent.k - 1000}`)
  else if (sent.k !== undefined) ids.add(String(sent.k).slice(2))
  for (const each of [org?.id, org?.sub?.n]) if (each !== undefined) ids.add(each.slice(2))
  const [id] = ids
  if (id === undefined || ids.size > 1) throw new Error(`${WRONG}the representation ${JSON.stringify(sent)}`)
  return id
}
