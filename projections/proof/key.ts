/** The key that signs the log's checkpoints (Ed25519), and the public ones that they are checked with. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { type Configuration, ConfigurationError } from '../../schema/configuration.ts'
import { generateSigningKey, readOrCreate, readSigningKey, thumbprint } from '../../schema/keys.ts'

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
  if (AUDIT_SIGNING_KEY !== undefined) return readAuditKey(AUDIT_SIGNING_KEY)
  if (!EVENTSTORE_URL.startsWith('sqlite:')) return undefined
  return readAuditKey(readOrCreate(DATA_DIR, 'audit-signing-key.pem', generateSigningKey))
}

/** @throws ConfigurationError for what is no Ed25519 private key (PEM or JWK), without quoting it */
export function readAuditKey(text: string): SigningKey {
  const privateKey = readSigningKey(text, 'AUDIT_SIGNING_KEY')
  return { ...describeKey(createPublicKey(privateKey)), privateKey }
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
  return { id: thumbprint(key), key }
}
