/** Changes to a plan's nodes. */
import type { FetchNode, PlanNode } from '@apollo/query-planner'

/** The plan with each of its fetches replaced, or left out where `change` gives nothing for it. */
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
    default:
      return node
  }
}
