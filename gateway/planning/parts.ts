/**
 * Parts of an operation that are planned apart, each by the type of the object that it begins with. The plan of a part
 * follows those of the parts before it. Two kinds of fields are planned so:
 *
 * - What is under a type condition on objects that some subgraphs take for one type (`@interfaceObject`). For such a subgraph
 *   `... on Person` has no meaning, and the planner loses it on the way there: it asks for fields of other types' objects,
 *   sends representations without a key, or requires of all what it fetched for some; and at times it does not end.
 * - Fields that end a chain of `@requires`: see requirement-stages.ts. What they require is asked for before.
 *
 * Beside that, an interface's field that moves in steps for some of its types (`@override(label:)`) is asked for by type: the
 * planner asks the interface, which the subgraph from which it moves still has.
 */
import type { FetchNode, PlanNode, QueryPlan } from '@apollo/query-planner'
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  Kind,
  type NamedTypeNode,
  type OperationDefinitionNode,
  OperationTypeNode,
  parse,
  print,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'
import { requestError } from '../errors.ts'
import { operationOf } from '../subgraphs/errors.ts'
import { ENTRIES_SERVICE, ENTRY, type Entries } from './entries.ts'
import type { Objectifieds } from './interface-objects.ts'
import { nameNode, selectionOf } from './join.ts'
import type { Staged, Stages } from './requirement-stages.ts'

/** Of an operation for the planner, when each condition on several types has become one for each of them. */
const MAX_SELECTIONS = 10_000
/** Part of an operation that is planned by itself. */
export interface Part {
  /** Where its object is, as a plan has it; empty: the root. */
  readonly path: readonly string[]
  /** How many others it is in, or after: those of one level do not depend on each other. */
  readonly level: number
  readonly document: DocumentNode
  /** The interface by which its object is named to subgraphs, where objects of several types are planned as those of one. */
  readonly by?: string | undefined
}

/** What decides how an operation is divided. */
export interface Divisions {
  /** With everything that the planner knows. */
  readonly schema: GraphQLSchema
  readonly objectified: Objectifieds
  readonly stages: Stages
  readonly entries: Entries
  /** `Type.field` of what moves in steps. */
  readonly moving: ReadonlySet<string>
}

/**
 * The parts of an operation: first what begins at the root.
 * @param document an operation without conditions, in internal names
 */
export function partsOf(divisions: Divisions, document: DocumentNode): readonly Part[] {
  const whole = [{ path: [], level: 0, document }]
  if (divisions.entries.size === 0 && divisions.moving.size === 0) return whole
  return new Division(divisions, document).divide() ?? whole
}

/** Where an object is, and the types that it may have there. */
interface Place {
  readonly path: readonly string[]
  readonly declared: readonly string[]
  /** How many fields of interface objects lead to it, since the part's beginning. */
  readonly hops: number
  /** Fields at it that have stages of their own already: the last level that they take. */
  readonly staged: Map<string, number>
}

const placeAt = (path: readonly string[], declared: readonly string[], hops = 0): Place => ({
  path,
  declared,
  hops,
  staged: new Map(),
})

interface Found {
  /** The same for what is planned together. */
  readonly group: string
  readonly path: readonly string[]
  readonly level: number
  readonly entry: string
  readonly by: string | undefined
  readonly selections: SelectionNode[]
}

class Division {
  readonly #divisions: Divisions
  readonly #operation: OperationDefinitionNode
  readonly #selector: ReturnType<typeof selector>
  readonly #hierarchy: ReturnType<typeof hierarchy>
  readonly #found: Found[] = []
  /** Of the part that is being made. */
  #level = 0
  /** The last level of what has been made since this was set. */
  #reached = 0
  #produced = 0
  /** Whether the operation has anything that has to be planned apart. */
  #isTouched = false

  constructor(divisions: Divisions, document: DocumentNode) {
    this.#divisions = divisions
    this.#operation = operationOf(document)
    this.#selector = selector(document)
    this.#hierarchy = hierarchy(divisions)
  }

