/** How a planned operation is executed: the seam, and Apollo's executor behind it. */
import { buildOperationContext, executeQueryPlan } from '@apollo/gateway'
import type { QueryPlan } from '@apollo/query-planner'
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLFormattedError,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionNode,
} from 'graphql'
import { type SubgraphAnswer, type SubgraphClient, SubgraphUnavailable } from './subgraph-client.ts'
import type { LoadedSupergraph } from './supergraph.ts'

export type PlannedOperation = {
  readonly document: DocumentNode
  readonly node: OperationDefinitionNode
  readonly plan: QueryPlan
}

/** What differs from one execution of an operation to the next. */
export type ExecutionRequest = {
  /** As the client sent them, already checked against the schema. */
  readonly variables: Readonly<Record<string, unknown>>
  /** For the subgraph calls: names and values in turn. */
  readonly headers: readonly string[]
  /** Logs an error that is not meant for clients and returns what they see in its place. */
  readonly mask: (error: unknown) => GraphQLFormattedError
  /** Told of each subgraph that gave no usable answer. */
  readonly unavailable: (error: SubgraphUnavailable) => void
}

export type ExecutionAnswer = {
  readonly data?: Readonly<Record<string, unknown>> | null
  readonly errors?: readonly GraphQLFormattedError[]
}

/** Executes one operation, again and again. It does not throw: what goes wrong is in the answer's errors. */
export type Execute = (request: ExecutionRequest) => Promise<ExecutionAnswer>

/** Makes ready to execute an operation; done once for each operation of a document. */
export type Executor = (operation: PlannedOperation) => Execute

type DataSource = Parameters<typeof executeQueryPlan>[1][string]
type RequestContext = Parameters<typeof executeQueryPlan>[2]

/** Executes with @apollo/gateway, whose plans, error paths and results are put right where they differ from GraphQL's rules. */
export function createApolloExecutor(
  supergraph: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
): Executor {
  const services = Object.fromEntries(Object.entries(subgraphs).map(([name, call]) => [name, dataSource(name, call)]))

  return ({ document, node, plan }) => {
    const operation = buildOperationContext({
      schema: supergraph.schema,
      operationDocument: document,
      ...(node.name && { operationName: node.name.value }),
    })
    return async (request) => {
      // Of a request's context executeQueryPlan reads these four alone. It writes to metrics, so that is a new one each time.
      const context = {
        request: { variables: request.variables },
        context: request,
        metrics: {},
        logger: silent,
      } as unknown as RequestContext
      try {
        const { data, errors, extensions } = await executeQueryPlan(
          plan,
          services,
          context,
          operation,
          supergraph.fullSchema,
          supergraph.apiSchema,
        )
        const completion = extensions?.valueCompletion as GraphQLError[] | undefined
        const all = [
          ...(errors ?? []).map((error) => clientError(error, request)),
          ...(completion ?? []).map(completionError),
        ]
        return all.length > 0 ? { data: data ?? null, errors: all } : { data: data ?? null }
      } catch (error) {
        return { data: null, errors: [request.mask(error)] }
      }
    }
  }
}

const nothing = () => {}
const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing }

/** A subgraph as executeQueryPlan calls it. */
function dataSource(name: string, call: SubgraphClient): DataSource {
  return {
    process: async (options) => {
      const { query = '', operationName, variables = {} } = options.request
      const { headers, unavailable } = options.context as ExecutionRequest
      try {
        const answer = await call({ query, operationName, variables, headers, mutation: query.startsWith('mutation') })
        if (answer.errors) answer.errors = answer.errors.map(withNumericIndices)
        checkEntities(name, variables, answer)
        return answer as Awaited<ReturnType<DataSource['process']>>
      } catch (error) {
        if (!(error instanceof SubgraphUnavailable)) throw error
        unavailable(error)
        const prefix = 'pathInIncomingRequest' in options ? (options.pathInIncomingRequest ?? []) : []
        throw new SubgraphUnavailable(error.service, error.message, failedPath(prefix, query))
      }
    },
  }
}

