/**
 * `/graphql`: each request is checked completely before it reaches Mercurius, or the traced execution if a trace is
 * requested.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ExecutionResult, GraphQLError, type GraphQLSchema, parse, type ValidationRule } from 'graphql'
import mercurius from 'mercurius'
import { MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'
import { wantsEventStream } from '../../runtime/event-stream.ts'
import { loadedOnce } from '../../runtime/lazily.ts'
import { type Store, viewOf } from '../../schema/store.ts'
import { tokenChallenge } from '../../schema/token-faults.ts'
import { type CustomerError, refusal, serviceUnavailable, TokenRefused } from '../errors.ts'
import type { Admitted, TokenGate } from '../identity/token-gate.ts'
import { createCacheControl, NOT_STORED } from './cache-control.ts'
import { createCompiledOperations, type ExecuteCompiled } from './compiled-operations.ts'
import { createErrorAnswers } from './error-answers.ts'
import { createEventStreams } from './event-streams.ts'
import type { TracedRequest } from './federated-traces.ts'
import type { RequestContext } from './request-context.ts'
import type { RequestReader } from './request-reader.ts'

export interface GraphqlEndpoint {
  /** Creates an executable schema. The traced execution has one of its own, because it changes the resolvers. */
  readonly buildSchema: () => GraphQLSchema
  /** For documents, beside those of GraphQL. */
  readonly validationRules: readonly ValidationRule[]
  readonly gate: TokenGate
  readonly requests: RequestReader
  readonly store: Store
  /** Whether the schema may be asked for. */
  readonly introspection: boolean
  /** Whether the token of an Authorization header has expired. */
  readonly isExpired: (authorization: string | undefined) => boolean
  /** Called with `extensions.code` of each error that is answered. */
  readonly onError: (code: string) => void
}

type Done = (error?: Error) => void

const STORE_NOT_FOUND = refusal('STORE_NOT_FOUND')

export async function serveGraphql(app: FastifyInstance, endpoint: GraphqlEndpoint): Promise<void> {
  const { buildSchema, validationRules, requests, store } = endpoint
  const formatErrors = createErrorAnswers(app.log, endpoint.introspection, endpoint.onError)
  const tracedExecution = tracedExecutionOf(endpoint)
  const schema = buildSchema()
  const cacheControl = createCacheControl(schema)
  const answerWithEvents = createEventStreams({
    schema,
    validationRules,
    formatErrors,
    contextOf: requests.contextOf,
    isExpired: ({ headers }) => endpoint.isExpired(headers.authorization),
  })
  const answerCompiled = createCompiledAnswers(requests.contextOf, formatErrors)
  const compiled = createCompiledOperations(schema, validationRules, () => app.graphql.replaceSchema(schema))

  await app.register(mercurius, {
    schema,
    validationRules: [...validationRules],
    graphql: { parseOptions: { maxTokens: MAX_DOCUMENT_TOKENS } },
    context: requests.contextOf,
    errorFormatter: (execution, context) => {
      context.reply.header('cache-control', NOT_STORED)
      return formatErrors(execution, context as unknown as RequestContext)
    },
    additionalRouteOptions: {
      // Fastify's own serializer for the route writes list indices in error paths as strings.
      serializerCompiler: () => JSON.stringify,
      preValidation: (request: FastifyRequest, _reply: FastifyReply, done: Done) => {
        removeNulls(request.body)
        done()
      },
      preHandler,
    },
  })

  function preHandler(request: FastifyRequest, reply: FastifyReply, done: Done): void {
    reply.header('cache-control', NOT_STORED)
    if (!requests.isAllowed(request)) {
      done(new GraphQLError('This subgraph only answers its gateway.', { extensions: { code: 'FORBIDDEN' } }))
      return
    }
    if (viewOf(store, request.headers.store) === undefined) {
      refuse(reply, 200, STORE_NOT_FOUND)
      return
    }
    const document = keyByOperation(request)
    const fault = document === undefined ? undefined : faultOfJson(document)
    if (fault !== undefined) {
      done(fault)
      return
    }
    const admission = admit(request, document)
    if (!(admission instanceof Promise)) onAdmission(admission, request, reply, done, document)
    else admission.then((admission) => onAdmission(admission, request, reply, done, document), done)
  }

  function admit(request: FastifyRequest, document: string | undefined) {
    const { operationName } = (request.body ?? request.query ?? {}) as Partial<TracedRequest>
    const { authorization } = request.headers
    const traceparent = () => requests.traceparentOf(request)
    return endpoint.gate.admit({ authorization, document, operationName, traceparent })
  }

  function onAdmission(
    admission: Admitted,
    request: FastifyRequest,
    reply: FastifyReply,
    done: Done,
    document: string | undefined,
  ): void {
    if (typeof admission === 'string') {
      if (admission === 'unchecked') refuse(reply, 503, serviceUnavailable())
      else refuse(reply, 401, new TokenRefused(admission))
      return
    }
    requests.admit(request, admission)
    if (wantsEventStream(request.headers.accept)) {
      answerWithEvents(request, reply).catch((error) => {
        app.log.error({ err: error }, 'unexpected error')
        reply.raw.destroy()
      })
      return
    }
    const traced = request.headers['apollo-federation-include-trace'] === 'ftv1' && tracedRequest(request, requests)
    if (traced) {
      answerTraced(traced, reply).catch(done)
      return
    }
    if (document === undefined) {
      done()
      return
    }
    const { operationName } = (request.body ?? request.query ?? {}) as Partial<TracedRequest>
    // The answer is the same for everybody. An error takes it back.
    if (request.headers.authorization === undefined) reply.headers(cacheControl(document, operationName) ?? {})
    const execute = compiled.find(document, operationName)
    // A GET may hold a mutation, which Mercurius refuses; so it does a body that is not valid.
    if (execute === undefined || request.method !== 'POST' || request.validationError) done()
    else answerCompiled(execute, request, reply, done)
  }

  /** Answers with one error without executing anything. */
  function refuse(reply: FastifyReply, statusCode: number, error: CustomerError): void {
    endpoint.onError(String(error.extensions.code))
    if (error instanceof TokenRefused) reply.header('www-authenticate', tokenChallenge(error.message))
    reply.code(statusCode).send({ errors: [{ message: error.message, extensions: error.extensions }] })
  }

  async function answerTraced(traced: TracedRequest, reply: FastifyReply): Promise<void> {
    Object.assign(traced.context, { reply })
    const executeTraced = await tracedExecution()
    const result: ExecutionResult = await executeTraced(traced)
    const { statusCode, response } = result.errors
      ? formatErrors(result, traced.context as RequestContext)
      : { statusCode: 200, response: result }
    await reply.code(statusCode).send({ ...response, ...(result.extensions && { extensions: result.extensions }) })
  }
}

