/**
 * Tokens: JWTs signed with Ed25519. A customer's claims: `sub` the customer's id, `gen` the token generation at sign-in
 * (a revocation raises the customer's generation, which ends all earlier tokens except one that it may name by its
 * `jti`), `reg` when the customer was registered (milliseconds since the epoch), because ids are assigned again in a
 * lost or restored log, and an old token must not be valid for the new customer. A service's: `sub` `service:<name>`,
 * `scope` the names of its scopes, separated by spaces. Both: `iss`, `aud`, `jti`, `iat`, `exp`.
 */
import { createPublicKey, randomUUID } from 'node:crypto'
import { createSigner, createVerifier, TokenError } from 'fast-jwt'
import { boundedCache } from '../../runtime/bounded-cache.ts'
import { readSigningKey, thumbprint } from '../../runtime/service-keys.ts'
import { DEFAULT_TOKEN_NAMES, isNamed, type TokenNames } from '../../runtime/token-names.ts'
import type { TokenFault } from '../../schema/token-faults.ts'

/** A customer as a caller, by the token alone: its generation still has to be compared with the customer's. */
export interface Caller {
  readonly customerId: number
  readonly generation: number
  /** Claim `jti`: distinguishes this token from the customer's others. */
  readonly tokenId?: string | undefined
  /** When the customer was registered, in milliseconds since the epoch; undefined in tokens of earlier releases. */
  readonly registeredAt?: number | undefined
}

/**
 * Whether the customer's token is still valid: it has the current generation, or was kept when the others were revoked.
 */
export function isCurrent(
  { generation, tokenId }: Caller,
  { tokenGeneration, keptToken }: { readonly tokenGeneration: number; readonly keptToken: string | null },
): boolean {
  return generation === tokenGeneration || (keptToken !== null && tokenId === keptToken)
}

/** Whether the token was issued to this customer, and not to another one with the same id. */
export function isSameCustomer({ registeredAt }: Caller, { createdAt }: { readonly createdAt: string }): boolean {
  return registeredAt === undefined || registeredAt === Date.parse(createdAt)
}

/** A service as a caller. It is not a customer. */
export interface ServiceCaller {
  /** Its name. */
  readonly service: string
  readonly scopes: readonly string[]
  /** Claim `jti`. */
  readonly tokenId?: string | undefined
}

/** A public key as JSON Web Key (RFC 7517, RFC 8037). */
interface Jwk {
  readonly kty: string
  readonly crv: string
  readonly x: string
  readonly kid: string
  readonly use: 'sig'
  readonly alg: 'EdDSA'
}

export interface Tokens {
  /** Issues a new token with an id of its own. */
  issue(caller: Omit<Caller, 'tokenId'>): string
  issueForService(
    caller: Omit<ServiceCaller, 'tokenId'>,
    claims: { readonly jti: string; readonly expiresAt: Date },
  ): string
  /**
   * The caller that the Authorization header identifies, or why its token is invalid. null without a token: another
   * scheme, or anything but a scheme and a token separated by one blank (Magento's rule).
   */
  read(authorization: string | undefined): Caller | ServiceCaller | TokenFault | null
  /** The same, but null for an invalid token, too. */
  verify(authorization: string | undefined): Caller | ServiceCaller | null
  /** The JSON Web Key Set by which others check these tokens. */
  readonly jwks: { readonly keys: readonly Jwk[] }
}

const CACHED_TOKENS = 10_000
const SERVICE = 'service:'

export interface TokenOptions {
  /** Whom tokens name. Default: {@link DEFAULT_TOKEN_NAMES}. */
  readonly names?: TokenNames | undefined
  /** How long a customer's token is valid. Default 60. */
  readonly lifetimeMinutes?: number
  /** How many verified tokens are kept. Default 10,000. */
  readonly cachedTokens?: number | undefined
}

/**
 * @param signingKey an Ed25519 private key as PEM (PKCS #8) or JWK
 * @throws ConfigurationError for another key, without it in the message
 */
