/** Bearer tokens, verified at the gateway: a forged one costs no subgraph call. */
import { createLru } from './lru.ts'
import { createTokenVerifier, InvalidToken, type KeySource } from './tokens.ts'

/** Tokens that are known to be good. */
const KNOWN_TOKENS = 10_000
const KNOWN_CHARACTERS = 10_000 * 1024
/** How long a token is believed without another look: its end is looked at, and keys may be replaced. Milliseconds. */
const BELIEVED_MS = 10_000

/**
 * @param source where the public keys come from; while they can't be had, tokens pass: the subgraphs verify them too
 * @returns whether a request with this Authorization header may go on; without a bearer token it may, as a guest's
 */
export function createAuthentication(
  source: KeySource,
): (authorization: string | undefined) => boolean | Promise<boolean> {
  const verify = createTokenVerifier(source)
  const believed = createLru<number>(KNOWN_TOKENS, KNOWN_CHARACTERS)

  return (authorization) => {
    if (authorization === undefined) return true
    const until = believed.get(authorization)
    if (until !== undefined && Date.now() < until) return true
    // Exactly two parts, the scheme in any case; anything else counts as no token (Magento's rule).
    const token = /^bearer ([^ ]+)$/i.exec(authorization)?.[1]
    if (token === undefined) return true
    return verify(token).then(
      () => {
        believed.set(authorization, Date.now() + BELIEVED_MS)
        return true
      },
      (error: unknown) => !(error instanceof InvalidToken),
    )
  }
}
