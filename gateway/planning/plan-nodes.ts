/** Changes to a plan's nodes. */
import type { FetchNode, PlanNode } from '@apollo/query-planner'

/** The plan with each of its fetches replaced. */
export function mapFetches(node: PlanNode, change: (fetch: FetchNode) => PlanNode): PlanNode {
  switch (node.kind) {
    case 'Fetch':
      return change(node)
    case 'Flatten':
      return { ...node, node: mapFetches(node.node, change) }
    case 'Sequence':
    case 'Parallel':
      return { ...node, nodes: node.nodes.map((each) => mapFetches(each, change)) }
    case 'Condition':
      return {
        ...node,
        ...(node.ifClause && { ifClause: mapFetches(node.ifClause, change) }),
        ...(node.elseClause && { elseClause: mapFetches(node.elseClause, change) }),
      }
    default:
      return node
  }
}