  /** @returns undefined where it is one part */
  divide(): readonly Part[] | undefined {
    const { operation, selectionSet } = this.#operation
    const root = this.#divisions.schema.getRootType(operation)?.name ?? ''
    const walked = this.#walk(selectionSet, root, placeAt([], [root]), [root])
    if (!this.#isTouched) return undefined
    const parts = this.#found.map(({ path, level, entry, by, selections }): Part => {
      const inner: SelectionSetNode = { kind: Kind.SELECTION_SET, selections }
      const field: FieldNode = { kind: Kind.FIELD, name: nameNode(ENTRY + entry), selectionSet: inner }
      const set: SelectionSetNode = { kind: Kind.SELECTION_SET, selections: [field] }
      return { path, level, document: this.#document(OperationTypeNode.QUERY, set), by }
    })
    return [{ path: [], level: 0, document: this.#document(operation, walked) }, ...parts]
  }

  #document(operation: OperationTypeNode, selectionSet: SelectionSetNode): DocumentNode {
    const { name, ...rest } = this.#operation
    return { kind: Kind.DOCUMENT, definitions: [{ ...rest, ...(name && { name }), operation, selectionSet }] }
  }

  /** @param types those that the object at this place may have here */
  #walk(set: SelectionSetNode, typename: string, place: Place, types: readonly string[]): SelectionSetNode {
    const selections = this.#selector
      .flat(set)
      .flatMap((each) =>
        each.kind === Kind.FIELD
          ? this.#walkField(each, typename, place, types)
          : this.#walkFragment(each, typename, place, types),
      )
    this.#produced += selections.length
    if (this.#produced > MAX_SELECTIONS) {
      throw requestError('The fragments of the operation apply to too many types.', 'OPERATION_TOO_COMPLEX')
    }
    return { kind: Kind.SELECTION_SET, selections: selections.length > 0 ? selections : [TYPENAME] }
  }

  #walkFragment(fragment: Inline, typename: string, place: Place, types: readonly string[]): readonly SelectionNode[] {
    const { schema, objectified } = this.#divisions
    const { possible, isObjectified } = this.#hierarchy
    const { asks, only } = this.#selector
    const on = fragment.typeCondition?.name.value ?? typename
    const narrowed = types.filter((name) => possible(on).includes(name))
    this.#isTouched ||= narrowed.some(isObjectified)
    if (narrowed.length === 0) return []
    if (on === typename || !isAbstractType(schema.getType(typename))) {
      return this.#walk(fragment.selectionSet, typename, place, types).selections
    }
    if (isAbstractType(schema.getType(on)) && !objectified.has(on) && narrowed.some(isObjectified)) {
      // The planner asks subgraphs with interface objects by such conditions, or loses them: so each type has its own.
      return narrowed.flatMap((name) =>
        this.#walkFragment({ ...fragment, typeCondition: namedNode(name) }, typename, place, types),
      )
    }
    const interfaces = objectified.get(typename)
    const kept = { ...fragment, typeCondition: namedNode(on) }
    const walkKept = (each: Inline): Inline => ({
      ...each,
      selectionSet: this.#walk(each.selectionSet, on, place, narrowed),
    })
    if (!interfaces || !asks(fragment.selectionSet, interfaces.fields)) return [walkKept(kept)]
    const apart = only(kept, ({ name }) => interfaces.fields.has(name.value))
    const rest = only(kept, ({ name }) => !interfaces.fields.has(name.value))
    for (const name of narrowed) this.#addPart(name, place, apart)
    return [...this.#keys(typename, narrowed), ...rest.map(walkKept)]
  }

