/** A supergraph, loaded: its API schema, and the planner over its subgraphs. */
import { createHash } from 'node:crypto'
import { operationFromDocument, type Schema, Supergraph } from '@apollo/federation-internals'
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
  /** Plans one operation of a valid document. @throws GraphQLError when the operation goes over the planner's limits */
  readonly plan: (document: DocumentNode, operationName: string | undefined) => QueryPlan
}

/**
 * Loads a composed supergraph.
 *
 * It takes @apollo/gateway's parts (schema, planner, and for execution executeQueryPlan) and not its ApolloGateway class,
 * which reports telemetry, keeps a second cache of plans, and validates and hashes anew for each request.
 * @throws Error when the text is not a supergraph that this gateway can serve
 */
export function loadSupergraph(sdl: string): LoadedSupergraph {
  const supergraph = Supergraph.build(sdl, { validateSupergraph: true })
  const apiSchema = supergraph.apiSchema()
  const planner = new QueryPlanner(supergraph)
  return {
    hash: createHash('sha256').update(sdl).digest('hex'),
    schema: apiSchema.toGraphQLJSSchema(),
    apiSchema,
    fullSchema: supergraph.schema.toGraphQLJSSchema(),
    subgraphs: supergraph.subgraphsMetadata(),
    plan: (document, operationName) =>
      planner.buildQueryPlan(
        operationFromDocument(apiSchema, document, operationName === undefined ? {} : { operationName }),
      ),
  }
}
