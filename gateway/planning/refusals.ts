/** Errors for refused documents and variables. */
import { type DocumentNode, GraphQLError, Kind, type OperationDefinitionNode } from 'graphql'
import { shortened } from '../../runtime/shortened.ts'
import { type RefusalCode, RequestError, requestError } from '../errors.ts'
import type { Renamed } from './free-variables.ts'

export const tooDeep = () => requestError('The document is nested too deeply.', 'OPERATION_TOO_COMPLEX')

/** The operation with a name. @throws RequestError if there is none, or if several exist and none is named */
export function choose(document: DocumentNode, name: string | undefined): OperationDefinitionNode {
  const all = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
  const wanted = name === undefined ? all : all.filter((definition) => definition.name?.value === name)
  const [first] = wanted
  if (first && wanted.length === 1) return first
  throw requestError(
    name !== undefined
      ? `Unknown operation named "${shortened(name)}".`
      : all.length > 1
        ? 'Must provide operation name if query contains multiple operations.'
        : 'Must provide an operation.',
    'OPERATION_RESOLUTION_FAILURE',
  )
}

/** A RequestError for GraphQL's own errors. */
export function withCode(errors: readonly GraphQLError[], code: RefusalCode): RequestError {
  return new RequestError(
    errors.map(
      (error) =>
        new GraphQLError(shortened(error.message), {
          nodes: error.nodes ?? null,
          source: error.source ?? null,
          positions: error.positions ?? null,
          extensions: { ...error.extensions, code },
        }),
    ),
  )
}

/** Restores the client's name in an error about a renamed variable. */
export function inClientsNames(error: GraphQLError, renamed: Renamed): GraphQLError {
  let { message } = error
  for (const [name, own] of renamed) message = message.replaceAll(`$${name}`, `$${own}`)
  return new GraphQLError(message, { nodes: error.nodes ?? null, extensions: error.extensions })
}
