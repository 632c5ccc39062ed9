/**
 * A second generator of random supergraphs, made without a look at the first one: several objectified interfaces, some with a
 * single kind, value types that are split over subgraphs behind shared root fields, requirements through interfaces, unions
 * and objects, arguments of all kinds, and subgraphs that can't find some entities.
 */
import { createRandom } from '../random.ts'
import { addFailures, addProvided, addRequirements } from './requirements.ts'
import type { Argument, Draft, Field, Type, TypeKind, World } from './types.ts'
import { typeOf } from './types.ts'

const SCALARS = ['String', 'String', 'Int', 'ID', 'Boolean', 'Color', 'JSON', 'Float']
const NAMES = ['a', 'b', 'c', 'd', 'name', 'f', 'g', 'x']
const WRAPS = ['', '', '', '!', '[]', '[!]', '[]!', '[!]!', '[[]]', '[[!]!]!', '[[!]]']
const KEYS = ['id', 'id', 'id', 'k', 'org{id}', 'id k', 'k org{id}', 'org{id sub{n}}']
const ARGUMENTS: readonly Argument[] = [
  { name: 'i', type: 'Int' },
  { name: 'c', type: 'String', fallback: '"dd"' },
  { name: 'e', type: 'Color' },
  { name: 'in', type: 'In' },
  { name: 'l', type: '[Int]' },
  { name: 'll', type: '[[In!]]' },
  { name: 'j', type: 'JSON' },
  { name: 'id', type: 'ID' },
  { name: 'r', type: 'Int!', fallback: '7' },
  { name: 'fl', type: 'Float' },
]

/** @param seed the same seed makes the same world */
export function createWorld(seed: number): World {
  const random = createRandom(seed ^ 0x9e3779b9)
  const subgraphs = Array.from({ length: 2 + random.int(3) }, (_, index) => `s${index}`)
  const draft: Draft = {
    ...{ seed, subgraphs, random, types: new Map(), entities: [], objectified: [], kinds: [] },
    pool: 3 + random.int(3),
  }
  if (random.chance(0.85)) addObjectified(draft)
  addEntities(draft)
  addShared(draft)
  addKeys(draft)
  for (const type of draft.objectified) addInterfaceFields(draft, type)
  for (const type of [...draft.entities, ...draft.kinds]) addFields(draft, type)
  addRoots(draft)
  addRequirements(draft)
  addProvided(draft)
  return { seed, subgraphs, types: draft.types, pool: draft.pool, broken: addFailures(draft) }
}

function add({ types }: Draft, name: string, kind: TypeKind, objectified?: string): Type {
  const common = { name, kind, members: [], hasLabel: false, fields: new Map(), keys: new Map(), external: new Map() }
  const type: Type = { ...common, objectIn: new Set(), ...(objectified !== undefined && { objectified }) }
  types.set(name, type)
  return type
}

function addField(
  type: Type,
  name: string,
  base: string,
  wrap: string,
  owners: Iterable<string>,
  isKey = false,
): Field {
  const all = new Set(owners)
  const common = { name, base, wrap, at: type.name, owners: all, isKey, isShareable: all.size > 1 }
  const field: Field = { ...common, args: [], throws: false, isSafe: false }
  type.fields.set(name, field)
  return field
}

function addObjectified(draft: Draft): void {
  const { random, subgraphs } = draft
  for (const name of random.chance(0.3) ? ['N', 'M'] : ['N']) {
    const type = add(draft, name, 'objectified')
    draft.objectified.push(type)
    const count = 1 + random.int(3)
    for (let index = 0; index < count; index++) {
      const kind = add(draft, `${name === 'N' ? 'P' : 'Q'}${index}`, 'entity', name)
      type.members.push(kind.name)
      draft.kinds.push(kind)
    }
    const order = random.shuffle(subgraphs)
    const objects = 1 + (subgraphs.length > 2 && random.chance(0.5) ? 1 : 0)
    for (const subgraph of order.slice(0, objects)) type.objectIn.add(subgraph)
    const others = order.slice(objects)
    for (const subgraph of others.slice(0, 1 + (random.chance(0.4) ? 1 : 0))) type.keys.set(subgraph, ['id'])
    for (const kind of type.members.map((each) => typeOf(draft, each))) {
      for (const subgraph of type.keys.keys()) kind.keys.set(subgraph, ['id'])
      for (const subgraph of others) if (random.chance(0.3)) kind.keys.set(subgraph, ['id'])
    }
  }
}

