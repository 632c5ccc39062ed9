/** A supergraph, loaded: its API schema, and the planner over its subgraphs. */
import { createHash } from 'node:crypto'
import {
  DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES,
  operationFromDocument,
  type Schema,
  Supergraph,
} from '@apollo/federation-internals'
import { type PlanNode, type QueryPlan, QueryPlanner } from '@apollo/query-planner'
import { type DocumentNode, GraphQLError, type GraphQLSchema } from 'graphql'
import { lazily } from '../../runtime/lazily.ts'
import { RequestError } from '../errors.ts'
import { type Authorization, createAuthorization } from './authorization.ts'
import { inOrder } from './call-order.ts'
import { type ClientSchema, clientSchema } from './client-schema.ts'
import { withoutDefer } from './deferral.ts'
import { type DividedPlan, readDivided } from './divided-plans.ts'
import { plannedApart } from './interface-objects.ts'
import { keyNames, movingFields, requiredNames } from './join.ts'
import { createInternalNames, fieldNames, type InternalName, isImpossibleFragment } from './operation-corrections.ts'
import { type Divisions, type Part, partsOf, UNDIVIDED } from './operation-parts.ts'
import { joinPlans } from './part-plans.ts'
import { divide } from './plan-division.ts'
import { inSequence, serialSteps } from './serial-mutations.ts'
import { type PlannerSupergraph, plannerSupergraph } from './supergraph-corrections.ts'

export interface LoadedSupergraph {
  /** SHA-256 of the supergraph's text, hexadecimal. */
  readonly hash: string
  /** The schema for clients. */
  readonly schema: GraphQLSchema
  /** Converts a valid document to the form that {@link LoadedSupergraph.plan} takes. */
  readonly plannable: ClientSchema['plannable']
  /** The schema for clients, in the form that Apollo's executor takes. */
  readonly apiSchema: Schema
  /** The whole schema, including elements hidden from clients. */
  readonly fullSchema: GraphQLSchema
  readonly subgraphs: readonly { readonly name: string; readonly url: string }[]
  /** The authorisation rules, if anything is protected. */
  readonly authorization: Authorization | undefined
  /** The labels of fields that are being moved from one subgraph to another (`@override(label:)`). */
  readonly overrideLabels: readonly string[]
  /** Creates the internal names for the fields of one document. */
  readonly internalNames: () => InternalName
  /**
   * Plans one operation of a valid document.
   * @param overridden the labels whose fields have moved
   * @throws GraphQLError if the operation exceeds the planner's limits
   */
  readonly plan: Plan
  /**
   * Plans one operation with `@defer`: see deferral.ts.
   * @returns undefined if everything comes from the same fetches
   */
  readonly planDeferred: (...parameters: Parameters<Plan>) => DividedPlan | undefined
  /** Plans for Apollo's executor, which does not support all plans that ours does. */
  readonly stockPlan: Plan
}

type Plan = (document: DocumentNode, operationName: string | undefined, overridden?: ReadonlySet<string>) => QueryPlan

/**
 * Features beyond those that @apollo/gateway supports: arguments from the context of a field (`@fromContext`), and
 * protected fields (authorization.ts).
 */
const SUPPORTED = new Set([
  ...DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES,
  'https://specs.apollo.dev/context/v0.1',
  'https://specs.apollo.dev/authenticated/v0.1',
  'https://specs.apollo.dev/requiresScopes/v0.1',
  'https://specs.apollo.dev/policy/v0.1',
])
/** How many ways to fetch an operation are compared. Each takes up to a millisecond. */
const MAX_PLANS = 500
/**
 * If two fragments select one field with different subselections, each subselection is fetched only for objects of the
 * fragment's type. Otherwise it would also be fetched, and might fail, for the objects of the other fragment.
 */
const PLANNING = { typeConditionedFetching: true, debug: { maxEvaluatedPlans: MAX_PLANS } }
/** The same where clients may use `@defer`. It changes no other plan. */
const DEFERRED_PLANNING = { ...PLANNING, incrementalDelivery: { enableDefer: true } }
const BUILD = { supportedFeatures: SUPPORTED, validateSupergraph: true }

/**
 * Loads a composed supergraph.
 *
 * It uses the packages that @apollo/gateway consists of (schema, planner, and executeQueryPlan), not its ApolloGateway
 * class. That one reports telemetry, keeps a second cache of plans, and validates and hashes again for each request.
 * @param defers whether clients may use `@defer`
 * @throws Error if the text is not a supergraph that this gateway can serve
 */
