/**
 * `POST /introspect`: whether a token is still active, by RFC 7662 (OAuth 2.0 Token Introspection). A token's signature
 * alone does not show that the token was revoked, or that its customer has changed the password or was deleted. This
 * does, immediately and on every instance.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import type { Scope } from '../../schema/scopes.ts'
import type { Customers } from '../customers/customers.ts'
import type { EndedTokens } from '../identity/ended-tokens.ts'
import { holderOf, holdsToken } from '../identity/token-holder.ts'
import type { Tokens } from '../identity/tokens.ts'

/** Of a form with one token. */
const BODY_LIMIT = 16 * 1024
const FORM = 'application/x-www-form-urlencoded'

interface IntrospectionOptions {
  readonly tokens: Tokens
  readonly customers: Pick<Customers, 'get' | 'load'>
  readonly endedTokens: EndedTokens
  /** Whether the request carries the subgraph's secret, if there is one. */
  readonly isAllowed: (request: FastifyRequest) => boolean
}

/** The answer to a caller that may not ask, and its challenge (RFC 6750, section 3). */
interface Refusal {
  readonly status: 401 | 403
  readonly challenge: string
  readonly error: string
}

const SCOPE: Scope = 'tokens:introspect'
/** In milliseconds: short, because the gateway keeps an answer for most of a second, and all of it is to be one second. */
const ENDED_MAX_AGE_MS = 100
const UNKNOWN: Refusal = { status: 401, challenge: 'Bearer', error: 'invalid_client' }
const INVALID: Refusal = { status: 401, challenge: 'Bearer error="invalid_token"', error: 'invalid_token' }
const NOT_IN_SCOPE: Refusal = {
  status: 403,
  challenge: `Bearer error="insufficient_scope", scope="${SCOPE}"`,
  error: 'insufficient_scope',
}

/** The gateway asks with the subgraph's secret, other services with a token of their own that has the scope. */
export function serveTokenIntrospection(app: FastifyInstance, options: IntrospectionOptions): void {
  const { tokens, customers, endedTokens, isAllowed } = options

  /** @throws EventStoreUnavailable */
  async function refuse(request: FastifyRequest): Promise<Refusal | undefined> {
    if (isAllowed(request)) return undefined
    const caller = tokens.read(request.headers.authorization)
    if (caller === null) return UNKNOWN
    if (typeof caller === 'string') return INVALID
    if (!('service' in caller)) return NOT_IN_SCOPE
    if (await endedTokens.has(caller.tokenId, ENDED_MAX_AGE_MS)) return INVALID
    return caller.scopes.includes(SCOPE) ? undefined : NOT_IN_SCOPE
  }

  async function isActive(token: string): Promise<boolean> {
    const caller = tokens.verify(`Bearer ${token}`)
    if (caller === null) return false
    if ('service' in caller) return !(await endedTokens.has(caller.tokenId, ENDED_MAX_AGE_MS))
    return holdsToken(caller, await holderOf(customers, caller))
  }

  // A Fastify scope of its own: forms are parsed only here.
  app.register(async (scope) => {
    scope.addContentTypeParser(FORM, { parseAs: 'string', bodyLimit: BODY_LIMIT }, (_request, body, done) => {
      done(null, new URLSearchParams(body as string))
    })
    scope.post('/introspect', { bodyLimit: BODY_LIMIT }, async (request, reply) => {
      reply.header('cache-control', 'no-store')
      try {
        const refusal = await refuse(request)
        if (refusal !== undefined) {
          const { status, challenge, error } = refusal
          return reply.code(status).header('www-authenticate', challenge).send({ error })
        }
        const token = request.body instanceof URLSearchParams ? request.body.get('token') : null
        if (!token) return reply.code(400).send({ error: 'invalid_request', error_description: 'token is missing' })
        return (await isActive(token)) ? { active: true, token_type: 'Bearer', ...claimsOf(token) } : { active: false }
      } catch (error) {
        if (!(error instanceof EventStoreUnavailable)) throw error
        return reply.code(503).send({ error: 'temporarily_unavailable' })
      }
    })
  })
}

/** @param token a token that has been verified */
function claimsOf(token: string): Record<string, unknown> {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  const { iss, aud, sub, scope, jti, iat, exp } = claims
  return { iss, aud, sub, scope, jti, iat, exp }
}
