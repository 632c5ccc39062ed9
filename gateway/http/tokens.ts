/** Verifies the customer subgraph's tokens elsewhere: at the gateway, and in other subgraphs. */
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { createVerifier, TokenError } from 'fast-jwt'
import type { TokenFault } from '../../schema/token-faults.ts'

/** A token that is forged, expired or not a token at all. */
export class InvalidToken extends Error {
  override readonly name = 'InvalidToken'
  readonly code = 'GTW_ERR_INVALID_TOKEN'
  readonly fault: TokenFault

  constructor(message: string, fault: TokenFault = 'unreadable') {
    super(message)
    this.fault = fault
  }
}

/**
 * Where the public keys come from: the customer subgraph's `/.well-known/jwks.json`, or one key (PEM) given directly.
 * `refetchAfterMs` (default 10,000) is the shortest time between two fetches: tokens with invented key ids must not
 * become a flood of fetches.
 */
export type KeySource = { readonly jwksUrl: string; readonly refetchAfterMs?: number } | { readonly publicKey: string }

/**
 * Returns a function that verifies a token and resolves to its subject (claim `sub`): a customer's id, or `service:<name>`.
 * It rejects with InvalidToken; any other error means that the keys could not be had.
 */
export function createTokenVerifier(source: KeySource): (token: string) => Promise<string> {
  const key =
    'jwksUrl' in source ? createKeySet(source.jwksUrl, source.refetchAfterMs ?? 10_000) : async () => source.publicKey
  const verify = createVerifier({
    key: ({ header }: { header: { kid?: string } }) => key(header.kid),
    algorithms: ['EdDSA'],
    requiredClaims: ['sub', 'exp'],
    cache: 1000,
  })
  return async (token) => {
    try {
      const { sub }: { sub: unknown } = await verify(token)
      if (typeof sub !== 'string' || sub === '') throw new InvalidToken('The token has no subject.')
      return sub
    } catch (error) {
      if (!(error instanceof TokenError)) throw error
      if (error.code === TokenError.codes.expired) throw new InvalidToken(error.message, 'expired')
      if (error.code !== TokenError.codes.keyFetchingError) throw new InvalidToken(error.message)
      throw error.originalError ?? error
    }
  }
}

/** The keys of a JWKS by their ids: fetched when first needed, and again when a token names an id that is not there. */
function createKeySet(url: string, refetchAfterMs: number): (kid: string | undefined) => Promise<string> {
  let keys = new Map<string | undefined, string>()
  let fetchedAt = Number.NEGATIVE_INFINITY
  let fetching: Promise<void> | undefined

  async function fetchKeys() {
    const response = await fetch(url, { signal: AbortSignal.timeout(5000) })
    if (!response.ok) throw new Error(`${url} answered ${response.status}.`)
    const set = (await response.json()) as { keys: (JsonWebKey & { kid?: string })[] }
    keys = new Map(
      set.keys
        .filter(({ kty, crv }) => kty === 'OKP' && crv === 'Ed25519')
        .map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })]),
    ) as Map<string | undefined, string>
    fetchedAt = performance.now()
  }

  return async (kid) => {
    if (!keys.has(kid) && performance.now() - fetchedAt >= refetchAfterMs) {
      fetching ??= fetchKeys().finally(() => {
        fetching = undefined
      })
      await fetching
    }
    const key = keys.get(kid)
    if (key === undefined) throw new InvalidToken('The token is signed with an unknown key.')
    return key
  }
}