  #walkField(field: FieldNode, typename: string, place: Place, types: readonly string[]): readonly SelectionNode[] {
    const { name } = field
    const staged = this.#stagedAt(typename, name.value)
    if (staged) return this.#walkStaged(field, staged, typename, place, types)
    if (this.#isFar(field, typename, place)) return this.#walkFar(field, typename, place, types)
    const isSplit =
      isAbstractType(this.#divisions.schema.getType(typename)) &&
      types.some(
        (each) => this.#divisions.moving.has(`${each}.${name.value}`) || this.#stagedAt(each, name.value) !== undefined,
      )
    if (!isSplit) return [this.#walkPlain(field, typename, place, types)]
    this.#isTouched = true
    const selectionSet: SelectionSetNode = { kind: Kind.SELECTION_SET, selections: [field] }
    return types.flatMap((each) =>
      this.#walkFragment(
        { kind: Kind.INLINE_FRAGMENT, typeCondition: namedNode(each), directives: [], selectionSet },
        typename,
        place,
        types,
      ),
    )
  }

  #walkPlain(field: FieldNode, typename: string, place: Place, types: readonly string[]): FieldNode {
    const { schema } = this.#divisions
    if (!field.selectionSet) return field
    const definition = fieldDefinition(schema, typename, field)
    if (!definition) return field
    const path = [...pathOf(place, types), (field.alias ?? field.name).value, ...listsOf(definition.type)]
    const { name } = getNamedType(definition.type)
    const declared = this.#hierarchy.possible(name)
    const hops = place.hops + (this.#hierarchy.isHop(typename, field) ? 1 : 0)
    return { ...field, selectionSet: this.#walk(field.selectionSet, name, placeAt(path, declared, hops), declared) }
  }

  /** Whether too many fields of interface objects lead to one. */
  #isFar(field: FieldNode, typename: string, { hops }: Place): boolean {
    const { objectified, schema } = this.#divisions
    const own = objectified.get(typename)
    if (own)
      return (
        hops >= own.hops && own.fields.has(field.name.value) && (own.hops === 0 || field.selectionSet !== undefined)
      )
    const type = schema.getType(typename)
    const kinds = isObjectType(type) ? type.getInterfaces() : []
    return kinds.some(({ name }) => {
      const kind = objectified.get(name)
      return kind !== undefined && hops >= Math.max(1, kind.hops) && this.#hierarchy.isHop(name, field)
    })
  }

  #walkFar(field: FieldNode, typename: string, place: Place, types: readonly string[]): readonly SelectionNode[] {
    this.#isTouched = true
    const outer = this.#reached
    this.#withLevel(this.#level + 1, () => {
      const selections = [this.#walkPlain(field, typename, placeAt(place.path, place.declared), types)]
      this.#addBy(typename, pathOf(place, types), types, selections)
    })
    this.#reached = Math.max(outer, this.#reached)
    return this.#keys(typename, types)
  }

  /** Of an interface object: the subgraph does not know the objects' types, so what is planned for one of them is so for all. */
  #addBy(
    typename: string,
    path: readonly string[],
    types: readonly string[],
    selections: readonly SelectionNode[],
    requirement?: string,
  ): void {
    if (this.#divisions.objectified.has(typename))
      this.#add(types[0] ?? typename, path, selections, typename, requirement)
    else this.#add(typename, path, selections, undefined, requirement)
  }

  #stagedAt(typename: string, name: string): readonly Staged[] | undefined {
    const { schema, objectified, stages } = this.#divisions
    const own = stages.get(`${typename}.${name}`)
    if (own || stages.size === 0) return own
    const type = schema.getType(typename)
    const kinds = isObjectType(type) ? type.getInterfaces() : []
    for (const kind of kinds) {
      const inherited = objectified.has(kind.name) ? stages.get(`${kind.name}.${name}`) : undefined
      if (inherited) return inherited
    }
    return undefined
  }

  /** What a field that has a stage of its own needs before. */
  #walkStaged(
    field: FieldNode,
    staged: readonly Staged[],
    typename: string,
    place: Place,
    types: readonly string[],
  ): readonly SelectionNode[] {
    this.#isTouched = true
    const key = `${typename} ${types.join()} ${print(field)}`
    const before = place.staged.get(key)
    if (before !== undefined) {
      this.#reached = Math.max(this.#reached, before)
      return []
    }
    place.staged.set(key, this.#level)
    const outer = this.#reached
    this.#reached = this.#level
    const needed = staged.flatMap(({ requirement }) => this.#walk(requirement, typename, place, types).selections)
    this.#withLevel(this.#reached + 1, () => {
      const selection = this.#walkPlain(field, typename, placeAt(place.path, place.declared), types)
      // Together with what requires the same; of what requires other things, the planner makes cycles.
      const requirement = staged.map(({ graph, requirement }) => graph + print(requirement)).join()
      const path = pathOf(place, types)
      this.#addBy(typename, path, types, [selection], requirement)
    })
    place.staged.set(key, this.#reached)
    this.#reached = Math.max(outer, this.#reached)
    return [...this.#keys(typename, types), ...needed]
  }

  #addPart(typename: string, { path, declared }: Place, selections: readonly SelectionNode[]): void {
    const outer = this.#reached
    this.#withLevel(this.#level + 1, () => {
      const set: SelectionSetNode = { kind: Kind.SELECTION_SET, selections }
      const place = placeAt(path, declared)
      this.#add(typename, pathOf(place, [typename]), this.#walk(set, typename, place, [typename]).selections)
    })
    this.#reached = Math.max(outer, this.#reached)
  }

  #withLevel(level: number, make: () => void): void {
    const outer = this.#level
    this.#level = level
    this.#reached = level
    make()
    this.#level = outer
  }

  /** @param by see {@link Part.by} */
  #add(
    entry: string,
    path: readonly string[],
    selections: readonly SelectionNode[],
    by: string | undefined = undefined,
    requirement = '',
  ): void {
    const group = [entry, by, this.#level, ...path, requirement].join(' ')
    const same = this.#found.find((each) => each.group === group)
    if (same) same.selections.push(...selections)
    else this.#found.push({ group, path, level: this.#level, entry, by, selections: [...selections] })
  }

  /** What has to be known of objects for parts that begin at them. */
  #keys(typename: string, types: readonly string[]): readonly SelectionNode[] {
    const { objectified, entries } = this.#divisions
    const interfaces = objectified.get(typename)
    const keys = (entries.get(typename) ?? selectionOf(interfaces?.key ?? '__typename')).selections
    if (!interfaces) return [TYPENAME, ...keys]
    const known = keys.map(print).sort().join()
    const more = types.flatMap((name): Inline[] => {
      const selectionSet = entries.get(name)
      if (!selectionSet || selectionSet.selections.map(print).sort().join() === known) return []
      return [{ kind: Kind.INLINE_FRAGMENT, typeCondition: namedNode(name), directives: [], selectionSet }]
    })
    return [TYPENAME, ...keys, ...more]
  }
}

