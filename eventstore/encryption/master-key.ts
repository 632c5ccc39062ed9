/**
 * Master keys: they wrap the keys of customers and never encrypt events. They come from the environment, or from a key
 * management system through a plug-in.
 */
import { createSecretKey, hash } from 'node:crypto'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import type { Configuration } from '../../runtime/configuration.ts'
import { ConfigurationError } from '../../runtime/errors.ts'
import { loadKey } from '../../runtime/service-keys.ts'
import { within } from '../../runtime/time-limits.ts'
import { seal, unseal } from './aes-gcm.ts'
import { KEY_BYTES } from './keys.ts'

export interface MasterKey {
  /** Identifies the key that wrapped something; it is never the key itself. */
  readonly id: string
  /**
   * @param bytes at most 2,048
   * @param context the context; unwrapping under another one must fail
   * @throws Error where the key management system can't be reached
   */
  wrap(bytes: Uint8Array, context: string): Uint8Array | Promise<Uint8Array>
  /** @throws Error for data that was not wrapped by this key under this context, or if the system can't be reached */
  unwrap(wrapped: Uint8Array, context: string): Uint8Array | Promise<Uint8Array>
}

/** The key that wraps, followed by those that only unwrap. */
export type MasterKeys = readonly [current: MasterKey, ...previous: MasterKey[]]

/**
 * A plug-in is a module whose default export is such a function.
 * @param environment the process's environment variables, for the plug-in's settings
 */
type KmsPlugin = (environment: NodeJS.ProcessEnv) => MasterKey | MasterKeys

/** @param secret 32 bytes */
export function localMasterKey(secret: Uint8Array): MasterKey {
  const key = createSecretKey(secret)
  return {
    id: hash('sha256', Buffer.concat([Buffer.from('master key id'), secret]), 'hex').slice(0, 16),
    wrap: (bytes, context) => seal(key, bytes, Buffer.from(context)),
    unwrap: (wrapped, context) => unseal(key, wrapped, Buffer.from(context)),
  }
}

/**
 * The configured master keys.
 * @throws ConfigurationError if there is none, or if the plug-in can't be used
 */
export function loadMasterKeys(configuration: Configuration): MasterKeys {
  const previous = (configuration.MASTER_KEY_PREVIOUS ?? '').split(',').filter((text) => text.trim() !== '')
  const older = previous.map((text) => localMasterKey(bytesOf(text, 'MASTER_KEY_PREVIOUS')))
  const { KMS_PLUGIN: plugin } = configuration
  if (plugin !== undefined) return [...loadPlugin(plugin), ...older]
  const text = loadKey(configuration, 'MASTER_KEY')
  return [localMasterKey(bytesOf(text, 'MASTER_KEY')), ...older]
}

/** 64 hexadecimal digits, or base64. @throws ConfigurationError, without the key in it */
function bytesOf(text: string, variable: string): Buffer {
  const trimmed = text.trim()
  const bytes = Buffer.from(trimmed, /^[0-9a-f]{64}$/i.test(trimmed) ? 'hex' : 'base64')
  if (bytes.length === KEY_BYTES) return bytes
  throw new ConfigurationError(`${variable}: its value can't be used; accepted: 32 bytes, in hexadecimal or base64.`)
}

/** How long a key management system may take for an answer, in milliseconds: a mutation has 4.5 s. */
const ANSWER_MS = 3_000

/** Whoever needs a key waits for the call that is under way: one that is never answered would keep it from them for ever. */
const inTime = (key: MasterKey): MasterKey => ({
  id: key.id,
  wrap: (...args) => within(ANSWER_MS, (async () => key.wrap(...args))()),
  unwrap: (...args) => within(ANSWER_MS, (async () => key.unwrap(...args))()),
})

function loadPlugin(name: string): MasterKeys {
  const refuse = (reason: string) => new ConfigurationError(`KMS_PLUGIN: ${JSON.stringify(name)} ${reason}.`)
  // A path is relative to the working directory, like other paths; anything else is a package.
  const from = createRequire(resolve('package.json'))
  let keys: ReturnType<KmsPlugin>
  try {
    const loaded = from(/^(file:|\.{0,2}\/)/.test(name) ? resolve(name.replace(/^file:\/\//, '')) : name) as {
      default?: KmsPlugin
    }
    if (typeof loaded.default !== 'function') throw new TypeError('its default export is no function')
    keys = loaded.default(process.env)
  } catch (error) {
    throw refuse(`can't be used: ${(error as Error).message.split('\n')[0]}`)
  }
  const list = [keys].flat() as MasterKey[]
  const [current, ...others] = list
  const isOne = (key: MasterKey | undefined) =>
    typeof key?.id === 'string' && key.id !== '' && typeof key.wrap === 'function' && typeof key.unwrap === 'function'
  if (current === undefined || !list.every(isOne)) throw refuse('must give master keys: { id, wrap, unwrap }')
  return [inTime(current), ...others.map(inTime)]
}
