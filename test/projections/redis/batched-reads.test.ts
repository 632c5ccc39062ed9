/** Reads that come in one turn of the event loop, from readers who do not know of each other, share their calls; so do writes. */
import '../../support/needs-redis.ts'
import t, { type Test } from 'tap'
import type { ReadModel } from '../../../projections/read-model.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { aCheckpoint, aDocument } from '../../contract/read-model.ts'
import { type RedisServer, startRedis, startRedisCluster } from '../../support/redis.ts'
import { untilDone } from '../../support/until.ts'

const IDS = Array.from({ length: 100 }, (_, index) => index + 1)

function open(t: Test, url: string): ReadModel {
  const readModel = openRedisReadModel(url, { settleMs: 0 })
  t.teardown(() => readModel.close())
  return readModel
}

async function fill(readModel: ReadModel, ids: readonly number[]): Promise<void> {
  // The first write seals each of a cluster's 16,384 slots, which may take longer than a call may.
  await untilDone('it takes writes', () => readModel.setCheckpoint(aCheckpoint(1n), null))
  await readModel.put(ids.map((id) => ({ document: aDocument(id, id), expected: -1 })))
  for (const id of ids) await readModel.acknowledge(id, id)
  await readModel.get([1])
}

async function readEach(t: Test, readModel: ReadModel, ids: readonly number[]): Promise<void> {
  const found = await Promise.all(ids.map((id) => readModel.get([id])))
  const expected = ids.map((id) => [{ document: aDocument(id, id), acknowledged: id }])
  t.same(found, expected, 'each has its own customer')
}

/** The calls that the servers take meanwhile. */
async function callsOf(servers: readonly RedisServer[], work: () => Promise<void>): Promise<number> {
  for (const server of servers) await server.command('CONFIG', 'RESETSTAT')
  await work()
  const stats = await Promise.all(servers.map((server) => server.command('INFO', 'commandstats')))
  return stats.reduce((sum, text) => sum + Number(/cmdstat_evalsha:calls=(\d+)/.exec(text)?.[1] ?? 0), 0)
}

t.test('a server: one call for up to 64 customers', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  await fill(readModel, IDS)
  t.equal(await callsOf([server], () => readEach(t, readModel, IDS)), 2)
  t.equal(await callsOf([server], () => readEach(t, readModel, [1])), 1)
})

t.test('a cluster: one call for each slot', async (t) => {
  const { url, nodes } = await startRedisCluster(t)
  const readModel = open(t, url)
  const few = IDS.slice(0, 9)
  await fill(readModel, few)
  t.equal(await callsOf(nodes, () => readEach(t, readModel, [...few, ...few])), few.length)
})

t.test('a server that goes: all of the turn fail, and each later one is answered', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  await fill(readModel, [1, 2])
  server.freeze()
  const outcomes = await Promise.allSettled([1, 2].map((id) => readModel.get([id])))
  t.same(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  server.thaw()
  await untilDone('it answers', () => readModel.get([1]))
  await readEach(t, readModel, [1, 2])
})

t.test('documents that a server has lost are refused together', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  await fill(readModel, IDS)
  await server.command('FLUSHALL')
  const calls = await callsOf([server], async () => {
    const writes = IDS.map((id) => ({ document: aDocument(id, id + 1), expected: id }))
    t.same(
      await readModel.put(writes),
      IDS.map(() => -1),
    )
  })
  t.equal(calls, 1)
})
