/** Merges several operations for entities. */
import {
  type DefinitionNode,
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  print,
  type SelectionNode,
  stripIgnoredCharacters,
  visit,
} from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'

/** Merges several operations for entities into one; undefined if their variables or directives conflict. */
export function mergeOperations(
  operations: readonly string[],
): { readonly text: string; readonly name: string | undefined } | undefined {
  const variables = new Map<string, string>()
  const definitions: DefinitionNode[] = []
  const selections: SelectionNode[] = []
  const variableDefinitions: NonNullable<OperationDefinitionNode['variableDefinitions']>[number][] = []
  let name: string | undefined
  for (const [index, text] of operations.entries()) {
    const renamed = visit(parse(text, { noLocation: true }), {
      Variable: (node) =>
        node.name.value === 'representations'
          ? { ...node, name: { ...node.name, value: `representations_${index}` } }
          : undefined,
      FragmentSpread: (node) => ({ ...node, name: { ...node.name, value: `${node.name.value}_${index}` } }),
      FragmentDefinition: (node) => ({ ...node, name: { ...node.name, value: `${node.name.value}_${index}` } }),
    })
    const operation = operationOf(renamed)
    if (operation.directives?.length) return undefined
    name ??= operation.name?.value
    for (const definition of operation.variableDefinitions ?? []) {
      const key = definition.variable.name.value
      const before = variables.get(key)
      if (before !== undefined && before !== print(definition)) return undefined
      if (before === undefined) variableDefinitions.push(definition)
      variables.set(key, print(definition))
    }
    for (const selection of operation.selectionSet.selections) {
      if (selection.kind !== Kind.FIELD || selection.name.value !== '_entities') return undefined
      selections.push({ ...selection, alias: { kind: Kind.NAME, value: `_${index}` } })
    }
    definitions.push(
      ...renamed.definitions.filter(
        (definition): definition is FragmentDefinitionNode => definition.kind === Kind.FRAGMENT_DEFINITION,
      ),
    )
  }
  const operation: OperationDefinitionNode = {
    kind: Kind.OPERATION_DEFINITION,
    operation: 'query' as OperationDefinitionNode['operation'],
    ...(name !== undefined && { name: { kind: Kind.NAME, value: name } }),
    variableDefinitions,
    selectionSet: { kind: Kind.SELECTION_SET, selections },
  }
  const document: DocumentNode = { kind: Kind.DOCUMENT, definitions: [operation, ...definitions] }
  return { text: stripIgnoredCharacters(print(document)), name }
}
