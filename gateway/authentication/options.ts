/** Builds the authentication of a gateway from its options. */
import type { FastifyBaseLogger } from 'fastify'
import type { TokenNames } from '../../runtime/token-names.ts'
import type { UncheckedTokens } from '../accepted-values.ts'
import type { Metrics } from '../metrics.ts'
import { type Authentication, createAuthentication } from './authentication.ts'
import { createIssuers } from './issuers.ts'
import { createTokenStatus, reportChecks, reportKeyFetches, type TokenStatusSource } from './token-status.ts'
import type { KeySource } from './token-verifier.ts'
import type { TrustedIssuer } from './trusted-issuers.ts'

export interface TokenOptions {
  /**
   * Verifies the customer subgraph's tokens, so that a forged one costs no subgraph call. Default: tokens are passed on
   * unverified, unless there are trusted issuers.
   */
  readonly tokenKeys?: KeySource
  /** Whom the customer subgraph's tokens have to name. Default: that subgraph's defaults. */
  readonly tokenNames?: TokenNames
  /** How many verified tokens are kept in memory. Default 10,000. */
  readonly cachedTokens?: number
  /**
   * Where to check whether a verified token has been revoked. Default: not checked; a token is active until it expires.
   */
  readonly tokenStatus?: TokenStatusSource
  /** What happens to a token that can't be checked. Default `refuse`. */
  readonly uncheckedTokens?: UncheckedTokens
  /** How long a token that was active goes on while its status can't be asked for, in milliseconds. Default 10,000. */
  readonly tokenGraceMs?: number
  /** Whose tokens count beside the customer subgraph's. Default: nobody's. */
  readonly trustedIssuers?: readonly TrustedIssuer[]
}

/** @returns undefined if tokens are passed on to the subgraphs unverified */
export function authenticate(
  options: TokenOptions,
  metrics: Metrics,
  log: FastifyBaseLogger,
): { readonly check: Authentication; readonly close: () => Promise<void> } | undefined {
  const { tokenKeys, trustedIssuers = [], uncheckedTokens = 'refuse' } = options
  if (tokenKeys === undefined && trustedIssuers.length === 0) return undefined
  const status = options.tokenStatus && createTokenStatus(options.tokenStatus)
  const verify = createIssuers({
    own: tokenKeys,
    names: options.tokenNames,
    trusted: trustedIssuers,
    onFetch: reportKeyFetches(metrics, log),
  })
  const check = createAuthentication(verify, {
    isActive: status?.isActive,
    unchecked: uncheckedTokens,
    graceMs: options.tokenGraceMs,
    cachedTokens: options.cachedTokens,
    onCheck: reportChecks(metrics, log, uncheckedTokens),
  })
  return { check, close: async () => status?.close() }
}
