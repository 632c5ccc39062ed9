/** The key that signs the log's checkpoints (Ed25519), and the public ones that they are checked with. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type Configuration, ConfigurationError } from '../../schema/configuration.ts'
import { readOrCreate } from '../../schema/keys.ts'

export interface PublicKey {
  /** RFC 7638 thumbprint. */
  readonly id: string
  readonly key: KeyObject
}

export interface SigningKey extends PublicKey {
  readonly privateKey: KeyObject
}

/**
 * The service's key: configured, or generated once into the data folder on the embedded event store. undefined: neither;
 * the instances on a server have to have the same one.
 * @throws ConfigurationError for another kind of key
 */
export function loadSigningKey(configuration: Configuration): SigningKey | undefined {
  const { AUDIT_SIGNING_KEY, EVENTSTORE_URL, DATA_DIR } = configuration
  if (AUDIT_SIGNING_KEY !== undefined) return readSigningKey(AUDIT_SIGNING_KEY)
  if (!EVENTSTORE_URL.startsWith('sqlite:')) return undefined
  return readSigningKey(
    readOrCreate(DATA_DIR, 'audit-signing-key.pem', () =>
      generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    ),
  )
}

/** @throws ConfigurationError for what is no Ed25519 private key (PEM or JWK), without quoting it */
export function readSigningKey(text: string): SigningKey {
  try {
    const privateKey = text.trimStart().startsWith('{')
      ? createPrivateKey({ format: 'jwk', key: JSON.parse(text) })
      : createPrivateKey(text.replaceAll('\\n', '\n')) // a PEM on one line of an environment file
    return { ...describeKey(createPublicKey(privateKey)), privateKey }
  } catch {
    throw new ConfigurationError(
      "AUDIT_SIGNING_KEY: its value can't be used; accepted: an Ed25519 private key (PEM or JWK).",
    )
  }
}

/** @throws ConfigurationError for what is no Ed25519 public key (PEM) */
export function readPublicKey(text: string, name: string): PublicKey {
  try {
    // A private key would do as well, but has no place where a check is made.
    if (text.includes('PRIVATE KEY')) throw new TypeError('a private key')
    return describeKey(createPublicKey(text))
  } catch {
    throw new ConfigurationError(
      `${name} can't be used; accepted: an Ed25519 public key (PEM), as npm run audit -- key prints it.`,
    )
  }
}

export const publicPem = ({ key }: PublicKey): string => key.export({ format: 'pem', type: 'spki' }).toString()

function describeKey(key: KeyObject): PublicKey {
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError('not Ed25519')
  const { kty, crv, x } = key.export({ format: 'jwk' })
  // RFC 7638: members in this order.
  return { id: createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url'), key }
}
