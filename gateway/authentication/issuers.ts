/**
 * The issuers whose tokens count: the customer subgraph, and those of `TRUSTED_ISSUERS`. A token is verified with the
 * keys of the issuer that it names, never with those of another.
 */
import { decodeJwt, type JWTPayload } from 'jose'
import { DEFAULT_TOKEN_NAMES, type TokenNames } from '../../runtime/token-names.ts'
import type { SubgraphIdentity } from '../execution/executor.ts'
import type { Claims } from '../planning/authorization.ts'
import { KeysUnavailable } from './key-set.ts'
import { createTokenVerification, InvalidToken, type KeySource, type VerifyToken } from './token-verifier.ts'
import type { TrustedIssuer } from './trusted-issuers.ts'

/** What a verified token says. */
export interface Verified {
  /** For the gateway's own rules: `scope` and `policies` are where those look for them. */
  readonly claims: NonNullable<Claims>
  /** When it expires, in milliseconds since the epoch. */
  readonly expires: number
  /** Whether it comes from the customer subgraph, which can be asked whether it has been revoked. */
  readonly isOwn: boolean
  /** For another issuer's token: which subgraphs get it. To the others the request is a guest's. */
  readonly identity?: SubgraphIdentity | undefined
}

/** @throws InvalidToken; {@link Unverifiable} */
export type VerifyBearer = (token: string, authorization: string) => Promise<Verified>

/** The keys of the token's issuer can't be fetched now. */
export class Unverifiable extends Error {
  override readonly name = 'Unverifiable'
  readonly code = 'GTW_ERR_TOKEN_UNVERIFIABLE'
  /** Whether the token names the customer subgraph as its issuer, so that the subgraphs can decide about it. */
  readonly isOwn: boolean

  constructor(isOwn: boolean, cause: unknown) {
    super('The token cannot be verified now.', { cause })
    this.isOwn = isOwn
  }
}

export interface IssuersOptions {
  /** The keys of the customer subgraph; undefined: the graph has none. */
  readonly own?: KeySource | undefined
  /** Whom the customer subgraph's tokens name. */
  readonly names?: TokenNames | undefined
  readonly trusted?: readonly TrustedIssuer[]
  /** Called after each fetch of an issuer's keys, with the error of a failed one. */
  readonly onFetch?: (issuer: string, error?: unknown) => void
}

interface Issuer {
  readonly verify: VerifyToken
  readonly read: (payload: JWTPayload, authorization: string) => Pick<Verified, 'claims' | 'isOwn' | 'identity'>
}

/** Of the clocks of other issuers, in seconds. */
const CLOCK_TOLERANCE = 5

export function createIssuers(options: IssuersOptions): VerifyBearer {
  const { own: keys, names = DEFAULT_TOKEN_NAMES, trusted = [], onFetch = () => {} } = options
  const own: Issuer | undefined = keys && {
    verify: createTokenVerification({ keys, names, onFetch: (error) => onFetch(names.issuer, error) }),
    read: (claims) => ({ claims, isOwn: true }),
  }
  const others = new Map(trusted.map((each) => [each.issuer, createTrusted(each, onFetch)]))

  return async (token, authorization) => {
    const named = others.size === 0 ? undefined : others.get(issuerOf(token) ?? '')
    const issuer = named ?? own
    if (issuer === undefined) throw new InvalidToken('The token names an unknown issuer.')
    try {
      const payload = await issuer.verify(token)
      return { ...issuer.read(payload, authorization), expires: Number(payload.exp) * 1_000 }
    } catch (error) {
      throw error instanceof KeysUnavailable ? new Unverifiable(issuer === own, error.cause ?? error) : error
    }
  }
}

/** The issuer that a token claims to have. @throws InvalidToken */
function issuerOf(token: string): string | undefined {
  try {
    const { iss } = decodeJwt(token)
    return typeof iss === 'string' ? iss : undefined
  } catch {
    throw new InvalidToken('The token is invalid.')
  }
}

function createTrusted(trusted: TrustedIssuer, onFetch: (issuer: string, error?: unknown) => void): Issuer {
  const { issuer, audience, jwksUrl, algorithms, scopes, policies, claims } = trusted
  const subgraphs = new Set(trusted.subgraphs)
  const verify = createTokenVerification({
    keys: jwksUrl === undefined ? { discovery: issuer } : { jwksUrl },
    names: { issuer, audience, acceptsUnnamed: false },
    algorithms,
    clockToleranceSeconds: CLOCK_TOLERANCE,
    onFetch: (error) => onFetch(issuer, error),
  })
  return {
    verify,
    read(payload, authorization) {
      const headers = ['authorization', authorization]
      for (const [name, at] of Object.entries(claims)) {
        const value = headerValue(claimAt(payload, at))
        if (value !== undefined) headers.push(name, value)
      }
      return {
        isOwn: false,
        // Of another place these would be somebody's own idea of a scope.
        claims: { ...payload, scope: claimAt(payload, scopes), policies: claimAt(payload, policies) },
        identity: { subgraphs, headers },
      }
    },
  }
}

function claimAt(claims: JWTPayload, place: readonly string[]): unknown {
  let value: unknown = claims
  for (const name of place) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

/**
 * A claim as a header's value: texts percent-encoded where a header can't have them, lists with commas between their
 * values, objects as encoded JSON. @returns undefined for none
 */
function headerValue(claim: unknown): string | undefined {
  if (claim === undefined || claim === null) return undefined
  if (Array.isArray(claim)) return claim.map((each) => encode(each).replaceAll(',', '%2C')).join(',')
  return encode(claim)
}

const encode = (value: unknown): string =>
  (typeof value === 'object' ? JSON.stringify(value) : String(value))
    .toWellFormed()
    .replaceAll(/[^!-$&-~]+/g, encodeURIComponent)
