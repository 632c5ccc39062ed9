/**
 * Chains of `@requires`: a required field that itself requires something. The planner merges the call for it into an
 * earlier one to the same subgraph, before the requirement is known, so the subgraph computes from nothing. To avoid
 * that, such fields are moved to a subgraph of their own for the planner, because calls to two subgraphs are not
 * merged. Related: https://github.com/apollographql/federation/issues/1725
 */
import type { PlanNode } from '@apollo/query-planner'
import {
  type ConstDirectiveNode,
  type DefinitionNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type InputValueDefinitionNode,
  Kind,
  type SelectionSetNode,
} from 'graphql'
import {
  directivesOf,
  graphOf,
  mapTypes,
  namedType,
  selectionOf,
  serviceNames,
  type TypeDefinition,
  textOf,
  typesOf,
  withExplicitFields,
  withGraph,
} from './join.ts'
import { mapFetches } from './plan-nodes.ts'

const GRAPH_MARK = '__CHAINED'
const SERVICE_MARK = '__chained'

/** `Type.field` of all fields that are required and require something, by the graphs that have them. */
function chainedFields(types: ReadonlyMap<string, TypeDefinition>): Map<string, Set<string>> {
  const required = new Set<string>()
  const visit = (set: SelectionSetNode, typename: string): void => {
    const type = types.get(typename)
    for (const selection of set.selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT) {
        visit(selection.selectionSet, selection.typeCondition?.name.value ?? typename)
      } else if (selection.kind === Kind.FIELD) {
        required.add(`${typename}.${selection.name.value}`)
        const field = type?.fields?.find(({ name }) => name.value === selection.name.value)
        if (field && selection.selectionSet) visit(selection.selectionSet, namedType(field.type))
      }
    }
  }
  const requirements = [...types.values()].flatMap((type) =>
    (type.fields ?? []).flatMap((field) =>
      directivesOf(field, 'join__field').flatMap((join) => {
        const text = textOf(join, 'requires')
        return text === undefined
          ? []
          : [{ type: type.name.value, field: field.name.value, graph: graphOf(join), text }]
      }),
    ),
  )
  for (const { type, text } of requirements) visit(selectionOf(text), type)
  const chained = new Map<string, Set<string>>()
  for (const { type, field, graph } of requirements) {
    const key = `${type}.${field}`
    if (required.has(key)) chained.set(graph, (chained.get(graph) ?? new Set()).add(key))
  }
  return chained
}

const firstNames = (text: string): string[] =>
  selectionOf(text).selections.flatMap((each) => (each.kind === Kind.FIELD ? [each.name.value] : []))

/** The same directive for another graph. */
const moved = (directive: ConstDirectiveNode, graph: string): ConstDirectiveNode => ({
  ...directive,
  arguments:
    directive.arguments?.map((each) =>
      each.name.value === 'graph' ? { ...each, value: { kind: Kind.ENUM, value: graph } } : each,
    ) ?? [],
})

/** A definition's directives with those for one graph again for another. */
const copied = (
  directives: readonly ConstDirectiveNode[] | undefined,
  from: string,
  to: string,
): ConstDirectiveNode[] => [
  ...(directives ?? []),
  ...(directives ?? []).filter((each) => graphOf(each) === from).map((each) => moved(each, to)),
]

/** @param document a supergraph for the planner */
export function separateChains(document: DocumentNode): DocumentNode {
  let result = document
  const services = serviceNames(document)
  for (const [graph, fields] of chainedFields(typesOf(document))) {
    const own = `${graph}${GRAPH_MARK}`
    result = withGraph(result, own, `${services.get(graph)}${SERVICE_MARK}`)
    result = separate(mapTypes(result, withExplicitFields), graph, own, fields)
  }
  return result
}

