/**
 * Puts the calls of a plan in an order in which each has what it requires.
 *
 * Apollo's planner merges calls to one subgraph. If one of the two requires a field of a third call, the merged call may be
 * sent beside that one, or before it. It then sends representations without the field, and the subgraph answers null
 * without an error (related: https://github.com/apollographql/federation/issues/1725).
 */
import type { PlanNode, QueryPlan } from '@apollo/query-planner'
import type { GraphQLSchema } from 'graphql'
import { fieldsOf } from './fetch-fields.ts'

/** A node, with the fields that its calls give and those that they need from other calls, by their paths in the data. */
interface Ordered {
  readonly node: PlanNode
  readonly gives: ReadonlySet<string>
  readonly needs: ReadonlySet<string>
}

type Place = readonly (string | number)[]

/**
 * @param schema the whole supergraph
 * @returns the same plan if it is in order, or if two calls wait for each other
 */
export function inOrder(schema: GraphQLSchema, plan: QueryPlan): QueryPlan {
  const { node } = plan
  if (!node || node.kind === 'Subscription') return plan
  const { node: ordered } = order(schema, node, [], new Set())
  return ordered === node ? plan : { ...plan, node: ordered }
}

/** @param before the fields that were fetched before the node */
function order(schema: GraphQLSchema, node: PlanNode, place: Place, before: ReadonlySet<string>): Ordered {
  switch (node.kind) {
    case 'Fetch': {
      const fields = fieldsOf(schema, node, place)
      // A type is known once its object is, as far as a call depends on it.
      const needs = new Set([...(fields[0]?.needs ?? [])].filter((path) => !path.endsWith('__typename')))
      return { node, gives: new Set(fields.flatMap(({ gives }) => [...gives])), needs }
    }
    case 'Flatten': {
      const inner = order(schema, node.node, [...place, ...node.path], before)
      return inner.node === node.node ? { ...inner, node } : { ...inner, node: { ...node, node: inner.node } }
    }
    case 'Sequence': {
      const known = new Set(before)
      const steps = node.nodes.map((each) => {
        const step = order(schema, each, place, known)
        for (const path of step.gives) known.add(path)
        return step
      })
      return joined(node, afterGivers(steps, before))
    }
    case 'Parallel': {
      const calls = node.nodes.map((each) => order(schema, each, place, before))
      const steps = waves(calls, before)
      return steps ? joined({ kind: 'Sequence', nodes: [] }, steps) : joined(node, calls)
    }
    default:
      return { node, gives: new Set(), needs: new Set() }
  }
}

/** A node of these, without the nodes of its own kind in it. */
function joined(node: PlanNode & { kind: 'Sequence' | 'Parallel' }, inner: readonly Ordered[]): Ordered {
  const nodes = inner.flatMap((each) => (each.node.kind === node.kind ? each.node.nodes : [each.node]))
  const gives = new Set<string>()
  const needs = new Set<string>()
  for (const each of inner) {
    for (const path of each.needs) if (node.kind === 'Parallel' || !gives.has(path)) needs.add(path)
    for (const path of each.gives) gives.add(path)
  }
  const isSame = nodes.length === node.nodes.length && nodes.every((each, index) => each === node.nodes[index])
  return { node: isSame ? node : { ...node, nodes }, gives, needs }
}

/** Whether a call has to wait for another one: only that one gives a field that it needs. */
const waitsFor = (call: Ordered, other: Ordered, before: ReadonlySet<string>): boolean =>
  [...call.needs].some((path) => other.gives.has(path) && !before.has(path))

/** Divides calls that are sent at once into steps. @returns undefined if there is one step, or if they wait for each other */
function waves(calls: readonly Ordered[], before: ReadonlySet<string>): readonly Ordered[] | undefined {
  const known = new Set(before)
  const steps: Ordered[] = []
  let rest = calls
  while (rest.length > 0) {
    const ready = rest.filter((each) => !rest.some((other) => other !== each && waitsFor(each, other, known)))
    if (ready.length === 0) return undefined
    steps.push(ready.length === 1 ? (ready[0] as Ordered) : joined({ kind: 'Parallel', nodes: [] }, ready))
    for (const { gives } of ready) for (const path of gives) known.add(path)
    rest = rest.filter((each) => !ready.includes(each))
  }
  return steps.length > 1 ? steps : undefined
}

/** Moves each step behind the one that gives what it needs, unless a step between them needs it. */
function afterGivers(steps: readonly Ordered[], before: ReadonlySet<string>): readonly Ordered[] {
  const result = [...steps]
  const known = new Set(before)
  for (let index = 0, moves = 0; index < result.length; index++) {
    const step = result[index] as Ordered
    const giver = result.findLastIndex((each, at) => at > index && waitsFor(step, each, known))
    const between = result.slice(index + 1, giver + 1)
    if (giver !== -1 && moves < steps.length && !between.some((each) => waitsFor(each, step, known))) {
      result.splice(giver + 1, 0, step)
      result.splice(index, 1)
      moves++
      index--
      continue
    }
    for (const path of step.gives) known.add(path)
  }
  return result
}
