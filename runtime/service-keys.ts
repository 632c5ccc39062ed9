/**
 * The keys that the service depends on: configured, or on the embedded event store in files of the data folder. Only
 * `npm start` on a new, empty data folder and `npm run secrets` make keys. Everything else says which one is missing: a key
 * that was made in place of a lost one would seem valid and decrypt nothing.
 */
import { createHash, createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Configuration, isEmbedded } from './configuration.ts'
import { ConfigurationError } from './errors.ts'

const secret = () => randomBytes(32).toString('hex')

/** Each key's file in the data folder, and what makes it. */
const KEYS = {
  TOKEN_SIGNING_KEY: { file: 'token-signing-key.pem', make: generateSigningKey },
  EMAIL_HASH_KEY: { file: 'email-hash-key', make: secret },
  MASTER_KEY: { file: 'master-key', make: secret },
  AUDIT_SIGNING_KEY: { file: 'audit-signing-key.pem', make: generateSigningKey },
} as const
export type KeyVariable = keyof typeof KEYS
export const KEY_VARIABLES = Object.keys(KEYS) as readonly KeyVariable[]

/** Where a key is that is not configured, on an embedded event store. */
export const keyFile = ({ DATA_DIR }: Configuration, variable: KeyVariable): string =>
  join(DATA_DIR, KEYS[variable].file)

/** While it is there the data folder is being set up: a start that was cut off begins again. */
const MARKER = '.new'

/** The key where it is configured, or in the data folder of an embedded event store. */
export function findKey(configuration: Configuration, variable: KeyVariable): string | undefined {
  const configured = configuration[variable]
  if (configured !== undefined || !isEmbedded(configuration)) return configured
  try {
    return readFileSync(join(configuration.DATA_DIR, KEYS[variable].file), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}

/** @throws ConfigurationError for a key that is missing: what it is called, and what makes one */
export function loadKey(configuration: Configuration, variable: KeyVariable): string {
  const key = findKey(configuration, variable)
  if (key !== undefined) return key
  const path = join(configuration.DATA_DIR, KEYS[variable].file)
  throw new ConfigurationError(
    isEmbedded(configuration)
      ? `${variable} is not set and ${path} is missing: put it back from your backup (npm start makes keys on a new, empty data folder only, npm run secrets for a new service).`
      : `${variable} is not set; it is required unless EVENTSTORE_URL is sqlite:PATH. npm run secrets makes one for a new service.`,
  )
}

/**
 * The files of keys in the data folder of an embedded event store, which an empty log must not lie beside: it would be a
 * log that was lost. None while the folder is being set up.
 */
export function keyFilesOf(configuration: Configuration): string[] {
  const { DATA_DIR } = configuration
  if (!isEmbedded(configuration) || existsSync(join(DATA_DIR, MARKER))) return []
  return Object.values(KEYS)
    .map(({ file }) => join(DATA_DIR, file))
    .filter((path) => existsSync(path))
}

/**
 * For `npm start` alone: makes the keys that are not configured, where the data folder has neither keys nor a log yet.
 * @param isLogEmpty whether the log has no event
 * @returns to be called once the log has its first event
 */
export function prepareDataFolder(configuration: Configuration, isLogEmpty: boolean): () => void {
  const { DATA_DIR } = configuration
  const marker = join(DATA_DIR, MARKER)
  if (!isEmbedded(configuration)) return () => {}
  if (!existsSync(marker)) {
    if (!isLogEmpty || keyFilesOf(configuration).length > 0) return () => {}
    mkdirSync(DATA_DIR, { recursive: true })
    writeFileSync(marker, '')
  }
  for (const [variable, { file, make }] of Object.entries(KEYS)) {
    const isNeeded = variable !== 'MASTER_KEY' || configuration.KMS_PLUGIN === undefined
    if (isNeeded && configuration[variable as KeyVariable] === undefined) create(join(DATA_DIR, file), make)
  }
  return () => rmSync(marker, { force: true })
}

/** Keys the hash of e-mail addresses and the tokens of links in mails; the same on every instance and for ever. @throws ConfigurationError */
export const loadEmailHashKey = (configuration: Configuration): string => loadKey(configuration, 'EMAIL_HASH_KEY')

/** Tells keys apart without telling them. */
export const emailHashKeyId = (key: string): string =>
  createHmac('sha256', key).update('fingerprint of the e-mail hash key').digest('base64url').slice(0, 22)

/** A new Ed25519 private key, PEM (PKCS #8). */
export function generateSigningKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
}

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
function create(path: string, make: () => string): void {
  const draft = `${path}.${process.pid}`
  writeFileSync(draft, make(), { mode: 0o600, flush: true })
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    unlinkSync(draft)
  }
}
