/**
 * `POST /introspect`: whether a token is still active, by RFC 7662 (OAuth 2.0 Token Introspection). A token's signature
 * alone does not show that the token was revoked, or that its customer has changed the password or was deleted. This
 * does, immediately and on every instance.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { isRegistered } from '../../projections/customer.ts'
import type { Customers } from '../customers/customers.ts'
import { isCurrent, type Tokens } from '../identity/tokens.ts'

/** Of a form with one token. */
const BODY_LIMIT = 16 * 1024
const FORM = 'application/x-www-form-urlencoded'

/** @param isAllowed whether the request carries the subgraph's secret, if there is one */
export function serveTokenIntrospection(
  app: FastifyInstance,
  {
    tokens,
    customers,
    isAllowed,
  }: {
    readonly tokens: Tokens
    readonly customers: Customers
    readonly isAllowed: (request: FastifyRequest) => boolean
  },
): void {
  async function isActive(token: string): Promise<boolean> {
    const caller = tokens.verify(`Bearer ${token}`)
    if (caller === null) return false
    if ('service' in caller) return true
    const customer = await customers.get(caller.customerId)
    return isRegistered(customer) && isCurrent(caller, customer)
  }

  // A Fastify scope of its own: forms are parsed only here.
  app.register(async (scope) => {
    scope.addContentTypeParser(FORM, { parseAs: 'string', bodyLimit: BODY_LIMIT }, (_request, body, done) => {
      done(null, new URLSearchParams(body as string))
    })
    scope.post('/introspect', { bodyLimit: BODY_LIMIT }, async (request, reply) => {
      reply.header('cache-control', 'no-store')
      if (!isAllowed(request)) {
        return reply.code(401).header('www-authenticate', 'X-Subgraph-Secret').send({ error: 'invalid_client' })
      }
      const token = request.body instanceof URLSearchParams ? request.body.get('token') : null
      if (!token) return reply.code(400).send({ error: 'invalid_request', error_description: 'token is missing' })
      try {
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
  const { sub, scope, jti, iat, exp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  return { sub, scope, jti, iat, exp }
}
