/**
 * An artificial subgraph that only the planner sees. The plan of each part of an operation (operation-parts.ts) begins there: it has
 * a root field for each type at which a part may begin, and of that type only the keys. Calls to it are removed when the
 * plans are joined.
 */
import { type DocumentNode, type FieldDefinitionNode, Kind, OperationTypeNode, type SelectionSetNode } from 'graphql'
import type { InterfaceObjects } from './interface-objects.ts'
import { joined, mapTypes, nameNode, selectionOf, typesOf, withExplicitFields, withGraph, withKeys } from './join.ts'
import type { Stages } from './requirement-stages.ts'

const GRAPH = 'GATEWAY__ENTRIES'
export const ENTRIES_SERVICE = 'gateway__entries'
export const ENTRY = 'gateway__entry_'

/** What is known of an object when a part begins at it, by type. Interfaces of these types have entries too. */
export type Entries = ReadonlyMap<string, SelectionSetNode>

export function entriesOf(document: DocumentNode, interfaceObjects: InterfaceObjects, stages: Stages): Entries {
  const types = [...typesOf(document).values()]
  const keys = new Map<string, Set<string>>()
  const add = (typename: string, key: string) => keys.set(typename, (keys.get(typename) ?? new Set()).add(key))
  const kindsOf = (name: string) => types.filter((type) => type.interfaces?.some((each) => each.name.value === name))
  for (const [name, { key }] of interfaceObjects) for (const kind of kindsOf(name)) add(kind.name.value, key)
  for (const { type, key } of [...stages.values()].flat()) {
    for (const each of [interfaceObjects.get(type)?.key ?? [], key].flat()) add(type, each)
    for (const kind of kindsOf(type)) add(kind.name.value, key)
  }
  return new Map([...keys].map(([typename, texts]) => [typename, selectionOf([...texts].join(' '))]))
}

export function withEntries(document: DocumentNode, entries: Entries): DocumentNode {
  const types = typesOf(document)
  const queryName = queryTypeName(document)
  const objects = new Map([...entries].filter(([name]) => types.get(name)?.kind === Kind.OBJECT_TYPE_DEFINITION))
  const roots = [...objects.keys()].map(
    (name): FieldDefinitionNode => ({
      kind: Kind.FIELD_DEFINITION,
      name: nameNode(ENTRY + name),
      type: { kind: Kind.NAMED_TYPE, name: nameNode(name) },
      directives: [joined('join__field', GRAPH)],
    }),
  )
  return mapTypes(withKeys(withGraph(document, GRAPH, ENTRIES_SERVICE), GRAPH, objects), (type) => {
    if (type.name.value !== queryName) return type
    const { directives = [], fields = [], ...rest } = withExplicitFields(type)
    return { ...rest, directives: [...directives, joined('join__type', GRAPH)], fields: [...fields, ...roots] }
  })
}

function queryTypeName({ definitions }: DocumentNode): string {
  for (const each of definitions) {
    if (each.kind !== Kind.SCHEMA_DEFINITION && each.kind !== Kind.SCHEMA_EXTENSION) continue
    const root = each.operationTypes?.find(({ operation }) => operation === OperationTypeNode.QUERY)
    if (root) return root.type.name.value
  }
  return 'Query'
}
