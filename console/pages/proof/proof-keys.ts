/** The keys that checkpoints and proofs are checked with, and signed with, as the console's process has them. */
import { loadSigningKey, type PublicKey, type SigningKey } from '../../../audit/proof/signing-key.ts'
import { readKeyFile } from '../../../audit/subcommands/proof.ts'
import { recordedFingerprint } from '../../../eventstore/encryption/key-fingerprints.ts'
import type { EventStore } from '../../../eventstore/port.ts'
import { Refused } from '../../errors.ts'
import type { ConsoleOptions } from '../../routes.ts'

export interface ProofKeys {
  /** undefined: the process has none. */
  readonly trusted: PublicKey | undefined
  /** A console with a public key alone does not sign. */
  readonly signing: SigningKey | undefined
}

/** @throws ConfigurationError for a key that can't be used */
export function loadProofKeys({ settings, configuration }: ConsoleOptions): ProofKeys {
  const { CONSOLE_AUDIT_KEY: file } = settings
  if (file !== undefined) return { trusted: readKeyFile(file), signing: undefined }
  const signing = loadSigningKey(configuration)
  return { trusted: signing, signing }
}

/**
 * The key to check with, if it is the log's. With another one every checkpoint would count as a fault, and the record of
 * it as an alarm.
 * @throws Refused 409; EventStoreUnavailable
 */
export async function trustedKey({ trusted }: ProofKeys, stored: EventStore): Promise<PublicKey> {
  if (trusted === undefined) {
    throw new Refused(
      409,
      'The console has no key to check checkpoints with: set CONSOLE_AUDIT_KEY or AUDIT_SIGNING_KEY for its process.',
    )
  }
  const own = await otherKeyOfLog(trusted, stored)
  if (own === undefined) return trusted
  throw new Refused(
    409,
    `The console's key is not the one of this log, and nothing was done. The log's key is ${own}, the console's is ${trusted.id}.`,
  )
}

/** @returns the fingerprint of the log's key, if it is not this one @throws EventStoreUnavailable */
export async function otherKeyOfLog({ id }: PublicKey, stored: EventStore): Promise<string | undefined> {
  const own = await recordedFingerprint(stored, 'audit-signing')
  return own === id ? undefined : own
}
