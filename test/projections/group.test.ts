/** Projections that share a persistent subscription, on a Redis and over gRPC, as several processes would. */
import '../support/needs-redis.ts'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import type { EventStore, NewEvent, PersistentSubscriptions } from '../../eventstore/port.ts'
import { ReadModelUnavailable } from '../../projections/errors.ts'
import { foldCustomer } from '../../projections/fold.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { openRedisReadModel } from '../../projections/redis/read-model.ts'
import { startGroupProjection } from '../../projections/worker/group.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { backUp, restore } from '../restore/support.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { encoded, type History } from '../support/histories.ts'
import { startRedis } from '../support/redis.ts'
import { until, untilDone } from '../support/until.ts'
import { appendHistories, someHistories } from './support.ts'

type ServerStore = EventStore & { readonly persistentSubscriptions: PersistentSubscriptions }

async function startStores(t: Test) {
  const [server, redis] = await Promise.all([startEventStoreServer(t), startRedis(t)])
  const eventStore = openKurrentEventStore(server.url) as ServerStore
  const readModel = openRedisReadModel(redis.url)
  t.teardown(async () => {
    await readModel.close()
    await eventStore.close()
  })
  return { server, redis, eventStore, readModel }
}

/**
 * A worker with connections of its own.
 * @param options.altered its event store instead
 * @param options.models its handles of the read model instead: the one that applies deliveries, and the one that fills
 */
function join(
  t: Test,
  urls: { readonly server: string; readonly redis: string },
  {
    altered = (own) => own,
    models = (...own) => own,
    settleMs,
  }: {
    altered?: (own: ServerStore) => ServerStore
    models?: (readModel: ReadModel, fillModel: ReadModel) => [ReadModel, ReadModel]
    settleMs?: number
  } = {},
) {
  const eventStore = openKurrentEventStore(urls.server) as ServerStore
  const open = () => openRedisReadModel(urls.redis, settleMs === undefined ? {} : { settleMs })
  const [readModel, fillModel] = models(open(), open())
  let applied = 0
  let interruptions = 0
  const worker = startGroupProjection({
    eventStore: altered(eventStore),
    readModel,
    fillModel,
    group: 'customers',
    batchSize: 20,
    observer: {
      applied: (events) => {
        applied += events.length
      },
      interrupted: () => {
        interruptions++
      },
    },
  })
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= (async () => {
      await worker.stop()
      await readModel.close()
      await fillModel.close()
      await eventStore.close()
    })()
    return stopped
  }
  t.teardown(stop)
  return { stop, applied: () => applied, interruptions: () => interruptions }
}

/** Waits until every customer's document is the fold of its stream, and complete. */
async function untilProjected(
  eventStore: EventStore,
  readModel: ReadModel,
  histories: readonly History[],
): Promise<void> {
  const ids = histories.map(({ id }) => id)
  const folds = await Promise.all(ids.map((id) => foldCustomer(eventStore, id)))
  await until('documents are complete and equal to the folds', async () => {
    // A handle whose Redis was away may not have connected again yet.
    const checkpoint = await readModel.getCheckpoint().catch(() => null)
    if (!checkpoint?.complete) return false
    const documents = await readModel.documents(ids).catch(() => [null])
    return documents.every((document, index) => document?.revision === folds[index]?.revision)
  })
  const documents = await readModel.documents(ids)
  for (const [index, document] of documents.entries()) {
    if (JSON.stringify(document) !== JSON.stringify(folds[index])) throw new Error(`Customer ${ids[index]} differs.`)
  }
}

const part = (histories: readonly History[], from: number, to?: number): History[] =>
  histories.map(({ id, events }) => ({ id, events: events.slice(from, to) }))

async function appendLater(eventStore: EventStore, histories: readonly History[], from: number): Promise<void> {
  await Promise.all(
    histories.map(async (history) => {
      const events = encoded(history).slice(from)
      for (const [index, event] of events.entries()) {
        await eventStore.append(`customer-${history.id}`, [event], { expected: from + index - 1 })
      }
    }),
  )
}

// Most of their time is waiting until a worker looks again, or for a server that comes back.
t.jobs = 4