/** Some servers print list indices as strings; a GraphQL name can't begin with a digit, so they are told apart. */
function withNumericIndices(error: GraphQLFormattedError): GraphQLFormattedError {
  if (!Array.isArray(error.path)) return { ...error, path: undefined } as unknown as GraphQLFormattedError
  const path = error.path.map((part) => (typeof part === 'string' && /^\d+$/.test(part) ? Number(part) : part))
  return { ...error, path }
}

/** A call for entities must be answered by as many: with fewer, they would land in the wrong objects. */
function checkEntities(service: string, variables: Readonly<Record<string, unknown>>, answer: SubgraphAnswer): void {
  const asked = variables.representations
  if (!Array.isArray(asked) || !answer.data) return
  const entities = answer.data._entities
  if (Array.isArray(entities) && entities.length === asked.length) return
  if (!answer.errors) {
    throw new SubgraphUnavailable(service, `The "${service}" service sent an answer that does not fit the question.`)
  }
  answer.data = null
}

/** Where a fetch that failed belongs in the client's answer: its own field if there is one, else what is above its fields. */
function failedPath(prefix: readonly (string | number)[], query: string): { path?: (string | number)[] } {
  const list = prefix.indexOf('@')
  if (list >= 0) return { path: prefix.slice(0, list) }
  const fields = responseNames(query)
  if (fields.length === 1) return { path: [...prefix, ...fields] }
  return prefix.length > 0 ? { path: [...prefix] } : {}
}

/** The response names that a subgraph operation adds: its root fields, or what it asks of entities. */
function responseNames(query: string): string[] {
  const operation = parse(query, { noLocation: true }).definitions.find(
    (definition) => definition.kind === Kind.OPERATION_DEFINITION,
  )
  const names = (selections: readonly SelectionNode[] = []): string[] =>
    selections.flatMap((selection) => {
      if (selection.kind !== Kind.FIELD)
        return selection.kind === Kind.INLINE_FRAGMENT ? names(selection.selectionSet.selections) : []
      if (selection.name.value === '_entities') return names(selection.selectionSet?.selections)
      return selection.name.value === '__typename' ? [] : [selection.alias?.value ?? selection.name.value]
    })
  return [...new Set(names(operation?.selectionSet.selections))]
}

/** A subgraph's error as the subgraph gave it, with the client's path; ours as it is; any other is not for clients. */
function clientError(error: unknown, { mask }: ExecutionRequest): GraphQLFormattedError {
  if (error instanceof SubgraphUnavailable) return error.toJSON()
  const original: unknown = error instanceof GraphQLError ? error.originalError : undefined
  if (!(error instanceof GraphQLError) || original === undefined || original instanceof Error) return mask(error)
  const extensions = publicExtensions((original as GraphQLFormattedError).extensions)
  const path = clientPath(error.path)
  return { message: error.message, ...(path && { path }), ...(extensions && { extensions }) }
}

/** Apollo leaves its own marks in the path of an error that belongs to no single entity: the path ends before them. */
function clientPath(path: GraphQLError['path']): (string | number)[] | undefined {
  const end = path?.findIndex((part) => part === '@' || part === '_entities') ?? -1
  const result = end >= 0 ? path?.slice(0, end) : path
  return result && result.length > 0 ? [...result] : undefined
}

/** Without the stack traces that some servers add outside production. */
function publicExtensions(extensions: GraphQLFormattedError['extensions']): Record<string, unknown> | undefined {
  if (typeof extensions !== 'object' || extensions === null) return undefined
  const { stacktrace: _stacktrace, exception: _exception, ...rest } = extensions
  return rest
}

/** A null that a subgraph must not have sent. Apollo puts these where clients do not look; they are errors. */
function completionError({ message, path }: GraphQLError): GraphQLFormattedError {
  return { message, ...(path && { path }), extensions: { code: 'INTERNAL_SERVER_ERROR' } }
}
