/** The service's keys: from the configuration, or from the data folder on the embedded default. */
import type { Configuration } from '../../runtime/configuration.ts'
import { loadEmailHashKey, loadKey } from '../../runtime/service-keys.ts'

export interface Keys {
  /** Ed25519 private key, PEM or JWK. */
  readonly tokenSigningKey: string
  /** Keys the hash of e-mail addresses; the same on every instance and for ever. */
  readonly emailHashKey: string
}

/**
 * @throws ConfigurationError where a key is missing
 */
export function loadKeys(configuration: Configuration): Keys {
  return {
    tokenSigningKey: loadKey(configuration, 'TOKEN_SIGNING_KEY'),
    emailHashKey: loadEmailHashKey(configuration),
  }
}
