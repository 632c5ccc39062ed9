/** The service's keys: from the configuration, or generated once into the data folder on the embedded default. */
import type { Configuration } from '../../schema/configuration.ts'
import { generateSigningKey, loadEmailHashKey, loadKey } from '../../schema/keys.ts'

export interface Keys {
  /** Ed25519 private key, PEM or JWK. */
  readonly tokenSigningKey: string
  /** Keys the hash of e-mail addresses; the same on every instance and for ever. */
  readonly emailHashKey: string
}

/**
 * @throws ConfigurationError where a key is not set and the stores are not embedded ones (each instance would make its own)
 */
export function loadKeys(configuration: Configuration): Keys {
  return {
    tokenSigningKey: loadKey(configuration, 'TOKEN_SIGNING_KEY', 'token-signing-key.pem', generateSigningKey),
    emailHashKey: loadEmailHashKey(configuration),
  }
}
