#!/usr/bin/env node
/** Starts the command line. Plain JavaScript, so that a Node which can't run TypeScript says so in one line. */

/**
 * Where Node keeps what it has compiled, so that the next process starts in half the time and with a fifth less memory:
 * it needs no compiler for TypeScript then. Beside the packages, because who can write there can change the program
 * anyway; a folder that others can write to, as in /tmp, would let them. Where the folder can't be written,
 * Node reads what is there, and nothing else happens. NODE_COMPILE_CACHE names another folder, and
 * NODE_DISABLE_COMPILE_CACHE turns it off.
 */
const COMPILED = '../node_modules/.cache/customers'

/**
 * The heap of each command. The options must be set when V8 starts, so the process restarts itself with them.
 *
 * Commands that walk the whole log gain nothing from V8's young generation of up to 128 MB. `rebuild` works on larger
 * batches than the others.
 *
 * The gateway's old generation is collected when it has grown by 30 %. By default V8 lets it grow to several times what
 * it holds, because it sees the memory of the machine. This is no limit: a gateway that holds more may take more.
 */
const HEAP_OPTIONS = {
  audit: ['--max-semi-space-size=8'],
  gateway: ['--max-semi-space-size=24', '--heap-growing-percent=30'],
  import: ['--max-semi-space-size=4'],
  keys: ['--max-semi-space-size=8'],
  parked: ['--max-semi-space-size=8'],
  rebuild: ['--max-old-space-size=256', '--max-semi-space-size=16'],
  subgraph: ['--max-semi-space-size=32'],
}

/**
 * Settings of glibc's malloc, which others ignore. By default malloc keeps a set of free memory for each thread, and the
 * gaps in it: after many sign-ins at once, whose password hashes take 19 MiB each, a subgraph would keep 100 MiB. An import
 * allocates and frees many large buffers between small ones that it keeps: these go back to the system at once.
 */
const MALLOC_OPTIONS = {
  gateway: { MALLOC_ARENA_MAX: '2' },
  import: { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '131072' },
  subgraph: { MALLOC_ARENA_MAX: '2' },
}

/** The options that Node lacks for this command line; none if it can't restart itself (on Windows). */
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
    const environment = { ...MALLOC_OPTIONS[argv[2]], ...process.env }
    process.execve(execPath, [execPath, ...options, ...execArgv, ...argv.slice(1)], environment)
  }
  process.getBuiltinModule('node:module').enableCompileCache(`${import.meta.dirname}/${COMPILED}`)
  const { main } = await import('./customers.ts')
  await main(process.argv.slice(2))
} else {
  console.error(
    `error: Node ${process.versions.node} can't run this: Node 24 is needed. \`npm ci\` brings it (not with --omit=dev or --ignore-scripts); otherwise install it and run the command with it.`,
  )
  process.exitCode = 1
}
