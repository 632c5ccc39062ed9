/** Content negotiation of GraphQL over HTTP: media types, and the status codes that go with them. */
import { EVENT_STREAM } from '../../runtime/event-stream.ts'
import type { RequestError } from '../errors.ts'

/**
 * How an answer is written. `application/graphql-response+json` uses HTTP's status codes; `application/json` has 200
 * for every well-formed request, as its clients expect; a client that accepts anything gets our status codes with plain
 * JSON. `events` is a stream of results, where the graph has subscriptions.
 */
export type MediaType = 'graphql' | 'json' | 'any' | 'events'

const GRAPHQL = 'application/graphql-response+json'
const JSON_TYPE = 'application/json'
/** How many parsed `Accept` headers are cached: clients send few different ones. */
const KNOWN = 100

export const contentTypes: Readonly<Record<MediaType, string>> = {
  graphql: `${GRAPHQL}; charset=utf-8`,
  json: `${JSON_TYPE}; charset=utf-8`,
  any: `${JSON_TYPE}; charset=utf-8`,
  // Of refusals: streams are written elsewhere.
  events: `${JSON_TYPE}; charset=utf-8`,
}

const known = new Map<string, MediaType | undefined>()

/** The media type for an `Accept` header; undefined if it allows none of ours (406). */
export function negotiate(accept: string | undefined): MediaType | undefined {
  if (accept === undefined || accept === '*/*') return 'any'
  if (known.has(accept)) return known.get(accept)
  const found = read(accept)
  if (known.size >= KNOWN) known.clear()
  known.set(accept, found)
  return found
}

/** RFC 9110: the most preferred of our types; of equal ones the first. */
function read(accept: string): MediaType | undefined {
  const wanted = accept
    .split(',')
    .map((part) => {
      const [type = '', ...parameters] = part.split(';').map((each) => each.trim().toLowerCase())
      const quality = parameters.find((each) => each.startsWith('q='))
      return { type, quality: quality === undefined ? 1 : Number(quality.slice(2)) }
    })
    .filter(({ quality }) => quality > 0)
    .sort((a, b) => b.quality - a.quality)
  for (const { type } of wanted) {
    if (type === GRAPHQL) return 'graphql'
    if (type === JSON_TYPE) return 'json'
    if (type === EVENT_STREAM) return 'events'
    if (type === '*/*' || type === 'application/*') return 'any'
  }
  return undefined
}

/** The status of an answer without execution. */
export function statusOf({ statusCode, errors }: RequestError, media: MediaType): number {
  const isWellFormed = statusCode === 400 && errors[0]?.extensions.code !== 'BAD_REQUEST'
  return isWellFormed && media === 'json' ? 200 : statusCode
}

/** Which status an answer with errors has after execution: see {@link executedStatus}. */
export const ERROR_STATUSES = ['magento', 'spec'] as const
export type ErrorStatus = (typeof ERROR_STATUSES)[number]

/**
 * The status of an answer after execution. Magento's rule (since 2.4.8): by the first error that has a category.
 * GraphQL over HTTP's rule: 200, which always applies to `application/graphql-response+json`.
 * @param setting undefined: Magento's for clients that ask for `application/json`, otherwise the specification's
 */
export function executedStatus(
  category: string | undefined,
  media: MediaType,
  setting: ErrorStatus | undefined,
): number {
  if (category === undefined || media === 'graphql') return 200
  if ((setting ?? (media === 'json' ? 'magento' : 'spec')) === 'spec') return 200
  if (category === 'graphql-authentication') return 401
  return category === 'graphql-authorization' ? 403 : 200
}
