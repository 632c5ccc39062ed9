/** `npm run history -- --seconds 60 --kind cluster --seed 7`: a longer history than the test run's. */
import { positive, readArguments, refuse } from '../support/arguments.ts'
import { KINDS, type Kind, runHistory } from './run.ts'

const USAGE = `npm run history -- [--seconds N] [--kind ${KINDS.join('|')}]... [--seed N] [--only TEXT]

Two subgraphs, a projection and their clients, while Redis, the network and processes fail; then it checks what the
clients saw. See docs/read-your-writes.md.

  --seconds  how long faults follow each other (60)
  --kind     of Redis; may be given several times (all)
  --seed     repeats the choices of a run (by chance)
  --only     faults whose name has this text (all)`

const CONFIG = {
  options: {
    seconds: { type: 'string', default: '60' },
    kind: { type: 'string', multiple: true },
    seed: { type: 'string', default: String(1 + (Date.now() % 2 ** 31)) },
    only: { type: 'string' },
  },
} as const

const { values } = readArguments(CONFIG, USAGE)
const seconds = positive('seconds', values.seconds)
const seed = positive('seed', values.seed)
const kinds = values.kind ?? KINDS
for (const kind of kinds) {
  if (!KINDS.includes(kind as Kind)) refuse(`--kind is one of ${KINDS.join(', ')}, not "${kind}".`)
}
// tap would take the arguments for its own.
const { default: t } = await import('tap')
t.setTimeout(0)
for (const kind of kinds as Kind[]) {
  await t.test(kind, (t) => {
    t.setTimeout(0)
    return runHistory(t, { kind, seconds, seed, only: values.only })
  })
}