/** Moves fields from one graph to another, which gets what belongs to them. */
function separate(document: DocumentNode, from: string, to: string, chained: ReadonlySet<string>): DocumentNode {
  const types = typesOf(document)
  const definitions = new Map(
    document.definitions.flatMap((each) => ('name' in each && each.name ? [[each.name.value, each]] : [])),
  )
  /** What of each type is in the new graph. */
  const kept = new Map<string, Set<string>>()
  const isIn = ({ directives }: FieldDefinitionNode | InputValueDefinitionNode) =>
    directivesOf({ directives }, 'join__field').some((each) => graphOf(each) === from)

  function keep(typename: string, names: readonly string[]): void {
    const type = types.get(typename)
    const known = kept.get(typename) ?? new Set()
    kept.set(typename, known)
    if (!type) {
      keepOther(definitions.get(typename))
      return
    }
    const joins = directivesOf(type, 'join__type').filter((each) => graphOf(each) === from)
    // One entry point is enough: with another one, the planner would use it to get from key to key.
    const keys = joins.flatMap((each) => textOf(each, 'key') ?? []).slice(0, 1)
    const isEntity = keys.length > 0
    const wanted = isEntity
      ? [...keys.flatMap(firstNames), ...names]
      : (type.fields ?? []).filter(isIn).map(({ name }) => name.value)
    const added = wanted.filter((name) => !known.has(name))
    if (added.length > 0) keepKinds(type, added)
    for (const field of type.fields ?? []) {
      const name = field.name.value
      if (!added.includes(name) || known.has(name)) continue
      known.add(name)
      keep(namedType(field.type), [])
      for (const argument of field.arguments ?? []) keep(namedType(argument.type), [])
    }
  }
  /** The kinds of an interface, with its fields. */
  function keepKinds({ kind, name }: TypeDefinition, fields: readonly string[]): void {
    if (kind !== Kind.INTERFACE_TYPE_DEFINITION) return
    for (const [typename, type] of types) {
      const implemented = directivesOf(type, 'join__implements').filter((each) => graphOf(each) === from)
      if (implemented.some((each) => textOf(each, 'interface') === name.value)) keep(typename, fields)
    }
  }
  function keepOther(definition: DefinitionNode | undefined): void {
    if (definition?.kind === Kind.UNION_TYPE_DEFINITION)
      for (const { name } of definition.types ?? []) keep(name.value, [])
    if (definition?.kind !== Kind.INPUT_OBJECT_TYPE_DEFINITION) return
    for (const field of definition.fields ?? []) if (!kept.has(namedType(field.type))) keep(namedType(field.type), [])
  }

  function keepSelected(typename: string, { selections }: SelectionSetNode): void {
    for (const each of selections) {
      if (each.kind === Kind.INLINE_FRAGMENT) {
        const on = each.typeCondition?.name.value ?? typename
        keep(on, [])
        keepSelected(on, each.selectionSet)
      } else if (each.kind === Kind.FIELD) {
        keep(typename, [each.name.value])
        const field = types.get(typename)?.fields?.find(({ name }) => name.value === each.name.value)
        if (field && each.selectionSet) keepSelected(namedType(field.type), each.selectionSet)
      }
    }
  }

  for (const key of chained) {
    const [typename = '', name = ''] = key.split('.')
    const field = types.get(typename)?.fields?.find((each) => each.name.value === name)
    keep(typename, [name])
    for (const join of directivesOf(field ?? {}, 'join__field')) {
      const text = textOf(join, 'requires')
      if (text !== undefined && graphOf(join) === from) keepSelected(typename, selectionOf(text))
    }
  }
  return withCopies(document, kept, chained, from, to)
}

/** @param kept what of each type is to be in the graph `to` as it is in the graph `from` */
function withCopies(
  document: DocumentNode,
  kept: ReadonlyMap<string, ReadonlySet<string>>,
  chained: ReadonlySet<string>,
  from: string,
  to: string,
): DocumentNode {
  const changed = document.definitions.map((each): DefinitionNode => {
    const names = 'name' in each && each.name ? kept.get(each.name.value) : undefined
    if (!names || !('directives' in each)) return each
    const copies = copied(each.directives as readonly ConstDirectiveNode[], from, to)
    const ways = copies.filter((join) => join.name.value === 'join__type' && graphOf(join) === to)
    const way = ways.find((join) => textOf(join, 'key') !== undefined)
    const directives = copies.filter((join) => {
      if (way && ways.includes(join)) return join === way
      const implemented = join.name.value === 'join__implements' && graphOf(join) === to
      return !implemented || kept.has(textOf(join, 'interface') ?? '')
    })
    if (each.kind === Kind.OBJECT_TYPE_DEFINITION || each.kind === Kind.INTERFACE_TYPE_DEFINITION) {
      const fields = (each.fields ?? []).map((field): FieldDefinitionNode => {
        const name = field.name.value
        const joins = (field.directives ?? []).map((join) =>
          graphOf(join) === from && textOf(join, 'requires') !== undefined ? moved(join, to) : join,
        )
        if (chained.has(`${each.name.value}.${name}`)) return { ...field, directives: joins }
        return names.has(name) ? { ...field, directives: copied(field.directives, from, to) } : field
      })
      return { ...each, directives, fields }
    }
    if (each.kind === Kind.ENUM_TYPE_DEFINITION) {
      const values = each.values?.map((value) => ({ ...value, directives: copied(value.directives, from, to) })) ?? []
      return { ...each, directives, values }
    }
    if (each.kind === Kind.INPUT_OBJECT_TYPE_DEFINITION) {
      const fields = each.fields?.map((field) => ({ ...field, directives: copied(field.directives, from, to) })) ?? []
      return { ...each, directives, fields }
    }
    return { ...each, directives } as DefinitionNode
  })
  return { ...document, definitions: changed }
}

/** A plan with the real names of the subgraphs. */
export const withRealServices = (node: PlanNode): PlanNode =>
  mapFetches(node, (fetch) =>
    fetch.serviceName.endsWith(SERVICE_MARK)
      ? { ...fetch, serviceName: fetch.serviceName.slice(0, -SERVICE_MARK.length) }
      : fetch,
  )
