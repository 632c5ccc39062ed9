/** A small OpenID provider: discovery, authorization with PKCE, tokens signed with a key of its own, and user info. */
import { createHash, randomUUID } from 'node:crypto'
import Fastify, { type FastifyRequest } from 'fastify'
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import type { Test } from 'tap'

export interface Provider {
  /** Its URL. */
  readonly issuer: string
  /** What its next answers say. */
  readonly says: {
    /** Claims of the ID token beside the required ones. */
    claims: Readonly<Record<string, unknown>>
    userInfo: Readonly<Record<string, unknown>>
    /** In place of its URL, in the discovery document. */
    issuer?: string
    /** In place of its URL, in the ID token. */
    iss?: string
    /** In place of the nonce that was asked for. */
    nonce?: string
    /** In place of the client, as audience. */
    audience?: string
    /** Whether another key signs the ID token than the published one. */
    isForeignKey: boolean
    /** Whether nothing signs it (`alg: none`). */
    isUnsigned?: boolean
  }
}

export const CLIENT = { id: 'console', secret: 'a-secret-of-the-client' }

interface Authorization {
  readonly nonce: string
  readonly challenge: string
  readonly redirect: string
}

export async function startProvider(t: Test): Promise<Provider> {
  const [own, foreign] = await Promise.all([generateKeyPair('RS256'), generateKeyPair('RS256')])
  const jwk = { ...(await exportJWK(own.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }
  const says: Provider['says'] = { claims: {}, userInfo: {}, isForeignKey: false }
  const codes = new Map<string, Authorization>()
  const app = Fastify()
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_, body, done) =>
    done(null, new URLSearchParams(String(body))),
  )
  let issuer = ''
  app.get('/.well-known/openid-configuration', async () => ({
    issuer: says.issuer ?? issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
    code_challenge_methods_supported: ['S256'],
  }))
  app.get('/jwks', async () => ({ keys: [jwk] }))
  app.get('/authorize', async (request, reply) => {
    const { searchParams } = new URL(request.url, issuer)
    const text = (name: string) => searchParams.get(name) ?? ''
    if (text('client_id') !== CLIENT.id || text('code_challenge_method') !== 'S256') return reply.code(400).send()
    const code = randomUUID()
    codes.set(code, { nonce: text('nonce'), challenge: text('code_challenge'), redirect: text('redirect_uri') })
    const back = new URL(text('redirect_uri'))
    back.search = new URLSearchParams({ code, state: text('state') }).toString()
    // A page of the provider, where somebody signs in, as far as the browser can tell.
    return reply
      .type('text/html')
      .send(`<!doctype html><title>Provider</title><a href="${back.href.replaceAll('&', '&amp;')}">Go on</a>`)
  })
  app.post('/token', async (request, reply) => {
    const form = request.body as URLSearchParams
    const given = codes.get(form.get('code') ?? '')
    codes.delete(form.get('code') ?? '')
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url')
    const isRight =
      given?.challenge === challenge && given.redirect === form.get('redirect_uri') && isClient(request, form)
    if (!given || !isRight) return reply.code(400).send({ error: 'invalid_grant' })
    const content = { ...says.claims, nonce: says.nonce ?? given.nonce }
    const unsigned = () =>
      new UnsecuredJWT(content)
        .setIssuer(issuer)
        .setSubject('s-1')
        .setAudience(CLIENT.id)
        .setIssuedAt()
        .setExpirationTime('5m')
        .encode()
    const signed = new SignJWT(content)
      .setProtectedHeader({ alg: 'RS256', kid: 'one' })
      .setIssuer(says.iss ?? issuer)
      .setSubject('s-1')
      .setAudience(says.audience ?? CLIENT.id)
      .setIssuedAt()
      .setExpirationTime('5m')
    const idToken = says.isUnsigned
      ? unsigned()
      : await signed.sign(says.isForeignKey ? foreign.privateKey : own.privateKey)
    return { access_token: 'an-access-token', token_type: 'Bearer', expires_in: 300, id_token: idToken }
  })
  app.get('/userinfo', async () => ({ sub: 's-1', ...says.userInfo }))
  issuer = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { issuer, says }
}

/** By the form or by the header. */
function isClient({ headers }: FastifyRequest, form: URLSearchParams): boolean {
  const inHeader = headers.authorization === `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}`
  return inHeader || (form.get('client_id') === CLIENT.id && form.get('client_secret') === CLIENT.secret)
}
