/**
 * The headers by which a browser or CDN stores an answer: `Cache-Control`, `Vary`, `ETag` and the tags to purge it by.
 * docs/caching-and-compression.md has the rules.
 */
import { hash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { TagHeader } from '../accepted-values.ts'
import { type Answer, addVary } from './answers.ts'
import { CachePolicy } from './cache-policy.ts'
import type { MediaType } from './negotiation.ts'

export interface AnswerCachingOptions {
  /** The client's headers that subgraphs get. */
  readonly forwardHeaders: readonly string[]
  /** Whether the gateway verifies tokens itself. */
  readonly verifiesTokens: boolean
  /** Whether answers are compressed. */
  readonly compresses: boolean
  readonly tagHeader: TagHeader
}

export interface AnswerCaching {
  /** A policy to be filled in; undefined where the request shows who the client is, so that nothing may be stored. */
  readonly policyFor: (headers: IncomingHttpHeaders) => CachePolicy | undefined
  /**
   * Writes `Vary`, on every answer to a GET: a cache may also remember that an answer must not be stored, and for whom.
   */
  readonly vary: (reply: FastifyReply) => void
  /**
   * Writes the further headers of an answer that may be stored; otherwise `no-store` stays.
   * @param media of the answer to a GET, which gets an `ETag`
   * @returns whether the client has this answer: it gets 304
   */
  readonly describe: (
    request: FastifyRequest,
    reply: FastifyReply,
    answer: Pick<Answer, 'text' | 'traits' | 'policy'>,
    media: MediaType | undefined,
  ) => boolean
}

/** Headers that say who the client is: an answer to a request with one of them is not stored. */
const IDENTITY = ['authorization', 'cookie']
/** Headers that go down and do not change what a query answers, unless a subgraph names them in its `Vary`. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'idempotency-key',
  'traceparent',
  'user-agent',
  'x-captcha',
  'x-recaptcha',
])

export function createAnswerCaching(options: AnswerCachingOptions): AnswerCaching {
  const forwarded = options.forwardHeaders.map((name) => name.toLowerCase())
  const identity = IDENTITY.filter(
    (name) => forwarded.includes(name) || (name === 'authorization' && options.verifiesTokens),
  )
  const varying = [
    'accept',
    ...(options.compresses ? ['accept-encoding'] : []),
    ...new Set([...identity, ...forwarded.filter((name) => !WITHOUT_EFFECT.has(name))]),
  ]
  const vary = varying.map(capitalised).join(', ')
  const further = forwarded.filter((name) => !varying.includes(name))
  const { tagHeader } = options
  const separator = tagHeader === 'cache-tag' ? ',' : ' '

  return {
    policyFor(headers) {
      for (const name of identity) if (headers[name] !== undefined) return undefined
      return new CachePolicy()
    },

    vary: (reply) => addVary(reply, vary),

    describe({ headers }, reply, { text, traits, policy }, media) {
      const control = policy?.control
      // A cookie is for one client.
      if (policy === undefined || control === undefined || reply.hasHeader('set-cookie')) return false
      reply.header('cache-control', control)
      if (media === undefined) addVary(reply, vary)
      for (const name of further) if (policy.varyingBy.has(name)) addVary(reply, capitalised(name))
      if (tagHeader !== 'none') {
        const services = [...policy.services].toSorted().map((name) => `subgraph:${name}`)
        reply.header(tagHeader, [...services, ...(traits?.typeTags() ?? [])].join(separator))
      }
      if (media === undefined) return false
      const tag = entityTag(media, text)
      reply.header('etag', tag)
      return isKnown(headers['if-none-match'], tag)
    },
  }
}

const capitalised = (name: string) => name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase())

/** Weak, because it is the same for the answer in each encoding. Each media type has its own. */
const entityTag = (media: MediaType, text: string) => `W/"${hash('sha256', `${media}\n${text}`, 'base64url')}"`

/** RFC 9110, section 13.1.2: `*`, or a list of entity tags, which are compared weakly. */
function isKnown(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  if (header.trim() === '*') return true
  const opaque = tag.slice(2)
  return [...header.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, given]) => given === opaque)
}
