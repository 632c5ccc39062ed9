/** Random operations over random supergraphs, held to what one server with all the data answers. Without end: `npm run fuzz`. */
import t from 'tap'
import { describeFinding, explore } from './oracle/run.ts'
import { type GeneratorName, generators } from './oracle/universes.ts'

/** Of the first supergraphs; the next ones have the next numbers. Always the same here, so that a run can be repeated. */
const SEED = Number(process.env.ORACLE_SEED ?? 20_251)
const SUPERGRAPHS = 3
const OPERATIONS = 40

/** With `@defer` in them. */
const DEFERRED = 40

t.test(`the parts of deferred answers make what one server would answer (seed ${SEED})`, async (t) => {
  let operations = 0
  for (const name of Object.keys(generators) as GeneratorName[]) {
    const { asked, found } = await explore(name, SEED, DEFERRED, 1, true)
    operations += asked
    for (const finding of found) t.fail(`npm run fuzz -- --defer ${describeFinding(finding)}`)
  }
  t.ok(operations > DEFERRED / 2, `${operations} operations were asked`)
})

t.test(`the gateway answers as one server would (seed ${SEED})`, async (t) => {
  let operations = 0
  for (let seed = SEED; seed < SEED + SUPERGRAPHS; seed++) {
    for (const name of Object.keys(generators) as GeneratorName[]) {
      const { asked, found } = await explore(name, seed, OPERATIONS)
      operations += asked
      for (const finding of found) t.fail(`npm run fuzz -- ${describeFinding(finding)}`)
    }
  }
  t.comment(`${operations} operations from seed ${SEED} on`)
  t.ok(operations > 160, `${operations} operations were asked`)
})
