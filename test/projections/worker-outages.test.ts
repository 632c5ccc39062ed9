/** The projection worker where a store is emptied, replaced, away or closed, and how it stops. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { type ReadModel, ReadModelUnavailable } from '../../projections/read-model.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import type { Failure } from '../../projections/worker/parking.ts'
import { type Projection, startProjection } from '../../projections/worker/worker.ts'
import { startClock } from '../support/clock.ts'
import type { History } from '../support/histories.ts'
import { until } from '../support/until.ts'
import { appendHistories, collect, openStores, someHistories } from './support.ts'
import { appendRest, assertProjected, cut, type Options, start } from './worker-support.ts'

t.test('a read model that is emptied is filled again', async (t) => {
  const past = someHistories(8, 2)

  await t.test('before the start', async (t) => {
    const stores = await openStores(t)
    await appendHistories(stores.eventStore, past)
    const first = start(t, stores)
    await first.caughtUp()
    await first.stop()
    await stores.readModel.reset()
    const second = start(t, stores)
    await second.caughtUp()
    await assertProjected(t, stores.eventStore, stores.readModel, past.length)
  })

  await t.test('under the worker, with events coming in', async (t) => {
    const stores = await openStores(t)
    const { eventStore, readModel } = stores
    await appendHistories(eventStore, cut(past, 0, 2))
    const projection = start(t, { ...stores, batchSize: 3 })
    await projection.caughtUp()
    await readModel.reset()
    const ids = past.map(({ id }) => id)
    let ended = false
    const watch = (async () => {
      while (!ended) {
        for (const { document } of await readModel.get(ids)) {
          if (document && document.revision < 1) t.fail('a query saw a document from before what was acknowledged')
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    await appendRest(eventStore, past.slice(0, 1), 2)
    await until('it is complete again', async () => (await readModel.getCheckpoint())?.complete === true)
    await projection.caughtUp()
    ended = true
    await watch
    await assertProjected(t, eventStore, readModel, past.length)
    t.match(projection.logged, [
      ['warn', {}, /interrupted/],
      ['info', {}, /resumes/],
    ])
  })

  await t.test('under a worker without work', async (t) => {
    const stores = await openStores(t)
    await appendHistories(stores.eventStore, past)
    const projection = start(t, stores)
    await projection.caughtUp()
    await stores.readModel.reset()
    await until('it is complete again', async () => (await stores.readModel.getCheckpoint())?.complete === true)
    await assertProjected(t, stores.eventStore, stores.readModel, past.length)
  })

  await t.test('under two workers', async (t) => {
    const stores = await openStores(t)
    const { folder, eventStore, readModel } = stores
    await appendHistories(eventStore, cut(past, 0, 2))
    const workers = [
      start(t, { ...stores, batchSize: 2 }),
      start(t, { ...(await openStores(t, folder)), batchSize: 3 }),
    ]
    for (const worker of workers) await worker.caughtUp()
    await readModel.reset()
    await appendRest(eventStore, past.slice(0, 4), 2)
    await until('it is complete again', async () => (await readModel.getCheckpoint())?.complete === true)
    for (const worker of workers) await worker.caughtUp()
    await assertProjected(t, eventStore, readModel, past.length)
  })
})

t.test('a read model of another log is emptied and filled anew', async (t) => {
  for (const [what, customers] of [
    ['a longer one', 4],
    ['a shorter one', 1],
  ] as const) {
    await t.test(what, async (t) => {
      const stores = await openStores(t)
      const { folder, eventStore, readModel } = stores
      await appendHistories(eventStore, customers === 1 ? someHistories(12) : cut(someHistories(12), 0, 1))
      const first = start(t, stores)
      await first.caughtUp()
      await first.stop()

      const other = openSqliteEventStore({ path: join(folder, 'other.db') })
      t.teardown(() => other.close())
      await appendHistories(other, someHistories(customers, 9))
      const second = start(t, { eventStore: other, readModel })
      await second.caughtUp()
      await assertProjected(t, other, readModel, customers)
      t.same(await readModel.documents([5, 12]), [null, null])
      t.match(second.logged, [['warn', {}, /another log/]])
    })
  }
})

t.test('outages are waited out and logged once', async (t) => {
  const failing = (times: number, error: () => Error) => {
    let left = times
    return (): undefined => {
      if (left-- > 0) throw error()
    }
  }
  const away = () => new ReadModelUnavailable('away')
  const cases: Record<string, (stores: { eventStore: EventStore; readModel: ReadModel }) => Partial<Options>> = {
    'the read model, while documents are stored': ({ readModel }) => {
      const fail = failing(4, away)
      return { readModel: { ...readModel, put: async (writes, newest) => fail() ?? readModel.put(writes, newest) } }
    },
    'the read model, after documents were stored and nobody was told': ({ readModel }) => {
      const fail = failing(1, away)
      return {
        readModel: {
          ...readModel,
          async put(writes, newest) {
            const revisions = await readModel.put(writes, newest)
            fail()
            return revisions
          },
        },
      }
    },
    'the read model, while documents are read': ({ readModel }) => {
      const fail = failing(4, away)
      return { readModel: { ...readModel, documents: async (ids) => fail() ?? readModel.documents(ids) } }
    },
    'the read model, while the checkpoint is stored': ({ readModel }) => {
      const fail = failing(4, away)
      return {
        readModel: { ...readModel, setCheckpoint: async (...args) => fail() ?? readModel.setCheckpoint(...args) },
      }
    },
    'the read model, at the start': ({ readModel }) => {
      const fail = failing(4, away)
      return { readModel: { ...readModel, getCheckpoint: async () => fail() ?? readModel.getCheckpoint() } }
    },
    'the event store': ({ eventStore }) => {
      const fail = failing(4, () => new EventStoreUnavailable('away'))
      return {
        eventStore: {
          ...eventStore,
          subscribeToAll: (options) => {
            fail()
            return eventStore.subscribeToAll(options)
          },
        },
      }
    },
  }
  for (const [what, withFailures] of Object.entries(cases)) {
    await t.test(what, async (t) => {
      const stores = await openStores(t)
      const past = someHistories(5, 4)
      await appendHistories(stores.eventStore, cut(past, 0, 1))
      const before = start(t, stores)
      await before.caughtUp()
      await before.stop()
      await appendRest(stores.eventStore, past, 1)
      await assertWaitedOut(t, stores, start(t, { ...stores, ...withFailures(stores), batchSize: 11 }))
    })
    if (what.includes('documents are read')) continue // a filling reads none
    await t.test(`${what}; while several batches are folded before they are written`, async (t) => {
      const stores = await openStores(t)
      await appendHistories(stores.eventStore, someHistories(5, 4))
      await assertWaitedOut(t, stores, start(t, { ...stores, ...withFailures(stores), batchSize: 3, writeAfter: 10 }))
    })
  }

  async function assertWaitedOut(
    t: Test,
    stores: Awaited<ReturnType<typeof openStores>>,
    projection: ReturnType<typeof start>,
  ) {
    await projection.caughtUp()
    await assertProjected(t, stores.eventStore, stores.readModel, 5)
    await until('the end of the outage is logged', () => projection.logged.length > 1)
    t.match(projection.logged, [
      ['warn', { reason: 'away' }, /interrupted/],
      ['info', {}, /resumes/],
    ])
    t.equal(projection.logged.length, 2)
  }

  await t.test('the event store, while a gap is filled', async (t) => {
    const { eventStore, readModel } = await openStores(t)
    await appendHistories(eventStore, someHistories(1))
    const fail = failing(1, () => new EventStoreUnavailable('away'))
    const flaky: EventStore = {
      ...eventStore,
      async *readStream(...args) {
        let count = 0
        for await (const each of eventStore.readStream(...args)) {
          if (count++ === 2) fail()
          yield each
        }
      },
    }
    const failures: Failure[] = []
    const applier = createApplier({ eventStore: flaky, readModel, onFailure: (each) => failures.push(each) })
    const events = await collect(eventStore.readStream('customer-1'))
    await t.rejects(applier.apply(events.slice(3)), EventStoreUnavailable)
    await applier.apply(events.slice(3))
    t.strictSame(await readModel.documents([1]), [await foldCustomer(eventStore, 1)])
    t.same(failures, [])
  })
})

t.test('writes of two batches that are under way at once', async (t) => {
  /** A worker that writes two batches of a customer each; how each of the writes ends is said later. */
  async function startHeld(t: Test) {
    const { eventStore, readModel } = await openStores(t)
    await appendHistories(eventStore, cut(someHistories(2), 0, 1))
    const first = Promise.withResolvers<void>()
    const second = Promise.withResolvers<void>()
    const isSent = Promise.withResolvers<void>()
    const counts = { puts: 0, follows: 0 }
    const projection = start(t, {
      eventStore,
      batchSize: 1,
      readModel: {
        ...readModel,
        follow() {
          counts.follows++
          return readModel.follow()
        },
        async put(writes, newest) {
          const number = ++counts.puts
          if (number === 1) await first.promise
          if (number === 2) {
            isSent.resolve()
            await second.promise
          }
          return readModel.put(writes, newest)
        },
      },
    })
    await isSent.promise
    const fail = () => first.reject(new ReadModelUnavailable('away'))
    const assertWhole = async () => {
      await projection.caughtUp()
      await assertProjected(t, eventStore, readModel, 2)
    }
    return { readModel, counts, fail, release: second.resolve, assertWhole }
  }

  await t.test('the second is written, the first is not: no checkpoint says so', async (t) => {
    const { readModel, fail, release, assertWhole } = await startHeld(t)
    release()
    await until('the second is written', async () => (await readModel.documents([2]))[0] !== null)
    await delay(50)
    t.equal(await readModel.getCheckpoint(), null)
    fail()
    await assertWhole()
  })

  await t.test('the first fails: the second has ended before the worker begins again', async (t) => {
    const { counts, fail, release, assertWhole } = await startHeld(t)
    fail()
    await delay(150) // more than the first pause after a failure
    t.equal(counts.follows, 1, 'it would be written to the generation that is live then')
    release()
    await assertWhole()
  })
})

