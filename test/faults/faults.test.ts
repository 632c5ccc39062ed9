/**
 * Parts die and stand still under load, and the stores go. Each run ends with: no acknowledged write lost, documents equal to
 * the folds.
 */
import '../support/needs-redis.ts'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { type Part, startService } from './service.ts'

t.test('two workers in a group', async (t) => {
  const redis = await startRedis(t, { persistent: true })
  const service = await startService(t, { readModelUrl: redis.url, modes: ['group', 'group'] })
  const [subgraph, other] = service.subgraphs
  const [worker, second] = service.projections
  if (!subgraph || !other || !worker || !second) throw new Error('There are two of each.')

  await t.test('one of each kind is killed, one after the other', async (t) => {
    await service.under(500)
    for (const part of [service.gateway, subgraph, worker]) {
      await part.crash()
      await service.under(500)
    }
    await service.check(t)
  })

  await t.test('a worker stands still for 30 s, and does no harm when it wakes', async (t) => {
    await service.pausedFor(30_000, [worker])
    await service.check(t)
  })

  await t.test('the stores go and come back', async (t) => {
    await service.under(500)
    await redis.stop()
    await delay(1_000)
    await redis.start()
    await service.under(500)
    await redis.kill()
    await redis.start()
    await service.under(500)
    await redis.command('FLUSHALL')
    await service.under(500)
    service.server.cutConnections()
    await service.under(500)
    await service.server.stop()
    await delay(1_500)
    await service.server.start()
    await service.under(1_000)
    await service.check(t)
  })

  await t.test('SIGTERM under load: what is in hand is finished', async (t) => {
    await service.under(500)
    const ends = (part: Part) => part.process().end('SIGTERM')
    t.equal(await ends(second), 0, 'exit code: it drained within the limit')
    await service.under(1_000)
    t.same(await Promise.all([service.gateway, other].map(ends)), [0, 0], 'both that the load is sent to')
    await service.check(t)
  })
})