t.test('workers share the events, come and go under load, and nothing is lost or doubled', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const urls = { server: server.url, redis: redis.url }
  const histories = someHistories(60, 7)
  await appendHistories(eventStore, part(histories, 0, 2))
  const members = [join(t, urls), join(t, urls)]
  await untilProjected(eventStore, readModel, histories)
  const load = { isOver: false }
  const appended = appendLater(eventStore, histories, 2).then(() => keepAppending(eventStore, histories, load))
  appended.catch(() => {})
  for (let round = 0; round < 3; round++) {
    const joined = join(t, urls)
    members.push(joined)
    await until('the one that joined takes part', () => joined.applied() > 0)
    const leaving = members[round]
    const before = leaving?.applied() ?? 0
    await until('so does the one that leaves', () => (leaving?.applied() ?? 0) > before)
    await leaving?.stop()
    const after = leaving?.applied()
    await until('the others go on', () => joined.applied() > 1)
    t.equal(leaving?.applied(), after, 'who has left applies nothing more')
  }
  load.isOver = true
  await appended
  await untilProjected(eventStore, readModel, histories)
  const info = await eventStore.persistentSubscriptions.info('customers')
  t.match(info, { consumers: 2, parked: 0 })
})

/** Appends one more change to each customer in turn, until it is over. */
async function keepAppending(
  eventStore: EventStore,
  histories: readonly History[],
  load: { readonly isOver: boolean },
): Promise<void> {
  for (let round = 0; !load.isOver; round++) {
    for (const history of histories) {
      const [event] = encoded({
        id: history.id,
        events: [{ type: 'CustomerDetailsChanged', data: { lastname: `Lee ${round}` } }],
      })
      if (event) await eventStore.append(`customer-${history.id}`, [event], { expected: 'stream_exists' })
      await delay(2) // the workers are in this process, too
    }
  }
}

t.test('an empty Redis is filled, and one that is flushed is filled again', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(30, 8)
  await appendHistories(eventStore, part(histories, 0, 3))
  join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, histories)
  await redis.command('FLUSHALL')
  await untilProjected(eventStore, readModel, histories)
  await appendLater(eventStore, histories, 3)
  await untilProjected(eventStore, readModel, histories)
})

t.test('connections that are cut, and a Redis that is away, only hold it up', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(30, 9)
  await appendHistories(eventStore, part(histories, 0, 1))
  const worker = join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, histories)
  for (let revision = 1; revision < 4; revision++) {
    if (revision === 2) await redis.stop()
    if (revision === 3) {
      // A Redis that only hangs has lost nothing, so nothing is filled again afterwards.
      await untilProjected(eventStore, readModel, part(histories, 0, 3))
      redis.freeze()
    }
    const before = worker.interruptions()
    const more = histories.map(async (history) => {
      const event = encoded(history)[revision]
      if (event) await eventStore.append(`customer-${history.id}`, [event], { expected: revision - 1 })
    })
    await Promise.all(more)
    if (revision === 3) {
      await until('a delivery could not be applied', () => worker.interruptions() > before)
      redis.thaw()
    }
    server.cutConnections()
    if (revision === 2) await redis.start()
    await untilDone('the server answers', () => eventStore.ping())
  }
  await untilProjected(eventStore, readModel, part(histories, 0, 4))
})

t.test('a server that restarts before it has stored how far the group is', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(3, 17)
  await appendHistories(eventStore, part(histories, 0, 1))
  const worker = join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, histories)
  redis.freeze()
  await appendLater(eventStore, part(histories, 0, 2), 1)
  await until('they could not be applied', () => worker.interruptions() > 0)
  await server.stop()
  await server.start()
  redis.thaw()
  await untilDone('the server is back', () => eventStore.ping())
  await untilProjected(eventStore, readModel, part(histories, 0, 2))
})

t.test('it can be stopped while the server is away, before there is a group', async (t) => {
  const { server, redis } = await startStores(t)
  await server.stop()
  const worker = join(t, { server: server.url, redis: redis.url })
  await until('it has tried', () => worker.interruptions() > 0)
  let isOver = false
  worker.stop().then(() => {
    isOver = true
  })
  await until('it has stopped', () => isOver)
  await server.start()
})

t.test('and while the read model is being filled', builtIn('hang'), async (t: Test) => {
  const { server, redis, eventStore } = await startStores(t)
  await appendHistories(eventStore, someHistories(1, 18))
  let isFilling = false
  const hanging = (own: ServerStore): ServerStore => ({
    ...own,
    subscribeToAll(options) {
      isFilling = true
      server.hang(true)
      return own.subscribeToAll(options)
    },
  })
  const worker = join(t, { server: server.url, redis: redis.url }, { altered: hanging })
  await until('it is being filled', () => isFilling)
  let isOver = false
  worker.stop().then(() => {
    isOver = true
  })
  await until('it has stopped', () => isOver)
  server.hang(false)
})