export function createTokens(signingKey: string, options: TokenOptions = {}): Tokens {
  const { names = DEFAULT_TOKEN_NAMES, lifetimeMinutes = 60, cachedTokens = CACHED_TOKENS } = options
  const privateKey = readSigningKey(signingKey, 'TOKEN_SIGNING_KEY')
  const publicKey = createPublicKey(privateKey)
  const { kty, crv, x } = publicKey.export({ format: 'jwk' }) as { kty: string; crv: string; x: string }
  const kid = thumbprint(publicKey)
  const key = privateKey.export({ format: 'pem', type: 'pkcs8' })
  const signing = { algorithm: 'EdDSA', key, kid, iss: names.issuer, aud: names.audience } as const
  const sign = createSigner({ ...signing, expiresIn: lifetimeMinutes * 60_000 })
  const signUntil = createSigner(signing)
  const check = createVerifier({
    algorithms: ['EdDSA'],
    key: publicKey.export({ format: 'pem', type: 'spki' }),
  })
  // Keyed by the header itself: fast-jwt's own cache computes a SHA-512 of the token for each lookup, and caches
  // refused tokens too.
  const verified = boundedCache<string, { readonly caller: Caller | ServiceCaller; readonly expires: number }>(
    cachedTokens,
  )

  return {
    issue: ({ customerId, generation, registeredAt }) =>
      sign({
        sub: String(customerId),
        gen: generation,
        ...(registeredAt !== undefined && { reg: registeredAt }),
        jti: randomUUID(),
      }),

    issueForService: ({ service, scopes }, { jti, expiresAt }) =>
      signUntil({ sub: SERVICE + service, scope: scopes.join(' '), jti, exp: Math.floor(expiresAt.getTime() / 1000) }),

    read,
    verify(authorization) {
      const bearer = read(authorization)
      return typeof bearer === 'string' ? null : bearer
    },

    jwks: { keys: [{ kty, crv, x, kid, use: 'sig', alg: 'EdDSA' }] },
  }

  function read(authorization: string | undefined): Caller | ServiceCaller | TokenFault | null {
    if (authorization === undefined) return null
    const known = verified.get(authorization)
    if (known && Date.now() < known.expires) return known.caller
    const [scheme, token, ...rest] = authorization.split(' ')
    if (!token || rest.length > 0 || scheme?.toLowerCase() !== 'bearer') return null
    try {
      const claims = check(token)
      const caller = isNamed(claims, names) ? callerOf(claims) : null
      if (caller === null || typeof claims.exp !== 'number') return 'unreadable'
      verified.set(authorization, { caller, expires: claims.exp * 1000 })
      return caller
    } catch (error) {
      if (!(error instanceof TokenError)) throw error
      return error.code === TokenError.codes.expired ? 'expired' : 'unreadable'
    }
  }
}

/** A customer or a service, by the subject; never both. */
function callerOf({
  sub,
  gen,
  jti,
  reg,
  scope,
}: {
  sub?: unknown
  gen?: unknown
  jti?: unknown
  reg?: unknown
  scope?: unknown
}): Caller | ServiceCaller | null {
  if (typeof sub !== 'string') return null
  if (sub.startsWith(SERVICE)) {
    if (typeof scope !== 'string' || gen !== undefined) return null
    const tokenId = typeof jti === 'string' ? jti : undefined
    return { service: sub.slice(SERVICE.length), scopes: scope.split(' '), ...(tokenId !== undefined && { tokenId }) }
  }
  const customerId = Number(sub)
  // One text for each customer: `07` and `7e0` are others.
  if (
    !Number.isSafeInteger(customerId) ||
    String(customerId) !== sub ||
    !Number.isSafeInteger(gen) ||
    scope !== undefined
  )
    return null
  if (reg !== undefined && !Number.isSafeInteger(reg)) return null
  return {
    customerId,
    generation: gen as number,
    ...(typeof jti === 'string' && { tokenId: jti }),
    ...(reg !== undefined && { registeredAt: reg as number }),
  }
}
