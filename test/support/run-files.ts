/**
 * Runs a test file in this process, and then those that TEST_MORE_FILES names, separated by colons. tap makes the names
 * of its fixtures' folders of the arguments, so only the first is one.
 */
import { registerHooks } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { catchFor } from './domain.ts'

/** Of each test that a file makes: tap's own TAP_TIMEOUT is for all of a process. Three nodes of a real server take a minute to start and to elect a leader. */
const TEST_SECONDS = process.env.TEST_EVENTSTORE_SERVER ? 900 : 600

/** After the last test. */
const END_SECONDS = 60

const hooks = registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'async-hook-domain'
      ? { url: new URL('domain.ts', import.meta.url).href, shortCircuit: true }
      : next(specifier, context),
})
const [first = ''] = process.argv.slice(2)
const more = process.env.TEST_MORE_FILES?.split(':') ?? []
const { default: t } = await import('tap')
catchFor(t)
t.on('subtestAdd', ({ options }) => {
  options.timeout ??= TEST_SECONDS * 1000
})
/** Those that are skipped, too: on a real event store that may be all of a file. */
let added = 0
const { test } = t
t.test = ((...args: Parameters<typeof test>) => {
  added++
  return test.apply(t, args)
}) as typeof test
// Each module that is loaded with a hook costs twice as much to find.
hooks.deregister()
for (const file of [first, ...more]) {
  const before = added
  await import(pathToFileURL(resolve(file)).href)
  if (added === before) throw new Error(`${file} has no test.`)
}
t.on('complete', () => {
  const left = () => {
    console.error('The process does not end: a test has left something behind.')
    process.exit(1)
  }
  setTimeout(left, END_SECONDS * 1000).unref()
})
t.end()