t.test('and just before it is', builtIn('hang'), async (t: Test) => {
  const { server, redis, eventStore } = await startStores(t)
  await appendHistories(eventStore, someHistories(1, 18))
  let looks = 0
  const stopped = Promise.withResolvers<void>()
  const stopping = (readModel: ReadModel, fillModel: ReadModel): [ReadModel, ReadModel] => [
    readModel,
    {
      ...fillModel,
      async getCheckpoint() {
        // The second look is the one that a filling follows.
        if (++looks === 2) server.hang(true)
        if (looks === 2) stopped.resolve(worker.stop())
        return fillModel.getCheckpoint()
      },
    },
  ]
  const worker = join(t, { server: server.url, redis: redis.url }, { models: stopping })
  await stopped.promise
  server.hang(false)
})

t.test('after catching up alone, a group goes on from the checkpoint', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(20, 10)
  await appendHistories(eventStore, part(histories, 0, 2))
  const alone = startProjection({ eventStore, readModel })
  await alone.caughtUp()
  await alone.stop()
  await appendLater(eventStore, part(histories, 0, 3), 2)
  const worker = join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, part(histories, 0, 3))
  t.ok(worker.applied() <= 20 * 2, 'and not from the beginning')
})

t.test('a group that is deleted is created anew', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(10, 11)
  await appendHistories(eventStore, part(histories, 0, 2))
  join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, histories)
  await eventStore.persistentSubscriptions.delete('customers')
  await appendLater(eventStore, histories, 2)
  await untilProjected(eventStore, readModel, histories)
})

t.test('what is appended after a filling and before the group begins is lost to neither', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(3, 16)
  await appendHistories(eventStore, part(histories, 0, 1))
  const isComplete = async () => (await readModel.getCheckpoint().catch(() => null))?.complete ?? false
  /** The revision that is appended once the read model is complete, or was not for a while. */
  let next: number | undefined = 1
  /** Whoever asks for the end of the log waits until then. */
  const slow = (own: ServerStore): ServerStore => ({
    ...own,
    async *readAll(options) {
      const revision = options?.direction === 'backwards' ? next : undefined
      if (revision !== undefined) {
        next = undefined
        for (let i = 0; i < 40 && !(await isComplete()); i++) await delay(100)
        await appendLater(eventStore, part(histories, 0, revision + 1), revision)
      }
      yield* own.readAll(options)
    },
  })
  join(t, { server: server.url, redis: redis.url }, { altered: slow, settleMs: 0 })
  const untilAppended = (revision: number) =>
    until('the events are there', async () => {
      const folds = await Promise.all(histories.map(({ id }) => foldCustomer(eventStore, id)))
      return folds.every((fold) => fold.revision === revision)
    })
  await untilAppended(1)
  await untilProjected(eventStore, readModel, part(histories, 0, 2))

  next = 2
  await redis.command('FLUSHALL')
  await eventStore.persistentSubscriptions.delete('customers')
  await until('it is filled again', isComplete)
  if (next !== undefined) await appendLater(eventStore, part(histories, 0, 3), 2)
  await untilAppended(2)
  await untilProjected(eventStore, readModel, part(histories, 0, 3))
})

t.test('a read model of another log is emptied and filled anew', async (t) => {
  const [other, { server, redis, eventStore, readModel }] = await Promise.all([
    startEventStoreServer(t),
    startStores(t),
  ])
  const otherStore = openKurrentEventStore(other.url)
  t.teardown(() => otherStore.close())
  await appendHistories(otherStore, someHistories(5, 12))
  const filling = startProjection({ eventStore: otherStore, readModel })
  await until('the read model is complete', async () => (await readModel.getCheckpoint())?.complete ?? false)
  await filling.stop()
  const histories = someHistories(3, 13)
  await appendHistories(eventStore, histories)
  join(t, { server: server.url, redis: redis.url })
  await until('the other customers are gone', async () => (await readModel.documents([5]))[0] === null)
  await untilProjected(eventStore, readModel, histories)
})

