/** Verifies the customer subgraph's tokens, at the gateway and in other subgraphs. */
import { KeyObject } from 'node:crypto'
import { createVerifier, TokenError } from 'fast-jwt'
import { createRemoteJWKSet, errors } from 'jose'
import type { TokenFault } from '../../schema/token-faults.ts'

const ALGORITHM = 'EdDSA'
/** How long a fetch of the keys may take. Milliseconds. */
const FETCH_TIMEOUT_MS = 5_000

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
 * `refetchAfterMs` (default 10,000) is the shortest time between two successful fetches, so that tokens with made-up
 * key ids do not cause a flood of fetches.
 */
export type KeySource = { readonly jwksUrl: string; readonly refetchAfterMs?: number } | { readonly publicKey: string }

/**
 * Returns a function that verifies a token and resolves to its subject (claim `sub`): a customer's id, or
 * `service:<name>`. It rejects with InvalidToken; any other error means that the keys could not be fetched.
 */
export function createTokenVerifier(source: KeySource): (token: string) => Promise<string> {
  const key =
    'jwksUrl' in source ? createKeySet(source.jwksUrl, source.refetchAfterMs ?? 10_000) : async () => source.publicKey
  const verify = createVerifier({
    key: ({ header }: { header: { kid?: string } }) => key(header.kid),
    algorithms: [ALGORITHM],
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

/**
 * The keys of a JWKS by their ids, as PEM. jose fetches them when they are first needed, and again when a token names
 * an id that is not there. Keys do not expire: they are valid until a fetch no longer returns them, so they outlast an
 * outage.
 */
function createKeySet(url: string, refetchAfterMs: number): (kid: string | undefined) => Promise<string> {
  const options = { timeoutDuration: FETCH_TIMEOUT_MS, cooldownDuration: refetchAfterMs, cacheMaxAge: Infinity }
  const find = createRemoteJWKSet(new URL(url), options)
  /** fast-jwt takes PEM; jose returns the same object for a key until the next fetch. */
  const pems = new WeakMap<CryptoKey, string>()

  return async (kid) => {
    try {
      const key = await find({ alg: ALGORITHM, ...(kid !== undefined && { kid }) })
      const pem = pems.get(key) ?? KeyObject.from(key).export({ type: 'spki', format: 'pem' }).toString()
      pems.set(key, pem)
      return pem
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)) throw error
      throw new InvalidToken('The token is signed with an unknown key.')
    }
  }
}
