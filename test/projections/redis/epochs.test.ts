/** How long a filling of the Redis read model lasts at least, by whichever clock. */
import '../../support/needs-redis.ts'
import t from 'tap'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { within } from '../../../runtime/time-limits.ts'
import { aCheckpoint } from '../../contract/read-model.ts'
import { startRedis } from '../../support/redis.ts'

for (const [name, jump] of [
  ['back', -3_600_000],
  ['forward', 3_600_000],
] as const) {
  t.test(`an epoch lasts as long as it has to, where the clock is set ${name} meanwhile`, async (t) => {
    const server = await startRedis(t)
    const settleMs = 500
    const readModel = openRedisReadModel(server.url, { settleMs })
    t.teardown(() => readModel.close())
    const began = performance.now()
    const first = { ...aCheckpoint(1n), complete: false }
    t.same(await readModel.setCheckpoint(first, null), first)
    const { now } = Date
    t.intercept(Date, 'now', { value: () => now() + jump, configurable: true })
    const next = aCheckpoint(2n)
    t.same(await within(10_000, readModel.setCheckpoint(next, first)), next)
    t.ok(performance.now() - began >= settleMs)
  })
}
