/** Bearer tokens, verified at the gateway: a forged or revoked one costs no subgraph call. */
import { LRUCache } from 'lru-cache'
import { elapsed, type Moment, now } from '../../runtime/moments.ts'
import type { TokenFault } from '../../schema/token-faults.ts'
import type { UncheckedTokens } from '../accepted-values.ts'
import type { SubgraphIdentity } from '../execution/executor.ts'
import type { Claims } from '../planning/authorization.ts'
import { Unverifiable, type Verified, type VerifyBearer } from './issuers.ts'
import { InvalidToken } from './token-verifier.ts'

/** How many verified tokens are kept, unless configured otherwise, and how many characters of each on average. */
const CACHED_TOKENS = 10_000
const TOKEN_CHARACTERS = 1024
/**
 * How long a verified signature is trusted, in milliseconds. Then it is verified again, because its key may have been
 * withdrawn.
 */
const TRUSTED_MS = 60_000
/**
 * A token's status is refreshed in the background after the first of these times, and before the request goes on after
 * the second. So the gateway notices a revocation within a second, and a token in constant use never waits.
 * Milliseconds.
 */
const REFRESH_MS = 400
const STALE_MS = 800
/** Unless configured otherwise. */
const GRACE_MS = 10_000

/** Whether a request may proceed, and the claims of its token, if it was verified. */
export interface Verdict {
  readonly isAllowed: boolean
  readonly claims: Claims
  /** Why it may not proceed. `unchecked`: whether the token is valid can't be determined now. */
  readonly fault?: TokenFault | 'unchecked'
  /** For a token of another issuer than the customer subgraph: which subgraphs get it. */
  readonly identity?: SubgraphIdentity | undefined
  /** The final verdict, if the token's status is still being checked. A query may begin in the meantime. */
  readonly settled?: Promise<Verdict>
}

export const GUEST: Verdict = { isAllowed: true, claims: undefined }
const dead = (fault: TokenFault | 'unchecked'): Verdict => ({ isAllowed: false, claims: undefined, fault })
const REVOKED = dead('revoked')
const UNCHECKED = dead('unchecked')

/** The outcome of checking a token's status. */
export type CheckOutcome = 'active' | 'revoked' | 'failed'

export interface Authentication {
  /** Whether a request with this Authorization header may proceed; without a bearer token it proceeds as a guest. */
  (authorization: string | undefined): Verdict | Promise<Verdict>
  /** Call it if the token may just have been revoked: its status is checked before its next use. */
  readonly doubt: (authorization: string | undefined) => void
}

export interface AuthenticationOptions {
  /**
   * Whether a token of the customer subgraph is still active. Without this, every signed token is active until it
   * expires. If it throws, that is unknown.
   */
  readonly isActive?: ((token: string) => Promise<boolean>) | undefined
  /** Default `refuse`. */
  readonly unchecked?: UncheckedTokens | undefined
  /**
   * How long a token that was found active is still taken for active while its status is unknown, in milliseconds.
   * Default 10,000.
   */
  readonly graceMs?: number | undefined
  /** How many verified tokens are kept. Default 10,000. */
  readonly cachedTokens?: number | undefined
  /** Called after each check. */
  readonly onCheck?: (outcome: CheckOutcome, error?: unknown) => void
}

interface Known {
  /** When its signature was verified. */
  readonly verifiedAt: Moment
  /** When it expires, in milliseconds since the epoch. */
  readonly expires: number
  readonly token: string
  /** Whether its status can be asked for. */
  readonly isOwn: boolean
  verdict: Verdict
  /** When the token was last found to be active; undefined: not yet, or it is doubted. */
  foundAt: Moment | undefined
  asking: Promise<Verdict> | undefined
}

/** @param verify verifies the signature of a token */
export function createAuthentication(verify: VerifyBearer, options: AuthenticationOptions = {}): Authentication {
  const { isActive, onCheck, unchecked = 'refuse', graceMs = GRACE_MS, cachedTokens = CACHED_TOKENS } = options
  const unknown = unchecked === 'pass' ? GUEST : UNCHECKED
  const trusted = new LRUCache<string, Known>({
    maxSize: cachedTokens * TOKEN_CHARACTERS,
    // At least the average, so that there are never more than so many.
    sizeCalculation: (_, authorization) => Math.max(authorization.length, TOKEN_CHARACTERS),
  })

  /** Checks the token's status, one call at a time. A revoked token stays revoked. */
  function ask(known: Known, check: (token: string) => Promise<boolean>): Promise<Verdict> {
    if (known.asking !== undefined) return known.asking
    const started = now()
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
        return ageOf(known) < graceMs ? known.verdict : unknown
      },
    )
    known.asking = asking
    return asking
  }

  function verdictOf(known: Known): Verdict {
    if (isActive === undefined || !known.isOwn || !known.verdict.isAllowed) return known.verdict
    const age = ageOf(known)
    if (age >= STALE_MS) return { ...known.verdict, settled: ask(known, isActive) }
    if (age >= REFRESH_MS) void ask(known, isActive)
    return known.verdict
  }

  /** @param before what was known of the token until now: only its signature is verified again */
  function remember(authorization: string, token: string, verified: Verified, before: Known | undefined): Verdict {
    const { claims, expires, isOwn, identity } = verified
    const next: Known = {
      verifiedAt: now(),
      expires,
      token,
      isOwn,
      verdict: before?.verdict ?? { isAllowed: true, claims: deeplyFrozen(claims), identity },
      foundAt: before?.foundAt,
      asking: undefined,
    }
    trusted.set(authorization, next)
    return verdictOf(next)
  }

  function authenticate(authorization: string | undefined): Verdict | Promise<Verdict> {
    if (authorization === undefined) return GUEST
    const known = trusted.get(authorization)
    if (known && Date.now() < known.expires && elapsed(known.verifiedAt) < TRUSTED_MS) return verdictOf(known)
    // Exactly two parts, and the scheme in any case; anything else counts as no token (Magento's rule).
    const token = /^bearer ([^ ]+)$/i.exec(authorization)?.[1]
    if (token === undefined) return GUEST
    return verify(token, authorization).then(
      (verified) => remember(authorization, token, verified, known),
      (error: unknown) => {
        if (error instanceof InvalidToken) return dead(error.fault)
        // The subgraphs can't decide about tokens of other issuers.
        return error instanceof Unverifiable && error.isOwn ? unknown : UNCHECKED
      },
    )
  }

  function doubt(authorization: string | undefined): void {
    const known = authorization === undefined ? undefined : trusted.get(authorization)
    if (known === undefined) return
    known.foundAt = undefined
    known.asking = undefined
  }

  return Object.assign(authenticate, { doubt })
}

/** For how long it is not known whether the token is active. Milliseconds. */
const ageOf = ({ foundAt }: Known): number => (foundAt === undefined ? Number.POSITIVE_INFINITY : elapsed(foundAt))

/** All requests with a token have the same claims, and plugins see them. */
function deeplyFrozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(deeplyFrozen)
  return value
}
