/** Why a document or its variables are refused. */
import { type DocumentNode, GraphQLError, Kind, type OperationDefinitionNode } from 'graphql'
import { type RefusalCode, RequestError, requestError } from '../errors.ts'
import type { Renamed } from './free-variables.ts'

/** Of a message: some quote what the client sent. */
const MAX_MESSAGE = 500

export const tooDeep = () => requestError('The document is nested too deeply.', 'OPERATION_TOO_COMPLEX')

/** The operation that a name means. @throws RequestError where there is none, or none is named of several */
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

const shortened = (message: string) => (message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message)

/** A RequestError of GraphQL's own errors. */
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

/** An error about a variable that the gateway has renamed, with the name that the client gave it. */
export function inClientsNames(error: GraphQLError, renamed: Renamed): GraphQLError {
  let { message } = error
  for (const [name, own] of renamed) message = message.replaceAll(`$${name}`, `$${own}`)
  return new GraphQLError(message, { nodes: error.nodes ?? null, extensions: error.extensions })
}
