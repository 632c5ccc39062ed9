/** Compiles a query plan into functions: work that is the same for every execution is done here. */
import type { FetchNode, PlanNode, QueryPlan } from '@apollo/query-planner'
import type { DividedPlan } from '../planning/divided-plans.ts'
import { fetchesOf } from '../planning/plan-nodes.ts'
import { compileContextFetch } from './context-fetch.ts'
import { type PlanPath, readPath } from './entity-places.ts'
import type { EventSource, ExecutionRequest } from './executor.ts'
import {
  compileEntityFetch,
  compileMergedFetch,
  compileRootFetch,
  type EntityFetch,
  entityFetch,
  type FetchEnvironment,
  type Step,
} from './fetch.ts'
import { compileEventFetch, eventSource } from './subscription-events.ts'

export interface CompiledPlan {
  /** Fetches everything; undefined if nothing has to be fetched. */
  readonly run: Step | undefined
  /** Whether two of its calls may be identical, with the same answer: not around a mutation. */
  readonly mayRepeat: boolean
  /** Of a subscription: where its events come from. */
  readonly source?: ((variables: ExecutionRequest['variables']) => EventSource) | undefined
}

export function compilePlan(environment: FetchEnvironment, plan: QueryPlan): CompiledPlan {
  const { node } = plan
  if (!node) return { run: undefined, mayRepeat: false }
  if (node.kind === 'Subscription') throw new Error('A subscription is planned as a sequence.')
  const fetches = fetchesOf(node)
  const [source, another] = fetches.filter(({ operationKind }) => operationKind === 'subscription')
  if (another) throw new Error('A subscription with two streams of events.')
  const changes = fetches.some(({ operationKind }) => operationKind === 'mutation')
  return {
    run: compile(environment, node, []),
    mayRepeat: !changes && fetches.some(isRepeated),
    source: source && eventSource(source),
  }
}

/** What one deferred fragment needs beyond the primary plan. */
export interface DeferredStep {
  /** The fragment's id in the document. */
  readonly id: string
  /** The ids of the fetches that it follows. */
  readonly depends: readonly string[]
  /** undefined: they are all that it needs. */
  readonly run: Step | undefined
  /** The ids of the fetches that it makes. */
  readonly makes: readonly string[]
}

/** A plan in which fragments are deferred. */
export interface DeferredPlan {
  /** undefined if nothing has to be fetched. */
  readonly primary: Step | undefined
  /** One for each fragment that arrives later; the others arrive with what is around them. */
  readonly deferred: readonly DeferredStep[]
  /** How many steps make the fetch of an id: a call may be divided. */
  readonly fetches: ReadonlyMap<string, number>
  readonly mayRepeat: boolean
}

export function compileDeferredPlan(environment: FetchEnvironment, { main, blocks }: DividedPlan): DeferredPlan {
  const all = [main, ...blocks.map(({ node }) => node)].flatMap(fetchesOf)
  const fetches = new Map<string, number>()
  for (const { id } of all) if (id !== undefined) fetches.set(id, (fetches.get(id) ?? 0) + 1)
  return {
    primary: main && compile(environment, main, []),
    deferred: blocks.map(({ id, depends, node }) => ({
      id,
      depends,
      run: node && compile(environment, node, []),
      makes: fetchesOf(node).flatMap((fetch) => fetch.id ?? []),
    })),
    fetches,
    mayRepeat: all.some(isRepeated),
  }
}

/** Whether an earlier fetch could make the same call. */
function isRepeated(fetch: FetchNode, index: number, all: readonly FetchNode[]): boolean {
  return (
    all.findIndex(({ serviceName, operation }) => serviceName === fetch.serviceName && operation === fetch.operation) <
    index
  )
}

function compile(environment: FetchEnvironment, node: PlanNode, prefix: PlanPath): Step {
  switch (node.kind) {
    case 'Fetch':
      return announced([node], compileFetch(environment, node, prefix))
    case 'Flatten':
      return compile(environment, node.node, [...prefix, ...readPath(environment.schema, node.path)])
    case 'Sequence':
      return sequence(node.nodes.map((each) => compile(environment, each, prefix)))
    case 'Parallel':
      return parallel(compileParallel(environment, node.nodes, prefix))
    case 'Condition': {
      const { condition } = node
      const [yes, no] = [node.ifClause, node.elseClause].map((each) => each && compile(environment, each, prefix))
      return (execution) => (execution.request.values[condition] === true ? yes : no)?.(execution)
    }
    default:
      throw new Error(`A plan with a node of kind ${node.kind} can't be executed.`)
  }
}

function compileFetch(environment: FetchEnvironment, node: FetchNode, prefix: PlanPath): Step {
  if (node.operationKind === 'subscription') return compileEventFetch(environment, node)
  if (!node.requires) return compileRootFetch(environment, node, prefix)
  if (node.contextRewrites?.length) return compileContextFetch(environment, node, prefix)
  return compileEntityFetch(environment, [entityFetch(environment, node, prefix)])
}

/** Tells the execution when fetches have been made that deferred fragments wait for: only those have ids. */
function announced(fetches: readonly { readonly id?: string | undefined }[], step: Step): Step {
  const ids = fetches.flatMap(({ id }) => id ?? [])
  if (ids.length === 0) return step
  return async (execution) => {
    await step(execution)
    for (const id of ids) execution.arrived?.(id)
  }
}

function sequence(steps: readonly Step[]): Step {
  return async (execution) => {
    for (const step of steps) await step(execution)
  }
}

function parallel(steps: readonly Step[]): Step {
  const [only] = steps
  if (only && steps.length === 1) return only
  return async (execution) => {
    await Promise.all(steps.map((step) => step(execution)))
  }
}

/** Concurrent calls for entities of one subgraph are merged into one. */
function compileParallel(environment: FetchEnvironment, nodes: readonly PlanNode[], prefix: PlanPath): Step[] {
  const steps: Step[] = []
  const byService = new Map<string, EntityFetch[]>()
  for (const node of nodes) {
    const inner = node.kind === 'Flatten' ? node.node : node
    if (inner.kind !== 'Fetch' || !inner.requires || inner.contextRewrites?.length) {
      steps.push(compile(environment, node, prefix))
      continue
    }
    const path = node.kind === 'Flatten' ? [...prefix, ...readPath(environment.schema, node.path)] : prefix
    const fetches = byService.get(inner.serviceName) ?? []
    byService.set(inner.serviceName, [...fetches, entityFetch(environment, inner, path)])
  }
  for (const fetches of byService.values()) steps.push(...together(environment, fetches))
  return steps
}

function together(environment: FetchEnvironment, fetches: readonly EntityFetch[]): Step[] {
  const isSame = fetches.every(({ operation }) => body(operation) === body(fetches[0]?.operation ?? ''))
  if (isSame) return [announced(fetches, compileEntityFetch(environment, fetches))]
  const merged = compileMergedFetch(environment, fetches)
  if (merged) return [announced(fetches, merged)]
  return fetches.map((fetch) => announced([fetch], compileEntityFetch(environment, [fetch])))
}

/** An operation without its name, which the planner numbers. */
const body = (operation: string) => operation.replace(/^query [_0-9A-Za-z]+/, 'query')
