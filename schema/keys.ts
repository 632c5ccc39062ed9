/** Keys that are configured, or on the embedded event store generated once into the data folder. */
import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Configuration, ConfigurationError } from './configuration.ts'

/**
 * @param file its name in the data folder
 * @throws ConfigurationError where the key is not set and the event store is not an embedded one (each instance would make its own)
 */
export function loadKey(
  configuration: Configuration,
  variable: 'TOKEN_SIGNING_KEY' | 'EMAIL_HASH_KEY',
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
