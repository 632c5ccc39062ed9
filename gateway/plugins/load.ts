/** Loads plugins when the gateway starts. Whatever is wrong with one is said in one line, and the gateway does not start. */
import { existsSync } from 'node:fs'
import { basename, extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigurationError } from '../../runtime/errors.ts'
import { within } from '../../runtime/time-limits.ts'
import type { CreatePlugin, GatewayPlugin, PluginEnvironment } from '../plugin.ts'

/** A plugin: a file's path, relative to the working folder, or the plugin itself. */
export type PluginSource = string | GatewayPlugin | CreatePlugin

/** A plugin that was checked. */
export interface LoadedPlugin {
  readonly name: string
  readonly timeoutMs: number
  readonly hooks: GatewayPlugin
}

const HOOKS = ['onRequest', 'onOperation', 'onSubgraphRequest', 'onResponse'] as const
const MEMBERS = ['name', 'timeoutMs', ...HOOKS, 'close']
const EXTENSIONS = ['.ts', '.js', '.mjs', '.mts']
const DEFAULT_TIMEOUT_MS = 1_000
const MAX_TIMEOUT_MS = 60_000
/** How long a plugin may take to be created, in milliseconds. */
const START_MS = 30_000
const NAME = /^[\w.-]{1,64}$/

/**
 * Loads plugins in the given order.
 * @throws ConfigurationError naming the plugin and what is wrong with it
 */
export async function loadPlugins(
  sources: readonly PluginSource[],
  environment: PluginEnvironment,
): Promise<readonly LoadedPlugin[]> {
  const plugins: LoadedPlugin[] = []
  for (const source of sources) {
    try {
      plugins.push(await load(source, environment))
    } catch (error) {
      await closePlugins(plugins)
      throw error
    }
  }
  return plugins
}

/** Closes plugins, the last one first. A failure of one does not keep the others open. */
export async function closePlugins(plugins: readonly LoadedPlugin[]): Promise<void> {
  for (const { hooks, timeoutMs } of plugins.toReversed()) {
    if (hooks.close)
      await within(
        timeoutMs,
        attempt(() => hooks.close?.()),
      ).catch(() => {})
  }
}

/** Checks that the file of a plugin is there. It is not loaded. @throws ConfigurationError */
export function checkPluginFile(path: string): void {
  if (!EXTENSIONS.includes(extname(path))) throw wrong(path, `is not a module; accepted: ${EXTENSIONS.join(', ')}`)
  if (!existsSync(resolve(path))) throw wrong(path, 'does not exist')
}

async function load(source: PluginSource, environment: PluginEnvironment): Promise<LoadedPlugin> {
  const fileName = typeof source === 'string' ? basename(source, extname(source)) : ''
  const shown = typeof source === 'string' ? source : 'a plugin'
  let given = typeof source === 'string' ? await moduleOf(source) : source
  if (typeof given === 'function') {
    const create: CreatePlugin = given
    const late = () => new Error(`it was not created within ${START_MS} ms`)
    try {
      given = await within(
        START_MS,
        attempt(() => create(environment)),
        late,
      )
    } catch (error) {
      throw wrong(shown, `can't be created: ${firstLine(error)}`)
    }
  }
  return check(given, fileName, shown)
}

/** The default export of a file. */
async function moduleOf(path: string): Promise<GatewayPlugin | CreatePlugin> {
  checkPluginFile(path)
  let exported: Readonly<Record<string, unknown>>
  try {
    exported = await import(pathToFileURL(resolve(path)).href)
  } catch (error) {
    throw wrong(path, `can't be loaded: ${firstLine(error)}`)
  }
  const astray = Object.keys(exported).find((name) => /^on[A-Z]/.test(name))
  if (astray !== undefined) throw wrong(path, `exports ${astray} by itself; hooks are members of the default export`)
  if (exported.default === undefined) throw wrong(path, 'has no default export')
  return exported.default as GatewayPlugin | CreatePlugin
}

function check(given: unknown, fileName: string, shown: string): LoadedPlugin {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw wrong(shown, 'is not a plugin; accepted: an object with hooks, or a function that returns one')
  }
  const unknown = namesIn(given).find((name) => !MEMBERS.includes(name))
  if (unknown !== undefined) throw wrong(shown, `has no hook "${unknown}"; accepted: ${MEMBERS.join(', ')}`)
  const plugin = given as Readonly<Record<string, unknown>>
  for (const name of [...HOOKS, 'close']) {
    if (plugin[name] !== undefined && typeof plugin[name] !== 'function') throw wrong(shown, `: ${name} is no function`)
  }
  if (!HOOKS.some((name) => plugin[name] !== undefined)) {
    throw wrong(shown, `has no hook; accepted: ${HOOKS.join(', ')}`)
  }
  const { name = fileName || 'plugin', timeoutMs = DEFAULT_TIMEOUT_MS } = plugin
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw wrong(shown, ': its name is not up to 64 letters, digits and . _ -')
  }
  if (!Number.isInteger(timeoutMs) || (timeoutMs as number) < 1 || (timeoutMs as number) > MAX_TIMEOUT_MS) {
    throw wrong(shown, `: its timeoutMs is not a whole number of milliseconds, 1 to ${MAX_TIMEOUT_MS}`)
  }
  return { name, timeoutMs: timeoutMs as number, hooks: given as GatewayPlugin }
}

/** The members of an object. Of an instance of a class, which may have fields of its own, those that look like hooks. */
function namesIn(given: object): string[] {
  const prototype: unknown = Object.getPrototypeOf(given)
  const own = Object.keys(given)
  if (prototype === Object.prototype || prototype === null) return own
  return [...own, ...Object.getOwnPropertyNames(prototype)].filter((name) => /^on[A-Z]/.test(name))
}

/** Also what the work throws at once is a rejection. */
const attempt = async <T>(work: () => T | Promise<T>): Promise<T> => work()

function wrong(path: string, what: string): ConfigurationError {
  return new ConfigurationError(`GATEWAY_PLUGIN: ${path}${what.startsWith(':') ? '' : ' '}${what}.`)
}

const firstLine = (error: unknown) =>
  (error instanceof Error ? error.message : 'something that is not an error was thrown').split('\n')[0]
