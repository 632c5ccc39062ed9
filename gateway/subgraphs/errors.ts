/** Converts subgraphs' errors for clients. */
import {
  type DocumentNode,
  type GraphQLFormattedError,
  Kind,
  type OperationDefinitionNode,
  type SelectionNode,
} from 'graphql'

type Path = (string | number)[]

/** A subgraph's error, with the client's path. */
export function clientError(error: GraphQLFormattedError, path: Path | undefined): GraphQLFormattedError {
  const extensions = publicExtensions(error.extensions)
  return { message: error.message, ...(path?.length && { path }), ...(extensions && { extensions }) }
}

/** Without the stack traces that some servers add outside production. */
export function publicExtensions(extensions: GraphQLFormattedError['extensions']): Record<string, unknown> | undefined {
  if (typeof extensions !== 'object' || extensions === null) return undefined
  const { stacktrace: _stacktrace, exception: _exception, ...rest } = extensions
  return rest
}

/**
 * Some servers print list indices as strings; a GraphQL name can't begin with a digit, so the two can be distinguished.
 */
export function numericIndices(path: unknown): Path | undefined {
  if (!Array.isArray(path)) return undefined
  return path.map((part: string | number) => (typeof part === 'string' && /^\d+$/.test(part) ? Number(part) : part))
}

/** The response names that a subgraph operation adds: its root fields, or the fields that it selects on entities. */
export function responseNames(document: DocumentNode): string[] {
  const operation = operationOf(document)
  const names = (selections: readonly SelectionNode[] = []): string[] =>
    selections.flatMap((selection) => {
      if (selection.kind !== Kind.FIELD)
        return selection.kind === Kind.INLINE_FRAGMENT ? names(selection.selectionSet.selections) : []
      if (selection.name.value === '_entities') return names(selection.selectionSet?.selections)
      return selection.name.value === '__typename' ? [] : [selection.alias?.value ?? selection.name.value]
    })
  return [...new Set(names(operation.selectionSet.selections))]
}

/**
 * The place of a failed call in the client's answer: its own field if there is one, otherwise the parent of its fields.
 */
export function failedPath(prefix: readonly (string | number)[], names: readonly string[]): Path {
  const list = prefix.indexOf('@')
  if (list >= 0) return prefix.slice(0, list)
  return names.length === 1 ? [...prefix, ...names] : [...prefix]
}

export function operationOf(document: DocumentNode): OperationDefinitionNode {
  return document.definitions.find(({ kind }) => kind === Kind.OPERATION_DEFINITION) as OperationDefinitionNode
}
