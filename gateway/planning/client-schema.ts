/** The schema that clients see of a supergraph, and their documents in the form that the planner accepts. */
import {
  DirectiveLocation,
  type DocumentNode,
  GraphQLDirective,
  GraphQLSchema,
  isInputType,
  parseType,
  typeFromAST,
  visit,
} from 'graphql'

const EXECUTABLE: ReadonlySet<string> = new Set([
  DirectiveLocation.QUERY,
  DirectiveLocation.MUTATION,
  DirectiveLocation.FIELD,
  DirectiveLocation.FRAGMENT_DEFINITION,
  DirectiveLocation.FRAGMENT_SPREAD,
  DirectiveLocation.INLINE_FRAGMENT,
  DirectiveLocation.VARIABLE_DEFINITION,
])

export interface ClientSchema {
  readonly schema: GraphQLSchema
  /** A valid document without the directives that only clients use. */
  readonly plannable: (document: DocumentNode) => DocumentNode
}

/**
 * Apollo's API schema, with the directives for documents that subgraphs have composed (`@composeDirective`): Apollo
 * omits them, and the planner refuses them. They are validated here, and not sent to subgraphs.
 */
export function clientSchema(api: GraphQLSchema, full: GraphQLSchema): ClientSchema {
  const composed = full.getDirectives().flatMap((directive) => {
    if (api.getDirective(directive.name) || !directive.locations.some((each) => EXECUTABLE.has(each))) return []
    const { args, ...config } = directive.toConfig()
    const own = Object.entries(args).map(([name, argument]) => {
      const type = typeFromAST(api, parseType(String(argument.type)) as never)
      return [name, isInputType(type) ? { ...argument, type } : undefined] as const
    })
    // A directive with types hidden from clients is left out.
    if (own.some(([, argument]) => argument === undefined)) return []
    return [new GraphQLDirective({ ...config, args: Object.fromEntries(own) as typeof args })]
  })
  if (composed.length === 0) return { schema: api, plannable: (document) => document }
  const names = new Set(composed.map(({ name }) => name))
  return {
    schema: new GraphQLSchema({ ...api.toConfig(), directives: [...api.getDirectives(), ...composed] }),
    plannable: (document) => visit(document, { Directive: ({ name }) => (names.has(name.value) ? null : undefined) }),
  }
}
