/** Bearer tokens, verified at the gateway: a forged one costs no subgraph call. */
import { LRUCache } from 'lru-cache'
import type { Claims } from './authorization.ts'
import { createTokenVerifier, InvalidToken, type KeySource } from './tokens.ts'

/** Tokens that are known to be good. */
const KNOWN_TOKENS = 10_000
const KNOWN_CHARACTERS = 10_000 * 1024
/** How long a token is believed without another look: its end is looked at, and keys may be replaced. Milliseconds. */
const BELIEVED_MS = 10_000

/** Whether a request may go on, and what its token says, if it could be verified. */
export type Verdict = { readonly isAllowed: boolean; readonly claims: Claims }

export const GUEST: Verdict = { isAllowed: true, claims: undefined }
const FORGED: Verdict = { isAllowed: false, claims: undefined }

/**
 * @param source where the public keys come from; while they can't be had, tokens pass: the subgraphs verify them too
 * @returns whether a request with this Authorization header may go on; without a bearer token it may, as a guest's
 */
export function createAuthentication(
  source: KeySource,
): (authorization: string | undefined) => Verdict | Promise<Verdict> {
  const verify = createTokenVerifier(source)
  const believed = new LRUCache<string, { readonly until: number; readonly verdict: Verdict }>({
    max: KNOWN_TOKENS,
    maxSize: KNOWN_CHARACTERS,
    sizeCalculation: (_, token) => token.length,
  })

  return (authorization) => {
    if (authorization === undefined) return GUEST
    const known = believed.get(authorization)
    if (known !== undefined && Date.now() < known.until) return known.verdict
    // Exactly two parts, the scheme in any case; anything else counts as no token (Magento's rule).
    const token = /^bearer ([^ ]+)$/i.exec(authorization)?.[1]
    if (token === undefined) return GUEST
    return verify(token).then(
      () => {
        const verdict = { isAllowed: true, claims: claimsOf(token) }
        believed.set(authorization, { until: Date.now() + BELIEVED_MS, verdict })
        return verdict
      },
      (error: unknown) => (error instanceof InvalidToken ? FORGED : GUEST),
    )
  }
}

/** @param token that has been verified */
function claimsOf(token: string): Claims {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Claims
}
