/** What fields of the second generator's worlds require and provide, and which of them fail. */
import { addTo, type Broken, type Draft, type Field, selectionOf, type Type, typeOf } from './types.ts'
import { canMention } from './world.ts'

const SAMPLES: Readonly<Record<string, readonly string[]>> = {
  i: ['1', '2'],
  c: ['"EUR"', '"USD"'],
  e: ['RED'],
  in: ['{a:1}', '{b:["x"],n:{a:2}}'],
  l: ['[1,2]'],
  ll: ['[[{a:1}]]'],
  j: ['1', '{a:1}'],
  id: ['"q"'],
  r: ['3'],
  fl: ['1.5'],
}

/** Picks what a subgraph's field requires; what it picks counts when the whole is used. */
class Picker {
  readonly #draft: Draft
  readonly #subgraph: string
  readonly #used: (() => void)[] = []

  constructor(draft: Draft, subgraph: string) {
    this.#draft = draft
    this.#subgraph = subgraph
  }

  use(): void {
    for (const each of this.#used) each()
  }

  /** One field with what of it is required. */
  field(type: Type, field: Field, depth = 0): string | undefined {
    const { random, types } = this.#draft
    if (depth > 4 || !canMention(this.#draft, this.#subgraph, field.base)) return undefined
    const target = types.get(field.base)
    const inner = target ? this.#selection(target, depth + 1) : ''
    if (inner === undefined) return undefined
    this.#used.push(() => {
      field.isSafe = true
      const isEntity = type.kind === 'entity' || type.kind === 'objectified'
      if (isEntity && !field.isKey && !field.owners.has(this.#subgraph)) this.#mention(type, field.name)
    })
    const given = field.args.map(({ name }) => `${name}:${random.pick(SAMPLES[name] as readonly string[])}`).join(',')
    return `${field.name}${given === '' || random.chance(0.4) ? '' : `(${given})`}${inner ? `{${inner}}` : ''}`
  }

  #mention(type: Type, name: string): void {
    addTo(type.external, this.#subgraph, name)
  }

  #selection(type: Type, depth: number): string | undefined {
    const { random, types } = this.#draft
    const fields = [...type.fields.values()]
    const some = (wanted: readonly Field[], count: number): string[] =>
      random
        .shuffle(wanted)
        .slice(0, count)
        .flatMap((each) => (each.isKey ? each.name : (this.field(type, each, depth) ?? [])))
    const joined = (parts: readonly string[]) => (parts.length > 0 ? parts.join(' ') : undefined)
    const subgraph = this.#subgraph
    switch (type.kind) {
      case 'value': {
        const wanted = fields.filter(({ name, base }) => name !== 'jid' && (!types.has(base) || depth < 2))
        return joined(some(wanted, 1 + random.int(2)))
      }
      case 'interface':
      case 'union': {
        const parts = this.#fragments(type, depth, 0.7)
        return joined(type.kind === 'interface' && random.chance(0.5) ? [...parts, 'jid'] : parts)
      }
      case 'objectified': {
        // Of several in a row, composition would take all memory.
        if (depth > 1) return 'id'
        if (!type.objectIn.has(subgraph)) return ['id', ...this.#fragments(type, depth, 0.3)].join(' ')
        return joined(
          some(
            fields.filter((each) => each.isKey || (!each.owners.has(subgraph) && !each.requires)),
            2,
          ),
        )
      }
      case 'entity': {
        const wanted = fields.filter(
          ({ name, isKey, from, owners, base }) =>
            name !== 'jid' && !isKey && from !== subgraph && !owners.has(subgraph) && (!types.has(base) || depth < 2),
        )
        const parts = some(wanted, 1)
        if (parts.length > 0 && !random.chance(0.4)) return joined(parts)
        this.#used.push(() => this.#mention(type, 'id'))
        return joined([...parts, 'id'])
      }
      default:
        return undefined
    }
  }

  #fragments({ members }: Type, depth: number, probability: number): string[] {
    return this.#draft.random.some(members, probability).flatMap((member) => {
      const inner = this.#selection(typeOf(this.#draft, member), depth + 1)
      return inner === undefined ? [] : [`... on ${member}{${inner}}`]
    })
  }
}