export function loadSupergraph(sdl: string, defers = false): LoadedSupergraph {
  const supergraph = Supergraph.build(sdl, BUILD)
  const apiSchema = supergraph.apiSchema()
  const planners = plannerSupergraph(sdl)
  // The planner's schema is not valid by itself, because it has unused external fields. So the real one is validated.
  if (planners.document) supergraph.subgraphs()
  const build = ({ document }: PlannerSupergraph) =>
    document ? Supergraph.build(document, { ...BUILD, validateSupergraph: false }) : supergraph
  const planned = build(planners)
  const fullSchema = supergraph.schema.toGraphQLJSSchema()
  const partOf = createPlanPart(planners, planned, fullSchema, defers ? DEFERRED_PLANNING : PLANNING)
  const divisions = {
    ...planners,
    moving: movingFields(sdl),
    schema: planners.entries.size > 0 ? planned.apiSchema().toGraphQLJSSchema() : fullSchema,
  }
  const apart = { ...divisions, interfaceObjects: plannedApart(planners.interfaceObjects), isAfterFailure: true }
  const conditionsOf = (overridden: ReadonlySet<string> | undefined) =>
    new Map(overrideLabels.map((label) => [label, overridden?.has(label) ?? false]))
  function planBy(planPart: () => PlanPart, parts: (document: DocumentNode) => readonly Part[]): Plan {
    return (document, operationName, overridden) => {
      const conditions = conditionsOf(overridden)
      const planWhole = (whole: DocumentNode) =>
        joinPlans(parts(whole).map((part) => ({ ...part, plan: planPart()(part, operationName, conditions) })))
      const plan = planWhole(document)
      const steps = serialSteps(document, plan)
      return steps.length > 0 ? inSequence(steps.map(planWhole)) : plan
    }
  }
  const overrideLabels = [...new Set([...sdl.matchAll(/\boverrideLabel: "([^"]*)"/g)].map(([, label = '']) => label))]
  const names = fieldNames(fullSchema, requiredNames(sdl), keyNames(sdl))
  const planIn = (given: Divisions) =>
    planBy(
      () => partOf,
      (document) => partsOf(given, document),
    )
  const plan = unlessItFails(planIn(divisions), planIn(apart))
  const stockPart = lazily(() => {
    const stock = plannerSupergraph(sdl, false)
    return createPlanPart(stock, build(stock), fullSchema, {})
  })
  const stockIn = (parts: (document: DocumentNode) => readonly Part[]) => planBy(stockPart, parts)
  const { schema, plannable } = clientSchema(apiSchema.toGraphQLJSSchema({ includeDefer: defers }), fullSchema)
  return {
    hash: createHash('sha256').update(sdl).digest('hex'),
    schema,
    plannable,
    apiSchema,
    fullSchema,
    authorization: createAuthorization(schema, fullSchema, supergraph),
    subgraphs: supergraph.subgraphsMetadata(),
    overrideLabels,
    internalNames: () => createInternalNames(names),
    plan,
    planDeferred: (document, operationName, overridden) => {
      const [part] = partsOf(divisions, document)
      if (part?.document === document) {
        const planned = attempt(() => partOf(part, operationName, conditionsOf(overridden)))
        if (planned) return readDivided(fullSchema, planned)
      }
      return divide(fullSchema, plan(withoutDefer(document), operationName, overridden), document)
    },
    stockPlan: unlessItFails(
      stockIn((document) => [{ path: [], level: 0, document }]),
      stockIn((document) => partsOf({ ...UNDIVIDED, schema: fullSchema }, document)),
    ),
  }
}

/** Apollo's planner throws for some deferred fragments; what it has then not planned it has not changed either. */
function attempt(plan: () => QueryPlan): QueryPlan | undefined {
  try {
    return plan()
  } catch {
    return undefined
  }
}

/** Plans in another way what the planner fails on by a bug. Refusals are final, unless they refuse a valid operation. */
function unlessItFails(plan: Plan, otherwise: Plan): Plan {
  return (...asked) => {
    try {
      return plan(...asked)
    } catch (error) {
      const isRefusal = error instanceof GraphQLError && !isImpossibleFragment(error)
      if (isRefusal || error instanceof RequestError || error instanceof RangeError) throw error
      return otherwise(...asked)
    }
  }
}

type PlanPart = (part: Part, operationName: string | undefined, overrideConditions: Map<string, boolean>) => QueryPlan

function createPlanPart(
  planners: PlannerSupergraph,
  planned: Supergraph,
  fullSchema: GraphQLSchema,
  config: typeof PLANNING | object,
): PlanPart {
  const planner = new QueryPlanner(planned, config)
  const schema = planned.apiSchema()
  return ({ document, path }, operationName, overrideConditions) => {
    const operation = operationFromDocument(schema, document, operationName === undefined ? {} : { operationName })
    const plan = asSequence(planner.buildQueryPlan(operation, { overrideConditions }))
    return inOrder(fullSchema, planners.restore(plan, path.length > 0))
  }
}

/**
 * The plan of a subscription in the form of the others: first the fetch that each event answers (with the operation kind
 * `subscription`), then what is fetched for the event. So the corrections of plans apply to it, too.
 */
function asSequence(plan: QueryPlan): QueryPlan {
  const { node } = plan
  if (node?.kind !== 'Subscription') return plan
  const { primary, rest } = node
  const nodes: PlanNode[] = rest?.kind === 'Sequence' ? [primary, ...rest.nodes] : rest ? [primary, rest] : [primary]
  return { ...plan, node: nodes.length > 1 ? { kind: 'Sequence', nodes } : primary }
}
