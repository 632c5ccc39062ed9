/** Joins the plans of an operation's parts (operation-parts.ts) into one plan. */
import type { FetchNode, PlanNode, QueryPlan } from '@apollo/query-planner'
import { Kind, parse } from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import type { Part } from './operation-parts.ts'
import { ENTRIES_SERVICE, ENTRY } from './part-entries.ts'

/** Combines the plans of an operation's parts into one. */
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

/** Moves a part's plan to the path of its objects, without the call that the plan begins with. */
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
      // Nodes are not nested needlessly: the executor merges calls to one subgraph only if they are siblings.
      return nodes.length > 1 ? { ...node, nodes } : nodes[0]
    }
    default:
      return node
  }
}

/**
 * Extends a call that was planned for the objects of one type to all types of an interface.
 * @throws Error if the call depends on the type
 */
function forAllTypes(fetch: FetchNode, by: string): FetchNode {
  const { selections } = operationOf(parse(fetch.operation, { noLocation: true })).selectionSet
  const asked = selections.flatMap((each) => (each.kind === Kind.FIELD ? (each.selectionSet?.selections ?? []) : []))
  if (!asked.every((each) => each.kind === Kind.INLINE_FRAGMENT && each.typeCondition?.name.value === by)) {
    throw new Error(`The selection on ${by} can't be planned for all of its types.`)
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
