/**
 * Executes operations with deferred fragments. The planner divides the plan (Apollo's `incrementalDelivery`): each deferred
 * fragment has fetches of its own, which begin as soon as those that they depend on have been made. All fetches share one
 * tree of data, and each part of the answer is completed from it by the rules of any other answer.
 */
import { Cancelled } from '../cancellation.ts'
import { RequestError } from '../errors.ts'
import { deferralOf, deferredId } from '../planning/deferral.ts'
import { conditionVariables } from '../planning/operation-corrections.ts'
import type { LoadedSupergraph } from '../planning/supergraph.ts'
import type { SubgraphClient } from '../subgraphs/client.ts'
import { fetchEnvironment, introspector } from './compiled-executor.ts'
import { compileDeferredPlan } from './compiled-plan.ts'
import { type DeferredVariant, Delivery } from './delivery.ts'
import { answerText, type ExecutionRequest, type IncrementalExecutor } from './executor.ts'
import { shapeOf } from './selection-shape.ts'

/** How many combinations of an operation's conditions are kept compiled. */
const MAX_VARIANTS = 64

type Values = ExecutionRequest['values']

export function createIncrementalExecutor(
  supergraph: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
  maxAnswerBytes: number,
): IncrementalExecutor {
  const { schema, fullSchema } = supergraph
  const environment = fetchEnvironment(supergraph, subgraphs)

  return (planned, fragments, executeWhole) => {
    const { document, node, internalName, isDenied } = planned
    const conditions = conditionVariables(document, node)
    const introspection = introspector(supergraph, planned)

    /** @returns undefined if the answer comes in one piece under these conditions */
    function compile(values: Values): DeferredVariant | undefined {
      // A condition that can't be evaluated is an error of the whole object.
      if (conditions.some((name) => values[name] === null)) return undefined
      const isTrue = (name: string) => values[name] === true
      const deferral = deferralOf(fragments, isTrue, (name) => isDeferred(values[name]))
      const raw = deferral && planned.planDeferred(deferral.document, isTrue)
      if (!deferral || !raw) return undefined
      const plan = compileDeferredPlan(environment, raw)
      const separate = new Set(plan.deferred.map(({ id }) => id))
      const [whole] = deferral.document.definitions as [typeof node]
      const shapeBy = (deferredBy: typeof deferredId) =>
        shapeOf(schema, deferral.document, whole, isTrue, isDenied, internalName, undefined, deferredBy)
      return {
        plan,
        shape: shapeBy((fragment) => {
          const id = deferredId(fragment)
          return id !== undefined && separate.has(id) ? id : undefined
        }),
        whole: shapeBy(() => undefined),
        labels: deferral.labels,
        rootName: schema.getRootType(node.operation)?.name,
      }
    }

    const variants = new Map<string, { readonly variant: DeferredVariant | undefined }>()
    function variantOf(values: Values): DeferredVariant | undefined {
      let key = ''
      for (const name of conditions) key += values[name] === true ? '1' : values[name] === null ? '-' : '0'
      for (const name of fragments.variables) key += isDeferred(values[name]) ? '1' : '0'
      let known = variants.get(key)
      if (!known) {
        // A variant must not retain all values of one request.
        const names = [...conditions, ...fragments.variables]
        known = { variant: compile(Object.fromEntries(names.map((name) => [name, values[name]]))) }
        if (variants.size >= MAX_VARIANTS) variants.clear()
        variants.set(key, known)
      }
      return known.variant
    }

    return async (request, format) => {
      const variant = variantOf(request.values)
      if (!variant) return executeWhole(request)
      const introspect = (field: Parameters<typeof introspection>[0]) => introspection(field, request.variables)
      const delivery = new Delivery(variant, request, { schema, fullSchema, introspect, format, maxAnswerBytes })
      try {
        return await delivery.begin()
      } catch (error) {
        if (error instanceof RequestError || error instanceof Cancelled) throw error
        return answerText(null, [request.mask(error)])
      }
    }
  }
}

/** `if` is true by default, and a variable that was not sent leaves it at that. */
const isDeferred = (value: unknown): boolean => value !== false && value !== null
