/** The bench runs to its end. How fast anything is, no test says. */
import './support/needs-redis.ts'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(import.meta.dirname, 'bench/main.ts'), ...args], { encoding: 'utf8' })

/** One of each kind: each costs processes. */
const BENCHES = ['query-redis', 'gateway', 'projection', 'proof', 'import', 'audit']

t.test('npm run bench prints each ratio', async (t) => {
  const quick = ['--quick', '--rounds', '1', '--seconds', '0.02', '--connections', '4', '--events', '500']
  const { status, stdout, stderr } = bench(...BENCHES, 'rebuild', 'lag', ...quick)
  t.equal(status, 0, stderr)
  for (const name of [
    'query, Redis / bare route',
    'query, Redis / route on the read model',
    'gateway / bare calls',
    'gateway / stock Apollo',
    'projection / parsing and a write in each batch',
    'projection / parsing and the same writes',
    'projection / GET and SET for each event',
    'chained append / append',
    'import / appending the same events',
    'find / a bare read of the same log',
    'history / 10,000 events in 1 s',
    'rebuild / 1,000,000 events in 12 s',
    'rebuild, 300 MiB / its memory',
    'rebuild, memory with a tenth / with all',
    'lag, 25 ms / its p99',
  ]) {
    t.match(stdout, new RegExp(`^${name} +\\d+\\.\\d\\d `, 'm'), name)
  }
})

t.test('a wrong option is named', async (t) => {
  const { status, stderr } = bench('sign-in', '--attempts', 'x')
  t.equal(status, 1)
  t.equal(stderr, '--attempts is a number above 0, not "x".\n')
})

t.test('a bench that does not exist is named', async (t) => {
  const { status, stderr } = bench('nothing')
  t.equal(status, 1)
  t.match(
    stderr,
    /^There is no bench "nothing"; there are query, query-redis, mutation, .*, and peers for the last \d\.$/m,
  )
})
