/** Transforms the nodes of a plan. */
import type { FetchNode, PlanNode, QueryPlan } from '@apollo/query-planner'

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

/** What a deferred fragment needs beyond the plan around it. */
export interface DeferredBlock {
  /** The label of the fragment. */
  readonly id: string
  /** The ids of the fetches that must have been made before. */
  readonly depends: readonly string[]
  /** undefined: it needs nothing more. */
  readonly node: PlanNode | undefined
}

/** A plan's main part, and the parts of its deferred fragments, wherever they are nested. */
export function withoutDeferred({ node }: QueryPlan): {
  readonly main: PlanNode | undefined
  readonly blocks: readonly DeferredBlock[]
} {
  if (!node || node.kind === 'Subscription') return { main: undefined, blocks: [] }
  if (node.kind !== 'Defer') return { main: node, blocks: [] }
  const blocks = node.deferred.flatMap(({ label = '', depends, node: inner }): DeferredBlock[] => {
    const { main, blocks } = withoutDeferred({ kind: 'QueryPlan', ...(inner && { node: inner }) })
    return [{ id: label, depends: depends.map(({ id }) => id), node: main }, ...blocks]
  })
  return { main: node.primary.node, blocks }
}
