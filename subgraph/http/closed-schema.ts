/** Hides the schema on the subgraph's own port if introspection is off. */
import { GraphQLError, NoSchemaIntrospectionCustomRule, type ValidationRule } from 'graphql'

/** Refuses `_service`, which returns the SDL for composing a supergraph. */
const noService: ValidationRule = (context) => ({
  Field(node) {
    if (node.name.value !== '_service' || context.getParentType() !== context.getSchema().getQueryType()) return
    const message = 'The SDL is available only with the secret of this subgraph.'
    context.reportError(new GraphQLError(message, { nodes: node }))
  },
})

const SUGGESTION = ' Did you mean '

/** A GraphQL error without its suggestions, which would reveal the schema name by name. */
export function withoutSuggestion(error: GraphQLError): GraphQLError {
  const { message, extensions } = error
  const at = message.endsWith('?') ? message.lastIndexOf(SUGGESTION) : -1
  if (at === -1) return error
  const [nodes, source, positions] = [error.nodes ?? null, error.source ?? null, error.positions ?? null]
  return new GraphQLError(message.slice(0, at), { nodes, source, positions, path: error.path ?? null, extensions })
}

/**
 * Validation rules in addition to those of GraphQL.
 * @param introspection whether introspection is allowed
 * @param isGuarded whether every request carries the secret; then `_service` is answered, because composing needs it
 */
export function schemaRules(introspection: boolean, isGuarded: boolean): ValidationRule[] {
  if (introspection) return []
  return isGuarded ? [NoSchemaIntrospectionCustomRule] : [NoSchemaIntrospectionCustomRule, noService]
}
