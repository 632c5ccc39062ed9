/**
 * Variables of large requests, checked before they are executed, so that few of their wrong values are reported. GraphQL's
 * own limit is 50.
 */
import { GraphQLError, type GraphQLSchema, getOperationAST, parse } from 'graphql'
import { getVariableValues } from 'graphql/execution/values.js'
import { MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'

/** Bytes of a request whose variables can't have more wrong values than are soon reported. */
const SMALL = 8 * 1024
const MOST_ERRORS = 20

/** What is sent as a GraphQL request. */
interface Sent {
  readonly query?: unknown
  readonly operationName?: unknown
  readonly variables?: unknown
}

/**
 * @param length the header `content-length`
 * @returns the errors of the variables, 20 at most; none for a small request, and for one that is refused anyway
 */
export function longVariablesErrors(
  schema: GraphQLSchema,
  length: string | undefined,
  { query, operationName, variables }: Sent,
): readonly GraphQLError[] {
  if (Number(length) <= SMALL || typeof query !== 'string' || typeof variables !== 'object' || variables === null) {
    return []
  }
  try {
    const document = parse(query, { noLocation: true, maxTokens: MAX_DOCUMENT_TOKENS })
    const operation = getOperationAST(document, typeof operationName === 'string' ? operationName : null)
    const { errors } = getVariableValues(
      schema,
      operation?.variableDefinitions ?? [],
      variables as Readonly<Record<string, unknown>>,
      { maxErrors: MOST_ERRORS },
    )
    // Without what caused them: an error with a cause counts as unexpected.
    return (errors ?? []).map(({ message, nodes }) => new GraphQLError(message, { nodes: nodes ?? null }))
  } catch {
    return [] // the document is no GraphQL: that is reported where it is executed
  }
}
