/** The projection worker on the embedded stores. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable, type Json, type NewEvent } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { createApplier } from '../../projections/apply.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import type { Failure } from '../../projections/parking.ts'
import { type ReadModel, ReadModelUnavailable } from '../../projections/read-model.ts'
import { type Projection, startProjection } from '../../projections/worker.ts'
import { encoded, type History } from '../support/histories.ts'
import { appendHistories, collect, ending, openStores, paths, someHistories, startScript, until } from './support.ts'

const METADATA = {
  $correlationId: 'c',
  $causationId: 'c',
  actor: 'guest',
  at: '2026-01-01T00:00:00.000Z',
  schemaVersion: 1,
}
const event = (type: string, data: NewEvent['data'], metadata: Json = METADATA): NewEvent => ({
  id: crypto.randomUUID(),
  type,
  data,
  metadata,
})

type Options = Parameters<typeof startProjection>[0]
/** A worker that ends with the test; what it logs is kept. */
function start(t: Test, options: Options): Projection & { readonly logged: [string, object, string][] } {
  const logged: [string, object, string][] = []
  const at = (level: string) => (details: object, message: string) => void logged.push([level, details, message])
  const log = { info: at('info'), warn: at('warn'), error: at('error') }
  const projection = startProjection({ log, ...options })
  t.teardown(() => projection.stop())
  return { ...projection, logged }
}

const cut = (past: readonly History[], from: number, to?: number) =>
  past.map((history) => ({ ...history, events: history.events.slice(from, to) }))
const appendRest = (eventStore: EventStore, past: readonly History[], from: number) =>
  Promise.all(
    past.map((history) =>
      eventStore.append(`customer-${history.id}`, encoded(history).slice(from), { expected: from - 1 }),
    ),
  )
const straight = (eventStore: EventStore, ids: readonly number[]): Promise<CustomerDocument[]> =>
  Promise.all(ids.map((id) => foldCustomer(eventStore, id)))

/** The documents are the streams', and the checkpoint is at the end of the log. */
async function assertProjected(t: Test, eventStore: EventStore, readModel: ReadModel, customers: number) {
  const ids = Array.from({ length: customers }, (_, index) => index + 1)
  const expected = await straight(eventStore, ids)
  t.strictSame(await readModel.documents(ids), expected, 'the documents are the straight fold’s')
  t.strictSame(
    (await readModel.get(ids)).map(({ document }) => document),
    expected,
    'and queries see them',
  )
  const [last] = await collect(eventStore.readAll({ direction: 'backwards', maxCount: 1 }))
  const checkpoint = await readModel.getCheckpoint()
  t.strictSame(checkpoint?.position, last?.position, 'the checkpoint is at the end')
  t.equal(checkpoint?.complete, true)
}

/** The read model with its calls counted. */
function counting(readModel: ReadModel) {
  const counts = { put: 0, written: 0, documents: 0, read: 0 }
  const counted: ReadModel = {
    ...readModel,
    put(writes, newest) {
      counts.put++
      counts.written += writes.length
      return readModel.put(writes, newest)
    },
    documents(ids) {
      counts.documents++
      counts.read += ids.length
      return readModel.documents(ids)
    },
  }
  return { counts, counted }
}

t.test('catches up, then follows', async (t) => {
  const stores = await openStores(t)
  const { eventStore, readModel } = stores
  const past = someHistories(12)
  await appendHistories(eventStore, cut(past, 0, 2))
  const projection = start(t, { ...stores, batchSize: 7 })
  await projection.caughtUp()
  await assertProjected(t, eventStore, readModel, past.length)

  await appendRest(eventStore, past, 2)
  await projection.caughtUp()
  await assertProjected(t, eventStore, readModel, past.length)
  t.same(projection.logged, [], 'nothing to say')
})

t.test('an empty log is caught up with', async (t) => {
  const stores = await openStores(t)
  const projection = start(t, stores)
  await projection.caughtUp()
  t.equal(await stores.readModel.getCheckpoint(), null)
  await appendHistories(stores.eventStore, someHistories(1))
  await projection.caughtUp()
  await assertProjected(t, stores.eventStore, stores.readModel, 1)
})

t.test('one round trip each to read and to write a batch; what it wrote last is not read again', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const past = someHistories(20)
  await appendHistories(eventStore, cut(past, 0, 2))
  const { counts, counted } = counting(readModel)
  const projection = start(t, { eventStore, readModel: counted })
  await projection.caughtUp()
  t.same(counts, { put: 1, written: 20, documents: 0, read: 0 }, 'a stream that begins has no document yet')
  await appendRest(eventStore, past, 2)
  await projection.caughtUp()
  t.same(counts, { put: 2, written: 40, documents: 0, read: 0 })
  await projection.stop()
  await appendHistories(eventStore, [{ id: 99, events: (past[0] as History).events.slice(0, 1) }])
  await eventStore.append('customer-1', [event('NewsletterSubscribed', {})], {
    expected: (past[0] as History).events.length - 1,
  })
  const second = start(t, { eventStore, readModel: counted })
  await second.caughtUp()
  t.same({ documents: counts.documents, read: counts.read }, { documents: 1, read: 1 }, 'read in one go')
})

