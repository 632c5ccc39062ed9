/** Some seconds of a history on a server, and on one of the other kinds of Redis; `npm run history` runs longer ones of all. */
import '../support/needs-redis.ts'
import t from 'tap'
import { runHistory } from './run.ts'

const seed = Number(process.env.HISTORY_SEED ?? Date.now() % 2 ** 31)

t.jobs = 2
t.test('a server', (t) => runHistory(t, { kind: 'server', seconds: 6, seed }))
t.test('a server that another one takes over from', (t) =>
  runHistory(t, { kind: seed % 2 === 0 ? 'sentinel' : 'cluster', seconds: 4, seed }),
)