/** A step of a plan's path for each list that a type is of. */
function listsOf(type: GraphQLOutputType): string[] {
  if (isNonNullType(type)) return listsOf(type.ofType)
  return isListType(type) ? ['@', ...listsOf(type.ofType)] : []
}

function fieldDefinition(schema: GraphQLSchema, typename: string, { name }: FieldNode) {
  const type = schema.getType(typename)
  return isObjectType(type) || isInterfaceType(type) ? type.getFields()[name.value] : undefined
}

/** The path to a place's objects of these types. */
function pathOf({ path, declared }: Pick<Place, 'path' | 'declared'>, types: readonly string[]): readonly string[] {
  const last = path.at(-1)
  if (last === undefined || types.length === declared.length) return path
  return [...path.slice(0, -1), `${last.replace(/\|.*$/, '')}|[${types.join(',')}]`]
}

/** What the types of the schema say about each other. */
function hierarchy({ schema, objectified }: Divisions) {
  const possible = (typename: string): string[] => {
    const type = schema.getType(typename)
    return isAbstractType(type) ? schema.getPossibleTypes(type).map(({ name }) => name) : [typename]
  }

  const isObjectified = (typename: string): boolean => {
    const type = schema.getType(typename)
    return isObjectType(type) && type.getInterfaces().some(({ name }) => objectified.has(name))
  }

  /** Whether a field leads on from an object, in a subgraph that may not know the object's type. */
  function isHop(typename: string, { name, selectionSet }: FieldNode): boolean {
    const type = schema.getType(typename)
    const kinds = [typename, ...(isObjectType(type) ? type.getInterfaces().map((each) => each.name) : [])]
    return selectionSet !== undefined && kinds.some((kind) => objectified.get(kind)?.fields.has(name.value))
  }

  return { possible, isObjectified, isHop }
}

const namedNode = (name: string): NamedTypeNode => ({ kind: Kind.NAMED_TYPE, name: nameNode(name) })

const TYPENAME: FieldNode = { kind: Kind.FIELD, name: nameNode('__typename') }

type Inline = Extract<SelectionNode, { kind: Kind.INLINE_FRAGMENT }>

