/** Parts die under load. Each run ends with: no acknowledged write lost, documents equal to the folds. */
import '../support/needs-redis.ts'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startRedis, startRedisCluster } from '../support/redis.ts'
import { startService } from './service.ts'

t.test('two workers in a group', async (t) => {
  const redis = await startRedis(t, { persistent: true })
  const service = await startService(t, { readModelUrl: redis.url, modes: ['group', 'group'] })

  await t.test('each process is killed, one after the other', async (t) => {
    await service.under(500)
    for (const part of [service.gateway, ...service.subgraphs, ...service.projections]) {
      await part.crash()
      await service.under(500)
    }
    await service.check(t)
  })

  await t.test('SIGTERM under load: what is in hand is finished', async (t) => {
    await service.under(500)
    for (const part of [...service.projections, service.gateway, ...service.subgraphs]) {
      t.equal(await part.process().end('SIGTERM'), 0, 'exit code: it drained within the limit')
      await part.crash() // starts it again
    }
    await service.under(500)
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
})

t.test('two workers are given the same events', async (t) => {
  const redis = await startRedis(t)
  const service = await startService(t, { readModelUrl: redis.url, modes: ['catch-up', 'catch-up', 'group'] })
  await service.under(1_000)
  await redis.command('FLUSHALL')
  await service.under(1_000)
  t.equal(await service.projections[0]?.process().end('SIGTERM'), 0, 'a worker alone ends under load as well')
  await service.under(500)
  await service.check(t)
})

t.test('a node of the cluster is stopped', async (t) => {
  const cluster = await startRedisCluster(t)
  const service = await startService(t, { readModelUrl: cluster.url, modes: ['catch-up', 'group'] })
  await service.under(500)
  await cluster.nodes[1]?.stop()
  await service.under(1_000)
  await cluster.nodes[1]?.start()
  await service.under(1_000)
  await service.check(t)
})
