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

export type LoadedSupergraph = {
  /** SHA-256 of the supergraph's text, hexadecimal. */
  readonly hash: string
  /** What clients see. */
  readonly schema: GraphQLSchema
  /** The same in Apollo's own form, which its executor takes. */
  readonly apiSchema: Schema
  /** With everything that clients do not see. */
  readonly fullSchema: GraphQLSchema
  readonly subgraphs: readonly { readonly name: string; readonly url: string }[]
  /** The labels of fields that move from one subgraph to another in steps (`@override(label:)`). */
  readonly overrideLabels: readonly string[]
  /**
   * Plans one operation of a valid document.
   * @param overridden the labels whose fields have moved
   * @throws GraphQLError when the operation goes over the planner's limits
   */
  readonly plan: (
    document: DocumentNode,
    operationName: string | undefined,
    overridden?: ReadonlySet<string>,
  ) => QueryPlan
}

/** What @apollo/gateway itself does not execute, and our executor does: arguments from the context of a field. */
const SUPPORTED = new Set([...DEFAULT_SUPPORTED_SUPERGRAPH_FEATURES, 'https://specs.apollo.dev/context/v0.1'])

/**
 * Loads a composed supergraph.
 *
 * It takes @apollo/gateway's parts (schema, planner, and for execution executeQueryPlan) and not its ApolloGateway class,
 * which reports telemetry, keeps a second cache of plans, and validates and hashes anew for each request.
 * @throws Error when the text is not a supergraph that this gateway can serve
 */
export function loadSupergraph(sdl: string): LoadedSupergraph {
  const supergraph = Supergraph.build(sdl, { supportedFeatures: SUPPORTED, validateSupergraph: true })
  const apiSchema = supergraph.apiSchema()
  const planner = new QueryPlanner(supergraph)
  const overrideLabels = [...new Set([...sdl.matchAll(/\boverrideLabel: "([^"]*)"/g)].map(([, label = '']) => label))]
  return {
    hash: createHash('sha256').update(sdl).digest('hex'),
    schema: apiSchema.toGraphQLJSSchema(),
    apiSchema,
    fullSchema: supergraph.schema.toGraphQLJSSchema(),
    subgraphs: supergraph.subgraphsMetadata(),
    overrideLabels,
    plan: (document, operationName, overridden) =>
      planner.buildQueryPlan(
        operationFromDocument(apiSchema, document, operationName === undefined ? {} : { operationName }),
        { overrideConditions: new Map(overrideLabels.map((label) => [label, overridden?.has(label) ?? false])) },
      ),
  }
}
