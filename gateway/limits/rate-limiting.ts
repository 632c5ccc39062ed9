/** Applies the rate limits to GraphQL requests: refusals, their header and their metrics. */
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { requestError } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { type Allowance, createRateLimiter } from './rate-limits.ts'

/** Requests per minute from one client, by its address. */
export interface RateLimits {
  readonly perMinute?: number | undefined
  /** Sign-ins, sign-ups, password operations, and operations that send mail. */
  readonly signInPerMinute?: number | undefined
  /** The Redis in which several gateways count together. */
  readonly redisUrl?: string | undefined
}

export interface RequestLimits {
  /**
   * Counts a request.
   * @returns undefined if it is allowed; a promise if Redis has to be asked
   * @throws RequestError 429, as the promise does
   */
  readonly count: (
    bucket: 'default' | 'strict',
    request: FastifyRequest,
    reply: FastifyReply,
  ) => Promise<void> | undefined
  readonly close: () => Promise<void>
}

/** @returns undefined if nothing is limited */
export async function createRequestLimits(
  { perMinute, signInPerMinute, redisUrl }: RateLimits,
  metrics: Metrics,
  log: FastifyBaseLogger,
): Promise<RequestLimits | undefined> {
  if (!perMinute && !signInPerMinute) return undefined
  // A bucket holds a burst of a few seconds; without a limit, it holds more than anybody sends.
  const bucket = (rate = 1e9) => ({ capacity: Math.max(1, Math.ceil(rate / 6)), perMinute: rate })
  const limiter = await createRateLimiter({
    buckets: { default: bucket(perMinute || undefined), strict: bucket(signInPerMinute || undefined) },
    onFallback: (reason) => log.warn({ reason }, 'Rate limits are counted by this process alone'),
    ...(redisUrl !== undefined && { redisUrl }),
  })

  function check(
    { allowed, retryAfterSeconds }: Allowance,
    name: 'default' | 'strict',
    reply: FastifyReply,
  ): undefined {
    if (allowed) return
    metrics.limited(name)
    reply.header('retry-after', String(retryAfterSeconds))
    throw requestError(`Too many requests: try again in ${retryAfterSeconds} s.`, 'RATE_LIMITED')
  }

  return {
    count: (name, { ip }, reply) => {
      const allowance = limiter.take(name, ip)
      if (!(allowance instanceof Promise)) return check(allowance, name, reply)
      return allowance.then((taken) => check(taken, name, reply))
    },
    close: limiter.close,
  }
}
