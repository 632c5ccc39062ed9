/** Mercurius as a subgraph: its JIT on, and two of its faults cured. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ExecutionResult, GraphQLError, type GraphQLSchema } from 'graphql'
import mercurius, { type MercuriusContext } from 'mercurius'
import { createDocumentBudget, MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'

const graphqlName = /^[_A-Za-z][_0-9A-Za-z]*$/

/**
 * Registers a subgraph at `/graphql` under the instance's prefix.
 * @param schema made by buildSubgraphSchema, with its resolvers
 * @param context what the resolvers get of a request
 */
export async function serveSubgraph<Context extends object>(
  app: FastifyInstance,
  schema: GraphQLSchema,
  context: (request: FastifyRequest) => Context,
): Promise<void> {
  const countDocument = createDocumentBudget(() => app.graphql.replaceSchema(schema))
  await app.register(mercurius, {
    schema,
    jit: 1,
    graphql: { parseOptions: { maxTokens: MAX_DOCUMENT_TOKENS } },
    context,
    errorFormatter,
    additionalRouteOptions: {
      preHandler: (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
        const sent = request.method === 'GET' ? request.query : request.body
        if (typeof sent === 'object' && sent !== null) {
          separateOperations(sent)
          const { query } = sent as { query?: unknown }
          if (typeof query === 'string') countDocument(query)
        }
        done()
      },
      // Mercurius' own serializer turns list indices in error paths into strings; it is slower, too.
      serializerCompiler: () => (answer: unknown) => JSON.stringify(answer),
    },
  })
}

/**
 * Mercurius keeps a compiled document by its text alone and answers the operation that it compiled first, whichever one
 * is asked for. So the name of the operation becomes part of the text, as a comment at its end.
 */
function separateOperations(sent: { query?: unknown; operationName?: unknown }): void {
  if (typeof sent.query !== 'string' || typeof sent.operationName !== 'string' || sent.operationName === '') return
  if (!graphqlName.test(sent.operationName)) throw new GraphQLError('The operation name is not a GraphQL name.')
  sent.query += `\n#${sent.operationName}`
}

/** Errors as GraphQL has them; one that nobody meant for the client is logged and masked. */
function errorFormatter(
  execution: Pick<ExecutionResult, 'data'> & { readonly errors: readonly GraphQLError[] },
  context: MercuriusContext,
): { statusCode: number; response: ExecutionResult } {
  const executed = execution.data !== undefined
  let statusCode = executed ? 200 : 400
  const errors = execution.errors.flatMap((error) => {
    const cause = error.originalError as (Error & { errors?: GraphQLError[]; statusCode?: number }) | undefined
    if (!cause || cause instanceof GraphQLError) return [error]
    if (!executed && cause.statusCode !== undefined && cause.statusCode < 500) {
      statusCode = cause.statusCode
      return cause.errors ?? [error]
    }
    context.reply.log.error({ err: cause }, 'Unexpected error')
    return [
      new GraphQLError('Internal server error', { path: error.path, extensions: { code: 'INTERNAL_SERVER_ERROR' } }),
    ]
  })
  return { statusCode, response: { data: execution.data ?? null, errors } }
}
