/** How much generations take, whether there is room for a rebuild, and the set of ids that counts documents. */
import '../support/needs-redis.ts'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { createIdSet } from '../../projections/id-set.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { roomFor } from '../../projections/rebuild.ts'
import { aCheckpoint, aDocument } from '../contract/read-model.ts'
import { runCommand } from '../support/commands.ts'
import { environment, openTestLog, temporaryFolder } from '../support/graph.ts'
import { startProcess } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

t.test('a set of ids is like a Set', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(3_000), fc.maxSafeNat())), (ids) => {
      const [set, expected] = [createIdSet(), new Set<number>()]
      for (const id of ids) {
        if (set.has(id) !== expected.has(id) || set.add(id) === expected.has(id)) return false
        expected.add(id)
      }
      return set.size === expected.size && [...expected].every(set.has)
    }),
  )
  t.pass()
})

async function fill(readModel: ReadModel, count: number): Promise<void> {
  const documents = Array.from({ length: count }, (_, index) => aDocument(index + 1, 0))
  await readModel.put(documents.map((document) => ({ document, expected: -1 })))
  await readModel.setCheckpoint(aCheckpoint(9n), null)
}

t.test('SQLite: the size of a generation, and the disk', async (t) => {
  const readModel = await openReadModel(`sqlite:${join(await temporaryFolder(t), 'readmodel.db')}`)
  t.teardown(() => readModel.close())
  t.match(await readModel.space(), { documents: 0, bytes: 0 })
  await fill(readModel, 2_500)
  const { documents, bytes, free, limit } = await readModel.space()
  t.equal(documents, 2_500)
  const each = JSON.stringify(aDocument(1_000, 0)).length
  t.ok(Math.abs(bytes / 2_500 - each) < 10, `${bytes} bytes`)
  t.ok((free ?? 0) > 0 && (limit?.bytes ?? 0) > (free ?? 0))
  t.match(await roomFor(readModel, undefined), { needed: bytes, hasRoom: true })
})

t.test('Redis: a rebuild starts only if there is room', async (t) => {
  const redis = await startRedis(t)
  const folder = await temporaryFolder(t)
  await (await openTestLog(t, folder)).ping()
  const readModel = await openReadModel(redis.url)
  const next = await openReadModel(redis.url, { generation: 2 })
  t.teardown(() => Promise.all([readModel.close(), next.close()]))
  const before = Number(/used_memory:(\d+)/.exec(await redis.command('INFO', 'memory'))?.[1])
  await fill(readModel, 4_000)
  const used = Number(/used_memory:(\d+)/.exec(await redis.command('INFO', 'memory'))?.[1])
  const unlimited = await roomFor(readModel, undefined)
  t.match(unlimited, { hasRoom: true, live: { documents: 4_000, limit: { name: 'its memory' } } })
  t.ok(unlimited.needed > 0.7 * (used - before) && unlimited.needed < 1.3 * (used - before), 'close to the actual size')

  await redis.command('CONFIG', 'SET', 'maxmemory', String(used + Math.floor(unlimited.needed / 2)))
  t.match(await roomFor(readModel, undefined), { hasRoom: false, live: { limit: { name: 'maxmemory' } } })
  const { EVENTSTORE_URL = '' } = environment(folder)
  const env = { EVENTSTORE_URL, READMODEL_URL: redis.url }
  const refused = await runCommand(folder, ['rebuild'], env)
  t.equal(refused.code, 1)
  t.match(
    refused.output,
    /Generation 2 needs about [\d.]+ MiB beside the live one \(4000 documents\), until --drop; there is room for [\d.]+ MiB \(maxmemory: [\d.]+ MiB\)\./,
  )
  t.match(refused.output, /There is too little room, so nothing was started[\s\S]*--ignore-memory/)
  t.match(await readModel.generations(), [{ number: 1 }])
  t.equal((await readModel.generations()).length, 1)
  const begun = startProcess(t, 'rebuild', folder, env, ['--ignore-memory']) // its log is empty, so it waits for the first event
  await until('it has started', async () => (await readModel.generations()).length === 2)
  t.equal(await begun.end('SIGTERM'), 130)

  await redis.command('CONFIG', 'SET', 'maxmemory', '0')
  // Documents of an earlier start are already there.
  await next.reset()
  await fill(next, 3_900)
  const gone = await roomFor(readModel, next)
  t.ok(gone.needed < unlimited.needed / 10, `${gone.needed} of ${unlimited.needed}`)
  await redis.command('ACL', 'SETUSER', 'default', '-info', '-memory')
  const silent = await readModel.space()
  t.match(silent, { documents: 4_000, free: undefined, limit: undefined })
  t.ok(silent.bytes > 0.6 * unlimited.live.bytes && silent.bytes < 1.4 * unlimited.live.bytes)
})
