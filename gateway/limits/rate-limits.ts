/** Rate limits by client: token buckets in memory, or in Redis if several gateways count together. */
import { createHash } from 'node:crypto'
import { waitAfter } from '../../runtime/back-off.ts'
import { boundedCache } from '../../runtime/bounded-cache.ts'
import { clientKey } from '../../runtime/client-address.ts'
import { parseRedisUrl } from '../../runtime/redis/url.ts'
import { pause, within } from '../../runtime/time-limits.ts'

interface Bucket {
  /** The burst: requests at once. */
  readonly capacity: number
  /** The sustained rate: requests per minute. */
  readonly perMinute: number
}

export interface Allowance {
  readonly allowed: boolean
  readonly retryAfterSeconds: number
}

export interface RateLimiter {
  /**
   * Takes a token from a client's bucket. Returns a promise only if Redis has to be asked.
   * @param client its address; an IPv6 /64 network counts as one client
   */
  readonly take: (bucket: 'default' | 'strict', client: string) => Promise<Allowance> | Allowance
  readonly close: () => Promise<void>
}

export interface RateLimiterOptions {
  readonly buckets: Readonly<Record<'default' | 'strict', Bucket>>
  /** As READMODEL_URL. */
  readonly redisUrl?: string
  /** Called once each time Redis stops answering, and for another reason. Until it answers again, this process counts alone. */
  readonly onFallback?: (reason: string) => void
}

/** How many clients are remembered. A forgotten one starts with a full bucket. */
const CLIENTS = 100_000
/** How long to wait for Redis, in milliseconds. */
const TIMEOUT_MS = 200
/** How long Redis is not asked after a failure, in milliseconds. */
const PAUSE_MS = 1_000
const ALLOWED: Allowance = { allowed: true, retryAfterSeconds: 0 }

/** (bucket; capacity, tokens a millisecond): -1 if one was taken, otherwise the milliseconds until there is one */
const TAKE_TOKENS = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(stored[1] or capacity)
tokens = math.min(capacity, tokens + math.max(0, now - tonumber(stored[2] or now)) * rate)
local wait = -1
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) / rate) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate) + 1000)
return wait`

/** Loads the driver of Redis where there is a URL of one; whether it answers is seen with the first request. */
export async function createRateLimiter({ buckets, redisUrl, onFallback }: RateLimiterOptions): Promise<RateLimiter> {
  const memory = createMemory(buckets)
  if (redisUrl === undefined) {
    return { take: (name, address) => memory(name, clientKey(address)), close: async () => {} }
  }
  const redis = await connect(redisUrl)
  let pausedUntil = 0
  /** The reasons that were told since Redis has answered. */
  const told = new Set<string>()

  const fallBack = ({ message }: Error) => {
    pausedUntil = performance.now() + PAUSE_MS
    if (!told.has(message)) onFallback?.(message)
    told.add(message)
  }

  return {
    take(name, address) {
      const client = clientKey(address)
      if (performance.now() < pausedUntil) return memory(name, client)
      const { capacity, perMinute } = buckets[name]
      // Addresses are personal: their hash serves as well.
      const id = createHash('sha256').update(client).digest('base64url')
      const asked = redis.take(`ratelimit:{${id}}:${name}`, String(capacity), String(perMinute / 60_000))
      return within(TIMEOUT_MS, asked, redis.late).then(
        (wait) => {
          told.clear()
          return wait < 0 ? ALLOWED : refused(wait)
        },
        (error: Error) => {
          fallBack(error)
          return memory(name, client)
        },
      )
    },
    close: redis.close,
  }
}

function refused(milliseconds: number): Allowance {
  return { allowed: false, retryAfterSeconds: Math.max(1, Math.ceil(milliseconds / 1000)) }
}

function createMemory(
  buckets: RateLimiterOptions['buckets'],
): (name: 'default' | 'strict', client: string) => Allowance {
  interface State {
    tokens: number
    at: number
  }
  const states = {
    default: boundedCache<string, State>(CLIENTS),
    strict: boundedCache<string, State>(CLIENTS),
  }
  return (name, client) => {
    const { capacity, perMinute } = buckets[name]
    const rate = perMinute / 60_000
    const now = performance.now()
    let state = states[name].get(client)
    if (!state) {
      state = { tokens: capacity, at: now }
      states[name].set(client, state)
    }
    state.tokens = Math.min(capacity, state.tokens + (now - state.at) * rate)
    state.at = now
    if (state.tokens < 1) return refused((1 - state.tokens) / rate)
    state.tokens--
    return ALLOWED
  }
}

/** @throws ConfigurationError for a URL that can't be used */
async function connect(url: string) {
  const [{ BACK_OFF, createDriver }, { reasonOf }] = await Promise.all([
    import('../../runtime/redis/driver.ts'),
    import('../../runtime/redis/reasons.ts'),
  ])
  const driver = createDriver(parseRedisUrl(url))
  const closing = new AbortController()
  /** Why the last attempt to connect failed. */
  let failure: unknown
  const begun = Promise.withResolvers<void>()
  const note = (error: unknown) => {
    failure = error
    begun.resolve()
  }
  driver.onError(note)
  const connected = keepConnecting().then(begun.resolve)

  async function keepConnecting(): Promise<void> {
    for (let failures = 1; !closing.signal.aborted; failures++) {
      try {
        return await driver.connect()
      } catch (error) {
        note(error)
        await pause(waitAfter(BACK_OFF, failures), closing.signal)
      }
    }
  }

  return {
    async take(key: string, ...values: string[]): Promise<number> {
      try {
        // The first requests of a gateway come before it is known whether there is a connection, and if not, why.
        if (!driver.isReady()) await begun.promise
        if (!driver.isReady()) throw failure ?? new Error('no connection')
        return Number(await driver.send(key, ['EVAL', TAKE_TOKENS, '1', key, ...values]))
      } catch (error) {
        throw new Error(`Redis can't be reached: ${reasonOf(error)}.`)
      }
    },
    /** The error of a request that was not answered in time. */
    late(): Error {
      const failure = driver.failureOf?.(undefined)
      const why = failure ? `can't be reached: ${reasonOf(failure)}` : `has not answered for ${TIMEOUT_MS} ms`
      return new Error(`Redis ${why}.`)
    },
    async close(): Promise<void> {
      closing.abort()
      try {
        driver.destroy()
      } catch {
        // It was not connected.
      }
      await Promise.race([connected, new Promise((resolve) => setTimeout(resolve, 100).unref())])
    },
  }
}
