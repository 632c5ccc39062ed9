/** Subscriptions as server-sent events: GraphQL over SSE, "distinct connections". */
import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionResult,
  execute,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  parse,
  specifiedRules,
  type ValidationRule,
  validate,
} from 'graphql'
import { MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'
import { single, writeEvents } from '../../runtime/event-stream.ts'
import { TokenRefused } from '../errors.ts'
import type { SubscriptionEvents } from '../resolvers/subscription-resolvers.ts'
import type { RequestContext } from './request-context.ts'

export interface EventStreamOptions {
  readonly schema: GraphQLSchema
  readonly validationRules: readonly ValidationRule[]
  readonly formatErrors: (result: ExecutionResult, context: RequestContext) => { readonly response: object }
  readonly contextOf: (request: FastifyRequest) => RequestContext
  /** Whether the request's token has expired meanwhile. */
  readonly isExpired: (request: FastifyRequest) => boolean
}

/** Answers an admitted request with a stream; its errors are results, too. */
export type AnswerWithEvents = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

/** A subscription that has been checked. */
interface Subscribed {
  readonly document: DocumentNode
  readonly operationName: string | undefined
  readonly variableValues: Record<string, unknown> | undefined
  readonly contextValue: RequestContext
}

export function createEventStreams(options: EventStreamOptions): AnswerWithEvents {
  const { schema, validationRules, formatErrors, contextOf, isExpired } = options
  const rules = [...specifiedRules, ...validationRules]

  const textOf = (result: ExecutionResult, context: RequestContext): string =>
    JSON.stringify(result.errors?.length ? formatErrors(result, context).response : result)

  /** @returns the subscription, or the errors of the request */
  function read(request: FastifyRequest, contextValue: RequestContext): Subscribed | readonly GraphQLError[] {
    const sent = (request.body ?? request.query ?? {}) as Record<string, unknown>
    const { query, operationName: name, variables } = sent
    if (typeof query !== 'string') return [new GraphQLError('"query" must be a text with a GraphQL document.')]
    let document: DocumentNode
    try {
      document = parse(query, { maxTokens: MAX_DOCUMENT_TOKENS })
      const errors = validate(schema, document, rules)
      if (errors.length > 0) return errors
    } catch (error) {
      return [error as GraphQLError]
    }
    const operationName = typeof name === 'string' ? name : undefined
    if (getOperationAST(document, operationName)?.operation !== 'subscription') {
      return [new GraphQLError('Only a subscription is answered by a stream of events.')]
    }
    const isObject = typeof variables === 'object' && variables !== null && !Array.isArray(variables)
    return {
      document,
      operationName,
      variableValues: isObject ? (variables as Record<string, unknown>) : undefined,
      contextValue,
    }
  }

  async function* results(
    events: SubscriptionEvents,
    { document, operationName, variableValues, contextValue }: Subscribed,
    request: FastifyRequest,
  ): AsyncGenerator<string, undefined, undefined> {
    try {
      for await (const { value, context } of events) {
        if (isExpired(request)) throw new TokenRefused('expired')
        const own: RequestContext = Object.assign(Object.create(contextValue), context)
        const result = await execute({
          schema,
          document,
          operationName,
          variableValues,
          contextValue: own,
          rootValue: value,
        })
        yield textOf(result, own)
      }
    } catch (error) {
      const cause = error as Error
      const failed = new GraphQLError(cause.message, { originalError: cause })
      yield textOf({ errors: [cause instanceof GraphQLError ? cause : failed] }, contextValue)
    }
  }

  return async (request, reply) => {
    reply.hijack()
    const context = contextOf(request)
    const subscribed = read(request, context)
    if (!('document' in subscribed)) {
      return writeEvents(reply.raw, single(textOf({ errors: subscribed }, context)))
    }
    const opened = await createSourceEventStream({ schema, ...subscribed })
    if (!(Symbol.asyncIterator in opened)) return writeEvents(reply.raw, single(textOf(opened, context)))
    const events = opened as SubscriptionEvents
    // A generator would end only after the next event.
    reply.raw.once('close', () => void events.return(undefined))
    if (reply.raw.destroyed) return void events.return(undefined)
    await writeEvents(reply.raw, results(events, subscribed, request))
  }
}
