/** The public keys of a token issuer (RFC 7517), fetched over HTTP and kept. */
import { createLocalJWKSet, errors, type JSONWebKeySet } from 'jose'
import { Agent, request } from 'undici'

/** Where the keys of an issuer are: its key set, or the key set that its discovery document names (OIDC Discovery 1.0). */
export type KeySetSource = {
  /**
   * The shortest time between two fetches because of unknown key ids, in milliseconds. Default 10,000. So tokens with
   * made-up ids do not cause a flood of fetches.
   */
  readonly refetchAfterMs?: number
  /** After this time the keys are fetched again in the background, in milliseconds. Default 300,000. */
  readonly refreshAfterMs?: number
} & ({ readonly jwksUrl: string } | { readonly discovery: string })

/** The keys could not be fetched, so it is unknown whether a token is valid. The cause says why. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable'
  readonly code = 'GTW_ERR_KEYS_UNAVAILABLE'
}

/** Finds the key that a token's header names. @throws KeysUnavailable; JWKSNoMatchingKey for an unknown key */
export type FindKey = (...named: Parameters<LocalJWKSet>) => Promise<CryptoKey>
type LocalJWKSet = ReturnType<typeof createLocalJWKSet>

/** How long a fetch may take, discovery included. Milliseconds. */
const FETCH_TIMEOUT_MS = 5_000
const MAX_BYTES = 1024 * 1024
/** After a failed fetch, tokens with unknown keys do not wait for another one for this long. Milliseconds. */
const PAUSE_MS = 1_000

// Fetches are rare, so no connection is kept.
const agent = new Agent({ pipelining: 0, maxResponseSize: MAX_BYTES })

/**
 * Keys are valid until a fetch no longer returns them, so they outlast an outage of their source.
 * @param onFetch called after each fetch, with the error of a failed one
 */
export function createKeySet(source: KeySetSource, onFetch: (error?: unknown) => void = () => {}): FindKey {
  const { refetchAfterMs = 10_000, refreshAfterMs = 300_000 } = source
  const pauseMs = Math.min(PAUSE_MS, refetchAfterMs)
  let keys: FindKey | undefined
  let fetchedAt = 0
  let failedAt = Number.NEGATIVE_INFINITY
  let fetching: Promise<FindKey> | undefined

  async function load(): Promise<FindKey> {
    try {
      const found = createLocalJWKSet(await fetchKeys(source))
      fetchedAt = performance.now()
      onFetch()
      keys = found
      return found
    } catch (error) {
      failedAt = performance.now()
      onFetch(error)
      throw new KeysUnavailable('The keys of the issuer could not be fetched.', { cause: error })
    } finally {
      fetching = undefined
    }
  }

  function fetchOnce(): Promise<FindKey> {
    if (fetching === undefined) {
      if (performance.now() - failedAt < pauseMs) {
        return Promise.reject(new KeysUnavailable('The keys of the issuer could not be fetched a moment ago.'))
      }
      fetching = load()
    }
    return fetching
  }

  return async (header, token) => {
    const known = keys
    if (known === undefined) return (await fetchOnce())(header, token)
    if (performance.now() - fetchedAt > refreshAfterMs) fetchOnce().catch(() => {}) // reported by `load`
    try {
      return await known(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || performance.now() - fetchedAt < refetchAfterMs) throw error
      return (await fetchOnce())(header, token)
    }
  }
}

async function fetchKeys(source: KeySetSource): Promise<JSONWebKeySet> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS)
  const url = 'jwksUrl' in source ? source.jwksUrl : await discover(source.discovery, signal)
  return (await getJson(url, signal)) as JSONWebKeySet
}

/**
 * The key set that an issuer's discovery document names.
 * @throws Error also for the document of another issuer: OIDC Discovery 1.0, section 4.3
 */
async function discover(issuer: string, signal: AbortSignal): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const { issuer: named, jwks_uri } = (await getJson(url, signal)) as { issuer?: unknown; jwks_uri?: unknown }
  if (named !== issuer) throw new Error(`${url} is about another issuer.`)
  if (typeof jwks_uri === 'string' && /^https?:\/\/./.test(jwks_uri) && URL.canParse(jwks_uri)) return jwks_uri
  throw new Error(`${url} names no jwks_uri.`)
}

/** Redirects are not followed. @throws Error for anything but 200 and a JSON object */
async function getJson(url: string, signal: AbortSignal): Promise<object> {
  const { statusCode, body } = await request(url, {
    dispatcher: agent,
    headers: { accept: 'application/json' },
    signal,
  })
  const text = await body.text()
  if (statusCode !== 200) throw new Error(`${url} answered with status ${statusCode}.`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Reported below, without the text.
  }
  if (typeof value !== 'object' || value === null) throw new Error(`${url} sent no JSON object.`)
  return value
}
