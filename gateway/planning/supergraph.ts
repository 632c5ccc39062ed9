/** A supergraph, loaded: its API schema, and the planner over its subgraphs. */
import { createHash } from 'node:crypto'
import {
  DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES,
  operationFromDocument,
  type Schema,
  Supergraph,
} from '@apollo/federation-internals'
import { type QueryPlan, QueryPlanner } from '@apollo/query-planner'
import type { DocumentNode, GraphQLSchema } from 'graphql'
import { type Authorization, createAuthorization } from './authorization.ts'
import { type ClientSchema, clientSchema } from './client-schema.ts'
import { movingFields, requiredNames } from './join.ts'
import { createInternalNames, fieldNames, type InternalName } from './operation-corrections.ts'
import { joinPlans, type Part, partsOf } from './parts.ts'
import { inSequence, serialSteps } from './serial-mutations.ts'
import { type PlannerSupergraph, plannerSupergraph } from './supergraph-corrections.ts'

export interface LoadedSupergraph {
  /** SHA-256 of the supergraph's text, hexadecimal. */
  readonly hash: string
  /** The schema for clients. */
  readonly schema: GraphQLSchema
  /** A valid document in the form for {@link LoadedSupergraph.plan}. */
  readonly plannable: ClientSchema['plannable']
  /** The same in the form for Apollo's executor. */
  readonly apiSchema: Schema
  /** The whole schema, including elements hidden from clients. */
  readonly fullSchema: GraphQLSchema
  readonly subgraphs: readonly { readonly name: string; readonly url: string }[]
  /** The authorisation rules, if anything is protected. */
  readonly authorization: Authorization | undefined
  /** The labels of fields that move from one subgraph to another in steps (`@override(label:)`). */
  readonly overrideLabels: readonly string[]
  /** The internal names of a document's fields. */
  readonly internalNames: () => InternalName
  /**
   * Plans one operation of a valid document.
   * @param overridden the labels whose fields have moved
   * @throws GraphQLError if the operation exceeds the planner's limits
   */
  readonly plan: Plan
  /** The same for Apollo's executor, which can't read each plan that ours can. */
  readonly stockPlan: Plan
}

type Plan = (document: DocumentNode, operationName: string | undefined, overridden?: ReadonlySet<string>) => QueryPlan

/**
 * What @apollo/gateway itself refuses: arguments from the context of a field, and protected fields (authorization.ts).
 */
const SUPPORTED = new Set([
  ...DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES,
  'https://specs.apollo.dev/context/v0.1',
  'https://specs.apollo.dev/authenticated/v0.1',
  'https://specs.apollo.dev/requiresScopes/v0.1',
  'https://specs.apollo.dev/policy/v0.1',
])
/** Of the ways to fetch an operation that are compared: each takes up to a millisecond. */
const MAX_PLANS = 500
/**
 * A field that two fragments ask for with different selections is fetched by the type of the object that it is of:
 * without this, what one fragment asks of it is fetched, and may fail, for the objects of the other.
 */
const PLANNING = { typeConditionedFetching: true, debug: { maxEvaluatedPlans: MAX_PLANS } }
const BUILD = { supportedFeatures: SUPPORTED, validateSupergraph: true }

/**
 * Loads a composed supergraph.
 *
 * It takes @apollo/gateway's parts (schema, planner, and for execution executeQueryPlan) and not its ApolloGateway
 * class, which reports telemetry, keeps a second cache of plans, and validates and hashes again for each request.
 * @throws Error if the text is not a supergraph that this gateway can serve
 */
export function loadSupergraph(sdl: string): LoadedSupergraph {
  const supergraph = Supergraph.build(sdl, BUILD)
  const apiSchema = supergraph.apiSchema()
  const planners = plannerSupergraph(sdl)
  // The planner's schema is not valid by itself, because it has unused external fields. So the real one is validated.
  if (planners.document) supergraph.subgraphs()
  const build = ({ document }: PlannerSupergraph) =>
    document ? Supergraph.build(document, { ...BUILD, validateSupergraph: false }) : supergraph
  const planned = build(planners)
  const partOf = createPlanPart(planners, planned, PLANNING)
  let stockPlanPart: PlanPart | undefined
  const fullSchema = supergraph.schema.toGraphQLJSSchema()
  const divisions = {
    ...planners,
    moving: movingFields(sdl),
    schema: planners.entries.size > 0 ? planned.apiSchema().toGraphQLJSSchema() : fullSchema,
  }
  function planBy(planPart: () => PlanPart, parts: (document: DocumentNode) => readonly Part[]): Plan {
    return (document, operationName, overridden) => {
      const conditions = new Map(overrideLabels.map((label) => [label, overridden?.has(label) ?? false]))
      const planWhole = (whole: DocumentNode) =>
        joinPlans(parts(whole).map((part) => ({ ...part, plan: planPart()(part, operationName, conditions) })))
      const plan = planWhole(document)
      const steps = serialSteps(document, plan)
      return steps.length > 0 ? inSequence(steps.map(planWhole)) : plan
    }
  }
  const overrideLabels = [...new Set([...sdl.matchAll(/\boverrideLabel: "([^"]*)"/g)].map(([, label = '']) => label))]
  const [fields, required] = [fieldNames(fullSchema), requiredNames(sdl)]
  const { schema, plannable } = clientSchema(apiSchema.toGraphQLJSSchema(), fullSchema)
  return {
    hash: createHash('sha256').update(sdl).digest('hex'),
    schema,
    plannable,
    apiSchema,
    fullSchema,
    authorization: createAuthorization(schema, fullSchema, supergraph),
    subgraphs: supergraph.subgraphsMetadata(),
    overrideLabels,
    internalNames: () => createInternalNames(fields, required),
    plan: planBy(
      () => partOf,
      (document) => partsOf(divisions, document),
    ),
    stockPlan: planBy(
      () => {
        if (!stockPlanPart) {
          const stock = plannerSupergraph(sdl, false)
          stockPlanPart = createPlanPart(stock, build(stock), {})
        }
        return stockPlanPart
      },
      (document) => [{ path: [], level: 0, document }],
    ),
  }
}

type PlanPart = (part: Part, operationName: string | undefined, overrideConditions: Map<string, boolean>) => QueryPlan

function createPlanPart(planners: PlannerSupergraph, planned: Supergraph, config: typeof PLANNING | object): PlanPart {
  const planner = new QueryPlanner(planned, config)
  const schema = planned.apiSchema()
  return ({ document, path }, operationName, overrideConditions) => {
    const operation = operationFromDocument(schema, document, operationName === undefined ? {} : { operationName })
    return planners.restore(planner.buildQueryPlan(operation, { overrideConditions }), path.length > 0)
  }
}