/** Ways to look into selections. */
function selector(document: DocumentNode) {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const each of document.definitions) {
    if (each.kind === Kind.FRAGMENT_DEFINITION) fragments.set(each.name.value, each)
  }

  /** Fragments in place of their spreads. */
  const flat = (set: SelectionSetNode): readonly (FieldNode | Inline)[] =>
    set.selections.map((each) => {
      if (each.kind !== Kind.FRAGMENT_SPREAD) return each
      const { typeCondition, selectionSet } = fragments.get(each.name.value) as FragmentDefinitionNode
      return { kind: Kind.INLINE_FRAGMENT, typeCondition, directives: each.directives ?? [], selectionSet }
    })

  /** A fragment with some of the fields that are asked for at the object itself; nothing where it has none of them. */
  const only = (fragment: Inline, isWanted: (field: FieldNode) => boolean): Inline[] => {
    const selections = flat(fragment.selectionSet).flatMap((each): SelectionNode[] =>
      each.kind === Kind.FIELD ? (isWanted(each) ? [each] : []) : only(each, isWanted),
    )
    return selections.length > 0 ? [{ ...fragment, selectionSet: { kind: Kind.SELECTION_SET, selections } }] : []
  }

  /** Whether fields that only subgraphs with interface objects have are asked for, at the object itself. */
  const asks = (set: SelectionSetNode, fields: ReadonlySet<string>): boolean =>
    flat(set).some((each) => (each.kind === Kind.FIELD ? fields.has(each.name.value) : asks(each.selectionSet, fields)))

  return { flat, only, asks }
}

/** One plan of the plans of an operation's parts. */
export function joinPlans(plans: readonly (Part & { readonly plan: QueryPlan })[]): QueryPlan {
  const [first] = plans as readonly [Part & { readonly plan: QueryPlan }]
  if (plans.length === 1) return first.plan
  const levels: PlanNode[][] = []
  for (const part of plans) {
    const { node } = part.plan
    const placed = !node || node.kind === 'Subscription' || part.path.length === 0 ? node : atPlace(node, part)
    if (!placed || placed.kind === 'Subscription') continue
    levels[part.level] = [...(levels[part.level] ?? []), placed]
  }
  const nodes = levels.flatMap((nodes): PlanNode[] => (nodes.length > 1 ? [{ kind: 'Parallel', nodes }] : nodes))
  return { ...first.plan, node: { kind: 'Sequence', nodes } }
}

/** A part's plan without its beginning, at the place of its object. */
function atPlace(node: PlanNode, part: Part): PlanNode | undefined {
  switch (node.kind) {
    case 'Fetch':
      return node.serviceName === ENTRIES_SERVICE ? undefined : node
    case 'Flatten': {
      const start = node.path.findIndex((each) => String(each).startsWith(ENTRY))
      const inside = node.path.slice(start + 1)
      const isOwn = part.by !== undefined && inside.length === 0 && node.node.kind === 'Fetch'
      const inner = isOwn ? forAllTypes(node.node as FetchNode, part.by as string) : node.node
      return { ...node, node: inner, path: [...part.path, ...inside] }
    }
    case 'Sequence':
    case 'Parallel': {
      const nodes = node.nodes.flatMap((each) => atPlace(each, part) ?? [])
      // Calls that are beside each other, and not in others, can go to one subgraph as one.
      return nodes.length > 1 ? { ...node, nodes } : nodes[0]
    }
    default:
      return node
  }
}

/**
 * A call that has been planned for one type's objects, for those of all types of an interface.
 * @throws Error for one that the subgraph has to know the type for
 */
function forAllTypes(fetch: FetchNode, by: string): FetchNode {
  const { selections } = operationOf(parse(fetch.operation, { noLocation: true })).selectionSet
  const asked = selections.flatMap((each) => (each.kind === Kind.FIELD ? (each.selectionSet?.selections ?? []) : []))
  if (!asked.every((each) => each.kind === Kind.INLINE_FRAGMENT && each.typeCondition?.name.value === by)) {
    throw new Error(`What is asked of ${by} can not be planned for all its types.`)
  }
  return {
    ...fetch,
    requires: (fetch.requires ?? []).map((each) =>
      each.kind === 'InlineFragment' ? { ...each, typeCondition: by } : each,
    ),
    ...(fetch.inputRewrites && {
      inputRewrites: fetch.inputRewrites.map((each) => ({
        ...each,
        path: each.path.map((part, index) => (index === 0 && part.startsWith('... on ') ? `... on ${by}` : part)),
      })),
    }),
  }
}
