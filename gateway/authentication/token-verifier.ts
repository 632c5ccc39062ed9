/** Verifies the tokens of one issuer, at the gateway and in other subgraphs. */
import { createPublicKey } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify } from 'jose'
import { boundedCache } from '../../runtime/bounded-cache.ts'
import { elapsed, type Moment, now } from '../../runtime/moments.ts'
import { DEFAULT_TOKEN_NAMES, type ExpectedNames, isNamed } from '../../runtime/token-names.ts'
import type { TokenFault } from '../../schema/token-faults.ts'
import { createKeySet, type KeySetSource, KeysUnavailable } from './key-set.ts'

/** Of the customer subgraph's tokens. */
const OWN_ALGORITHMS = ['EdDSA']

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

/** Where the public keys come from: a key set, or one key (PEM) given directly. */
export type KeySource = KeySetSource | { readonly publicKey: string }

export interface TokenVerification {
  readonly keys: KeySource
  /** Whom the tokens have to name. Default: the customer subgraph's defaults. */
  readonly names?: ExpectedNames | undefined
  /** Default: the customer subgraph's. */
  readonly algorithms?: readonly string[]
  /** By how much the clocks may differ, in seconds. Default 0. */
  readonly clockToleranceSeconds?: number
  /** Called after each fetch of the keys, with the error of a failed one. */
  readonly onFetch?: (error?: unknown) => void
}

/** Resolves to a token's claims. @throws InvalidToken; KeysUnavailable */
export type VerifyToken = (token: string) => Promise<JWTPayload>

export function createTokenVerification({
  keys,
  names = DEFAULT_TOKEN_NAMES,
  algorithms = OWN_ALGORITHMS,
  clockToleranceSeconds = 0,
  onFetch,
}: TokenVerification): VerifyToken {
  const publicKey = 'publicKey' in keys ? createPublicKey(keys.publicKey) : undefined
  const findKey = 'publicKey' in keys ? () => publicKey as NonNullable<typeof publicKey> : createKeySet(keys, onFetch)
  const options = {
    algorithms: [...algorithms],
    requiredClaims: ['sub', 'exp'],
    clockTolerance: clockToleranceSeconds,
  }
  return async (token) => {
    try {
      const { payload } = await jwtVerify(token, findKey as Parameters<typeof jwtVerify>[1], options)
      if (typeof payload.sub !== 'string' || payload.sub === '') throw new InvalidToken('The token has no subject.')
      if (!isNamed(payload, names)) throw new InvalidToken('The token names another issuer or audience.')
      return payload
    } catch (error) {
      if (error instanceof KeysUnavailable || error instanceof InvalidToken) throw error
      // Whatever else is wrong with a token or with the key that it names: it can't be verified.
      const isExpired = error instanceof errors.JWTExpired
      throw new InvalidToken(
        isExpired ? 'The token has expired.' : 'The token is invalid.',
        isExpired ? 'expired' : 'unreadable',
      )
    }
  }
}

const CACHED_TOKENS = 1_000
/** After this time a token is verified again, because its key may have been withdrawn. Milliseconds. */
const TRUSTED_MS = 60_000

interface VerifiedToken {
  readonly subject: string
  /** In milliseconds since the epoch. */
  readonly expires: number
  readonly verifiedAt: Moment
}

/**
 * Returns a function that verifies a token and resolves to its subject (claim `sub`): a customer's id, or
 * `service:<name>`. It rejects with InvalidToken; any other error means that the keys could not be fetched.
 */
export function createTokenVerifier(verification: TokenVerification): (token: string) => Promise<string> {
  const verify = createTokenVerification(verification)
  const verified = boundedCache<string, VerifiedToken>(CACHED_TOKENS)
  return async (token) => {
    const known = verified.get(token)
    if (known && Date.now() < known.expires && elapsed(known.verifiedAt) < TRUSTED_MS) return known.subject
    const { sub, exp } = await verify(token)
    const subject = sub as string
    verified.set(token, { subject, expires: Number(exp) * 1_000, verifiedAt: now() })
    return subject
  }
}
