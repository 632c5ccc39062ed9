/**
 * Executes the root fields of a mutation serially, as the specification requires: everything that a field returns is fetched
 * before the next field is executed. The planner sends all root fields of a subgraph first and fetches the rest afterwards.
 */
import type { FetchNode, PlanNode, QueryPlan } from '@apollo/query-planner'
import { type DocumentNode, type FieldNode, Kind, type OperationDefinitionNode } from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import { mapFetches } from './plan-nodes.ts'
import { eachRootField } from './root-fields.ts'

/** One document for each root field of a mutation. Empty if the plan has no further fetches, so that the order is right. */
export function serialSteps(document: DocumentNode, { node }: QueryPlan): readonly DocumentNode[] {
  const operation = operationOf(document)
  if (operation.operation !== 'mutation' || !node || node.kind === 'Subscription' || !hasFollowUps(node)) return []
  const fields = rootFields(document, operation)
  if (fields.size < 2) return []
  return [...fields.values()].map((selections) => {
    const step: OperationDefinitionNode = { ...operation, selectionSet: { kind: Kind.SELECTION_SET, selections } }
    const definitions = document.definitions.map((each) => (each === operation ? step : each))
    return { ...document, definitions }
  })
}

function hasFollowUps(node: PlanNode): boolean {
  let found = false
  mapFetches(node, (fetch: FetchNode) => {
    found ||= fetch.operationKind !== 'mutation'
    return fetch
  })
  return found
}

/** The root fields by response name. */
function rootFields(document: DocumentNode, operation: OperationDefinitionNode): Map<string, FieldNode[]> {
  const fields = new Map<string, FieldNode[]>()
  eachRootField(document, operation, (field) => {
    const name = (field.alias ?? field.name).value
    fields.set(name, [...(fields.get(name) ?? []), field])
  })
  return fields
}

/** Combines plans into one that runs them in sequence. */
export function inSequence(plans: readonly QueryPlan[]): QueryPlan {
  const nodes = plans.flatMap(({ node }) => (node && node.kind !== 'Subscription' ? [node] : []))
  return { ...plans[0], kind: 'QueryPlan', node: { kind: 'Sequence', nodes } }
}
