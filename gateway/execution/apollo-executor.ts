/** Apollo's own executor behind the common interface: the reference for the compiled one. */
import { buildOperationContext, executeQueryPlan } from '@apollo/gateway'
import { GraphQLError, type GraphQLFormattedError, parse } from 'graphql'
import type { LoadedSupergraph } from '../planning/supergraph.ts'
import { isPlannersName, PLANNERS_MARK } from '../planning/supergraph-corrections.ts'
import { readAnswer, type SubgraphAnswer, type SubgraphClient, SubgraphUnavailable } from '../subgraphs/client.ts'
import { failedPath, numericIndices, publicExtensions, responseNames } from '../subgraphs/errors.ts'
import { answerText, type ExecutionRequest, type Executor } from './executor.ts'
import { shapeOf, unreachableFields } from './selection-shape.ts'

type DataSource = Parameters<typeof executeQueryPlan>[1][string]
type RequestContext = Parameters<typeof executeQueryPlan>[2]

/**
 * Executes with @apollo/gateway, and corrects its plans, error paths and results where they violate the GraphQL
 * specification.
 */
export function createApolloExecutor(
  supergraph: LoadedSupergraph,
  subgraphs: Readonly<Record<string, SubgraphClient>>,
): Executor {
  const services = Object.fromEntries(Object.entries(subgraphs).map(([name, call]) => [name, dataSource(name, call)]))

  return ({ document, node, stockPlan }) => {
    const plan = stockPlan()
    const rootName = supergraph.schema.getRootType(node.operation)?.name
    const operation = buildOperationContext({
      schema: supergraph.schema,
      operationDocument: document,
      ...(node.name && { operationName: node.name.value }),
    })
    return async (request) => {
      if (!plan.node) {
        const shape = shapeOf(supergraph.schema, document, node, (name) => request.values[name] === true)
        const unreachable = unreachableFields(shape, rootName)
        if (unreachable.length > 0) return answerText(null, unreachable)
      }
      // executeQueryPlan reads only these four of a request's context. It writes to metrics, so that is a new object
      // each time.
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
        return answerText(data, all)
      } catch (error) {
        return answerText(null, [request.mask(error)])
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
      const request = options.context as ExecutionRequest
      try {
        // Omitted if there are none, so a subgraph does not coerce them.
        const sent = hasKeys(variables) ? withRealNames(variables) : undefined
        const body = JSON.stringify({ query, variables: sent, operationName })
        const raw = await call({ body, headers: request.headers, mutation: query.startsWith('mutation') })
        request.received(raw, name)
        const answer = readAnswer(name, raw)
        if (answer.errors) answer.errors = answer.errors.map(withNumericIndices)
        checkEntities(name, variables, answer)
        return answer as Awaited<ReturnType<DataSource['process']>>
      } catch (error) {
        if (!(error instanceof SubgraphUnavailable)) throw error
        request.unavailable(error)
        const prefix = 'pathInIncomingRequest' in options ? (options.pathInIncomingRequest ?? []) : []
        const path = failedPath(prefix, responseNames(parse(query)))
        throw new SubgraphUnavailable(error.service, error.message, path.length > 0 ? { path } : {})
      }
    },
  }
}

function withNumericIndices(error: GraphQLFormattedError): GraphQLFormattedError {
  return { ...error, path: numericIndices(error.path) } as unknown as GraphQLFormattedError
}

/** Apollo does not rename null, 0, false and ''. */
function withRealNames(variables: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const text = JSON.stringify(variables.representations)
  if (!text?.includes(PLANNERS_MARK)) return variables
  return { ...variables, representations: JSON.parse(text.replaceAll(/"(\w+)__with_[0-9a-f]{8}":/g, '"$1":')) }
}

function hasKeys(object: object): boolean {
  for (const _ in object) return true
  return false
}

/** The answer to a call for entities must have as many: with fewer, they would end up in the wrong objects. */
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

/** A subgraph's error with the client's path; our own errors unchanged; any other is masked. */
function clientError(error: unknown, request: ExecutionRequest): GraphQLFormattedError {
  if (error instanceof SubgraphUnavailable) return error.toJSON()
  const original: unknown = error instanceof GraphQLError ? error.originalError : undefined
  if (!(error instanceof GraphQLError) || original === undefined || original instanceof Error)
    return request.mask(error)
  const extensions = publicExtensions((original as GraphQLFormattedError).extensions)
  const path = clientPath(error.path)
  return { message: error.message, ...(path && { path }), ...(extensions && { extensions }) }
}

/**
 * Apollo leaves its own markers in the path of an error that belongs to no single entity: the path ends before them.
 */
function clientPath(path: GraphQLError['path']): (string | number)[] | undefined {
  const end = path?.findIndex((part) => part === '@' || part === '_entities' || isPlannersName(part)) ?? -1
  const result = end >= 0 ? path?.slice(0, end) : path
  return result && result.length > 0 ? [...result] : undefined
}

/** A null that violates the schema. Apollo reports these in extensions; they are errors. */
function completionError({ message, path }: GraphQLError): GraphQLFormattedError {
  return { message, ...(path && { path }), extensions: { code: 'INTERNAL_SERVER_ERROR' } }
}
