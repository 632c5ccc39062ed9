/** Masks internal errors: they are logged in full, without anything that may be personal data. */
import type { FastifyRequest } from 'fastify'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { traceIds } from '../../runtime/tracing.ts'

/**
 * Logs an unexpected error and returns the masked one for the client, with the id to find it by.
 * @param traceparent of the request's span. Default: the client's
 */
export function mask(
  error: unknown,
  { log, id, headers }: FastifyRequest,
  traceparent: unknown = headers.traceparent,
): GraphQLFormattedError {
  log.error({ err: withoutValues(error), ...traceIds(traceparent) }, 'Unexpected error')
  return {
    message: 'Internal server error',
    ...(error instanceof GraphQLError && error.path && { path: error.path }),
    extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: id },
  }
}

/** Apollo's errors quote values that subgraphs sent. They may be personal data and must not reach the log. */
function withoutValues(error: unknown): unknown {
  if (!(error instanceof Error)) return new Error('Something that is not an error was thrown')
  const hide = (text: string) => text.replace(/\bvalue [\s\S]*? (returned by|for __typename)/g, 'value (hidden) $1')
  const shown = new Error(hide(error.message))
  shown.name = error.name
  if (error.stack !== undefined) shown.stack = hide(error.stack)
  return shown
}

/** Why a connection failed; undefined for what is not an error. A parser's error quotes the text, so it is left out. */
export function reasonOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined
  if (cause instanceof SyntaxError) return 'The text can not be parsed'
  return cause.message || (cause as NodeJS.ErrnoException).code || cause.name
}

/** An error's code for the log, if it has the form of one: a subgraph may send anything. */
export function shownCode(
  error: Pick<GraphQLError | GraphQLFormattedError, 'extensions'> | undefined,
): string | undefined {
  const code = error?.extensions?.code
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : undefined
}
