/**
 * A subgraph that only the planner knows, and that begins the plans of an operation's parts (parts.ts): a root field for each
 * type at whose objects a part may begin, with nothing but keys. Its calls are left out of the joined plan.
 */
import {
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
export const ENTRIES_SERVICE = 'gateway__entries'
export const ENTRY = 'gateway__entry_'

/** By types at whose objects a part may begin, and by their interfaces: the selection of what is known of them then. */
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
  const objects = [...entries].filter(([name]) => types.get(name)?.kind === Kind.OBJECT_TYPE_DEFINITION)
  for (const [typename, key] of objects) want(typename, key)
  const here = joined('join__field', GRAPH)
  return mapTypes(withLeaves(withGraph(document, GRAPH, ENTRIES_SERVICE), leaves), (type) => {
    const names = wanted.get(type.name.value)
    if (!names) return type
    const explicit = withExplicitFields(type)
    const fields = (explicit.fields ?? []).map((field) =>
      names.has(field.name.value) ? { ...field, directives: [...(field.directives ?? []), here] } : field,
    )
    const roots = objects.map(
      ([name]): FieldDefinitionNode => ({
        kind: Kind.FIELD_DEFINITION,
        name: nameNode(ENTRY + name),
        type: { kind: Kind.NAMED_TYPE, name: nameNode(name) },
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

/** With the scalars and enums that keys are of. */
const withLeaves = (document: DocumentNode, leaves: ReadonlySet<string>): DocumentNode => ({
  ...document,
  definitions: document.definitions.map((each) => {
    const isLeaf = each.kind === Kind.SCALAR_TYPE_DEFINITION || each.kind === Kind.ENUM_TYPE_DEFINITION
    if (!isLeaf || !leaves.has(each.name.value)) return each
    const directives = [...(each.directives ?? []), joined('join__type', GRAPH)]
    if (each.kind === Kind.SCALAR_TYPE_DEFINITION) return { ...each, directives }
    const values = each.values?.map((value) => ({
      ...value,
      directives: [...(value.directives ?? []), joined('join__enumValue', GRAPH)],
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
