/** Transforms the nodes of a plan. */
import type { FetchNode, PlanNode } from '@apollo/query-planner'

/** Replaces each fetch of a plan by the result of `change`, or removes it if that is undefined. */
export function mapFetches(node: PlanNode, change: (fetch: FetchNode) => PlanNode | undefined): PlanNode | undefined {
  switch (node.kind) {
    case 'Fetch':
      return change(node)
    case 'Flatten': {
      const inner = mapFetches(node.node, change)
      return inner && { ...node, node: inner }
    }
    case 'Sequence':
    case 'Parallel': {
      const nodes = node.nodes.flatMap((each) => mapFetches(each, change) ?? [])
      return nodes.length > 0 ? { ...node, nodes } : undefined
    }
    case 'Condition': {
      const { ifClause, elseClause, ...rest } = node
      const [yes, no] = [ifClause, elseClause].map((each) => each && mapFetches(each, change))
      return yes || no ? { ...rest, ...(yes && { ifClause: yes }), ...(no && { elseClause: no }) } : undefined
    }
    case 'Defer': {
      const changed = (each: PlanNode | undefined) => each && mapFetches(each, change)
      const primary = withNode(node.primary, changed(node.primary.node))
      return { ...node, primary, deferred: node.deferred.map((each) => withNode(each, changed(each.node))) }
    }
  }
}

function withNode<Part extends { readonly node?: PlanNode }>({ node: _, ...rest }: Part, node: PlanNode | undefined) {
  return { ...rest, ...(node && { node }) }
}

/** The fetches of a plan, in its order. */
export function fetchesOf(node: PlanNode | undefined): readonly FetchNode[] {
  const fetches: FetchNode[] = []
  const collect = (fetch: FetchNode) => {
    fetches.push(fetch)
    return fetch
  }
  if (node) mapFetches(node, collect)
  return fetches
}
