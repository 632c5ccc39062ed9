#!/usr/bin/env node
/** Starts the command line. Plain JavaScript, so that a Node which can't run TypeScript says so in one line. */

/**
 * Commands that walk a log of any length. Node lets their young garbage grow to 128 MB, which saves them nothing; the limit
 * has to be there when V8 starts, so the process begins anew with it. `rebuild` keeps batches that are larger.
 */
const HEAP_OPTIONS = {
  audit: ['--max-semi-space-size=8'],
  import: ['--max-semi-space-size=8'],
  keys: ['--max-semi-space-size=8'],
  parked: ['--max-semi-space-size=8'],
  rebuild: ['--max-old-space-size=256', '--max-semi-space-size=16'],
}

/** What Node is to be started with for this command line; none where it was, or can't be started anew (on Windows). */
function heapOptions() {
  const { execArgv, argv, platform, execve } = process
  if (platform === 'win32' || execve === undefined) return []
  if (execArgv.some((option) => option.startsWith('--max-semi-space-size'))) return []
  return Object.hasOwn(HEAP_OPTIONS, argv[2] ?? '') ? HEAP_OPTIONS[argv[2]] : []
}

if (process.features.typescript) {
  const options = heapOptions()
  if (options.length > 0) {
    const { execPath, execArgv, argv } = process
    process.execve(execPath, [execPath, ...options, ...execArgv, ...argv.slice(1)], process.env)
  }
  const { main } = await import('./customers.ts')
  await main(process.argv.slice(2))
} else {
  console.error(
    `error: Node ${process.versions.node} can't run this: Node 24 is needed. \`npm ci\` brings it (not with --omit=dev or --ignore-scripts); otherwise install it and run the command with it.`,
  )
  process.exitCode = 1
}
