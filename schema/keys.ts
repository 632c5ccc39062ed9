/** Keys that are configured, or on the embedded event store generated once into the data folder. */
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Configuration, ConfigurationError } from './configuration.ts'

/**
 * @param file its name in the data folder
 * @throws ConfigurationError where the key is not set and the event store is not an embedded one (each instance would make its own)
 */
export function loadKey(
  configuration: Configuration,
  variable: 'TOKEN_SIGNING_KEY' | 'EMAIL_HASH_KEY' | 'MASTER_KEY',
  file: string,
  generate: () => string,
): string {
  const configured = configuration[variable]
  if (configured !== undefined) return configured
  if (!configuration.EVENTSTORE_URL.startsWith('sqlite:'))
    throw new ConfigurationError(`${variable} is not set; it is required unless EVENTSTORE_URL is sqlite:PATH.`)
  return readOrCreate(configuration.DATA_DIR, file, generate)
}

/** Keys the hash of e-mail addresses and the tokens of links in mails; the same on every instance and for ever. @throws ConfigurationError */
export const loadEmailHashKey = (configuration: Configuration): string =>
  loadKey(configuration, 'EMAIL_HASH_KEY', 'email-hash-key', () => randomBytes(32).toString('hex'))

/** A new Ed25519 private key, PEM (PKCS #8). */
export const generateSigningKey = (): string =>
  generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()

/**
 * @param text an Ed25519 private key, PEM or JWK
 * @param variable where it comes from, for the message
 * @throws ConfigurationError for anything else, without the key in it
 */
export function readSigningKey(text: string, variable: 'TOKEN_SIGNING_KEY' | 'AUDIT_SIGNING_KEY'): KeyObject {
  let key: KeyObject | undefined
  try {
    key = text.trimStart().startsWith('{')
      ? createPrivateKey({ format: 'jwk', key: JSON.parse(text) })
      : createPrivateKey(text.replaceAll('\\n', '\n')) // a PEM on one line of an environment file
  } catch {
    // Said below: the library's own message may quote the key.
  }
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw new ConfigurationError(`${variable}: its value can't be used; accepted: an Ed25519 private key (PEM or JWK).`)
  }
  return key
}

/** The RFC 7638 thumbprint of an Ed25519 public key. */
export function thumbprint(publicKey: KeyObject): string {
  const { kty, crv, x } = publicKey.export({ format: 'jwk' })
  // Members in this order.
  return createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url')
}

/** Several processes may start at once: the first whole file counts, for all of them. */
export function readOrCreate(folder: string, name: string, generate: () => string): string {
  const path = join(folder, name)
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  mkdirSync(folder, { recursive: true })
  const draft = `${path}.${process.pid}`
  writeFileSync(draft, generate(), { mode: 0o600, flush: true })
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    unlinkSync(draft)
  }
  return readFileSync(path, 'utf8')
}
