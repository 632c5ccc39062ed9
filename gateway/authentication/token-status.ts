/**
 * Asks the customer subgraph whether tokens are still active (RFC 7662): a signature does not show that a token was
 * revoked.
 */
import type { FastifyBaseLogger } from 'fastify'
import { Pool } from 'undici'
import type { UncheckedTokens } from '../accepted-values.ts'
import { reasonOf } from '../http/masking.ts'
import type { Metrics } from '../metrics.ts'
import type { CheckOutcome } from './authentication.ts'

/** Where to check tokens. */
export interface TokenStatusSource {
  /** The customer subgraph's `/introspect`. */
  readonly url: string
  /** Sent as `x-subgraph-secret`. */
  readonly secret?: string | undefined
  /** How long to wait for an answer, in milliseconds. Default 1,000. */
  readonly timeoutMs?: number
}

export interface TokenStatus {
  /** Whether the token is still active. @throws Error if that can't be determined now */
  readonly isActive: (token: string) => Promise<boolean>
  readonly close: () => Promise<void>
}

/** Enough for one process: an answer takes about a millisecond. */
const CONNECTIONS = 16
/** Of an answer. */
const MAX_BYTES = 64 * 1024
/**
 * After a failure one check at a time is made to find out whether the service is back, and none for this long. The
 * others fail at once, so that requests do not wait for a service that is down. Milliseconds.
 */
const PAUSE_MS = 500

export function createTokenStatus({ url, secret, timeoutMs = 1_000 }: TokenStatusSource): TokenStatus {
  const { origin, pathname, search } = new URL(url)
  const pool = new Pool(origin, { connections: CONNECTIONS, allowH2: false, maxResponseSize: MAX_BYTES })
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    ...(secret !== undefined && { 'x-subgraph-secret': secret }),
  }
  let isAway = false
  let isProbing = false
  let pausedUntil = 0

  async function ask(token: string, signal: AbortSignal): Promise<boolean> {
    const { statusCode, body } = await pool.request({
      path: pathname + search,
      method: 'POST',
      headers,
      body: `token=${encodeURIComponent(token)}`,
      signal,
    })
    const text = await body.text()
    const active = statusCode === 200 ? activeIn(text) : undefined
    if (active === undefined) throw new Error(`${origin}${pathname} sent no usable answer (status ${statusCode}).`)
    return active
  }

  /** A connection that the service has closed in the meantime does not count as a failure: it is tried once more. */
  async function askTwice(token: string): Promise<boolean> {
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      return await ask(token, signal)
    } catch (error) {
      if (signal.aborted || isAway) throw error
      return await ask(token, signal)
    }
  }

  return {
    async isActive(token) {
      if (isAway && (isProbing || performance.now() < pausedUntil)) {
        throw new Error(`${origin}${pathname} failed a moment ago.`)
      }
      const isProbe = isAway
      if (isProbe) isProbing = true
      try {
        const active = await askTwice(token)
        isAway = false
        return active
      } catch (error) {
        isAway = true
        pausedUntil = performance.now() + PAUSE_MS
        throw error
      } finally {
        if (isProbe) isProbing = false
      }
    },
    close: () => pool.destroy(),
  }
}

/** What RFC 7662 calls `active`; undefined for an answer that is something else. */
function activeIn(text: string): boolean | undefined {
  try {
    const { active } = JSON.parse(text) as { active?: unknown }
    return typeof active === 'boolean' ? active : undefined
  } catch {
    return undefined
  }
}

/** What is logged when something fails for the first time, and when it works again. */
interface Texts {
  readonly away: string
  readonly back: string
}

/** Returns an observer of outcomes that logs when they begin to fail and when they succeed again. */
function logTurns(log: FastifyBaseLogger, { away, back }: Texts): (hasFailed: boolean, context: object) => void {
  let isAway = false
  return (hasFailed, context) => {
    if (hasFailed === isAway) return
    isAway = hasFailed
    if (isAway) log.warn(context, away)
    else log.info(context, back)
  }
}

/** Returns an observer that counts checks of tokens, and logs when they begin to fail and when they succeed again. */
export function reportChecks(
  metrics: Metrics,
  log: FastifyBaseLogger,
  unchecked: UncheckedTokens,
): (outcome: CheckOutcome, error?: unknown) => void {
  const turned = logTurns(log, {
    away:
      unchecked === 'refuse'
        ? 'The status of tokens cannot be checked; until it can, requests with a token are refused after TOKEN_GRACE_SECONDS'
        : 'The status of tokens cannot be checked; until it can, their claims are not trusted',
    back: 'The status of tokens can be checked again',
  })
  return (outcome, error) => {
    metrics.tokenCheck(outcome)
    turned(outcome === 'failed', { reason: reasonOf(error) })
  }
}

/** Returns an observer that counts fetches of issuers' keys, and logs when they begin to fail and when they succeed again. */
export function reportKeyFetches(metrics: Metrics, log: FastifyBaseLogger): (issuer: string, error?: unknown) => void {
  const turned = new Map<string, ReturnType<typeof logTurns>>()
  return (issuer, error) => {
    metrics.keyFetch(issuer, error === undefined ? 'fetched' : 'failed')
    const ofIssuer = turned.get(issuer) ?? logTurns(log, KEYS)
    turned.set(issuer, ofIssuer)
    ofIssuer(error !== undefined, { issuer, reason: reasonOf(error) })
  }
}

const KEYS: Texts = {
  away: "An issuer's keys cannot be fetched; tokens with other keys than those known are not accepted until they can",
  back: "An issuer's keys can be fetched again",
}