t.test('a write that fails is repeated, also where no more events come', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, cut(someHistories(1), 0, 1))
  let puts = 0
  const projection = start(t, {
    eventStore,
    readModel: {
      ...readModel,
      async put(writes, newest) {
        if (++puts === 1) throw new ReadModelUnavailable('away')
        return readModel.put(writes, newest)
      },
    },
  })
  await projection.caughtUp()
  await assertProjected(t, eventStore, readModel, 1)
})

t.test('stopping', async (t) => {
  await t.test('the batch in hand is finished and its checkpoint stored', async (t) => {
    const { eventStore, readModel } = await openStores(t)
    const past = someHistories(10)
    await appendHistories(eventStore, past)
    let stopped: Promise<void> | undefined
    let puts = 0
    const projection: Projection = start(t, {
      eventStore,
      batchSize: 5,
      readModel: {
        ...readModel,
        async put(writes, newest) {
          puts++
          stopped ??= projection.stop()
          await delay(30)
          return readModel.put(writes, newest)
        },
        async setCheckpoint(...args) {
          await delay(30)
          return readModel.setCheckpoint(...args)
        },
      },
    })
    const caughtUp = projection.caughtUp()
    await t.rejects(caughtUp, /stopped/, 'who waits is told')
    await stopped
    t.equal(puts, 1)
    const fifth = (await collect(eventStore.readAll({ maxCount: 5 }))).at(-1)
    t.strictSame((await readModel.getCheckpoint())?.position, fifth?.position)
    await projection.stop()
    await t.rejects(projection.caughtUp(), /stopped/)
  })

  await t.test('at once, and during an outage', async (t) => {
    const stores = await openStores(t)
    await appendHistories(stores.eventStore, someHistories(1))
    await start(t, stores).stop()
    const away = async () => {
      throw new ReadModelUnavailable('away')
    }
    const projection = start(t, { ...stores, readModel: { ...stores.readModel, getCheckpoint: away } })
    await until('it waits', () => projection.logged.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    const elapsed = startClock(t)
    await projection.stop()
    t.ok(elapsed() < 100)
  })

  await t.test('after the event store was closed: it waits meanwhile, and does not spin', async (t) => {
    const stores = await openStores(t)
    let subscriptions = 0
    const eventStore: EventStore = {
      ...stores.eventStore,
      subscribeToAll(options) {
        subscriptions++
        return stores.eventStore.subscribeToAll(options)
      },
    }
    const projection = start(t, { ...stores, eventStore })
    await projection.caughtUp()
    await stores.eventStore.close()
    await new Promise((resolve) => setTimeout(resolve, 300))
    t.ok(subscriptions < 10, `${subscriptions} subscriptions`)
    await projection.stop()
  })
})

t.test('a customer who gets past a parked event is parked no more; one who does not stays so', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const histories = someHistories(2)
  await appendHistories(eventStore, histories)
  const last = (histories[1] as History).events.length - 1
  const parked = (customerId: number, revision: number) => ({
    customerId,
    stream: `customer-${customerId}`,
    revision,
    type: 'CustomerKnighted',
    reason: 'An older release did not know it.',
    at: new Date().toISOString(),
  })
  await readModel.park(parked(1, 2))
  await readModel.park(parked(2, last + 1)) // not there yet
  const projection = startProjection({ eventStore, readModel })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  t.same(
    (await readModel.parked()).map(({ customerId }) => customerId),
    [2],
  )
  t.equal((await readModel.documents([2]))[0]?.revision, last, 'it has come to the event before')
})

t.test('so is one whom another process has parked since, in a gap', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, cut(someHistories(1), 0, 4))
  const events = await collect(eventStore.readStream('customer-1'))
  const applier = createApplier({ eventStore, readModel, onFailure: t.fail })
  await applier.apply(events.slice(0, 1))
  const parked = { customerId: 1, stream: 'customer-1', revision: 1, type: 'CustomerKnighted', reason: 'Not known.' }
  await readModel.park({ ...parked, at: new Date().toISOString() })
  await applier.apply(events.slice(3))
  t.same(await readModel.parked(), [])
})
