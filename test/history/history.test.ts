/** Some seconds of a history on each kind of Redis; `npm run history` runs longer ones. */
import '../support/needs-redis.ts'
import t from 'tap'
import { KINDS, runHistory } from './run.ts'

const seed = Number(process.env.HISTORY_SEED ?? Date.now() % 2 ** 31)

t.jobs = KINDS.length
for (const kind of KINDS) t.test(kind, (t) => runHistory(t, { kind, seconds: kind === 'server' ? 6 : 4, seed }))
