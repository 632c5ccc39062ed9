/** The key that checkpoints and proofs are checked with, as the console's process has it. */

import { loadSigningKey, type PublicKey, type SigningKey } from '../../../audit/proof/signing-key.ts'
import { readKeyFile } from '../../../audit/subcommands/proof.ts'
import { Refused } from '../../errors.ts'
import type { ConsoleOptions } from '../../routes.ts'

/**
 * The public key, if the process has one: in a file of its own, or as part of the signing key.
 * @throws ConfigurationError for a key that can't be used
 */
export function trustedKey({ settings, configuration }: ConsoleOptions): PublicKey | undefined {
  const { CONSOLE_AUDIT_KEY: file } = settings
  return file === undefined ? loadSigningKey(configuration) : readKeyFile(file)
}

/** The same for what can't be done without. @throws Refused 409 */
export function neededKey(options: ConsoleOptions): PublicKey {
  const key = trustedKey(options)
  if (key) return key
  throw new Refused(
    409,
    'The console has no key to check checkpoints with: set CONSOLE_AUDIT_KEY or AUDIT_SIGNING_KEY for its process.',
  )
}

/** The key that signs, if the process has it. A console with a public key alone can't sign. */
export const signingKey = ({ settings, configuration }: ConsoleOptions): SigningKey | undefined =>
  settings.CONSOLE_AUDIT_KEY === undefined ? loadSigningKey(configuration) : undefined
