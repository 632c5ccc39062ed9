/** What the subgraph's own port does not reveal of the schema where introspection is off. */
import { GraphQLError, NoSchemaIntrospectionCustomRule, type ValidationRule } from 'graphql'

/** Refuses `_service`, which gives the SDL to those who compose a supergraph. */
const noService: ValidationRule = (context) => ({
  Field(node) {
    if (node.name.value !== '_service' || context.getParentType() !== context.getSchema().getQueryType()) return
    const message = 'The SDL is given only to who has the secret of this subgraph.'
    context.reportError(new GraphQLError(message, { nodes: node }))
  },
})

const SUGGESTION = ' Did you mean '

/** One of GraphQL's errors without the names that it suggests: they would tell the schema name by name. */
export function withoutSuggestion(error: GraphQLError): GraphQLError {
  const { message, extensions } = error
  const at = message.endsWith('?') ? message.lastIndexOf(SUGGESTION) : -1
  if (at === -1) return error
  const [nodes, source, positions] = [error.nodes ?? null, error.source ?? null, error.positions ?? null]
  return new GraphQLError(message.slice(0, at), { nodes, source, positions, path: error.path ?? null, extensions })
}

/**
 * Rules for documents, beside those of GraphQL.
 * @param introspection whether the schema may be asked for at all
 * @param isGuarded whether every request carries the secret: then `_service` is answered, as composing needs it
 */
export function schemaRules(introspection: boolean, isGuarded: boolean): ValidationRule[] {
  if (introspection) return []
  return isGuarded ? [NoSchemaIntrospectionCustomRule] : [NoSchemaIntrospectionCustomRule, noService]
}
