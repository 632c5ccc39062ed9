/**
 * Asks the customer subgraph whether tokens are still active (RFC 7662): a signature does not show that a token was
 * revoked.
 */
import type { FastifyBaseLogger } from 'fastify'
import { Pool } from 'undici'
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
/**
 * After a failure no checks are made for this long, so that requests do not wait for a service that is down.
 * Milliseconds.
 */
const PAUSE_MS = 500

export function createTokenStatus({ url, secret, timeoutMs = 1_000 }: TokenStatusSource): TokenStatus {
  const { origin, pathname, search } = new URL(url)
  const pool = new Pool(origin, { connections: CONNECTIONS, allowH2: false })
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    ...(secret !== undefined && { 'x-subgraph-secret': secret }),
  }
  let pausedUntil = 0

  async function ask(token: string): Promise<boolean> {
    const { statusCode, body } = await pool.request({
      path: pathname + search,
      method: 'POST',
      headers,
      body: `token=${encodeURIComponent(token)}`,
      signal: AbortSignal.timeout(timeoutMs),
    })
    const text = await body.text()
    const { active } = statusCode === 200 ? JSON.parse(text) : { active: undefined }
    if (typeof active !== 'boolean') throw new Error(`${origin}${pathname} answered ${statusCode}.`)
    return active
  }

  return {
    async isActive(token) {
      if (performance.now() < pausedUntil) throw new Error(`${origin}${pathname} failed a moment ago.`)
      try {
        return await ask(token)
      } catch (error) {
        pausedUntil = performance.now() + PAUSE_MS
        throw error
      }
    },
    close: () => pool.destroy(),
  }
}

/** Returns an observer that counts checks of tokens, and logs when they begin to fail and when they succeed again. */
export function reportChecks(
  metrics: Metrics,
  log: FastifyBaseLogger,
): (outcome: CheckOutcome, error?: unknown) => void {
  let isAway = false
  return (outcome, error) => {
    metrics.tokenCheck(outcome)
    const hasFailed = outcome === 'failed'
    if (hasFailed === isAway) return
    isAway = hasFailed
    if (isAway) {
      log.warn(
        { reason: reasonOf(error) },
        'The status of tokens cannot be checked; until it can, their claims are not trusted',
      )
    } else log.info('The status of tokens can be checked again')
  }
}