t.test('a restart goes on from the checkpoint and applies nothing twice', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const past = someHistories(6)
  await appendHistories(eventStore, cut(past, 0, 3))
  const first = start(t, { eventStore, readModel, batchSize: 5 })
  await first.caughtUp()
  await first.stop()

  const { counts, counted } = counting(readModel)
  const idle = start(t, { eventStore, readModel: counted })
  await idle.caughtUp()
  await idle.stop()
  t.same(counts, { put: 0, written: 0, documents: 0, read: 0 }, 'nothing new')

  await appendRest(eventStore, past.slice(0, 1), 3)
  const again = start(t, { eventStore, readModel: counted })
  await again.caughtUp()
  t.same(counts, { put: 1, written: 1, documents: 1, read: 1 }, 'only what is new')
  await assertProjected(t, eventStore, readModel, past.length)
})

t.test('a worker killed between documents and checkpoint', async (t) => {
  for (const killAt of [1, 3]) {
    await t.test(`in batch ${killAt}`, async (t) => {
      const stores = await openStores(t)
      const { folder, eventStore, readModel } = stores
      const past = someHistories(5, killAt)
      await appendHistories(eventStore, past)
      const { events, readModel: documents } = paths(folder)
      const { end } = await ending(startScript(t, 'worker-process.ts', events, documents, '6', String(killAt)))
      t.equal(end, 'SIGKILL')
      const checkpoint = await readModel.getCheckpoint()
      if (killAt === 1) t.equal(checkpoint, null, 'the documents were stored, their checkpoint was not')
      else t.equal(checkpoint?.complete, false)
      t.ok((await readModel.documents([1, 2, 3, 4, 5])).some(Boolean))

      const { counts, counted } = counting(readModel)
      const projection = start(t, { eventStore, readModel: counted, batchSize: 6 })
      await projection.caughtUp()
      await assertProjected(t, eventStore, readModel, past.length)
      const batches = Math.ceil(past.flatMap((history) => history.events).length / 6)
      t.ok(counts.put <= batches - killAt + 1, 'what was redelivered is not written again: one batch may be tried')
    })
  }
})

t.test('two workers at once', async (t) => {
  const stores = await openStores(t)
  const { folder, eventStore, readModel } = stores
  const past = someHistories(15, 3)
  await appendHistories(eventStore, cut(past, 0, 2))
  const other = await openStores(t, folder)
  const workers = [start(t, { ...stores, batchSize: 3 }), start(t, { ...other, batchSize: 4 })]
  await Promise.all(
    past.map(async (history) => {
      for (const [index, event] of encoded(history).entries()) {
        if (index > 1) await eventStore.append(`customer-${history.id}`, [event], { expected: index - 1 })
      }
    }),
  )
  await Promise.all(workers.map((worker) => worker.caughtUp()))
  await assertProjected(t, eventStore, readModel, past.length)
  t.same(
    workers.flatMap(({ logged }) => logged).filter(([level]) => level === 'error'),
    [],
  )
})

t.test('an event that can not be applied does not stop the others', async (t) => {
  const bad: Record<string, NewEvent> = {
    'of a type that nobody knows': event('CustomerKnighted', { title: 'Dame Secretname' }),
    'of another kind of stream': event('EmailClaimed', { customerId: 1 }),
    'whose data is no object': event('CustomerDetailsChanged', 'Secretname'),
    'without metadata': event('NewsletterSubscribed', {}, null),
    'registering someone else': event('CustomerRegistered', { customerId: 2, firstname: 'Secretname' }),
  }
  for (const [what, poison] of Object.entries(bad)) {
    await t.test(what, async (t) => {
      const { eventStore, readModel } = await openStores(t)
      const past = someHistories(3, 5)
      await appendHistories(eventStore, cut(past, 0, 3))
      await eventStore.append('customer-1', [poison, event('NewsletterSubscribed', {})], { expected: 2 })
      await appendRest(eventStore, past.slice(1), 3)
      const failures: Failure[] = []
      const projection = start(t, {
        eventStore,
        readModel,
        batchSize: 2,
        observer: { stuck: (each) => failures.push(each) },
      })
      await projection.caughtUp()
      await eventStore.append('customer-1', [event('NewsletterUnsubscribed', {})], { expected: 4 })
      await projection.caughtUp()

      t.strictSame(await readModel.documents([2, 3]), await straight(eventStore, [2, 3]), 'the others are whole')
      const [entry] = await readModel.get([1])
      t.equal(entry?.document?.revision, 2, 'its document stays at the last good revision')
      t.ok((entry?.acknowledged ?? -1) > 2, 'and queries see that it is behind')
      t.match(failures, [{ stream: 'customer-1', revision: 3 }])
      t.ok(failures[0]?.error instanceof Error)
      t.equal(failures.length, 1, 'told once')
      t.match(projection.logged, [['error', { stream: 'customer-1', revision: 3, reason: String }]])
      t.notMatch(JSON.stringify(projection.logged), /secretname/i)
      t.equal((await readModel.getCheckpoint())?.complete, true)
    })
  }
})

