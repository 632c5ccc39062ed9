/** Bearer tokens, verified at the gateway: a forged or revoked one costs no subgraph call. */
import { LRUCache } from 'lru-cache'
import type { TokenFault } from '../../schema/token-faults.ts'
import type { Claims } from '../planning/authorization.ts'
import { createTokenVerifier, InvalidToken, type KeySource } from './token-verifier.ts'

/** How many verified tokens are kept, unless configured otherwise, and how many characters of each on average. */
const CACHED_TOKENS = 10_000
const TOKEN_CHARACTERS = 1024
/**
 * How long a verified signature is trusted, in milliseconds. Then it is verified again, because the token may have
 * expired or its key may have been replaced.
 */
const TRUSTED_MS = 10_000
/**
 * A token's status is refreshed in the background after the first of these times, and before the request goes on after
 * the second. So the gateway notices a revocation within a second, and a token in constant use never waits.
 * Milliseconds.
 */
const REFRESH_MS = 400
const STALE_MS = 800

/** Whether a request may proceed, and the claims of its token, if it was verified. */
export interface Verdict {
  readonly isAllowed: boolean
  readonly claims: Claims
  /** Why it may not proceed. */
  readonly fault?: TokenFault
  /** The final verdict, if the token's status is still being checked. A query may begin in the meantime. */
  readonly settled?: Promise<Verdict>
}

export const GUEST: Verdict = { isAllowed: true, claims: undefined }
const dead = (fault: TokenFault): Verdict => ({ isAllowed: false, claims: undefined, fault })
const REVOKED = dead('revoked')

/** The outcome of checking a token's status. */
export type CheckOutcome = 'active' | 'revoked' | 'failed'

export interface Authentication {
  /** Whether a request with this Authorization header may proceed; without a bearer token it proceeds as a guest. */
  (authorization: string | undefined): Verdict | Promise<Verdict>
  /** Call it if the token may just have been revoked: its status is checked before its next use. */
  readonly doubt: (authorization: string | undefined) => void
}

export interface StatusOptions {
  /**
   * Whether a token is still active. Without this, every signed token is active until it expires. If it throws, the
   * token passes without its claims: the gateway treats its bearer as a guest, and the subgraphs decide for themselves.
   */
  readonly isActive?: ((token: string) => Promise<boolean>) | undefined
  /** How many verified tokens are kept. Default 10,000. */
  readonly cachedTokens?: number | undefined
  /** Called after each check. */
  readonly onCheck?: (outcome: CheckOutcome, error?: unknown) => void
}

interface Known {
  readonly until: number
  readonly token: string
  verdict: Verdict
  /** When the token was last found to be active. */
  foundAt: number
  asking: Promise<Verdict> | undefined
}

/**
 * @param keys the source of the public keys; while they can't be fetched, tokens pass, because the subgraphs verify
 * them too
 */
export function createAuthentication(
  keys: KeySource,
  { isActive, onCheck, cachedTokens = CACHED_TOKENS }: StatusOptions = {},
): Authentication {
  const verify = createTokenVerifier(keys)
  const trusted = new LRUCache<string, Known>({
    maxSize: cachedTokens * TOKEN_CHARACTERS,
    // At least the average, so that there are never more than so many.
    sizeCalculation: (_, authorization) => Math.max(authorization.length, TOKEN_CHARACTERS),
  })

  /** Checks the token's status, one call at a time. A revoked token stays revoked. */
  function ask(known: Known, check: (token: string) => Promise<boolean>): Promise<Verdict> {
    if (known.asking !== undefined) return known.asking
    const started = Date.now()
    const asking: Promise<Verdict> = check(known.token).then(
      (active) => {
        onCheck?.(active ? 'active' : 'revoked')
        if (!active) known.verdict = REVOKED
        // The answer to a check from before `doubt` was called does not count.
        if (known.asking === asking) {
          known.asking = undefined
          known.foundAt = started
        }
        return known.verdict
      },
      (error: unknown) => {
        onCheck?.('failed', error)
        if (known.asking === asking) known.asking = undefined
        return GUEST
      },
    )
    known.asking = asking
    return asking
  }

  function verdictOf(known: Known): Verdict {
    if (isActive === undefined || !known.verdict.isAllowed) return known.verdict
    const age = Date.now() - known.foundAt
    if (age >= STALE_MS) return { ...known.verdict, settled: ask(known, isActive) }
    if (age >= REFRESH_MS) void ask(known, isActive)
    return known.verdict
  }

  function authenticate(authorization: string | undefined): Verdict | Promise<Verdict> {
    if (authorization === undefined) return GUEST
    const known = trusted.get(authorization)
    if (known !== undefined && Date.now() < known.until) return verdictOf(known)
    // Exactly two parts, and the scheme in any case; anything else counts as no token (Magento's rule).
    const token = /^bearer ([^ ]+)$/i.exec(authorization)?.[1]
    if (token === undefined) return GUEST
    return verify(token).then(
      () => {
        const claims = claimsOf(token)
        const verdict = { isAllowed: true, claims }
        // Only the signature was verified again: the known status is kept.
        const foundAt = known?.foundAt ?? Number.NEGATIVE_INFINITY
        const until = Math.min(Date.now() + TRUSTED_MS, expiryOf(claims))
        const next: Known = { until, token, verdict: known?.verdict ?? verdict, foundAt, asking: undefined }
        trusted.set(authorization, next)
        return verdictOf(next)
      },
      (error: unknown) => (error instanceof InvalidToken ? dead(error.fault) : GUEST),
    )
  }

  function doubt(authorization: string | undefined): void {
    const known = authorization === undefined ? undefined : trusted.get(authorization)
    if (known === undefined) return
    known.foundAt = Number.NEGATIVE_INFINITY
    known.asking = undefined
  }

  return Object.assign(authenticate, { doubt })
}

/** When a verified token ends, in milliseconds since the epoch. */
const expiryOf = (claims: Claims): number => Number((claims as { readonly exp?: unknown } | undefined)?.exp) * 1_000

/** @param token that has been verified. @returns its claims, frozen: all requests with the token have the same */
function claimsOf(token: string): Claims {
  const text = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()
  return JSON.parse(text, (_, value: unknown) => Object.freeze(value)) as Claims
}