t.test(
  'a log that is restored has new events at once: what it has lost is noticed before they are applied',
  builtIn('it puts a backup into the server'),
  async (t: Test) => {
    const { server, redis, eventStore, readModel } = await startStores(t)
    const [first, second, third] = someHistories(3, 19) as [History, History, History]
    await appendHistories(eventStore, part([first], 0, 1))
    const looking = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    let isHeld = false
    const models = (own: ReadModel, fillModel: ReadModel): [ReadModel, ReadModel] => [
      own,
      {
        ...fillModel,
        async follow() {
          if (isHeld) {
            looking.resolve()
            await held.promise
          }
          return fillModel.follow()
        },
      },
    ]
    t.teardown(held.resolve)
    join(t, { server: server.url, redis: redis.url }, { models })
    await untilProjected(eventStore, readModel, [first])
    isHeld = true
    await looking.promise
    const backup = backUp(server)
    await appendHistories(eventStore, part([second], 0, 1))
    await until('the second has a document', async () => (await readModel.documents([second.id]))[0] !== null)

    await server.stop()
    server.log.rewrite(backup)
    server.appendRaw('elsewhere', [{ type: 'Padding', data: JSON.stringify('x'.repeat(1_000)) }])
    const [event] = encoded(third) as [NewEvent]
    const [data, metadata] = [event.data, event.metadata].map((each) => JSON.stringify(each))
    server.appendRaw(`customer-${third.id}`, [{ ...event, data: data as string, metadata: metadata as string }])
    await server.start()
    await until('the new event is applied', async () => (await readModel.documents([third.id]))[0] !== null)
    held.resolve()
    await untilProjected(eventStore, readModel, [first, third])
    t.same(await readModel.documents([second.id]), [null])
  },
)

t.test(
  'so it is where the read model can not be compared at first, and no event comes',
  builtIn('it puts a backup into the server'),
  async (t: Test) => {
    const { server, redis, eventStore, readModel } = await startStores(t)
    const [first, ...others] = someHistories(12, 20) as [History, ...History[]]
    const second = others[0] as History
    await appendHistories(eventStore, part([first], 0, 1))
    let isAway = false
    let failures = 0
    const models = (own: ReadModel, fillModel: ReadModel): [ReadModel, ReadModel] => [
      {
        ...own,
        async getCheckpoint() {
          if (!isAway) return own.getCheckpoint()
          failures++
          throw new ReadModelUnavailable('It is away.')
        },
      },
      fillModel,
    ]
    join(t, { server: server.url, redis: redis.url }, { models })
    await untilProjected(eventStore, readModel, [first])
    const backup = backUp(server)
    await appendHistories(eventStore, part(others, 0, 2)) // so many that the server stores how far the group is
    await until('the second has a document', async () => (await readModel.documents([second.id]))[0] !== null)
    await until('the group has nothing to deliver again', async () => {
      const { checkpoint } = await eventStore.persistentSubscriptions.info('customers')
      return checkpoint !== undefined && checkpoint.commit > BigInt(backup.at(-1)?.position ?? 0)
    })
    isAway = true
    await restore(server, backup)
    await until('it could not be compared', () => failures > 0)
    isAway = false
    await until('the second has none', async () => (await readModel.documents([second.id]))[0] === null)
    await untilProjected(eventStore, readModel, [first])
  },
)

t.test('an event that came back ever so often is still not set aside by the server', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const histories = someHistories(1, 14)
  await appendHistories(eventStore, part(histories, 0, 1))
  const first = join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, histories)
  await first.stop()
  const failing = eventStore.persistentSubscriptions.subscribe('customers', { bufferSize: 10 })
  await appendLater(eventStore, part(histories, 0, 2), 1)
  let times = 0
  for await (const deliveries of failing) {
    await failing.nack(deliveries, 'retry', 'the read model is away')
    if (++times === 25) break
  }
  await failing.unsubscribe()
  t.match(await eventStore.persistentSubscriptions.info('customers'), { parked: 0 })
  join(t, { server: server.url, redis: redis.url })
  await untilProjected(eventStore, readModel, part(histories, 0, 2))
})

t.test('a generation that is live again is brought up to the log, also where nothing more happens', async (t) => {
  const { server, redis, eventStore, readModel } = await startStores(t)
  const urls = { server: server.url, redis: redis.url }
  const histories = someHistories(10, 15)
  await appendHistories(eventStore, part(histories, 0, 1))
  let worker = join(t, urls)
  await untilProjected(eventStore, readModel, histories)
  const second = openRedisReadModel(redis.url, { generation: 2 })
  t.teardown(() => second.close())
  const filling = startProjection({ eventStore, readModel: second })
  await untilProjected(eventStore, second, histories)
  await filling.stop()
  /** The first of them makes the worker go over, the others are applied to the second generation only. */
  async function appendToSecond(revision: number): Promise<void> {
    await readModel.switchGeneration(1, 2)
    for (const some of [histories.slice(0, 1), histories.slice(1)]) {
      await appendLater(eventStore, part(some, 0, revision + 1), revision)
      await untilProjected(eventStore, second, histories)
    }
  }
  await appendToSecond(1)
  await readModel.switchGeneration(2, 1)
  await untilProjected(eventStore, readModel, histories)

  await appendToSecond(2)
  await worker.stop()
  await readModel.switchGeneration(2, 1)
  worker = join(t, urls)
  await untilProjected(eventStore, readModel, histories)
})
