/** The bodies and headers of answers to clients. */
import { prettyFormatQueryPlan, type QueryPlan } from '@apollo/query-planner'
import type { FastifyReply } from 'fastify'
import type { GraphQLError, GraphQLFormattedError } from 'graphql'
import { RETRY_AFTER_SECONDS } from '../../runtime/load-shedding.ts'
import type { RequestError } from '../errors.ts'
import type { LaterPart } from '../execution/executor.ts'
import type { IncrementalFormat } from '../execution/incremental-formats.ts'
import type { Metrics } from '../metrics.ts'
import type { AnswerTraits } from '../planning/answer-traits.ts'
import type { CachePolicy } from './cache-policy.ts'

/** The answer to one GraphQL request. */
export interface Answer {
  readonly text: string
  /** Why the request was not executed; undefined if it was. */
  readonly error: RequestError | undefined
  /** For an executed request, the errors in the text; undefined or empty if there are none. */
  readonly errors?: readonly GraphQLFormattedError[] | undefined
  /** For an executed request, Magento's category of the first error that has one. */
  readonly category?: string | undefined
  /** Of the operation that was executed. */
  readonly traits?: AnswerTraits | undefined
  /** How long the answer may be stored; undefined: not at all. */
  readonly policy?: CachePolicy | undefined
  /** The parts that follow; undefined: the answer is whole. */
  readonly rest?: RestOfAnswer | undefined
}

/** An answer in parts. */
export interface RestOfAnswer {
  readonly first: string
  readonly format: IncrementalFormat
  /** Those that follow the first. */
  readonly parts: AsyncIterable<LaterPart>
}

/**
 * Set on every answer: it is data for one client and not a page, so it must be neither sniffed nor stored.
 * answer-caching.ts replaces `cache-control` where the subgraphs allow it.
 */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
}

/** The body of an answer without data. */
export function errorBody(errors: readonly (GraphQLError | GraphQLFormattedError)[]): string {
  return JSON.stringify({ errors })
}

/** For a request that may succeed later: sets `Retry-After`, and counts it if there was too much load. */
export function noteOverload({ statusCode, errors }: RequestError, reply: FastifyReply, metrics: Metrics): void {
  if (statusCode !== 503) return
  reply.header('retry-after', String(RETRY_AFTER_SECONDS))
  if (errors[0]?.extensions.code === 'OVERLOADED') metrics.shed()
}

/** Adds the query plan to an answer, as `extensions.queryPlan`. */
export function withPlan(text: string, plan: QueryPlan): string {
  return `${text.slice(0, -1)},"extensions":{"queryPlan":${JSON.stringify(prettyFormatQueryPlan(plan))}}}`
}

/** Adds names to a `Vary` that may have some already, of CORS. */
export function addVary(reply: FastifyReply, names: string): void {
  const before = reply.getHeader('vary')
  reply.header('vary', before === undefined ? names : `${before}, ${names}`)
}
