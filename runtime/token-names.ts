/**
 * Whom tokens name: who issued them (claim `iss`) and for whom (`aud`), RFC 7519. A signature alone shows that somebody
 * has the key. Names tell tokens of two environments or for two services apart, also if they share the key.
 */

export interface ExpectedNames {
  /** Claim `iss`. */
  readonly issuer: string
  /** Claim `aud`: it, or one of these, has to be there. */
  readonly audience: string | readonly string[]
  /** Whether tokens that name neither are valid: releases before 0.2 issued these. */
  readonly acceptsUnnamed: boolean
}

/** Of the customer subgraph's tokens. */
export interface TokenNames extends ExpectedNames {
  readonly audience: string
}

export const DEFAULT_ISSUER = 'customers'
export const DEFAULT_AUDIENCE = 'graph'
export const UNNAMED_TOKENS = ['accept', 'refuse'] as const

export const DEFAULT_TOKEN_NAMES: TokenNames = {
  issuer: DEFAULT_ISSUER,
  audience: DEFAULT_AUDIENCE,
  acceptsUnnamed: true,
}

/** The names of a configuration. */
export const tokenNames = (configuration: {
  readonly TOKEN_ISSUER: string
  readonly TOKEN_AUDIENCE: string
  readonly TOKEN_UNNAMED: (typeof UNNAMED_TOKENS)[number]
}): TokenNames => ({
  issuer: configuration.TOKEN_ISSUER,
  audience: configuration.TOKEN_AUDIENCE,
  acceptsUnnamed: configuration.TOKEN_UNNAMED === 'accept',
})

/**
 * Whether a token comes from this issuer and is meant for one of these audiences.
 * @param claims of a token whose signature has been verified
 */
export function isNamed(claims: { readonly iss?: unknown; readonly aud?: unknown }, names: ExpectedNames): boolean {
  const { iss, aud } = claims
  if (iss === undefined && aud === undefined) return names.acceptsUnnamed
  if (iss !== names.issuer) return false
  const given: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  const expected = typeof names.audience === 'string' ? [names.audience] : names.audience
  return expected.some((audience) => given.includes(audience))
}