function tracedRequest(request: FastifyRequest, { contextOf }: RequestReader): TracedRequest | undefined {
  const { query, operationName, variables } = (request.body ?? {}) as Partial<TracedRequest>
  if (request.method !== 'POST' || typeof query !== 'string') return undefined
  return { query, operationName, variables, context: contextOf(request) }
}

/** Answers with a compiled operation; `done` passes the request on to Mercurius if it could not be executed. */
const createCompiledAnswers =
  (contextOf: RequestReader['contextOf'], formatErrors: ReturnType<typeof createErrorAnswers>) =>
  (execute: ExecuteCompiled, request: FastifyRequest, reply: FastifyReply, done: Done): void => {
    const context = contextOf(request)
    context.reply = reply
    const answer = (result: ExecutionResult | undefined): void => {
      if (result === undefined) {
        done()
        return
      }
      let body: object = result
      if (result.errors) {
        const { statusCode, response } = formatErrors(result, context)
        reply.code(statusCode).header('cache-control', NOT_STORED)
        body = response
      }
      // As a text: Fastify then has nothing left to serialize.
      reply.header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(body))
    }
    const result = execute(context, (request.body as Partial<TracedRequest>).variables)
    if (result instanceof Promise) result.then(answer).catch(done)
    else answer(result)
  }

/** Few gateways ask for traces, so what they need is loaded and built for the first request that does. */
const tracedExecutionOf = ({ buildSchema, validationRules }: GraphqlEndpoint) =>
  loadedOnce(async () => {
    const { createTracedExecution } = await import('./federated-traces.ts')
    return createTracedExecution(buildSchema(), validationRules)
  })

/**
 * Operations are compiled and kept by the document's text alone: for a document with two operations the first one
 * requested would be executed each time. A comment with the operation's name makes the texts distinct.
 * @returns the document's text, if there is one
 */
function keyByOperation(request: FastifyRequest): string | undefined {
  const parameters = (request.body ?? request.query ?? {}) as { query?: unknown; operationName?: unknown }
  const { query, operationName } = parameters
  if (typeof query !== 'string') return undefined
  if (typeof operationName !== 'string' || !/^\w+$/.test(operationName)) return query
  const document = `${query}\n#${operationName}`
  parameters.query = document
  return document
}

/** How JSON begins. So do documents of GraphQL that begin with a description, and no others. */
const LIKE_JSON = /^\s*(?:\{\s*["}]|["[\d-]|(?:true|false|null)\s*$)/

/**
 * Mercurius also takes the JSON of a syntax tree, which may be one that no parser makes and no validation rule expects.
 * @returns the error of a document that is not GraphQL
 */
function faultOfJson(document: string): GraphQLError | undefined {
  if (!LIKE_JSON.test(document)) return undefined
  try {
    parse(document, { noLocation: true, maxTokens: MAX_DOCUMENT_TOKENS })
    return undefined
  } catch (error) {
    return error instanceof GraphQLError ? error : undefined
  }
}

/** Some clients send null for omitted fields; Mercurius refuses null for `extensions` and `persisted`. */
function removeNulls(body: unknown): void {
  if (typeof body !== 'object' || body === null) return
  const members = body as Record<string, unknown>
  for (const name of ['extensions', 'persisted']) if (members[name] === null) delete members[name]
}
