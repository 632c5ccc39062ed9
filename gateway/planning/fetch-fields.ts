/** What a fetch of a plan asks for, needs and gives, field by field. */
import type { FetchNode, QueryPlanSelectionNode } from '@apollo/query-planner'
import {
  type DocumentNode,
  type FieldNode,
  type GraphQLSchema,
  isInterfaceType,
  Kind,
  parse,
  print,
  type SelectionNode,
  type SelectionSetNode,
  stripIgnoredCharacters,
  visit,
} from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import { responseName } from './operation-corrections.ts'

/** A field at the top of a fetch, of the root or of its entities. It could be fetched without the others. */
export interface FetchField {
  readonly fetch: FetchNode
  /** Its number among the fields of the fetch. */
  readonly index: number
  /** The fields that it gives, by their paths in the data. */
  readonly gives: ReadonlySet<string>
  /** The fields that the fetch needs. */
  readonly needs: ReadonlySet<string>
  /** Whether it may need anything that was fetched before. */
  readonly needsAll: boolean
}

export const pathOf = (names: readonly string[]): string => names.join('/')

/** Whether a fetch asks for objects of an interface, and so for their types. */
export const tellsTypes = (schema: GraphQLSchema, { requires = [] }: FetchNode): boolean =>
  requires.some((each) => each.kind === 'InlineFragment' && isInterfaceType(schema.getType(each.typeCondition ?? '')))

/** The selections at the top of a fetch's operation. */
function topOf(document: DocumentNode, { requires }: FetchNode): readonly SelectionNode[] {
  const { selections } = operationOf(document).selectionSet
  if (!requires) return selections
  return selections.flatMap((each) => (each.kind === Kind.FIELD ? (each.selectionSet?.selections ?? []) : []))
}

/** The fields among selections, also in fragments. */
const fieldsIn = (selections: readonly SelectionNode[]): readonly FieldNode[] =>
  selections.flatMap((each) => {
    if (each.kind === Kind.FIELD) return [each]
    return each.kind === Kind.INLINE_FRAGMENT ? fieldsIn(each.selectionSet.selections) : []
  })

/**
 * @param schema the whole supergraph
 * @param place where the plan merges the fetch
 */
export function fieldsOf(
  schema: GraphQLSchema,
  fetch: FetchNode,
  place: readonly (string | number)[],
): readonly FetchField[] {
  const { names, needs } = readPlace(place)
  if (fetch.requires) readRequired(fetch.requires, names, needs)
  const renamed = new Map<string, string>()
  for (const each of fetch.outputRewrites ?? []) {
    if (each.kind === 'KeyRenamer') renamed.set(String(each.path.at(-1)), each.renameKeyTo)
  }
  function read(field: FieldNode, at: readonly string[], gives: Set<string>): void {
    const key = responseName(field)
    const path = [...at, renamed.get(key) ?? key]
    // The type comes with the object, except where only its interface is known until then.
    if (key !== '__typename' || (at === names && tellsTypes(schema, fetch))) gives.add(pathOf(path))
    for (const inner of fieldsIn(field.selectionSet?.selections ?? [])) read(inner, path, gives)
  }
  const needsAll = (fetch.contextRewrites?.length ?? 0) > 0
  const top = fieldsIn(topOf(parse(fetch.operation, { noLocation: true }), fetch))
  return top.map((field, index) => {
    const gives = new Set<string>()
    read(field, names, gives)
    return { fetch, index, gives, needs, needsAll }
  })
}

/** The names of a path, and what has to be known to follow it. */
function readPlace(place: readonly (string | number)[]) {
  const names: string[] = []
  const needs = new Set<string>()
  for (const part of place) {
    const [name = '', types] = String(part).split('|')
    if (name !== '' && name !== '@') {
      names.push(name)
      needs.add(pathOf(names))
    }
    if (types !== undefined) needs.add(pathOf([...names, '__typename']))
  }
  return { names, needs }
}

function readRequired(
  selections: readonly QueryPlanSelectionNode[],
  names: readonly string[],
  needs: Set<string>,
): void {
  for (const each of selections) {
    if (each.kind === 'InlineFragment') readRequired(each.selections, names, needs)
    else {
      const path = [...names, each.alias ?? each.name]
      needs.add(pathOf(path))
      if (each.selections) readRequired(each.selections, path, needs)
    }
  }
}

/** A fetch for some of its fields alone, with the variables that they use. `__typename` always stays. */
export function withFields(fetch: FetchNode, indices: ReadonlySet<number>): FetchNode {
  const document = parse(fetch.operation, { noLocation: true })
  const top = topOf(document, fetch)
  const fields = fieldsIn(top)
  if (fields.every((_, index) => indices.has(index))) return fetch
  const kept = new Set(fields.filter((each, index) => indices.has(index) || each.name.value === '__typename'))
  const keep = (selections: readonly SelectionNode[]): SelectionNode[] =>
    selections.flatMap((each): SelectionNode[] => {
      if (each.kind === Kind.FIELD) return kept.has(each) ? [each] : []
      if (each.kind !== Kind.INLINE_FRAGMENT) return [each]
      const inner = keep(each.selectionSet.selections)
      return inner.length > 0 ? [{ ...each, selectionSet: { ...each.selectionSet, selections: inner } }] : []
    })
  const isTop = ({ selections }: SelectionSetNode) =>
    selections.length > 0 && selections.every((each) => top.includes(each))
  const reduced = visit(document, {
    SelectionSet: (node) => (isTop(node) ? { ...node, selections: keep(node.selections) } : undefined),
  })
  const used = new Set<string>()
  visit(operationOf(reduced).selectionSet, { Variable: ({ name }) => void used.add(name.value) })
  const without = visit(reduced, {
    VariableDefinition: ({ variable }) => (used.has(variable.name.value) ? undefined : null),
  })
  return {
    ...fetch,
    operation: stripIgnoredCharacters(print(without)),
    variableUsages: (fetch.variableUsages ?? []).filter((name) => used.has(name)),
  }
}
