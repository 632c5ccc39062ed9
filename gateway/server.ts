/** The gateway: GraphQL over HTTP in front of the subgraphs. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import { GraphQLError, type GraphQLFormattedError, isObjectType } from 'graphql'
import { startSpan } from '../schema/tracing.ts'
import { createApolloExecutor } from './apollo-executor.ts'
import { createCompiledExecutor } from './compiled/executor.ts'
import { exampleQueries, serveEditor } from './editor.ts'
import type { ExecutionRequest } from './executor.ts'
import { createSubgraphHeaders } from './headers.ts'
import { createMetrics, type Outcome } from './metrics.ts'
import { createOperations, type Operations, RequestError, requestError } from './operations.ts'
import { type GraphQLRequest, readBody, readParameters } from './request.ts'
import { createSubgraphClients } from './subgraph-client.ts'
import { type LoadedSupergraph, loadSupergraph } from './supergraph.ts'
import { watchText } from './watch.ts'

export type GatewayOptions = {
  /** The supergraph file; it is watched, and a changed one is swapped in. */
  readonly supergraph: string
  /** `apollo` executes with @apollo/gateway, some ten times slower: to compare with. Default `compiled`. */
  readonly executor?: 'compiled' | 'apollo'
  /** Subgraph URLs in place of those in the supergraph: by the subgraph's name, or by the name in capitals with _ for - . */
  readonly subgraphUrls?: Readonly<Record<string, string>>
  /** Sent to the subgraphs as `x-subgraph-secret`. */
  readonly subgraphSecret?: string | undefined
  /** How long a subgraph may take for one answer, in milliseconds. Default 10,000. */
  readonly subgraphTimeoutMs?: number
  /** How many connections are kept to one subgraph at most. Default 64. */
  readonly subgraphConnections?: number
  /** How many queries may be under way on one connection. Default 1: a slow answer then delays no other. */
  readonly subgraphPipelining?: number
  /** Whether clients may ask for the schema. Default true; off in production. */
  readonly introspection?: boolean
  /** Whether `/` is the query editor. Default true; off in production. */
  readonly editor?: boolean
  /** What the editor shows at first, in place of our examples. */
  readonly editorQuery?: string
  /** How many documents are kept parsed and planned. Default 1,000. */
  readonly cachedDocuments?: number
  /** How often the supergraph file is looked at, in milliseconds. Default 1,000. */
  readonly watchIntervalMs?: number
  /** Fastify's logger option; nothing is logged without it. */
  readonly logger?: NonNullable<FastifyServerOptions['logger']>
  /** Fastify's trustProxy option: whose X-Forwarded-For is believed. */
  readonly trustProxy?: NonNullable<FastifyServerOptions['trustProxy']>
}

/** A supergraph file that can't be served; the message names it. */
export class SupergraphError extends Error {
  override readonly name = 'SupergraphError'
}

/** What one supergraph brings; a request holds on to the one that it began with. */
type Graph = { readonly supergraph: LoadedSupergraph; readonly operations: Operations }

const contentTypeError = 'Request content type must be application/json'
const json = 'application/json; charset=utf-8'

/**
 * Builds the gateway. The caller listens and closes; closing lets requests under way finish.
 * @throws SupergraphError when the supergraph file is missing or can't be served
 */
