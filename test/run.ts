/**
 * `npm test`: runs the test files named as arguments, or those of the folders named (default: all), by tap, and ends with
 * the counts on one line.
 *
 * Not by the command `tap run`: that reads each module that a file loads a second time, and then its source map, which
 * costs a file that starts the service as much as its tests.
 */
import { existsSync, readdirSync, statfsSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { ALL_PORTS } from './support/ports.ts'

/** More than there are cores, because some files wait most of their time; not so many that memory runs out. */
const JOBS = Math.min(12, Math.max(5, Math.round(2.5 * availableParallelism())))
/**
 * What takes longest begins first, so that none is left alone at the end; those that wait beside those that work. A file has a
 * process of its own; a folder stands for the process of its other files.
 */
const LONG = [
  'test/deploy/monitoring.test.ts',
  'test/faults/cluster.test.ts',
  'test/faults/faults.test.ts',
  'test/gateway',
  'test/projections/rebuild.test.ts',
  'test/console',
  'test/bench-scale.test.ts',
  'test/deploy',
  'test/projections',
  'test/graph',
  'test/audit',
  'test/bench.test.ts',
  'test/history/history.test.ts',
  'test/graph/crash.test.ts',
  'test/graph/fence.test.ts',
  'test/projections/group.test.ts',
  'test/restore',
  'test/audit/erase.test.ts',
  'test/start.test.ts',
  'test/magento',
  'test/eventstore',
  'test/projections/redis/read-model.test.ts',
  'test/mail',
  'test/import',
  'test/subgraph',
  'test/gateway/oracle.test.ts',
  'test/gateway/load.test.ts',
  'test/projections/process.test.ts',
  'test/eventstore/kurrentdb/cluster.test.ts',
  'test/projections/redis/loss.test.ts',
]
/**
 * These have a process of their own, because they change something that belongs to the process (its environment, its
 * listeners, how many tests run at once) or measure it. The others of a part of the program share one: loading the service
 * and its libraries, and compiling them, costs as much as most files' tests.
 */
const ALONE = [
  'test/error-codes.test.ts',
  'test/eventstore/encryption/key-fingerprints.test.ts',
  'test/eventstore/sqlite/files.test.ts',
  'test/eventstore/sqlite/shared-file.test.ts',
  'test/gateway/supergraph-swap.test.ts',
  'test/projections/worker.test.ts',
  'test/subgraph/limits.test.ts',
]
/** Parts of the program with fewer share a process. */
const FEW_FILES = 5
/** More keep so much in memory that it costs more than it saves, and leave jobs without work at the end. */
const MOST_FILES = 18
/** Of a process, for what no test's own limit finds (see `support/run-files.ts`): files that are only slow are not to be ended by it. */
const PROCESS_SECONDS = process.env.TEST_EVENTSTORE_SERVER ? 3_600 : 1_800

/** Those with a process of their own that are not long come last: they fill the gaps. */
function placeOf([first = '', ...more]: readonly string[]): number {
  const place = LONG.indexOf(first)
  if (place >= 0) return place
  if (ALONE.includes(first)) return LONG.length + 1
  const folder = LONG.findIndex((name) => [first, ...more].some((file) => file.startsWith(`${name}/`)))
  return folder >= 0 ? folder : LONG.length
}

/** `test/gateway` of `test/gateway/oracle/x.test.ts`. */
const partOf = (file: string) => dirname(file).split('/').slice(0, 2).join('/')

/** The files of each process: those of one part of the program, or of several parts that have few. */
function processesOf(files: readonly string[]): string[][] {
  const isAlone = (file: string) => ALONE.includes(file) || LONG.includes(file)
  const alone = files.filter(isAlone).map((file) => [file])
  const shared = files.filter((file) => !isAlone(file))
  const parts = Object.values(Object.groupBy(shared, partOf)).map((part) => part ?? [])
  const few = parts.filter((part) => part.length < FEW_FILES).flat()
  const many = parts.filter((part) => part.length >= FEW_FILES)
  return [...alone, ...[...many, few].flatMap(deal)].toSorted((a, b) => placeOf(a) - placeOf(b))
}

/** Spread over as few processes as hold them. Like cards: neighbours by name often test the same thing, and take as long. */
function deal(files: readonly string[]): string[][] {
  const processes = Math.ceil(files.length / MOST_FILES)
  return Array.from({ length: processes }, (_, first) => files.filter((_, index) => index % processes === first))
}

const root = join(import.meta.dirname, '..')
const all = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts') && !name.includes('node_modules'))
  .map((name) => `test/${name}`)
  .toSorted()
const named = process.argv.slice(2).map((argument) => {
  const name = relative(root, resolve(argument))
  return { argument, files: all.filter((file) => file === name || file.startsWith(`${name}/`)) }
})
const nothing = named.find(({ files }) => files.length === 0)
if (nothing) {
  console.error(`${nothing.argument} is no test file, nor a folder that has any.`)
  process.exit(1)
}

/**
 * Where the tests' files are: in memory, if there is room. Tests kill processes and not the machine, so nothing that they
 * prove needs a disk, but each commit of SQLite would wait for it. The whole suite takes 300 MB at a time.
 */
const MEMORY = '/dev/shm'
const NEEDED_BYTES = 2 ** 31
function temporaryFolder(): string {
  if (!existsSync(MEMORY)) return tmpdir()
  const { bavail, bsize } = statfsSync(MEMORY)
  return bavail * bsize >= NEEDED_BYTES ? MEMORY : tmpdir()
}

/** The ports of one of so many processes: `10000-10199`. */
function portsOf(index: number, count: number): string {
  const each = Math.floor((ALL_PORTS.last - ALL_PORTS.first + 1) / count)
  const first = ALL_PORTS.first + index * each
  return `${first}-${first + each - 1}`
}

/** What passed inside a file is left out: files as they end, and all of what failed. */
const PASSED = /^\s+(ok \d+|# Subtest|1\.\.\d+$|# time=)|^\s*$|^# (Subtest|time=|\{)/

// tap is to note nothing of the modules that are loaded.
process.env._TAPJS_PROCESSINFO_EXCLUDE_ = '/./'
t.setTimeout(0)
t.jobs = JOBS
const output = t.pipe(new PassThrough())
const files = named.length > 0 ? named.flatMap(({ files }) => files) : all
const runs = processesOf(files).map(([first = '', ...more], index, { length }) =>
  t.spawn(process.execPath, ['--import=./test/support/plain-processes.ts', 'test/support/run-files.ts', first], {
    name: [first, ...more].join(' '),
    at: null,
    stack: '',
    buffered: true,
    cwd: root,
    timeout: PROCESS_SECONDS * 1000,
    env: {
      ...process.env,
      TAP_TIMEOUT: String(PROCESS_SECONDS), // tap tells it to this process, too, where it takes the place of the one above
      TMPDIR: process.env.TMPDIR ?? temporaryFolder(),
      TEST_PORTS: portsOf(index, length),
      TEST_MORE_FILES: more.length > 0 ? more.join(':') : undefined,
    },
  }),
)
Promise.all(runs).then(() => t.end())
for await (const line of createInterface({ input: output })) if (!PASSED.test(line)) console.log(line)

const { pass, fail, skip, todo } = t.counts
console.log(`${pass} passed, ${fail} failed${skip + todo ? `, ${skip + todo} skipped` : ''}`)
process.exit(t.passing() ? 0 : 1)
