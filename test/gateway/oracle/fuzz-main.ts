/**
 * `npm run fuzz -- [--generator first|second] [--seed N] [--seconds N] [--operations N] [--schemas] [--defer]`: see run.ts. Without
 * `--generator` both take turns; without `--seconds` it never ends.
 */
import { parseArgs } from 'node:util'
import { describeFinding, explore } from './run.ts'
import { type GeneratorName, generators } from './universes.ts'

const { values } = parseArgs({
  options: {
    generator: { type: 'string' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    seconds: { type: 'string' },
    operations: { type: 'string', default: '300' },
    findings: { type: 'string', default: '1' },
    defer: { type: 'boolean', default: false },
    schemas: { type: 'boolean', default: false },
  },
})
const names = Object.keys(generators) as GeneratorName[]
const used = names.filter((name) => values.generator === undefined || values.generator === name)
if (used.length === 0) throw new Error(`--generator is one of ${names.join(', ')}.`)
const first = Number(values.seed)
const end = values.seconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + Number(values.seconds) * 1000
let operations = 0
let wrong = 0
let worlds = 0
for (let seed = first; performance.now() < end; seed++) {
  for (const name of used) {
    const { asked, found } = await explore(name, seed, Number(values.operations), Number(values.findings), values.defer)
    operations += asked
    worlds += asked > 0 ? 1 : 0
    for (const finding of found) {
      wrong++
      console.log(`${describeFinding(finding, values.schemas)}\n`)
    }
  }
  if (seed % 20 === 0) console.log(`# up to seed ${seed}: ${operations} operations, ${wrong} answered wrongly`)
}
console.log(`${operations} operations over ${worlds} supergraphs from seed ${first} on: ${wrong} answered wrongly.`)
process.exitCode = wrong > 0 ? 1 : 0
