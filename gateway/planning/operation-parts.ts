/**
 * Divides an operation into parts that are planned separately. Each part begins at objects of one type, and its plan runs
 * after the plans of the parts that it depends on. This works around bugs of Apollo's planner with two kinds of fields:
 *
 * - Fields under a type condition, on objects that some subgraphs know only as an interface object (`@interfaceObject`).
 *   `... on Person` has no meaning in such a subgraph, and the planner drops the condition: it requests the fields for
 *   objects of other types, sends representations without a key, or requires for all objects what it fetched for some of
 *   them. Sometimes it does not terminate.
 * - Fields that end a chain of `@requires` (requirement-stages.ts). What they require is fetched first.
 *
 * A third case needs no part of its own: a field of an interface that is being moved to another subgraph for some of the
 * types (`@override(label:)`) is requested for each type. The planner would request it from the interface, which the old
 * subgraph still has.
 */
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
  print,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'
import { requestError } from '../errors.ts'
import { operationOf } from '../subgraphs/errors.ts'
import type { InterfaceObject, InterfaceObjects } from './interface-objects.ts'
import { nameNode, selectionOf } from './join.ts'
import { ENTRY, type Entries } from './part-entries.ts'
import type { Staged, Stages } from './requirement-stages.ts'

/** The most selections that an operation may have once a condition on several types is written out for each of them. */
const MAX_SELECTIONS = 10_000

/** A part of an operation, planned by itself. */
export interface Part {
  /** The path to its objects, in the form of a query plan. Empty: the root. */
  readonly path: readonly string[]
  /** How many parts have to run before it. Parts of the same level do not depend on each other. */
  readonly level: number
  readonly document: DocumentNode
  /** Set where objects of several types are planned as if they had one: the interface that subgraphs know them by. */
  readonly by?: string | undefined
}

/** What determines how an operation is divided. */
export interface Divisions {
  /** The schema with everything that the planner knows, including elements that clients do not see. */
  readonly schema: GraphQLSchema
  readonly interfaceObjects: InterfaceObjects
  readonly stages: Stages
  readonly entries: Entries
  /** `Type.field` of the fields that are being moved to another subgraph (`@override(label:)`). */
  readonly moving: ReadonlySet<string>
  /**
   * Set for an operation that the planner has failed on. Its named fragments are then written in place, without those that
   * apply to no object, even if there is nothing to divide: the planner refuses `... on U { ... on V { ... on A { id } } }`
   * where A is in V but not in U.
   */
  readonly isAfterFailure?: boolean
}

/** For operations that are planned in one part, after a failure. */
export const UNDIVIDED: Omit<Divisions, 'schema'> = {
  interfaceObjects: new Map(),
  stages: new Map(),
  entries: new Map(),
  moving: new Set(),
  isAfterFailure: true,
}

/**
 * Divides an operation.
 * @param document an operation without `@skip` and `@include`, with internal names
 * @returns its parts; the first is the one that begins at the root
 */
export function partsOf(divisions: Divisions, document: DocumentNode): readonly Part[] {
  const whole = [{ path: [], level: 0, document }]
  if (divisions.entries.size === 0 && divisions.moving.size === 0 && !divisions.isAfterFailure) return whole
  return new Division(divisions, document).divide() ?? whole
}

/** A place in the operation: the path to its objects, and the types that they may have. */
interface Place {
  readonly path: readonly string[]
  readonly declared: readonly string[]
  /** How many fields of interface objects lead to it from the beginning of the part. */
  readonly hops: number
  /** The fields here that already have a stage of their own, with the last level of that stage. */
  readonly staged: Map<string, number>
}

const placeAt = (path: readonly string[], declared: readonly string[], hops = 0): Place => ({
  path,
  declared,
  hops,
  staged: new Map(),
})

/** A part that is being built. */
interface PartDraft {
  /** Selections with the same group are planned together. */
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
  readonly #drafts: PartDraft[] = []
  /** The level of the part that is being built. */
  #level = 0
  /** The highest level that was built since this was last reset. */
  #reached = 0
  #produced = 0
  /** Whether the operation has to be divided at all. */
  #isDivided = false

