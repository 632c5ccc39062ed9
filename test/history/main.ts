/** `npm run history -- --seconds 60 --kind cluster --seed 7`: a longer history than the test run's. */
import { parseArgs } from 'node:util'
import t from 'tap'
import { KINDS, type Kind, runHistory } from './run.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    kind: { type: 'string', multiple: true, default: [...KINDS] },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    only: { type: 'string' },
  },
})
t.setTimeout(0)
for (const kind of values.kind as Kind[]) {
  await t.test(kind, (t) => {
    t.setTimeout(0)
    return runHistory(t, { kind, seconds: Number(values.seconds), seed: Number(values.seed), only: values.only })
  })
}
