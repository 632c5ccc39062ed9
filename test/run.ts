/** `npm test`: runs tap over the tests named as arguments (default: all) and ends with the counts on one line. */
import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'

// tap keeps its plugins compiled in; the build takes the set of .taprc (no TypeScript loader: Node strips the types).
const built = spawnSync('tap', ['build'], { stdio: 'inherit' })
if (built.status !== 0) process.exit(built.status ?? 1)

const tap = spawn('tap', ['run', '--reporter=tap', ...process.argv.slice(2)], { stdio: ['inherit', 'pipe', 'inherit'] })
const ended = new Promise<number>((resolve) => tap.on('close', (code) => resolve(code ?? 1)))

/** What passed inside a file is left out: files as they end, and all of what failed. */
const PASSED = /^\s+(ok \d+|# Subtest|1\.\.\d+$|# time=)|^\s*$|^# (Subtest|time=|No coverage)/
let totals = ''
for await (const line of createInterface({ input: tap.stdout })) {
  if (line.startsWith('# { total:')) totals = line
  else if (!PASSED.test(line)) console.log(line)
}

const status = await ended
const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
const skipped = count('skip') + count('todo')
console.log(`${count('pass')} passed, ${count('fail')} failed${skipped ? `, ${skipped} skipped` : ''}`)
process.exit(status)
