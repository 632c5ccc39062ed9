/** Asks the customer subgraph whether tokens still count (RFC 7662): a signature does not tell that a token was revoked. */
import type { FastifyBaseLogger } from 'fastify'
import { Pool } from 'undici'
import type { Metrics } from '../metrics.ts'
import type { CheckOutcome } from './authentication.ts'
import { reasonOf } from './masking.ts'

/** Where to ask. */
export interface TokenStatusSource {
  /** The customer subgraph's `/introspect`. */
  readonly url: string
  /** Sent as `x-subgraph-secret`. */
  readonly secret?: string | undefined
  /** How long an answer is waited for, in milliseconds. Default 1,000. */
  readonly timeoutMs?: number
}

export interface TokenStatus {
  /** Whether the token still counts. @throws Error where that can't be known now */
  readonly isActive: (token: string) => Promise<boolean>
  readonly close: () => Promise<void>
}

/** Of one process: an answer takes a millisecond or so. */
const CONNECTIONS = 16
/** After a failure nobody is asked for so long: no request is to wait for what is away. Milliseconds. */
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
      if (performance.now() < pausedUntil) throw new Error(`${origin}${pathname} has not answered of late.`)
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

/** What counts checks of tokens, and logs when they begin to fail and when they succeed again. */
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
        'It can not be asked whether tokens still count: their claims are not believed',
      )
    } else log.info('It can be asked again whether tokens still count')
  }
}