export async function buildGateway(options: GatewayOptions): Promise<FastifyInstance> {
  const { introspection = true, editor = true, cachedDocuments = 1000 } = options
  const instance = randomBytes(6).toString('base64url')
  let requests = 0
  const app = Fastify({
    logger: options.logger ?? false,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => `${instance}-${(++requests).toString(36)}`,
    ...(options.trustProxy !== undefined && { trustProxy: options.trustProxy }),
  })
  const metrics = createMetrics()
  const subgraphHeaders = createSubgraphHeaders(options.subgraphSecret)
  const clients = createSubgraphClients({
    timeoutMs: options.subgraphTimeoutMs ?? 10_000,
    connections: options.subgraphConnections ?? 64,
    pipelining: options.subgraphPipelining ?? 1,
  })

  const { subgraphUrls = {} } = options
  const overriddenUrl = (name: string) => subgraphUrls[name] ?? subgraphUrls[name.toUpperCase().replaceAll('-', '_')]

  function load(sdl: string): Graph {
    const supergraph = loadSupergraph(sdl)
    const subgraphs = Object.fromEntries(
      supergraph.subgraphs.map(({ name, url }) => [name, clients.client(name, overriddenUrl(name) ?? url)]),
    )
    const compile = (options.executor === 'apollo' ? createApolloExecutor : createCompiledExecutor)(
      supergraph,
      subgraphs,
    )
    return { supergraph, operations: createOperations(supergraph, { introspection, cachedDocuments, compile }) }
  }

  let graph: Graph
  try {
    graph = load(readFileSync(options.supergraph, 'utf8'))
  } catch (error) {
    throw new SupergraphError(`${options.supergraph} can't be served: ${(error as Error).message}`, { cause: error })
  }
  metrics.supergraph(graph.supergraph.hash)

  function swap(sdl: string) {
    try {
      const next = load(sdl)
      if (next.supergraph.hash === graph.supergraph.hash) return
      graph = next
      metrics.supergraph(next.supergraph.hash)
      app.log.info({ supergraph: next.supergraph.hash }, 'Supergraph changed')
    } catch (error) {
      keepOld(error as Error)
    }
  }
  function keepOld(error: Error) {
    metrics.supergraphFailure()
    app.log.error(
      { reason: error.message, supergraph: graph.supergraph.hash },
      'The changed supergraph can not be served; the one before it stays',
    )
  }
  const unwatch = watchText(options.supergraph, options.watchIntervalMs ?? 1000, swap, keepOld)
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onClose', async () => {
    unwatch()
    await clients.close()
  })

  function executionRequest(
    request: FastifyRequest,
    variables: GraphQLRequest['variables'],
    values: ExecutionRequest['values'],
    traceparent: string,
  ): ExecutionRequest {
    return {
      variables,
      values,
      headers: subgraphHeaders(request, traceparent),
      mask: (error) => mask(error, request),
      unavailable: ({ service, message, cause }) => {
        metrics.subgraphFailure(service)
        request.log.warn({ service, reason: cause instanceof Error ? reasonOf(cause) : undefined }, message)
      },
    }
  }

  async function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    read: () => GraphQLRequest,
    readOnly: boolean,
  ): Promise<FastifyReply> {
    const started = performance.now()
    const send = (body: string, status = 200) => {
      // A connection that is busy while the server closes would otherwise stay open until its client ends it.
      if (closing) reply.header('connection', 'close')
      return reply.code(status).header('content-type', json).send(body)
    }
    let type = 'unknown'
    let outcome: Outcome = 'rejected'
    const parent = request.headers.traceparent
    const span = startSpan('graphql', { kind: 'server', parent: typeof parent === 'string' ? parent : undefined })
    try {
      const { query, operationName, variables } = read()
      const { operations } = graph
      const operation = operations.find(query, operationName)
      type = operation.type
      if (readOnly && type !== 'query') {
        reply.header('allow', 'POST')
        throw requestError('Mutation requests allowed only for POST requests', 'METHOD_NOT_ALLOWED', 405)
      }
      const values = operations.coerceVariables(operation, variables)
      const result = await operation.execute(executionRequest(request, variables, values, span.traceparent))
      outcome = result.hasErrors ? 'errors' : 'success'
      return send(result.text)
    } catch (error) {
      if (error instanceof RequestError) return send(errorBody(error.errors), error.statusCode)
      outcome = 'failed'
      return send(errorBody([mask(error, request)]), 500)
    } finally {
      metrics.request(type, outcome, (performance.now() - started) / 1000)
      span.end(outcome === 'failed')
    }
  }

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, app.getDefaultJsonParser('error', 'error'))
  app.setErrorHandler((error: Error & { statusCode?: number; code?: string }, request, reply) => {
    const { statusCode = 500 } = error
    if (statusCode >= 500)
      return reply
        .code(500)
        .type(json)
        .send(errorBody([mask(error, request)]))
    const message = statusCode === 415 ? contentTypeError : error.message
    return reply
      .code(statusCode)
      .type(json)
      .send(errorBody(requestError(message, 'BAD_REQUEST').errors))
  })

  app.post('/graphql', (request, reply) => answer(request, reply, () => readBody(request.body), false))
  app.get('/graphql', (request, reply) =>
    answer(request, reply, () => readParameters(request.query as Record<string, unknown>), true),
  )
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', () => ({ status: 'ok', supergraph: graph.supergraph.hash }))
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()))
  if (editor) serveEditor(app, () => options.editorQuery ?? exampleQueries(hasOrders(graph.supergraph)))
  return app
}

function errorBody(errors: readonly (GraphQLError | GraphQLFormattedError)[]): string {
  return JSON.stringify({ errors })
}

/** Logs an unexpected error whole and returns what the client sees of it: the id to find it by. */
function mask(error: unknown, { log, id }: FastifyRequest): GraphQLFormattedError {
  log.error({ err: withoutValues(error) }, 'Unexpected error')
  return {
    message: 'Internal server error',
    ...(error instanceof GraphQLError && error.path && { path: error.path }),
    extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: id },
  }
}

/** Apollo quotes a subgraph's value in the errors about it: it may be anybody's data, and stays out of the log. */
function withoutValues(error: unknown): unknown {
  if (!(error instanceof Error)) return new Error('Something that is not an error was thrown')
  const hide = (text: string) => text.replace(/\bvalue [\s\S]*? (returned by|for __typename)/g, 'value (hidden) $1')
  const shown = new Error(hide(error.message))
  shown.name = error.name
  if (error.stack !== undefined) shown.stack = hide(error.stack)
  return shown
}

/** Why a connection failed; of several addresses that were tried, each. */
function reasonOf(cause: Error): string {
  const { code } = cause as NodeJS.ErrnoException
  return cause.message || code || cause.name
}

function hasOrders({ schema }: LoadedSupergraph): boolean {
  const customer = schema.getType('Customer')
  return isObjectType(customer) && 'orders' in customer.getFields()
}