export function addRequirements(draft: Draft): void {
  for (const type of [...draft.entities, ...draft.kinds, ...draft.objectified]) {
    const subgraphs = type.kind === 'objectified' ? type.objectIn : type.keys.keys()
    for (const subgraph of [...subgraphs]) {
      for (const index of [0, 1]) if (draft.random.chance(0.3)) addRequirement(draft, type, subgraph, index)
    }
  }
}

function addRequirement(draft: Draft, type: Type, subgraph: string, index: number): void {
  const { random } = draft
  const known = [...type.fields.values()].filter(
    ({ name, isKey, from, owners, requires }) =>
      name !== 'jid' && !isKey && from !== subgraph && !owners.has(subgraph) && (!requires || random.chance(0.25)),
  )
  const picker = new Picker(draft, subgraph)
  const parts = random
    .shuffle(known)
    .slice(0, 1 + random.int(2))
    .flatMap((field) => picker.field(type, field) ?? [])
  if (parts.length === 0) return
  picker.use()
  const [name, text] = [`${subgraph}r${index}`, parts.join(' ')]
  type.fields.set(name, {
    ...{ name, at: type.name, base: 'String', wrap: '', owners: new Set([subgraph]), isShareable: false, isKey: false },
    ...{ args: random.chance(0.2) ? [{ name: 'i', type: 'Int' }] : [], throws: false, isSafe: false },
    requires: { text, set: selectionOf(text) },
  })
}

export function addProvided({ types, random }: Draft): void {
  for (const type of types.values()) {
    for (const field of type.fields.values()) {
      const target = types.get(field.base)
      const [owner] = field.owners
      const isPlain = field.owners.size === 1 && !field.from && !field.requires
      if (owner === undefined || target?.kind !== 'entity' || !isPlain || !random.chance(0.3)) continue
      const known = [...target.fields.values()].filter(
        ({ name, isKey, requires, from, owners, base, args }) =>
          name !== 'jid' && !isKey && !requires && !from && !owners.has(owner) && !types.has(base) && args.length === 0,
      )
      if (known.length === 0) continue
      const given = random.pick(known)
      field.provides = given.name
      given.isSafe = true
      given.isShareable = true
      addTo(target.external, owner, given.name)
    }
  }
}

/** Has fields fail, and subgraphs that can't find entities. */
export function addFailures(draft: Draft): Broken[] {
  const { types, random, objectified, entities } = draft
  for (const type of types.values()) {
    for (const field of type.fields.values()) {
      if (field.isKey || field.isSafe || field.name === 'jid' || field.name === 'label') continue
      field.throws = random.chance(0.2)
    }
  }
  for (const type of objectified) {
    // What an interface has, its kinds have in the same way.
    for (const name of ['h', 'hh']) {
      const all = [type, ...type.members.map((each) => typeOf(draft, each))].flatMap(
        ({ fields }) => fields.get(name) ?? [],
      )
      const isSafe = all.some((each) => each.isSafe)
      for (const each of all) Object.assign(each, { isSafe, throws: !isSafe && all[0]?.throws })
    }
  }
  return [...entities, ...objectified].flatMap((type): Broken[] => {
    // Any subgraph that has the type may be asked for `jid`.
    if (!random.chance(0.35) || type.fields.has('jid')) return []
    const everyId = [...type.keys.values()].every((keys) => keys.length === 1 && keys[0] === 'id')
    const hub = [...type.keys.keys()].at(-1)
    const all = type.kind === 'objectified' ? [...type.objectIn] : everyId ? [...type.keys.keys()] : []
    const isNeeded = (subgraph: string) =>
      subgraph === hub ||
      [...type.fields.values()].some(({ owners, isSafe }) => owners.has(subgraph) && (isSafe || owners.size > 1))
    const subgraph = all.find((each) => !isNeeded(each))
    if (subgraph === undefined) return []
    return [{ subgraph, type: type.name, mode: random.pick(['throw', 'null']), modulus: 2 + random.int(3) }]
  })
}