function addEntities(draft: Draft): void {
  const { random, subgraphs } = draft
  const count = 2 + random.int(2)
  for (let index = 0; index < count; index++) {
    const entity = add(draft, `E${index}`, 'entity')
    draft.entities.push(entity)
    const [hub = '', ...others] = random.shuffle(subgraphs).slice(0, 2 + random.int(subgraphs.length - 1))
    const used = new Set(['id'])
    const isSimple = random.chance(0.4)
    for (const subgraph of others) {
      const keys = new Set(isSimple ? ['id'] : [random.pick(KEYS)])
      if (!isSimple && random.chance(0.3)) keys.add(random.pick(KEYS))
      entity.keys.set(subgraph, [...keys])
      for (const key of keys) used.add(key)
    }
    entity.keys.set(hub, random.shuffle([...used]))
  }
}

/** Types that several subgraphs know in the same form, or in parts. */
function addShared(draft: Draft): void {
  const { random, entities, kinds } = draft
  const values = ['V0', 'V1'].map((name) => add(draft, name, 'value'))
  add(draft, 'W', 'split')
  const [label, wide, narrow] = [add(draft, 'J', 'interface'), add(draft, 'U0', 'union'), add(draft, 'U1', 'union')]
  const [org, part] = [add(draft, 'Org', 'value'), add(draft, 'OrgSub', 'value')]
  addField(org, 'id', 'ID', '!', [], true)
  addField(org, 'name', 'String', '', [])
  addField(org, 'sub', 'OrgSub', '!', [], true)
  addField(part, 'n', 'ID', '!', [], true)
  addField(part, 'm', 'Int', '', [])
  const labelled = random.shuffle(entities).slice(0, 2)
  if (random.chance(0.5)) labelled.push(values[0] as Type)
  if (kinds.length > 0 && random.chance(0.4)) labelled.push(random.pick(kinds))
  for (const type of labelled) type.hasLabel = true
  label.members.push(...labelled.map(({ name }) => name))
  const all = [...entities, ...kinds, ...values].map(({ name }) => name)
  wide.members.push(...random.shuffle(all).slice(0, 2 + random.int(2)))
  narrow.members.push(...random.shuffle([...entities.map(({ name }) => name), 'V0']).slice(0, 2))
  const interfaces = draft.objectified.map(({ name }) => name)
  for (const [index, value] of values.entries()) {
    const objects = index === 0 ? ['V1', 'E0', 'E1', ...interfaces] : ['E0', ...interfaces]
    for (const name of random.shuffle(NAMES).slice(0, 2 + random.int(2))) {
      addRandomField(draft, value, name, [], objects).isShareable = true
    }
    if ([...value.fields.values()].every(({ base }) => draft.types.has(base))) addField(value, 'z', 'String', '', [])
  }
  addField(label, 'jid', 'ID', '!', [])
  const common = addField(label, 'label', random.pick(['String', 'Int']), random.pick(['', '!']), [])
  common.args = argumentsOf(draft)
  for (const type of labelled) {
    addField(type, 'jid', 'ID', '!', []).isShareable = true
    const owners = type.kind === 'value' ? [] : [random.pick([...type.keys.keys()])]
    const own = addField(type, 'label', common.base, common.wrap, owners)
    own.args = common.args
    own.isShareable = type.kind === 'value'
  }
}

function addKeys({ random, entities, kinds, objectified }: Draft): void {
  for (const type of [...entities, ...kinds]) {
    const all = [...type.keys.values()].flat().join(' ')
    addField(type, 'id', 'ID', '!', [], true)
    if (/\bk\b/.test(all)) addField(type, 'k', random.pick(['ID', 'Int', 'String']), '!', [], true)
    if (/org/.test(all)) addField(type, 'org', 'Org', '!', [], true)
  }
  for (const type of objectified) addField(type, 'id', 'ID', '!', [], true)
}

/** Whether a subgraph can have fields of a type: the kinds of what it takes for one object it does not know. */
export function canMention(
  draft: Pick<Draft, 'types'>,
  subgraph: string,
  base: string,
  seen = new Set<string>(),
): boolean {
  const type = draft.types.get(base)
  if (!type || seen.has(base)) return true
  seen.add(base)
  if (type.objectified && typeOf(draft, type.objectified).objectIn.has(subgraph)) return false
  if (type.kind === 'interface' || type.kind === 'union') {
    return type.members.every((each) => canMention(draft, subgraph, each, seen))
  }
  return type.kind === 'split' ? type.keys.has(subgraph) : true
}

const mentionable = (draft: Draft, owners: readonly string[], bases: readonly string[]): string[] =>
  bases.filter((base) => owners.every((subgraph) => canMention(draft, subgraph, base)))