  constructor(divisions: Divisions, document: DocumentNode) {
    this.#divisions = divisions
    this.#operation = operationOf(document)
    this.#selector = selector(document)
    this.#hierarchy = hierarchy(divisions)
  }

  /** @returns undefined if the operation needs no division */
  divide(): readonly Part[] | undefined {
    const { operation, selectionSet } = this.#operation
    const root = this.#divisions.schema.getRootType(operation)?.name ?? ''
    const walked = this.#walk(selectionSet, root, placeAt([], [root]), [root])
    if (!this.#isDivided) return undefined
    const parts = this.#drafts.map(({ path, level, entry, by, selections }): Part => {
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

  /** @param types the types that the objects can still have under the type conditions so far */
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
    const { schema, interfaceObjects } = this.#divisions
    const { possible, implementsInterfaceObject, sharedWith } = this.#hierarchy
    const { asks, only } = this.#selector
    const on = fragment.typeCondition?.name.value ?? typename
    const narrowed = types.filter((name) => possible(on).includes(name))
    // The planner may plan a fragment that applies to no object, so it is left out for certain.
    this.#isDivided ||= narrowed.length === 0 || narrowed.some(implementsInterfaceObject)
    if (narrowed.length === 0) return []
    if (on === typename || !isAbstractType(schema.getType(typename))) {
      return this.#walk(fragment.selectionSet, typename, place, types).selections
    }
    if (isAbstractType(schema.getType(on)) && !interfaceObjects.has(on) && narrowed.some(implementsInterfaceObject)) {
      // The planner sends such conditions to subgraphs that do not know the types, or drops them. So each type gets its own.
      return narrowed.flatMap((name) =>
        this.#walkFragment({ ...fragment, typeCondition: namedNode(name) }, typename, place, types),
      )
    }
    const own = interfaceObjects.get(typename)
    const interfaces = [...(own ? [own] : []), ...sharedWith(on, types)]
    const isApart = (name: string) => interfaces.some(({ fields }) => fields.has(name))
    const kept = { ...fragment, typeCondition: namedNode(on) }
    const walkKept = (each: Inline): Inline => ({
      ...each,
      selectionSet: this.#walk(each.selectionSet, on, place, narrowed),
    })
    if (!asks(fragment.selectionSet, isApart)) return [walkKept(kept)]
    const apart = only(kept, ({ name }) => isApart(name.value))
    const rest = only(kept, ({ name }) => !isApart(name.value))
    for (const name of narrowed) this.#addPart(name, place, apart)
    const keys = own
      ? this.#keys(typename, narrowed)
      : [{ ...kept, selectionSet: { kind: Kind.SELECTION_SET, selections: this.#keys(on, narrowed) } } as const]
    return [...keys, ...rest.map(walkKept)]
  }

  #walkField(field: FieldNode, typename: string, place: Place, types: readonly string[]): readonly SelectionNode[] {
    const { name } = field
    const staged = this.#stagedAt(typename, name.value)
    if (staged) return this.#walkStaged(field, staged, typename, place, types)
    if (this.#isNestedTooDeep(field, typename, place)) return this.#walkAsOwnPart(field, typename, place, types)
    const isSplit =
      isAbstractType(this.#divisions.schema.getType(typename)) &&
      types.some(
        (each) => this.#divisions.moving.has(`${each}.${name.value}`) || this.#stagedAt(each, name.value) !== undefined,
      )
    if (!isSplit) return [this.#walkPlain(field, typename, place, types)]
    this.#isDivided = true
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

  /** Whether so many fields of interface objects lead to this one that the planner would take too long. */
  #isNestedTooDeep(field: FieldNode, typename: string, { hops }: Place): boolean {
    const { interfaceObjects, schema } = this.#divisions
    const own = interfaceObjects.get(typename)
    if (own)
      return (
        hops >= own.hops && own.fields.has(field.name.value) && (own.hops === 0 || field.selectionSet !== undefined)
      )
    const type = schema.getType(typename)
    const interfaces = isObjectType(type) ? type.getInterfaces() : []
    return interfaces.some(({ name }) => {
      const inherited = interfaceObjects.get(name)
      return inherited !== undefined && hops >= Math.max(1, inherited.hops) && this.#hierarchy.isHop(name, field)
    })
  }

  /** Moves the field to a part of its own. @returns what has to be fetched for that part */
  #walkAsOwnPart(field: FieldNode, typename: string, place: Place, types: readonly string[]): readonly SelectionNode[] {
    this.#isDivided = true
    const outer = this.#reached
    this.#withLevel(this.#level + 1, () => {
      const selections = [this.#walkPlain(field, typename, placeAt(place.path, place.declared), types)]
      this.#addForTypes(typename, pathOf(place, types), types, selections)
    })
    this.#reached = Math.max(outer, this.#reached)
    return this.#keys(typename, types)
  }

  /**
   * Adds selections on objects that may belong to an interface object. The subgraph does not know their types, so the plan
   * for one type serves all of them.
   */
  #addForTypes(
    typename: string,
    path: readonly string[],
    types: readonly string[],
    selections: readonly SelectionNode[],
    requirement?: string,
  ): void {
    if (this.#divisions.interfaceObjects.has(typename))
      this.#add(types[0] ?? typename, path, selections, typename, requirement)
    else this.#add(typename, path, selections, undefined, requirement)
  }

  /** The stages of a field, also if an interface object has them. */
  #stagedAt(typename: string, name: string): readonly Staged[] | undefined {
    const { schema, interfaceObjects, stages } = this.#divisions
    const own = stages.get(`${typename}.${name}`)
    if (own || stages.size === 0) return own
    const type = schema.getType(typename)
    for (const { name: interfaceName } of isObjectType(type) ? type.getInterfaces() : []) {
      const inherited = interfaceObjects.has(interfaceName) ? stages.get(`${interfaceName}.${name}`) : undefined
      if (inherited) return inherited
    }
    return undefined
  }

  /** Gives the field a stage of its own. @returns what has to be fetched before that stage */
  #walkStaged(
    field: FieldNode,
    staged: readonly Staged[],
    typename: string,
    place: Place,
    types: readonly string[],
  ): readonly SelectionNode[] {
    this.#isDivided = true
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
      // Only fields with the same requirement share a part: with different ones the planner builds cycles.
      const requirement = staged.map(({ graph, requirement }) => graph + print(requirement)).join()
      const path = pathOf(place, types)
      this.#addForTypes(typename, path, types, [selection], requirement)
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

  /** Adds selections to the part that they belong to, which is created if needed. @param by see {@link Part.by} */
  #add(
    entry: string,
    path: readonly string[],
    selections: readonly SelectionNode[],
    by: string | undefined = undefined,
    requirement = '',
  ): void {
    const group = [entry, by, this.#level, ...path, requirement].join(' ')
    const same = this.#drafts.find((each) => each.group === group)
    if (same) same.selections.push(...selections)
    else this.#drafts.push({ group, path, level: this.#level, entry, by, selections: [...selections] })
  }

  /** What has to be fetched of objects so that a part can begin at them: the type and the keys. */
  #keys(typename: string, types: readonly string[]): readonly SelectionNode[] {
    const { interfaceObjects, entries } = this.#divisions
    const interfaces = interfaceObjects.get(typename)
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

/** One `@` of a plan's path for each list that wraps the type. */
function listsOf(type: GraphQLOutputType): string[] {
  if (isNonNullType(type)) return listsOf(type.ofType)
  return isListType(type) ? ['@', ...listsOf(type.ofType)] : []
}

function fieldDefinition(schema: GraphQLSchema, typename: string, { name }: FieldNode) {
  const type = schema.getType(typename)
  return isObjectType(type) || isInterfaceType(type) ? type.getFields()[name.value] : undefined
}

/** The path to those objects at a place that have one of these types. */
function pathOf({ path, declared }: Pick<Place, 'path' | 'declared'>, types: readonly string[]): readonly string[] {
  const last = path.at(-1)
  if (last === undefined || types.length === declared.length) return path
  return [...path.slice(0, -1), `${last.replace(/\|.*$/, '')}|[${types.join(',')}]`]
}

/** Look-ups in the type hierarchy of the schema. */
function hierarchy({ schema, interfaceObjects }: Divisions) {
  const possible = (typename: string): string[] => {
    const type = schema.getType(typename)
    return isAbstractType(type) ? schema.getPossibleTypes(type).map(({ name }) => name) : [typename]
  }

  const implementsInterfaceObject = (typename: string): boolean => {
    const type = schema.getType(typename)
    return isObjectType(type) && type.getInterfaces().some(({ name }) => interfaceObjects.has(name))
  }

  /** Whether the field leads from an interface object to other objects. */
  function isHop(typename: string, { name, selectionSet }: FieldNode): boolean {
    const type = schema.getType(typename)
    const names = [typename, ...(isObjectType(type) ? type.getInterfaces().map((each) => each.name) : [])]
    return selectionSet !== undefined && names.some((each) => interfaceObjects.get(each)?.fields.has(name.value))
  }

  /**
   * The interface objects that a type belongs to together with another one of these types. The planner sends objects of
   * both in one call, which then asks for the fields of either.
   */
  function sharedWith(typename: string, types: readonly string[]): InterfaceObject[] {
    const type = schema.getType(typename)
    const interfaces = isObjectType(type) ? type.getInterfaces() : []
    return interfaces.flatMap(({ name }) => {
      const found = interfaceObjects.get(name)
      const isShared = found && types.some((each) => each !== typename && possible(name).includes(each))
      return isShared ? [found] : []
    })
  }

  return { possible, implementsInterfaceObject, isHop, sharedWith }
}

const namedNode = (name: string): NamedTypeNode => ({ kind: Kind.NAMED_TYPE, name: nameNode(name) })

const TYPENAME: FieldNode = { kind: Kind.FIELD, name: nameNode('__typename') }

type Inline = Extract<SelectionNode, { kind: Kind.INLINE_FRAGMENT }>

/** Look-ups in the selections of a document. */
function selector(document: DocumentNode) {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const each of document.definitions) {
    if (each.kind === Kind.FRAGMENT_DEFINITION) fragments.set(each.name.value, each)
  }

  /** The selections, with each fragment spread replaced by an inline fragment. */
  const flat = (set: SelectionSetNode): readonly (FieldNode | Inline)[] =>
    set.selections.map((each) => {
      if (each.kind !== Kind.FRAGMENT_SPREAD) return each
      const { typeCondition, selectionSet } = fragments.get(each.name.value) as FragmentDefinitionNode
      return { kind: Kind.INLINE_FRAGMENT, typeCondition, directives: each.directives ?? [], selectionSet }
    })

  /** A fragment reduced to some of the fields on the object itself; empty if none are left. */
  const only = (fragment: Inline, isWanted: (field: FieldNode) => boolean): Inline[] => {
    const selections = flat(fragment.selectionSet).flatMap((each): SelectionNode[] =>
      each.kind === Kind.FIELD ? (isWanted(each) ? [each] : []) : only(each, isWanted),
    )
    return selections.length > 0 ? [{ ...fragment, selectionSet: { kind: Kind.SELECTION_SET, selections } }] : []
  }

  /** Whether one of these fields is selected on the object itself. */
  const asks = (set: SelectionSetNode, isMeant: (name: string) => boolean): boolean =>
    flat(set).some((each) => (each.kind === Kind.FIELD ? isMeant(each.name.value) : asks(each.selectionSet, isMeant)))

  return { flat, only, asks }
}
