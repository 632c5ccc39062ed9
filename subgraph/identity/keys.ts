/** The service's keys: from the configuration, or generated once into the data folder on the embedded default. */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { type Configuration, ConfigurationError } from '../../schema/configuration.ts'
import { readOrCreate } from '../../schema/key-files.ts'

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
  const embedded = configuration.EVENTSTORE_URL.startsWith('sqlite:')
  const key = (variable: 'TOKEN_SIGNING_KEY' | 'EMAIL_HASH_KEY', file: string, generate: () => string) => {
    const configured = configuration[variable]
    if (configured !== undefined) return configured
    if (!embedded)
      throw new ConfigurationError(`${variable} is not set; it is required unless EVENTSTORE_URL is sqlite:PATH.`)
    return readOrCreate(configuration.DATA_DIR, file, generate)
  }
  return {
    tokenSigningKey: key('TOKEN_SIGNING_KEY', 'token-signing-key.pem', () =>
      generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    ),
    emailHashKey: key('EMAIL_HASH_KEY', 'email-hash-key', () => randomBytes(32).toString('hex')),
  }
}
