/** The benches of growth: what they print and marks, and that it runs to its end. No test asserts how fast anything is. */
import './support/needs-redis.ts'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { growthOf } from './bench/memory.ts'
import { exponentOf, growthTable } from './bench/scale/growth.ts'

t.test('exponents', async (t) => {
  t.equal(exponentOf([10_000, 100_000], [2, 20]).toFixed(2), '1.00')
  t.equal(exponentOf([10_000, 100_000], [2, 2]).toFixed(2), '0.00')
  t.equal(exponentOf([10, 1_000, 100_000], [7, 2, 20]).toFixed(2), '0.50', 'between the last two sizes')
})

t.test('a figure that should be flat and is not is marked', async (t) => {
  const small = { time: 0.002, cpu: 0.001, memory: 200 }
  const table = growthTable(
    [10_000, 100_000],
    [
      { name: 'query', flat: ['time', 'cpu', 'memory'], measured: [small, { time: 0.002, cpu: 0.004, memory: 210 }] },
      { name: 'find', flat: ['memory'], measured: [small, { time: 0.02, cpu: 0.01, memory: 200 }] },
      { name: 'import', flat: ['memory'], measured: [small, { time: 20, cpu: 10, memory: 900 }] },
    ],
  )
  t.match(table, /^ +10,000: time +CPU +memory +100,000: time +CPU +memory +exponent: time +CPU +memory$/m)
  t.match(table, /^query +2\.00 ms +1\.00 ms +200 MiB +2\.00 ms +4\.00 ms +210 MiB +0\.00 +0\.60 ! +0\.02$/m)
  t.match(table, /^find +.* 1\.00 +1\.00 +0\.00$/m, 'it reads the whole log')
  t.match(table, /^import +.* 20\.00 s +10\.00 s +900 MiB .*0\.65 !$/m)
  t.match(table, /^! should not depend on the size of the log$/m)
})

t.test('memory that grows after its warm-up is marked', async (t) => {
  t.equal(growthOf([100, 180, 200, 210, 208, 212, 211, 209, 214, 210]), '+1 MiB')
  t.equal(growthOf([100, 110, 120, 130, 140, 150, 160, 170, 180, 190]), '+40 MiB !')
  t.equal(growthOf([20, 20, 20, 20, 20, 20, 24, 25, 26, 27]), '+6 MiB', 'little is noise')
  t.equal(growthOf([220, 210, 200, 190, 180, 170, 160, 150, 140, 130]), '-40 MiB')
})

t.test('npm run bench -- memory', async (t) => {
  const script = join(import.meta.dirname, 'bench/main.ts')
  const options = ['memory', '--documents', '0', '--swaps', '10']
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...options], { encoding: 'utf8' })
  t.equal(status, 0, stderr)
  for (const kind of ['heap', 'resident']) {
    t.match(stdout, new RegExp(`^10 swaps, ${kind} MiB( +\\d+){10} +[+-]\\d+ MiB`, 'm'))
  }
  t.notMatch(stdout, /documents/, 'only what is asked for')
})

t.test('npm run bench -- scaling', async (t) => {
  const options = ['scaling', '--events', '50', '--processes', '2']
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'bench/main.ts'), ...options],
    {
      encoding: 'utf8',
    },
  )
  t.equal(status, 0, stderr)
  t.match(stdout, /^processes +events\/s +CPU us\/event +delivered again +shares\n +2 +\d+ +\d+ +\d+ +\d+ %, \d+ %$/m)
})

t.test('npm run bench -- scale', async (t) => {
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [join(import.meta.dirname, 'bench/main.ts'), 'scale', ...args], { encoding: 'utf8' })
  const { status, stdout, stderr } = bench('--customers', '20,40', '--operations', 'query')
  t.equal(status, 0, stderr)
  t.match(stdout, /^query +[\d.]+ m?s +[\d.]+ m?s +\d+ MiB +.* -?\d\.\d\d/m)
  t.notMatch(stdout, /^(find|import)/m, 'only the requested operations')
  const unknown = bench('--operations', 'nothing')
  t.equal(unknown.status, 1)
  t.match(unknown.stderr, /There is no operation "nothing"; there are import, start, projection, /)
})
