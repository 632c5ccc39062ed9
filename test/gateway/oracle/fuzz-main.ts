/** `npm run fuzz`: see run.ts. */
import { positive, readArguments, refuse } from '../../support/arguments.ts'
import { describeFinding, explore } from './run.ts'
import { type GeneratorName, generators } from './universes.ts'

const names = Object.keys(generators) as GeneratorName[]
const USAGE = `npm run fuzz -- [--generator ${names.join('|')}] [--seed N] [--seconds N] [--operations N] [--findings N] [--defer] [--schemas]

Random supergraphs and operations: whether the gateway answers as an oracle does.

  --generator   of supergraphs (both take turns)
  --seed        of the first supergraph (by chance); a finding names its own
  --seconds     how long it runs (without end)
  --operations  for each supergraph (300)
  --findings    of a supergraph, then the next one is tried (1)
  --defer       operations have @defer
  --schemas     prints the subgraphs' schemas with each finding`

const CONFIG = {
  options: {
    generator: { type: 'string' },
    seed: { type: 'string', default: String(1 + Math.floor(Math.random() * 2 ** 31)) },
    seconds: { type: 'string' },
    operations: { type: 'string', default: '300' },
    findings: { type: 'string', default: '1' },
    defer: { type: 'boolean', default: false },
    schemas: { type: 'boolean', default: false },
  },
} as const
const { values } = readArguments(CONFIG, USAGE)
const used = names.filter((name) => values.generator === undefined || values.generator === name)
if (used.length === 0) refuse(`--generator is one of ${names.join(', ')}, not "${values.generator}".`)
const first = positive('seed', values.seed)
const operationsEach = positive('operations', values.operations)
const findings = positive('findings', values.findings)
const end =
  values.seconds === undefined
    ? Number.POSITIVE_INFINITY
    : performance.now() + positive('seconds', values.seconds) * 1000
let operations = 0
let wrong = 0
let worlds = 0
for (let seed = first; performance.now() < end; seed++) {
  for (const name of used) {
    const { asked, found } = await explore(name, seed, operationsEach, findings, values.defer)
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
