/**
 * Loaded before each test file: the processes that a test starts run without tap's instrumentation, as in production,
 * and compile what they load once for all of them. Each of the two nearly halves what they cost. Passwords are cheap in
 * the test's process and in those that it starts.
 */
import './cheap-passwords.cjs'
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import processOnSpawn from 'process-on-spawn'

const COMPILED = join(import.meta.dirname, '../../.tap/compile-cache')
const CHEAP_PASSWORDS = `--require=${JSON.stringify(join(import.meta.dirname, 'cheap-passwords.cjs'))}`
const TAP_LOADER = /\s*"?--import=\S*@tapjs\S*/g

// Positions in types that are stripped stay as they are: no source map is needed, and tap's modules have many.
process.setSourceMapsEnabled(false)
enableCompileCache(COMPILED)
processOnSpawn.addListener((spawned: { env: Record<string, string | undefined> }) => {
  spawned.env = {
    ...spawned.env,
    NODE_OPTIONS: `${(spawned.env.NODE_OPTIONS ?? '').replaceAll(TAP_LOADER, '')} ${CHEAP_PASSWORDS}`.trim(),
    NODE_COMPILE_CACHE: COMPILED,
  }
})
