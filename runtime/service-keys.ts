/**
 * The keys that the service depends on: configured, or, with the embedded event store, files in the data folder. Only
 * `npm start` on a new, empty data folder and `npm run secrets` create keys. Everything else reports which key is
 * missing: a new key in place of a lost one would look valid and decrypt nothing.
 */
import { createHash, createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Configuration, isEmbedded, readVariable, SHARED_VARIABLES, type Variable } from './configuration.ts'
import { ConfigurationError } from './errors.ts'

const secret = () => randomBytes(32).toString('hex')

/** The file of each key in the data folder, and the function that creates the key. */
const KEYS = {
  TOKEN_SIGNING_KEY: { file: 'token-signing-key.pem', make: generateSigningKey },
  EMAIL_HASH_KEY: { file: 'email-hash-key', make: secret },
  MASTER_KEY: { file: 'master-key', make: secret },
  AUDIT_SIGNING_KEY: { file: 'audit-signing-key.pem', make: generateSigningKey },
} as const
export type KeyVariable = keyof typeof KEYS
export const KEY_VARIABLES = Object.keys(KEYS) as readonly KeyVariable[]

/** The path of a key that is not configured, with the embedded event store. */
export const keyFile = ({ DATA_DIR }: Configuration, variable: KeyVariable): string =>
  join(DATA_DIR, KEYS[variable].file)

/** While this file exists, the data folder is being set up. A start that was interrupted begins again. */
const MARKER = '.new'

/**
 * The configured key, or the one in the data folder of an embedded event store, read as the file of `<NAME>_FILE` is.
 * @throws ConfigurationError for a file that can't be read, or whose content can't be the key
 */
export function findKey(configuration: Configuration, variable: KeyVariable): string | undefined {
  const configured = configuration[variable]
  if (configured !== undefined || !isEmbedded(configuration)) return configured
  const path = keyFile(configuration, variable)
  if (!existsSync(path)) return undefined
  const own = SHARED_VARIABLES[variable] as Variable
  const { value } = readVariable(variable, own, { [`${variable}_FILE`]: path })
  if (value === undefined) throw new ConfigurationError(`${variable} is not set and ${path} is empty.`)
  return value as string
}

/** @throws ConfigurationError if the key is missing; the message names it and says how to create one */
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
 * The key files in the data folder of an embedded event store. If they exist beside an empty log, the log was lost. The
 * list is empty while the folder is being set up.
 */
export function keyFilesOf(configuration: Configuration): string[] {
  const { DATA_DIR } = configuration
  if (!isEmbedded(configuration) || existsSync(join(DATA_DIR, MARKER))) return []
  return Object.values(KEYS)
    .map(({ file }) => join(DATA_DIR, file))
    .filter((path) => existsSync(path))
}

/**
 * For `npm start` alone: creates the keys that are not configured, if the data folder has neither keys nor a log yet.
 * @param isLogEmpty whether the log has no events
 * @returns call it once the log has its first event
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

/**
 * The key for the hashes of e-mail addresses and for the tokens of links in mails. It must be the same on every
 * instance and never change. @throws ConfigurationError
 */
export const loadEmailHashKey = (configuration: Configuration): string => loadKey(configuration, 'EMAIL_HASH_KEY')

/** Distinguishes keys without revealing them. */
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
    // Reported below without the cause: the library's own message may quote the key.
  }
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw new ConfigurationError(`${variable}: its value can't be used; accepted: an Ed25519 private key (PEM or JWK).`)
  }
  return key
}

/** The RFC 7638 thumbprint of an Ed25519 public key. */
export function thumbprint(publicKey: KeyObject): string {
  const { kty, crv, x } = publicKey.export({ format: 'jwk' })
  // The thumbprint requires this order of members.
  return createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url')
}

/** Several processes may start at once: they all use the first complete file. */
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
