/**
 * A subgraph that only the planner knows, and that begins the plans of an operation's parts (parts.ts): a root field for each
 * type at whose objects a part may begin, with nothing but keys. Its calls are left out of the joined plan.
 */
import {
  type ConstArgumentNode,
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  Kind,
  OperationTypeNode,
  print,
  type SelectionSetNode,
  stripIgnoredCharacters,
} from 'graphql'
import type { Objectifieds } from './interface-objects.ts'
import { joined, mapTypes, namedType, nameNode, selectionOf, typesOf, withExplicitFields, withGraph } from './join.ts'
import type { Stages } from './requirement-stages.ts'

const GRAPH = 'GATEWAY__ENTRIES'
const SERVICE = 'gateway__entries'
/** Interfaces can't be objects beside their kinds. */
const OBJECTS = { graph: `${GRAPH}_OF_INTERFACES`, service: `${SERVICE}_of_interfaces` }
export const ENTRY = 'gateway__entry_'

export const isEntry = (service: string): boolean => service === SERVICE || service === OBJECTS.service

/** By types at whose objects a part may begin: the selection of what is known of them then. */
export type Entries = ReadonlyMap<string, SelectionSetNode>

export function entriesOf(document: DocumentNode, objectified: Objectifieds, stages: Stages): Entries {
  const types = [...typesOf(document).values()]
  const keys = new Map<string, Set<string>>()
  const add = (typename: string, key: string) => keys.set(typename, (keys.get(typename) ?? new Set()).add(key))
  const kindsOf = (name: string) => types.filter((type) => type.interfaces?.some((each) => each.name.value === name))
  for (const [name, { key }] of objectified) for (const kind of kindsOf(name)) add(kind.name.value, key)
  for (const { type, key } of [...stages.values()].flat()) {
    const text = stripIgnoredCharacters(print(key)).slice(1, -1)
    for (const each of [objectified.get(type)?.key ?? [], text].flat()) add(type, each)
    for (const kind of kindsOf(type)) add(kind.name.value, text)
  }
  return new Map([...keys].map(([typename, texts]) => [typename, selectionOf([...texts].join(' '))]))
}

export function withEntries(document: DocumentNode, entries: Entries): DocumentNode {
  const types = typesOf(document)
  const isInterface = (name: string) => types.get(name)?.kind === Kind.INTERFACE_TYPE_DEFINITION
  const interfaces = [...entries].filter(([name]) => isInterface(name))
  const objects = [...entries].filter(([name]) => !isInterface(name))
  const withObjects = objects.length > 0 ? withGraphOf(document, GRAPH, SERVICE, objects) : document
  return interfaces.length > 0 ? withGraphOf(withObjects, OBJECTS.graph, OBJECTS.service, interfaces) : withObjects
}

type Entry = readonly [typename: string, key: SelectionSetNode]

function withGraphOf(document: DocumentNode, graph: string, service: string, entries: readonly Entry[]): DocumentNode {
  const types = typesOf(document)
  const queryName = queryTypeName(document)
  const wanted = new Map<string, Set<string>>([[queryName, new Set()]])
  const leaves = new Set<string>()
  const want = (typename: string, { selections }: SelectionSetNode): void => {
    const names = wanted.get(typename) ?? new Set()
    wanted.set(typename, names)
    for (const each of selections) {
      if (each.kind !== Kind.FIELD) continue
      names.add(each.name.value)
      const field = types.get(typename)?.fields?.find(({ name }) => name.value === each.name.value)
      const inner = field && namedType(field.type)
      if (inner !== undefined && each.selectionSet) want(inner, each.selectionSet)
      else if (inner !== undefined) leaves.add(inner)
    }
  }
  for (const [typename, key] of entries) want(typename, key)
  const here = joined('join__field', graph)
  return mapTypes(withLeaves(withGraph(document, graph, service), graph, leaves), (type) => {
    const names = wanted.get(type.name.value)
    if (!names) return type
    const explicit = withExplicitFields(type)
    const fields = (explicit.fields ?? []).map((field) =>
      names.has(field.name.value) ? { ...field, directives: [...(field.directives ?? []), here] } : field,
    )
    const roots = entries.map(
      ([name]): FieldDefinitionNode => ({
        kind: Kind.FIELD_DEFINITION,
        name: nameNode(ENTRY + name),
        type: { kind: Kind.NAMED_TYPE, name: nameNode(name) },
        directives: [here],
      }),
    )
    const key = entries.find(([name]) => name === type.name.value)?.[1]
    const isObject = type.kind === Kind.INTERFACE_TYPE_DEFINITION && key !== undefined
    return {
      ...explicit,
      directives: [...(explicit.directives ?? []), isObject ? asObject(graph, key) : joined('join__type', graph)],
      fields: type.name.value === queryName ? [...fields, ...roots] : fields,
    }
  })
}

/** An interface that is taken for an object. Nobody gets to it by its key. */
function asObject(graph: string, key: SelectionSetNode): ConstDirectiveNode {
  const join = joined('join__type', graph, { key: stripIgnoredCharacters(print(key)).slice(1, -1) })
  const flag = (name: string, value: boolean): ConstArgumentNode => ({
    kind: Kind.ARGUMENT,
    name: nameNode(name),
    value: { kind: Kind.BOOLEAN, value },
  })
  return {
    ...join,
    arguments: [...(join.arguments ?? []), flag('resolvable', false), flag('isInterfaceObject', true)],
  }
}

/** With the scalars and enums that keys are of. */
const withLeaves = (document: DocumentNode, graph: string, leaves: ReadonlySet<string>): DocumentNode => ({
  ...document,
  definitions: document.definitions.map((each) => {
    const isLeaf = each.kind === Kind.SCALAR_TYPE_DEFINITION || each.kind === Kind.ENUM_TYPE_DEFINITION
    if (!isLeaf || !leaves.has(each.name.value)) return each
    const directives = [...(each.directives ?? []), joined('join__type', graph)]
    if (each.kind === Kind.SCALAR_TYPE_DEFINITION) return { ...each, directives }
    const values = each.values?.map((value) => ({
      ...value,
      directives: [...(value.directives ?? []), joined('join__enumValue', graph)],
    }))
    return { ...each, directives, ...(values && { values }) }
  }),
})

function queryTypeName({ definitions }: DocumentNode): string {
  for (const each of definitions) {
    if (each.kind !== Kind.SCHEMA_DEFINITION && each.kind !== Kind.SCHEMA_EXTENSION) continue
    const root = each.operationTypes?.find(({ operation }) => operation === OperationTypeNode.QUERY)
    if (root) return root.type.name.value
  }
  return 'Query'
}