function composites({ objectified, kinds }: Draft): string[] {
  const interfaces = objectified.map(({ name }) => name)
  return ['E0', 'E1', 'V0', 'V1', 'J', 'U0', 'U1', ...interfaces, ...interfaces, ...kinds.map(({ name }) => name)]
}

function argumentsOf({ random }: Draft): readonly Argument[] {
  return random.chance(0.35) ? random.shuffle(ARGUMENTS).slice(0, 1 + random.int(2)) : []
}

function addRandomField(
  draft: Draft,
  type: Type,
  name: string,
  owners: readonly string[],
  objects: readonly string[],
): Field {
  const { random } = draft
  const isObject = objects.length > 0 && random.chance(0.4)
  const field = addField(type, name, isObject ? random.pick(objects) : random.pick(SCALARS), random.pick(WRAPS), owners)
  if (!isObject || random.chance(0.5)) field.args = argumentsOf(draft)
  return field
}

function addInterfaceFields(draft: Draft, type: Type): void {
  const { random, objectified } = draft
  const full = [...type.keys.keys()]
  for (const name of ['h', 'hh'].slice(0, 1 + random.int(2))) {
    const base = random.chance(0.3) ? random.pick(['E0', 'V0', type.name]) : random.pick(['String', 'Int'])
    const [wrap, args] = [random.pick(['', '!', '[]']), argumentsOf(draft)]
    for (const each of [type, ...type.members.map((member) => typeOf(draft, member))]) {
      addField(each, name, base, wrap, full).args = args
    }
  }
  const objects = [...type.objectIn]
  const bases = [type.name, type.name, 'E0', 'E1', 'V0', 'J', 'U1', ...objectified.map(({ name }) => name)]
  for (const name of random.shuffle(['country', 'friend', 'n', 'extra', 'e']).slice(0, 2 + random.int(3))) {
    const owners = random.chance(0.2) ? objects : [random.pick(objects)]
    addRandomField(draft, type, name, owners, mentionable(draft, owners, bases))
  }
}

function addFields(draft: Draft, type: Type): void {
  const { random } = draft
  const subgraphs = [...type.keys.keys()]
  const inherited = type.objectified ? typeOf(draft, type.objectified).fields : new Map()
  for (const name of random.shuffle(NAMES).slice(0, 3 + random.int(3))) {
    if (type.fields.has(name) || inherited.has(name)) continue
    const owners = random.chance(0.25) ? random.shuffle(subgraphs).slice(0, 2) : [random.pick(subgraphs)]
    const field = addRandomField(draft, type, name, owners, mentionable(draft, owners, composites(draft)))
    if (owners.length > 1 || !random.chance(0.12)) continue
    const before = subgraphs.find((each) => each !== owners[0] && canMention(draft, each, field.base))
    if (before !== undefined) field.from = before
  }
}

function addRoots(draft: Draft): void {
  const { random, subgraphs, objectified } = draft
  const [query, mutation, split] = [add(draft, 'Query', 'root'), add(draft, 'Mutation', 'root'), typeOf(draft, 'W')]
  const two = random.shuffle(subgraphs).slice(0, 2)
  for (const subgraph of two) split.keys.set(subgraph, [])
  const bases = ['E0', 'V0', ...objectified.map(({ name }) => name)]
  for (const subgraph of two) {
    for (const name of [`w${subgraph}`, `v${subgraph}`]) {
      addRandomField(draft, split, name, [subgraph], mentionable(draft, [subgraph], bases))
    }
  }
  addField(split, 'both', 'String', '', two)
  addField(query, 'w', 'W', random.pick(['', '!', '[]', '[!]']), two)
  if (random.chance(0.3)) addField(query, 'ww', 'W', '', two)
  for (const subgraph of subgraphs) {
    const known = mentionable(draft, [subgraph], composites(draft))
    const count = 2 + random.int(2)
    for (let index = 0; index < count; index++) {
      const field = addField(query, `${subgraph}q${index}`, random.pick(known), random.pick(WRAPS), [subgraph])
      if (random.chance(0.2)) field.args = argumentsOf(draft)
    }
    if (random.chance(0.4)) addField(mutation, `${subgraph}m`, random.pick(known), random.pick(WRAPS), [subgraph])
  }
  if (random.chance(0.5)) {
    const owners = random.shuffle(subgraphs).slice(0, 2)
    const known = mentionable(draft, owners, composites(draft))
    addField(query, 'shared', random.pick(known), random.pick(WRAPS), owners)
  }
  if (mutation.fields.size === 0) addField(mutation, 'm', 'Int', '', subgraphs.slice(0, 1))
}
