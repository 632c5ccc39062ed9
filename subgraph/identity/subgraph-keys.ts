/** The service's keys: from the configuration, or from the data folder on the embedded default. */
import type { Configuration } from '../../runtime/configuration.ts'
import { loadEmailHashKey, loadKey } from '../../runtime/service-keys.ts'

export interface Keys {
  /** Ed25519 private key, PEM or JWK. */
  readonly tokenSigningKey: string
  /** The key for the hashes of e-mail addresses. It must be the same on every instance and never change. */
  readonly emailHashKey: string
}

/**
 * @throws ConfigurationError if a key is missing
 */
export function loadKeys(configuration: Configuration): Keys {
  return {
    tokenSigningKey: loadKey(configuration, 'TOKEN_SIGNING_KEY'),
    emailHashKey: loadEmailHashKey(configuration),
  }
}
