/** The key that signs the log's checkpoints (Ed25519), and the public keys that verify them. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { checkKeys, recordedFingerprint } from '../../eventstore/encryption/key-fingerprints.ts'
import type { EventStore } from '../../eventstore/port.ts'
import type { Configuration } from '../../runtime/configuration.ts'
import { ConfigurationError } from '../../runtime/errors.ts'
import { findKey, loadKey, readSigningKey, thumbprint } from '../../runtime/service-keys.ts'

export interface PublicKey {
  /** RFC 7638 thumbprint. */
  readonly id: string
  readonly key: KeyObject
}

export interface SigningKey extends PublicKey {
  readonly privateKey: KeyObject
}

/**
 * The service's key: configured, or in the data folder of an embedded event store. undefined: neither.
 * @throws ConfigurationError for another kind of key
 */
export function loadSigningKey(configuration: Configuration): SigningKey | undefined {
  const text = findKey(configuration, 'AUDIT_SIGNING_KEY')
  return text === undefined ? undefined : readAuditKey(text)
}

/**
 * Compares the audit key with the log. If checkpoints are enabled, a log that was signed before requires a key.
 * @throws ConfigurationError for a wrong or missing key | EventStoreUnavailable
 */
export async function checkAuditKey(
  eventStore: EventStore,
  configuration: Configuration,
  options: { readonly record: boolean },
): Promise<void> {
  const auditSigningKey = findKey(configuration, 'AUDIT_SIGNING_KEY')
  await checkKeys(eventStore, { auditSigningKey }, options)
  const isNeeded = auditSigningKey === undefined && configuration.CHECKPOINT_MINUTES > 0
  if (!isNeeded || (await recordedFingerprint(eventStore, 'audit-signing')) === undefined) return
  loadKey(configuration, 'AUDIT_SIGNING_KEY')
}

/** @throws ConfigurationError for anything but an Ed25519 private key (PEM or JWK), without quoting it */
export function readAuditKey(text: string): SigningKey {
  const privateKey = readSigningKey(text, 'AUDIT_SIGNING_KEY')
  return { ...describeKey(createPublicKey(privateKey)), privateKey }
}

/** @throws ConfigurationError for anything but an Ed25519 public key (PEM) */
export function readPublicKey(text: string, name: string): PublicKey {
  try {
    // A private key would work as well, but does not belong where a proof is checked.
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
