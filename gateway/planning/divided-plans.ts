/**
 * Plans of operations with deferred fragments: a main plan, and a block of fetches for each fragment that arrives later.
 *
 * Apollo's planner makes such plans, and then fetches deferred fields of an entity by themselves, even from the same subgraph.
 * It fails for some fragments, above all with `@requires` in them, and knows nothing of operations that are planned in parts
 * (operation-parts.ts). Those get the plan that they have without `@defer`, divided: see plan-division.ts.
 */
import type { FetchNode, PlanNode, QueryPlan } from '@apollo/query-planner'
import { type GraphQLSchema, Kind, parse, type SelectionSetNode } from 'graphql'
import { operationOf } from '../subgraphs/errors.ts'
import { tellsTypes } from './fetch-fields.ts'
import { ENTRIES_SERVICE } from './part-entries.ts'
import { mapFetches } from './plan-nodes.ts'

/** What a deferred fragment needs beyond the plan around it. */
export interface DeferredBlock {
  /** The fragment's id in the document. */
  readonly id: string
  /** The ids of the fetches that must have been made before. */
  readonly depends: readonly string[]
  /** undefined: `depends` is all that it needs. */
  readonly node: PlanNode | undefined
}

export interface DividedPlan {
  /** What the first part of the answer needs; undefined: nothing. */
  readonly main: PlanNode | undefined
  /** One for each fragment that arrives later. */
  readonly blocks: readonly DeferredBlock[]
}

/**
 * Reads a plan of Apollo's for a document with `@defer`.
 * @param schema the whole supergraph
 * @returns undefined if it defers nothing
 */
export function readDivided(schema: GraphQLSchema, plan: QueryPlan): DividedPlan | undefined {
  const { main, blocks } = blocksOf(schema, plan.node)
  const own = blocks.filter(({ node }) => node !== undefined)
  return own.length > 0 ? { main, blocks: own } : undefined
}

function blocksOf(schema: GraphQLSchema, node: QueryPlan['node']): DividedPlan {
  if (!node || node.kind === 'Subscription') return { main: undefined, blocks: [] }
  const real = (each: PlanNode | undefined) =>
    each && mapFetches(each, (fetch) => (isIdle(schema, fetch) ? undefined : fetch))
  if (node.kind !== 'Defer') return { main: real(node), blocks: [] }
  const blocks = node.deferred.flatMap(({ label = '', depends, node: inner }): DeferredBlock[] => {
    const { main, blocks } = blocksOf(schema, inner)
    return [{ id: label, depends: depends.map(({ id }) => id), node: main }, ...blocks]
  })
  return { main: real(node.primary.node), blocks }
}

/**
 * Whether a fetch is for `__typename` alone, which the planner fetches again if that is all that is deferred of an object. It
 * is known from the fetch before, except where that one knew only an interface.
 */
function isIdle(schema: GraphQLSchema, fetch: FetchNode): boolean {
  if (fetch.serviceName === ENTRIES_SERVICE) return true
  if (!/\{\s*__typename\s*\}/.test(fetch.operation) || tellsTypes(schema, fetch)) return false
  const isTypename = ({ selections }: SelectionSetNode): boolean =>
    selections.every((each) => {
      if (each.kind !== Kind.FIELD) return each.kind === Kind.INLINE_FRAGMENT && isTypename(each.selectionSet)
      return each.name.value === '_entities' && each.selectionSet
        ? isTypename(each.selectionSet)
        : each.name.value === '__typename'
    })
  return isTypename(operationOf(parse(fetch.operation, { noLocation: true })).selectionSet)
}
