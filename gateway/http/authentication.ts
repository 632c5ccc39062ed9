/** Bearer tokens, verified at the gateway: a forged or revoked one costs no subgraph call. */
import { LRUCache } from 'lru-cache'
import type { Claims } from '../planning/authorization.ts'
import { createTokenVerifier, InvalidToken, type KeySource } from './tokens.ts'

/** Tokens that are known to be good. */
const KNOWN_TOKENS = 10_000
const KNOWN_CHARACTERS = 10_000 * 1024
/** How long a token's signature is believed without another look: its end is looked at, and keys may be replaced. Milliseconds. */
const BELIEVED_MS = 10_000
/**
 * A token that was found to count is looked at again in the background once that is so old, and waited for once it is older
 * still: so the gateway knows of a revocation within a second, and a token in use never waits. Milliseconds.
 */
const LOOK_AGAIN_MS = 400
const COUNTS_MS = 800

/** Whether a request may go on, and what its token says, if it could be verified. */
export interface Verdict {
  readonly isAllowed: boolean
  readonly claims: Claims
  /** What is being asked for yet: whether the token still counts. What only reads may begin meanwhile. */
  readonly settled?: Promise<Verdict>
}

export const GUEST: Verdict = { isAllowed: true, claims: undefined }
const DEAD: Verdict = { isAllowed: false, claims: undefined }

/** What came of asking whether a token still counts. */
export type CheckOutcome = 'active' | 'revoked' | 'failed'

export interface Authentication {
  /** Whether a request with this Authorization header may go on; without a bearer token it may, as a guest's. */
  (authorization: string | undefined): Verdict | Promise<Verdict>
  /** The token may have been revoked just now: it is looked at before it is believed again. */
  readonly doubt: (authorization: string | undefined) => void
}

export interface StatusOptions {
  /**
   * Whether a token still counts. Without it, all that are signed and have not expired do. Where it can't tell, a token
   * passes without its claims: the gateway's own rules take its bearer for a guest, and the subgraphs decide for themselves.
   */
  readonly isActive?: ((token: string) => Promise<boolean>) | undefined
  /** Told of each time that is asked. */
  readonly onCheck?: (outcome: CheckOutcome, error?: unknown) => void
}

interface Known {
  readonly until: number
  readonly token: string
  verdict: Verdict
  /** As of when the token was found to count. */
  foundAt: number
  asking: Promise<Verdict> | undefined
}

/** @param keys where the public keys come from; while they can't be had, tokens pass: the subgraphs verify them too */
export function createAuthentication(keys: KeySource, { isActive, onCheck }: StatusOptions = {}): Authentication {
  const verify = createTokenVerifier(keys)
  const believed = new LRUCache<string, Known>({
    max: KNOWN_TOKENS,
    maxSize: KNOWN_CHARACTERS,
    sizeCalculation: (_, authorization) => authorization.length,
  })

  /** Asks whether the token still counts; once at a time. A token that was revoked stays so. */
  function ask(known: Known, look: (token: string) => Promise<boolean>): Promise<Verdict> {
    if (known.asking !== undefined) return known.asking
    const started = Date.now()
    const asking: Promise<Verdict> = look(known.token).then(
      (active) => {
        onCheck?.(active ? 'active' : 'revoked')
        if (!active) known.verdict = DEAD
        // Asked before it came into doubt, the answer says nothing of now.
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
    if (age >= COUNTS_MS) return { ...known.verdict, settled: ask(known, isActive) }
    if (age >= LOOK_AGAIN_MS) void ask(known, isActive)
    return known.verdict
  }

  function authenticate(authorization: string | undefined): Verdict | Promise<Verdict> {
    if (authorization === undefined) return GUEST
    const known = believed.get(authorization)
    if (known !== undefined && Date.now() < known.until) return verdictOf(known)
    // Exactly two parts, the scheme in any case; anything else counts as no token (Magento's rule).
    const token = /^bearer ([^ ]+)$/i.exec(authorization)?.[1]
    if (token === undefined) return GUEST
    return verify(token).then(
      () => {
        const verdict = { isAllowed: true, claims: claimsOf(token) }
        // Its status is known as before: only the signature was looked at anew.
        const foundAt = known?.foundAt ?? Number.NEGATIVE_INFINITY
        const until = Date.now() + BELIEVED_MS
        const next: Known = { until, token, verdict: known?.verdict ?? verdict, foundAt, asking: undefined }
        believed.set(authorization, next)
        return verdictOf(next)
      },
      (error: unknown) => (error instanceof InvalidToken ? DEAD : GUEST),
    )
  }

  function doubt(authorization: string | undefined): void {
    const known = authorization === undefined ? undefined : believed.get(authorization)
    if (known === undefined) return
    known.foundAt = Number.NEGATIVE_INFINITY
    known.asking = undefined
  }

  return Object.assign(authenticate, { doubt })
}

/** @param token that has been verified */
function claimsOf(token: string): Claims {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Claims
}