t.test('a stuck customer goes on where a newer release has got past the event', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const [past] = someHistories(1) as [History]
  await appendHistories(eventStore, cut([past], 0, 2))
  await eventStore.append('customer-1', [event('CustomerKnighted', {})], { expected: 1 })
  const projection = start(t, { eventStore, readModel })
  await projection.caughtUp()
  const [stuck] = await readModel.documents([1])
  await readModel.put([{ document: { ...(stuck as CustomerDocument), revision: 2 }, expected: 1 }])
  await eventStore.append('customer-1', [event('CustomerTokensRevoked', {})], { expected: 2 })
  await projection.caughtUp()
  t.equal((await readModel.documents([1]))[0]?.revision, 3)
})

t.test('streams that are no customer’s are passed over', async (t) => {
  const stores = await openStores(t)
  const { eventStore, readModel } = stores
  const [one] = someHistories(1) as [History]
  for (const name of ['customer-007', 'customer-x', 'customer-', 'customer--1', 'customer-1.5', 'customerEmail-1']) {
    await eventStore.append(name, encoded(one), { expected: 'no_stream' })
  }
  await appendHistories(eventStore, [one])
  const projection = start(t, stores)
  await projection.caughtUp()
  t.strictSame(await readModel.documents([1, 7, 0]), [await foldCustomer(eventStore, 1), null, null])
  t.same(projection.logged, [])
})

t.test('a gap is filled from the stream', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const [one, two] = someHistories(2) as [History, History]
  await appendHistories(eventStore, [one, two])
  const failures: Failure[] = []
  const applier = createApplier({ eventStore, readModel, onFailure: (each) => failures.push(each) })
  const events = await collect(eventStore.readStream('customer-1'))
  await applier.apply(events.slice(2, 3))
  await applier.apply(events.slice(0, 1))
  await applier.apply((await collect(eventStore.readStream('customer-2'))).slice(-1))
  t.strictSame(await readModel.documents([1, 2]), await straight(eventStore, [1, 2]))
  t.same(failures, [])
})

t.test('what comes in any order within a batch is no gap: nothing is read', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, someHistories(1))
  const readStream = () => t.fail('read') as never
  const applier = createApplier({ eventStore: { ...eventStore, readStream }, readModel, onFailure: t.fail })
  await applier.apply((await collect(eventStore.readStream('customer-1'))).reverse())
  t.strictSame(await readModel.documents([1]), [await foldCustomer(eventStore, 1)])
})

t.test('a gap whose events are gone is a failure, once', async (t) => {
  const hide: Record<string, (store: EventStore) => Promise<unknown>> = {
    'cut off ($tb)': (store) => store.setStreamMetadata('customer-1', { $tb: 2 }),
    deleted: (store) => store.deleteStream('customer-1', { expected: 'any' }),
    tombstoned: (store) => store.tombstoneStream('customer-1', { expected: 'any' }),
  }
  for (const [what, act] of Object.entries(hide)) {
    await t.test(what, async (t) => {
      const { eventStore, readModel } = await openStores(t)
      await appendHistories(eventStore, someHistories(2))
      const events = await collect(eventStore.readAll())
      await act(eventStore)
      const failures: Failure[] = []
      const applier = createApplier({ eventStore, readModel, onFailure: (each) => failures.push(each) })
      const late = events.filter(({ stream, revision }) => stream === 'customer-2' || revision > 1)
      for (const each of late) await applier.apply([each])
      t.match(failures, [{ stream: 'customer-1', revision: 0 }])
      t.equal(failures.length, 1)
      t.strictSame(await readModel.documents([1, 2]), [null, await foldCustomer(eventStore, 2)])
    })
  }
})

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
      ['info', {}, /goes on/],
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
      const projection = start(t, { ...stores, ...withFailures(stores), batchSize: 11 })
      await projection.caughtUp()
      await assertProjected(t, stores.eventStore, stores.readModel, past.length)
      await until('the end of the outage is logged', () => projection.logged.length > 1)
      t.match(projection.logged, [
        ['warn', { reason: 'away' }, /interrupted/],
        ['info', {}, /goes on/],
      ])
      t.equal(projection.logged.length, 2)
    })
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
          await new Promise((resolve) => setTimeout(resolve, 30))
          return readModel.put(writes, newest)
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
    const started = Date.now()
    await projection.stop()
    t.ok(Date.now() - started < 100)
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
