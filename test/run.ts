/** `npm test`: runs tap over the tests named as arguments (default: all) and ends with the counts on one line. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'customer-tests-'))
const output = join(folder, 'results.tap')
const tap = (...args: string[]) => spawnSync('tap', args, { stdio: 'inherit' }).status ?? 1

// tap keeps its plugins compiled in; the build takes the set of .taprc (no TypeScript loader: Node strips the types).
let status = tap('build')
if (status === 0) status = tap('run', `--output-file=${output}`, ...process.argv.slice(2))

let results = ''
try {
  results = readFileSync(output, 'utf8')
} catch {
  // tap did not start: its exit code says so
}
rmSync(folder, { recursive: true })

const totals = /^# \{ total: .*\}$/m.exec(results)?.[0] ?? ''
const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
const skipped = count('skip') + count('todo')
console.log(`${count('pass')} passed, ${count('fail')} failed${skipped ? `, ${skipped} skipped` : ''}`)
process.exit(status)
