/** Prepares an operation of a valid document for execution: plans and compiles it. */
import { type DocumentNode, GraphQLError } from 'graphql'
import { lazily } from '../../runtime/lazily.ts'
import { ignoresToken } from '../../schema/token-faults.ts'
import type { Execute, ExecuteIncrementally, IncrementalExecutor, PlannedOperation } from '../execution/executor.ts'
import type { CountRequest } from '../metrics.ts'
import { answerTraits } from './answer-traits.ts'
import { type DeferredFragments, deferredFragments, withoutDefer } from './deferral.ts'
import { type Costs, costOf } from './document-limits.ts'
import { correctOperation } from './operation-corrections.ts'
import type { Operation, Restricted } from './operations.ts'
import { choose, tooDeep, withCode } from './refusals.ts'
import { selectedFields } from './selected-fields.ts'
import { countSensitiveFields, mayEndToken } from './sensitive-fields.ts'
import type { LoadedSupergraph } from './supergraph.ts'

/** The variants of an operation, by denied fields. */
const MAX_VARIANTS = 32

export interface PreparationOptions {
  readonly compile: (operation: PlannedOperation) => Execute
  /** The same for `isDenied` and subscriptions, which Apollo's executor does not support. */
  readonly compileRestricted: (operation: PlannedOperation) => Execute
  /** undefined: answers come in one piece. */
  readonly compileDeferred?: IncrementalExecutor | undefined
  readonly countOf: (operationName: string, type: string) => CountRequest
}

/**
 * @param document without literals, and with no node of the client's document, which would keep its whole text in
 * memory. So would anything else of it that is kept, closures included
 * @param hash of the document
 * @param taken the names of the variables that stand for literals
 * @param overridden the labels of `@override` that hold
 * @throws RequestError if the planner refuses it
 */
export type Prepare = (
  document: DocumentNode,
  hash: string,
  taken: ReadonlySet<string>,
  operationName: string | undefined,
  overridden: ReadonlySet<string> | undefined,
) => Operation

export function createPreparation(
  supergraph: LoadedSupergraph,
  costs: Costs,
  { compile, compileRestricted, compileDeferred, countOf }: PreparationOptions,
): Prepare {
  function prepare(
    sent: DocumentNode,
    hash: string,
    taken: ReadonlySet<string>,
    operationName: string | undefined,
    overridden: ReadonlySet<string> | undefined,
  ): Operation {
    const document = withoutDefer(sent)
    const deferred = compileDeferred && deferredFragments(sent, choose(sent, operationName))
    const node = choose(document, operationName)
    const declared = (node.variableDefinitions ?? []).filter(({ variable }) => !taken.has(variable.name.value))
    const planned = planOf({ document, node, declared, internalName: supergraph.internalNames() }, overridden)
    return {
      ...answerTraits(supergraph.schema, document, node),
      type: node.operation,
      node,
      declared,
      hash,
      fields: lazily(() => selectedFields(supergraph.schema, document)),
      plan: (values) => planned.plan((name) => values[name] === true),
      // Apollo's executor has no subscriptions.
      ...executions(planned, node.operation === 'subscription' ? compileRestricted : compile, deferred),
      cost: costOf(costs, supergraph.schema, document, node),
      restricted: restrict(planned, overridden, deferred),
      count: countOf(node.name?.value ?? '', node.operation),
      sensitiveFields: countSensitiveFields(document, node),
      mayEndToken: mayEndToken(document, node),
      ignoresToken: ignoresToken(document, node),
    }
  }

  function executions(
    planned: PlannedOperation,
    compileWhole: (operation: PlannedOperation) => Execute,
    fragments: DeferredFragments | undefined,
  ): { execute: Execute; deferred: ExecuteIncrementally | undefined } {
    if (!compileDeferred || !fragments) return { execute: compileWhole(planned), deferred: undefined }
    // Most clients that send @defer take its parts, so the whole is planned only when it is needed.
    let whole: Execute | undefined
    const execute: Execute = (request) => {
      whole ??= compileWhole(planned)
      return whole(request)
    }
    return { execute, deferred: compileDeferred(planned, fragments, execute) }
  }

  /** @param allowed the part of a document that is fetched for the client */
  function planOf(
    operation: Pick<PlannedOperation, 'document' | 'node' | 'declared' | 'internalName'>,
    overridden: ReadonlySet<string> | undefined,
    allowed: (document: DocumentNode) => DocumentNode = (document) => document,
  ): PlannedOperation {
    const fetched = allowed(operation.document)
    const name = operation.node.name?.value
    const wanted = choose(fetched, name)
    const { internalName } = operation
    return {
      ...operation,
      plan: (isTrue) =>
        refusable(() => supergraph.plan(correctOperation(fetched, wanted, internalName, isTrue), name, overridden)),
      planDeferred: (deferred, isTrue) =>
        refusable(() => {
          const part = allowed(deferred)
          const corrected = correctOperation(part, choose(part, name), internalName, isTrue)
          return supergraph.planDeferred(corrected, name, overridden)
        }),
      stockPlan: () => refusable(() => supergraph.stockPlan(fetched, name, overridden)),
    }
  }

  function restrict(
    { document, node, declared, internalName }: PlannedOperation,
    overridden: ReadonlySet<string> | undefined,
    deferred: DeferredFragments | undefined,
  ): Operation['restricted'] {
    const { authorization } = supergraph
    const rules = authorization?.rulesOf(document, node) ?? []
    if (!authorization || rules.length === 0) return undefined
    const variants = new Map<string, Restricted>()
    return (claims) => {
      const denied = new Set(rules.filter((rule) => !rule.allows(claims)))
      if (denied.size === 0) return undefined
      const key = rules.map((rule) => (denied.has(rule) ? 1 : 0)).join('')
      let variant = variants.get(key)
      if (!variant) {
        const isDenied = authorization.isDenied(denied)
        const own = { document, node, declared, internalName }
        const planned = planOf(own, overridden, (each) => authorization.without(each, isDenied))
        variant = {
          plan: (values) => planned.plan((name) => values[name] === true),
          ...executions({ ...planned, isDenied }, compileRestricted, deferred),
        }
        if (variants.size >= MAX_VARIANTS) variants.clear()
        variants.set(key, variant)
      }
      return variant
    }
  }

  return prepare
}

/** Plans. @throws RequestError if planning would take too long; any other error is a bug */
function refusable<Plan>(plan: () => Plan): Plan {
  try {
    return plan()
  } catch (error) {
    if (error instanceof GraphQLError) throw withCode([error], 'GRAPHQL_VALIDATION_FAILED')
    if (error instanceof RangeError) throw tooDeep()
    throw error
  }
}
