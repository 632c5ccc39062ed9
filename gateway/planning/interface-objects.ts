/**
 * Type conditions on interfaces that some subgraphs treat as an object (`@interfaceObject`). For such a subgraph `...
 * on Person` has no meaning, and the planner loses the condition: it selects fields on objects of other types, sends
 * representations without a key, or requires for all objects what it fetched for some. Sometimes it does not terminate.
 * So selections under such a condition are planned separately, by the runtime type of the object, as an operation that
 * begins with an object of that type. That plan is executed after the plan of the rest.
 */
import type { PlanNode, QueryPlan } from '@apollo/query-planner'
import {
  type DocumentNode,
  type FieldDefinitionNode,
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
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'
import { requestError } from '../errors.ts'
import { operationOf } from '../subgraphs/errors.ts'
import {
  directivesOf,
  graphOf,
  isTrue,
  joined,
  mapTypes,
  nameNode,
  selectionOf,
  type TypeDefinition,
  textOf,
  typesOf,
  withExplicitFields,
  withGraph,
} from './join.ts'

const GRAPH = 'GATEWAY__ENTRIES'
const SERVICE = 'gateway__entries'
const ENTRY = 'gateway__entry_'
/** Of an operation for the planner, when each condition on several types has become one for each of them. */
const MAX_SELECTIONS = 10_000
/**
 * How many nested fields of interface objects are planned together. For n types the planner has 2^n ways for three,
 * (2^n)^n for four, and so on: a small query took all memory.
 */
const MAX_HOPS = 2

/** An interface that some subgraphs treat as an object. */
interface Objectified {
  /** The fields that these subgraphs have, without those of the key, which others have, too. */
  readonly fields: ReadonlySet<string>
  /** The selection of one of its keys. */
  readonly key: string
}

export type Objectifieds = ReadonlyMap<string, Objectified>

/** @param document a supergraph */
export function objectifiedInterfaces(document: DocumentNode): Objectifieds {
  const found = new Map<string, Objectified>()
  for (const [name, type] of typesOf(document)) {
    const joins = directivesOf(type, 'join__type')
    const graphs = new Set(joins.filter((each) => isTrue(each, 'isInterfaceObject', false)).map(graphOf))
    const key = joins.flatMap((each) =>
      isTrue(each, 'isInterfaceObject', false) ? [] : (textOf(each, 'key') ?? []),
    )[0]
    if (type.kind !== Kind.INTERFACE_TYPE_DEFINITION || graphs.size === 0 || key === undefined) continue
    const fields = (type.fields ?? []).filter(({ directives }) =>
      directivesOf({ directives }, 'join__field').some(
        (each) => graphs.has(graphOf(each)) && !isTrue(each, 'external', false),
      ),
    )
    const keys = new Set(selectionOf(key).selections.map((each) => (each.kind === Kind.FIELD ? each.name.value : '')))
    const names = fields.map((each) => each.name.value).filter((each) => !keys.has(each))
    found.set(name, { fields: new Set(names), key })
  }
  return found
}

/** The supergraph with a subgraph that has a root field for each type of these interfaces, with nothing but its key. */
export function withEntries(document: DocumentNode, objectified: Objectifieds): DocumentNode {
  const keyOf = ({ interfaces }: TypeDefinition): SelectionSetNode | undefined => {
    const key = interfaces?.flatMap(({ name }) => objectified.get(name.value)?.key ?? [])[0]
    return key === undefined ? undefined : selectionOf(key)
  }
  const types = typesOf(document)
  const entries = [...types.values()].filter((type) => type.kind === Kind.OBJECT_TYPE_DEFINITION && keyOf(type))
  const queryName = queryTypeName(document)
  const wanted = new Map<string, Set<string>>([[queryName, new Set()]])
  const want = (typename: string, { selections }: SelectionSetNode): void => {
    const names = wanted.get(typename) ?? new Set()
    wanted.set(typename, names)
    for (const each of selections) {
      if (each.kind !== Kind.FIELD) continue
      names.add(each.name.value)
      const field = types.get(typename)?.fields?.find(({ name }) => name.value === each.name.value)
      if (field && each.selectionSet) want(typeName(field), each.selectionSet)
    }
  }
  for (const type of entries) want(type.name.value, keyOf(type) as SelectionSetNode)
  const here = joined('join__field', GRAPH)
  return mapTypes(withGraph(document, GRAPH, SERVICE), (type) => {
    const names = wanted.get(type.name.value)
    if (!names) return type
    const explicit = withExplicitFields(type)
    const fields = (explicit.fields ?? []).map((field) =>
      names.has(field.name.value) ? { ...field, directives: [...(field.directives ?? []), here] } : field,
    )
    const roots = entries.map(
      ({ name }): FieldDefinitionNode => ({
        kind: Kind.FIELD_DEFINITION,
        name: nameNode(ENTRY + name.value),
        type: { kind: Kind.NAMED_TYPE, name },
        directives: [here],
      }),
    )
    return {
      ...explicit,
      directives: [...(explicit.directives ?? []), joined('join__type', GRAPH)],
      fields: type.name.value === queryName ? [...fields, ...roots] : fields,
    }
  })
}

function typeName({ type }: FieldDefinitionNode): string {
  let named = type
  while (named.kind !== Kind.NAMED_TYPE) named = named.type
  return named.name.value
}

function queryTypeName({ definitions }: DocumentNode): string {
  for (const each of definitions) {
    if (each.kind !== Kind.SCHEMA_DEFINITION && each.kind !== Kind.SCHEMA_EXTENSION) continue
    const root = each.operationTypes?.find(({ operation }) => operation === OperationTypeNode.QUERY)
    if (root) return root.type.name.value
  }
  return 'Query'
}

/** Part of an operation that is planned by itself. */
export interface Part {
  /** The path of its object, as in a plan; empty: the root. */
  readonly path: readonly string[]
  /** Its nesting level: parts of one level do not depend on each other. */
  readonly level: number
  readonly document: DocumentNode
}

/** A step of a plan's path for each list that a type is of. */
function listsOf(type: GraphQLOutputType): string[] {
  if (isNonNullType(type)) return listsOf(type.ofType)
  return isListType(type) ? ['@', ...listsOf(type.ofType)] : []
}

/** The relations between the types of the schema. @param flat see {@link selector} */
function hierarchy(schema: GraphQLSchema, objectified: Objectifieds, flat: ReturnType<typeof selector>['flat']) {
  const possible = (typename: string): string[] => {
    const type = schema.getType(typename)
    return isAbstractType(type) ? schema.getPossibleTypes(type).map(({ name }) => name) : [typename]
  }

  const isObjectified = (typename: string): boolean => {
    const type = schema.getType(typename)
    return isObjectType(type) && type.getInterfaces().some(({ name }) => objectified.has(name))
  }

  /** Whether a field returns an object, in a subgraph that may not know the object's type. */
  function isHop(typename: string, { name, selectionSet }: FieldNode): boolean {
    const type = schema.getType(typename)
    const kinds = [typename, ...(isObjectType(type) ? type.getInterfaces().map((each) => each.name) : [])]
    return selectionSet !== undefined && kinds.some((kind) => objectified.get(kind)?.fields.has(name.value))
  }

  /** Whether there is such a field at the object itself or below. */
  function hasHop(set: SelectionSetNode, typename: string): boolean {
    return flat(set).some((each) => {
      if (each.kind !== Kind.FIELD) return hasHop(each.selectionSet, each.typeCondition?.name.value ?? typename)
      if (!each.selectionSet || isHop(typename, each)) return each.selectionSet !== undefined
      const type = schema.getType(typename)
      const field = isObjectType(type) || isInterfaceType(type) ? type.getFields()[each.name.value] : undefined
      return field !== undefined && hasHop(each.selectionSet, getNamedType(field.type).name)
    })
  }

  return { possible, isObjectified, isHop, hasHop }
}

/**
 * The parts of an operation; the first one is not under such a condition.
 * @param schema the schema for clients
 * @param document an operation without conditions, in internal names
 */
export function partsOf(schema: GraphQLSchema, objectified: Objectifieds, document: DocumentNode): readonly Part[] {
  if (objectified.size === 0) return [{ path: [], level: 0, document }]
  const parts: Part[] = []
  let level = 0
  const operation = operationOf(document)
  const { flat, only, asks } = selector(document)
  const { possible, isObjectified, isHop, hasHop } = hierarchy(schema, objectified, flat)
  let produced = 0
  /** Whether a type condition is about objects of such an interface. */
  let isTouched = false

  /** @param types those that the object at this place may have here */
  function walk(set: SelectionSetNode, typename: string, place: Place, types: readonly string[]): SelectionSetNode {
    const selections = flat(set).flatMap((each) =>
      each.kind === Kind.FIELD ? [walkField(each, typename, place, types)] : walkFragment(each, typename, place, types),
    )
    produced += selections.length
    if (produced > MAX_SELECTIONS) {
      throw requestError('The fragments of the operation apply to too many types.', 'OPERATION_TOO_COMPLEX')
    }
    return { kind: Kind.SELECTION_SET, selections: selections.length > 0 ? selections : [TYPENAME] }
  }

  function walkFragment(
    fragment: Inline,
    typename: string,
    place: Place,
    types: readonly string[],
  ): readonly SelectionNode[] {
    const on = fragment.typeCondition?.name.value ?? typename
    const narrowed = types.filter((name) => possible(on).includes(name))
    isTouched ||= narrowed.some(isObjectified)
    if (narrowed.length === 0) return []
    if (on === typename || !isAbstractType(schema.getType(typename))) {
      return walk(fragment.selectionSet, typename, place, types).selections
    }
    if (isAbstractType(schema.getType(on)) && !objectified.has(on) && narrowed.some(isObjectified)) {
      // The planner sends such conditions to subgraphs with interface objects, or loses them, so each type gets its
      // own.
      return narrowed.flatMap((name) =>
        walkFragment({ ...fragment, typeCondition: namedNode(name) }, typename, place, types),
      )
    }
    const interfaces = objectified.get(typename)
    const kept = { ...fragment, typeCondition: namedNode(on) }
    const walkKept = (each: Inline): Inline => ({ ...each, selectionSet: walk(each.selectionSet, on, place, narrowed) })
    if (!interfaces || !asks(fragment.selectionSet, interfaces.fields)) return [walkKept(kept)]
    const apart = only(kept, ({ name }) => interfaces.fields.has(name.value))
    const rest = only(kept, ({ name }) => !interfaces.fields.has(name.value))
    for (const name of narrowed) addPart(name, place, apart)
    return [TYPENAME, ...selectionOf(interfaces.key).selections, ...rest.map(walkKept)]
  }

  function walkField(field: FieldNode, typename: string, place: Place, types: readonly string[]): FieldNode {
    if (!field.selectionSet) return field
    const parent = schema.getType(typename)
    const definition =
      isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[field.name.value] : undefined
    if (!definition) return field
    const path = [...pathOf(place, types), (field.alias ?? field.name).value, ...listsOf(definition.type)]
    const { name } = getNamedType(definition.type)
    const declared = possible(name)
    const hops = place.hops + (isHop(typename, field) ? 1 : 0)
    const interfaces = objectified.get(name)
    if (interfaces && hops >= MAX_HOPS && hasHop(field.selectionSet, name)) {
      isTouched = true
      for (const each of declared) addPart(each, { path, declared, hops: 0 }, field.selectionSet.selections)
      const selections = [TYPENAME, ...selectionOf(interfaces.key).selections]
      return { ...field, selectionSet: { kind: Kind.SELECTION_SET, selections } }
    }
    return { ...field, selectionSet: walk(field.selectionSet, name, { path, declared, hops }, declared) }
  }

  function addPart(typename: string, place: Place, selections: readonly SelectionNode[]): void {
    level++
    const path = pathOf(place, [typename])
    const inner = walk({ kind: Kind.SELECTION_SET, selections }, typename, { ...place, hops: 0 }, [typename])
    const entry: FieldNode = { kind: Kind.FIELD, name: nameNode(ENTRY + typename), selectionSet: inner }
    const { name: _, ...rest } = operation
    const part: OperationDefinitionNode = {
      ...rest,
      ...(operation.name && { name: operation.name }),
      operation: OperationTypeNode.QUERY,
      directives: operation.directives ?? [],
      selectionSet: { kind: Kind.SELECTION_SET, selections: [entry] },
    }
    parts.push({ path, level, document: { kind: Kind.DOCUMENT, definitions: [part] } })
    level--
  }

  const root = schema.getRootType(operation.operation)?.name ?? ''
  const selectionSet = walk(operation.selectionSet, root, { path: [], declared: [root], hops: 0 }, [root])
  if (!isTouched) return [{ path: [], level: 0, document }]
  return [
    { path: [], level: 0, document: { kind: Kind.DOCUMENT, definitions: [{ ...operation, selectionSet }] } },
    ...parts,
  ]
}

const namedNode = (name: string): NamedTypeNode => ({ kind: Kind.NAMED_TYPE, name: nameNode(name) })

const TYPENAME: FieldNode = { kind: Kind.FIELD, name: nameNode('__typename') }

type Inline = Extract<SelectionNode, { kind: Kind.INLINE_FRAGMENT }>

/** Helpers to inspect selections. */
function selector(document: DocumentNode) {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const each of document.definitions) {
    if (each.kind === Kind.FRAGMENT_DEFINITION) fragments.set(each.name.value, each)
  }

  /** Inlines fragment spreads. */
  const flat = (set: SelectionSetNode): readonly (FieldNode | Inline)[] =>
    set.selections.map((each) => {
      if (each.kind !== Kind.FRAGMENT_SPREAD) return each
      const { typeCondition, selectionSet } = fragments.get(each.name.value) as FragmentDefinitionNode
      return { kind: Kind.INLINE_FRAGMENT, typeCondition, directives: each.directives ?? [], selectionSet }
    })

  /** A fragment with some of the fields that are asked for at the object itself; nothing if it has none of them. */
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

/** The place of an object, and its possible types there. */
interface Place {
  readonly path: readonly string[]
  readonly declared: readonly string[]
  /** How many fields of interface objects lead to it, since the part's beginning. */
  readonly hops: number
}

/** The path to a place's objects of these types. */
function pathOf({ path, declared }: Place, types: readonly string[]): readonly string[] {
  const last = path.at(-1)
  if (last === undefined || types.length === declared.length) return path
  return [...path.slice(0, -1), `${last.replace(/\|.*$/, '')}|[${types.join(',')}]`]
}

/** Combines the plans of an operation's parts. */
export function joinPlans(plans: readonly (Part & { readonly plan: QueryPlan })[]): QueryPlan {
  const [first] = plans as readonly [Part & { readonly plan: QueryPlan }]
  if (plans.length === 1) return first.plan
  const levels: PlanNode[][] = []
  for (const { path, level, plan } of plans) {
    const { node } = plan
    const placed = !node || node.kind === 'Subscription' || path.length === 0 ? node : atPlace(node, path)
    if (!placed || placed.kind === 'Subscription') continue
    levels[level] = [...(levels[level] ?? []), placed]
  }
  const nodes = levels.flatMap((nodes): PlanNode[] => (nodes.length > 1 ? [{ kind: 'Parallel', nodes }] : nodes))
  return { ...first.plan, node: { kind: 'Sequence', nodes } }
}

/** A part's plan without its beginning, at the place of its object. */
function atPlace(node: PlanNode, place: readonly string[]): PlanNode | undefined {
  switch (node.kind) {
    case 'Fetch':
      return node.serviceName === SERVICE ? undefined : node
    case 'Flatten': {
      const start = node.path.findIndex((part) => String(part).startsWith(ENTRY))
      return { ...node, path: [...place, ...node.path.slice(start + 1)] }
    }
    case 'Sequence':
    case 'Parallel': {
      const nodes = node.nodes.flatMap((each) => atPlace(each, place) ?? [])
      return nodes.length === 0 ? undefined : { ...node, nodes }
    }
    default:
      return node
  }
}
