/** How errors are answered: expected ones unchanged; any other is logged in full and masked. */
import type { FastifyBaseLogger } from 'fastify'
import { type ExecutionResult, GraphQLError } from 'graphql'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { ReadModelUnavailable } from '../../projections/read-model.ts'
import { shortened } from '../../runtime/shortened.ts'
import { traceIds } from '../../runtime/tracing.ts'
import { tokenChallenge } from '../../schema/token-faults.ts'
import { CustomerError, serviceUnavailable, TokenRefused } from '../errors.ts'
import { withoutSuggestion } from './closed-schema.ts'
import type { RequestContext } from './request-context.ts'

/**
 * @param introspection whether introspection is allowed; otherwise GraphQL's errors contain no suggestions
 * @param onError called with `extensions.code` of each error that is answered
 */
export function createErrorAnswers(log: FastifyBaseLogger, introspection: boolean, onError: (code: string) => void) {
  function present(error: GraphQLError, { correlationId, traceparent }: RequestContext): GraphQLError {
    const cause = error.originalError ?? error
    if (cause instanceof CustomerError) return error
    if (isStackOverflow(cause)) return TOO_DEEP
    if (cause instanceof EventStoreUnavailable || cause instanceof ReadModelUnavailable) {
      log.warn({ err: cause, correlationId, path: error.path, ...traceIds(traceparent) }, 'a store is unavailable')
      return relocate(error, serviceUnavailable())
    }
    // Raised by GraphQL itself (an invalid value, an unknown operation), or by Fastify before it (a bad body).
    if (cause === error || (cause as { statusCode?: number }).statusCode !== undefined) return error
    log.error({ err: cause, correlationId, path: error.path, ...traceIds(traceparent) }, 'unexpected error')
    const masked = new GraphQLError('Internal server error', {
      extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId },
    })
    return relocate(error, masked)
  }

  /** The answer to an operation with errors, and its status. */
  return (execution: ExecutionResult, context: RequestContext) => {
    const errors = (execution.errors ?? [])
      .flatMap((error) => validationErrors(error) ?? [present(error, context)])
      .map((error) => withShortMessage(introspection ? error : withoutSuggestion(error)))
    for (const error of errors) onError(String(error.extensions?.code ?? 'GRAPHQL_VALIDATION_FAILED'))
    if (isRefusedToken(execution)) {
      const [{ message, extensions }] = errors as [GraphQLError]
      context.reply?.header('www-authenticate', tokenChallenge(message))
      return { statusCode: 401, response: { errors: [{ message, extensions }] } as never }
    }
    const isRefused = execution.data == null && errors.some(({ path }) => path === undefined)
    const statusCode = isRefused
      ? ((execution.errors?.[0]?.originalError as { statusCode?: number })?.statusCode ?? 400)
      : 200
    // `data` is absent where nothing was executed.
    return { statusCode, response: { ...(isRefused ? {} : { data: execution.data ?? null }), errors } as never }
  }
}

/**
 * Whether an operation had no result because its token was revoked: then the whole request is refused, as in Magento.
 * If an earlier field was answered (it may have revoked the token itself), the error stays at its field.
 */
function isRefusedToken({ data, errors = [] }: ExecutionResult): boolean {
  const isAnswered = data != null && Object.values(data).some((value) => value !== null)
  return (
    errors.length > 0 && !isAnswered && errors.every((error) => (error.originalError ?? error) instanceof TokenRefused)
  )
}

/** Mercurius wraps the errors of parsing and validation into one; the caller should see each. */
function validationErrors(error: GraphQLError): readonly GraphQLError[] | undefined {
  const { errors } = (error.originalError ?? {}) as { errors?: readonly Error[] }
  return errors?.map((each) => {
    if (isStackOverflow(each)) return TOO_DEEP
    return each instanceof GraphQLError ? each : new GraphQLError(each.message)
  })
}

/** graphql-js parses and validates recursively. */
const isStackOverflow = (error: Error): boolean => error instanceof RangeError && /call stack/.test(error.message)
const TOO_DEEP = new GraphQLError('The document is nested too deeply.', {
  extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
})

/** An error of GraphQL's own may quote what was sent, which may be long. */
function withShortMessage(error: GraphQLError): GraphQLError {
  const { message, extensions } = error
  const beginning = shortened(message)
  if (beginning === message) return error
  const [nodes, source, positions] = [error.nodes ?? null, error.source ?? null, error.positions ?? null]
  return new GraphQLError(beginning, { nodes, source, positions, path: error.path ?? null, extensions })
}

function relocate(from: GraphQLError, to: GraphQLError): GraphQLError {
  return new GraphQLError(to.message, { nodes: from.nodes ?? null, path: from.path ?? null, extensions: to.extensions })
}
