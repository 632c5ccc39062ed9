/** The bench runs to its end. How fast anything is, no test says. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(import.meta.dirname, 'bench/main.ts'), ...args], { encoding: 'utf8' })

t.test('npm run bench prints each ratio', async (t) => {
  const { status, stdout, stderr } = bench('--quick', '--rounds', '1', '--seconds', '0.1')
  t.equal(status, 0, stderr)
  for (const name of [
    'query / bare read',
    'mutation / bare append',
    'gateway / bare calls',
    'gateway / stock Apollo',
  ]) {
    t.match(stdout, new RegExp(`^${name} +\\d+\\.\\d\\d `, 'm'), name)
  }
})

t.test('a bench that does not exist is named', async (t) => {
  const { status, stderr } = bench('nothing')
  t.equal(status, 1)
  t.match(stderr, 'There is no bench "nothing"; there are query, mutation, gateway.')
})
