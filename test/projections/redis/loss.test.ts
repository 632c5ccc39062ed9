/** Redis loses what it holds while the service works: no query is answered with less than was acknowledged. */
import '../../support/needs-redis.ts'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { EventStoreUnavailable } from '../../../eventstore/port.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'
import { foldCustomer } from '../../../projections/fold.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { startProjection } from '../../../projections/worker/worker.ts'
import { createCommand } from '../../../subgraph/commands/command.ts'
import { createCustomers } from '../../../subgraph/customers/customers.ts'
import { startRedis, startRedisCluster } from '../../support/redis.ts'
import { until } from '../../support/until.ts'

const CUSTOMERS = 40

/** Two instances of the subgraph and a worker on a log of some customers. */
async function startService(t: Test, url: string) {
  const folder = await mkdtemp(join(tmpdir(), 'redis-loss-'))
  const eventStore = openSqliteEventStore({ path: join(folder, 'events.db') })
  const { log } = Fastify()
  const instance = () => {
    const readModel = openRedisReadModel(url)
    const sources = { 'read-model': 0, stream: 0 }
    const onRead = (source: keyof typeof sources) => void sources[source]++
    return { readModel, sources, customers: createCustomers({ eventStore, readModel, log, onRead }) }
  }
  const [writer, reader] = [instance(), instance()]
  const projected = openRedisReadModel(url)
  const projection = startProjection({ eventStore, readModel: projected, batchSize: 20 })
  t.teardown(async () => {
    await projection.stop()
    for (const { customers, readModel } of [writer, reader]) {
      await customers.close()
      await readModel.close()
    }
    await projected.close()
    await eventStore.close()
    await rm(folder, { recursive: true })
  })

  const ids = Array.from({ length: CUSTOMERS }, (_, index) => index + 1)
  const acknowledged = new Map<number, number>()
  /** Appends an event to a customer of whom then nothing older may be seen. */
  async function change(id: number): Promise<void> {
    const command = createCommand({
      operation: 'test',
      arguments: {},
      actor: 'guest',
      correlationId: 'c',
      at: new Date('2026-01-01T00:00:00.000Z'),
    })
    try {
      const { state } = await writer.customers.execute(id, command, () => [{ type: 'NewsletterSubscribed', data: {} }])
      acknowledged.set(id, Math.max(state.revision, acknowledged.get(id) ?? -1))
    } catch (error) {
      if (!(error instanceof EventStoreUnavailable)) throw error // not acknowledged, on a machine that is very slow
    }
  }
  async function query(id: number): Promise<void> {
    const least = acknowledged.get(id) ?? -1
    const { revision } = await reader.customers.get(id)
    if (revision < least) t.fail(`customer ${id} is shown at ${revision}, acknowledged was ${least}`)
  }

  /** Changes and queries as fast as it can until the work is done. */
  async function underLoad(work: () => Promise<void>): Promise<void> {
    let over = false
    const loop = async (call: (id: number) => Promise<void>) => {
      while (!over) {
        await call(1 + Math.floor(Math.random() * CUSTOMERS))
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const loops = [loop(change), loop(query), loop(query), loop(query)]
    await work().finally(() => {
      over = true
    })
    await Promise.all(loops)
  }

  /** All documents are there again, the newest ones, and queries use them. */
  async function assertRestored(): Promise<void> {
    const expected = await Promise.all(ids.map((id) => foldCustomer(eventStore, id)))
    const entries = await until('the newest documents are there', async () => {
      const entries = await reader.readModel.get(ids).catch(() => [])
      return (
        entries.length > 0 &&
        entries.every(({ document }, index) => document?.revision === expected[index]?.revision) &&
        entries
      )
    })
    t.same(
      entries.map(({ document }) => document),
      expected,
      'queries see the documents, and these are the newest',
    )
    // An incarnation of the server that is new is trusted a moment later (docs/read-your-writes.md).
    await until('no query needs the stream', async () => {
      reader.sources.stream = 0
      for (const id of ids) await query(id)
      return reader.sources.stream === 0
    })
  }

  for (const id of ids) await change(id)
  await projection.caughtUp()
  return { underLoad, assertRestored, change, ids }
}

t.jobs = 3 // much of their time is waiting until a loss is noticed

t.test('a server that is flushed', async (t) => {
  const server = await startRedis(t)
  const { underLoad, assertRestored } = await startService(t, server.url)
  await assertRestored()
  await underLoad(async () => {
    for (let i = 0; i < 8; i++) {
      await delay(150)
      await server.command('FLUSHALL')
    }
  })
  await assertRestored()
  await server.command('FLUSHALL')
  await assertRestored()
})

t.test('a server that comes back with an older snapshot', async (t) => {
  const server = await startRedis(t, { persistent: true })
  const { underLoad, assertRestored, change, ids } = await startService(t, server.url)
  await underLoad(async () => {
    for (let i = 0; i < 3; i++) {
      await server.command('SAVE')
      await delay(200)
      await server.kill()
      await delay(100)
      await server.start()
      await delay(300)
    }
  })
  await assertRestored()
  // With nothing more to come in.
  await server.command('SAVE')
  for (const id of ids) await change(id)
  await assertRestored()
  await server.kill()
  await server.start()
  await assertRestored()
})

t.test('a node of a cluster that is flushed, and one that comes back with nothing', async (t) => {
  const cluster = await startRedisCluster(t)
  const { underLoad, assertRestored } = await startService(t, cluster.url)
  await assertRestored()
  const [first, second, third] = cluster.nodes
  await underLoad(async () => {
    for (const node of [first, second, third]) {
      await delay(200)
      await node?.command('FLUSHALL')
    }
    await delay(200)
    await second?.kill()
    await delay(300)
    await second?.start()
    await delay(300)
  })
  await assertRestored()
})
