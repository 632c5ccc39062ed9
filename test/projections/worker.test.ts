import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import type { EventStore, NewEvent } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { type Applier, createApplier } from '../../projections/worker/apply-events.ts'
import type { Failure } from '../../projections/worker/parking.ts'
import { stopClock } from '../support/clock.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { encoded, type History } from '../support/histories.ts'
import { registered } from '../support/registered.ts'
import { until } from '../support/until.ts'
import { appendHistories, collect, ending, openStores, paths, someHistories, startScript } from './support.ts'
import { appendRest, assertProjected, counting, cut, event, start, straight } from './worker-support.ts'

type Stores = Pick<Awaited<ReturnType<typeof openStores>>, 'eventStore' | 'readModel'>

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

t.test('while it is filled, a document with events in several batches is written once', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const past = someHistories(20)
  for (let revision = 0; revision < 2; revision++) await appendRest(eventStore, cut(past, 0, revision + 1), revision)
  await appendRest(eventStore, past, 2)
  await eventStore.append('customer-3', [event('CustomerKnighted', {}), event('NewsletterSubscribed', {})], {
    expected: (past[2] as History).events.length - 1,
  })
  const { counts, counted } = counting(readModel)
  stopClock(t) // a filling also writes by time
  const first = start(t, { eventStore, readModel: counted, batchSize: 5, writeAfter: 1_000 })
  await first.caughtUp()
  t.same(counts, { put: 2, written: 5 + 20, documents: 0, read: 0 }, 'the first batch alone, then all others')
  t.match(await readModel.parked(), [{ customerId: 3, revision: (past[2] as History).events.length }])
  t.match(first.logged, [['error', { stream: 'customer-3' }, /cannot be applied/]])
  t.equal((await readModel.getCheckpoint())?.complete, true)

  const more = [...encoded({ id: 99, events: [registered(99, 'z@example.com')] })]
  while (more.length < 11) more.push(event('CustomerTokensRevoked', {}))
  await eventStore.append('customer-99', more, { expected: 'no_stream' })
  await first.caughtUp()
  t.equal(counts.put, 5, 'then each batch is written')
  await first.stop()
  const second = start(t, { eventStore, readModel: counted })
  await second.caughtUp()
  t.same(second.logged, [], 'the checkpoint names this log')
  t.equal(counts.put, 5)
})

/** Stores that note at which batches a filling writes, counted from 1 on. @param onBatch called for each */
function noting({ eventStore, readModel }: Stores, onBatch = () => {}) {
  const written: number[] = []
  let batches = 0
  return {
    written,
    eventStore: {
      ...eventStore,
      subscribeToAll(options) {
        const subscription = eventStore.subscribeToAll(options)
        batches = 0
        async function* counted() {
          for await (const batch of subscription) {
            batches++
            onBatch()
            yield batch
          }
        }
        return { [Symbol.asyncIterator]: counted, unsubscribe: () => subscription.unsubscribe() }
      },
    } satisfies EventStore,
    readModel: {
      ...readModel,
      put(writes, newest) {
        written.push(batches)
        return readModel.put(writes, newest)
      },
    } satisfies ReadModel,
  }
}

t.test('a filling writes at least every 400 ms, and at once where it goes on with one', async (t) => {
  const stores = await openStores(t)
  await appendHistories(stores.eventStore, someHistories(12))
  const moveOn = stopClock(t)
  const { written, ...noted } = noting(stores, () => moveOn(150))
  const options = { ...noted, batchSize: 5, writeAfter: 10_000 }
  const first = start(t, {
    ...options,
    readModel: {
      ...noted.readModel,
      put(writes, newest) {
        const revisions = noted.readModel.put(writes, newest)
        if (written.length === 3) void first.stop()
        return revisions
      },
    },
  })
  await t.rejects(first.caughtUp(), /stopped/)
  t.same(written, [1, 4, 7], 'the fourth batch came 450 ms after the first')
  t.equal((await stores.readModel.getCheckpoint())?.complete, false)
  written.length = 0
  const second = start(t, options)
  await second.caughtUp()
  t.same(written.slice(0, 3), [1, 4, 7])
  await assertProjected(t, stores.eventStore, stores.readModel, 12)
})

t.test('a filling writes after 10,000 events, or after documents of 8 MiB', async (t) => {
  await t.test('events', async (t) => {
    const stores = await openStores(t)
    const [register] = encoded({ id: 1, events: [registered(1, 'a@example.com')] }) as [NewEvent]
    await stores.eventStore.append('customer-1', [register], { expected: 'no_stream' })
    for (let revision = 0; revision < 10_600; revision += 2_650) {
      const changes = Array.from({ length: 2_650 }, () => event('CustomerTokensRevoked', {}))
      await stores.eventStore.append('customer-1', changes, { expected: revision })
    }
    stopClock(t)
    const { written, ...noted } = noting(stores)
    await start(t, noted).caughtUp()
    t.same(written, [1, 21, 22], 'batches of 500')
  })

  await t.test('documents', async (t) => {
    const stores = await openStores(t)
    const club = 'x'.repeat(1024 * 1024 - 10_000)
    for (let id = 1; id <= 10; id++) {
      const [register] = encoded({ id, events: [registered(id, `${id}@example.com`)] }) as [NewEvent]
      const large = { ...register, data: { ...(register.data as object), customAttributes: { club } } }
      await stores.eventStore.append(`customer-${id}`, [large, event('CustomerTokensRevoked', {})], {
        expected: 'no_stream',
      })
    }
    stopClock(t)
    const { written, ...noted } = noting(stores)
    await start(t, { ...noted, batchSize: 1, writeAfter: 10_000 }).caughtUp()
    t.same(written, [1, 17, 20], 'a document counts once, however many events it has had')
  })
})

t.test('what another worker has stored while documents were folded is not overwritten', async (t) => {
  const stores = await openStores(t)
  const { eventStore, readModel } = stores
  const past = someHistories(6)
  await appendHistories(eventStore, past)
  const failures: Failure[] = []
  const [slow, fast] = [1, 2].map(() =>
    createApplier({ eventStore, readModel, onFailure: (each) => failures.push(each) }),
  ) as [Applier, Applier]
  const events = await collect(eventStore.readAll({}))
  const half = Math.floor(events.length / 2)
  await slow.fold(events.slice(0, half))
  await fast.apply(events.slice(0, half - 3)) // some of its documents are ahead of these, some are the same
  await slow.write()
  await slow.fold(events.slice(half))
  await fast.apply(events.slice(half - 3))
  await slow.write()
  const ids = past.map(({ id }) => id)
  t.strictSame(await readModel.documents(ids), await straight(eventStore, ids))
  t.same(failures, [])
})

t.test('a worker killed between documents and checkpoint, with several batches in a write', async (t) => {
  const { folder, eventStore, readModel } = await openStores(t)
  const past = someHistories(6)
  for (let revision = 0; revision < 3; revision++) await appendRest(eventStore, cut(past, 0, revision + 1), revision)
  const { events, readModel: documents } = paths(folder)
  const { end } = await ending(startScript(t, 'worker-process.ts', events, documents, '2', '3', '7'))
  t.equal(end, 'SIGKILL')
  t.equal((await readModel.getCheckpoint())?.complete, false, 'of the second write')
  const projection = start(t, { eventStore, readModel, batchSize: 3, writeAfter: 10 })
  await projection.caughtUp()
  await assertProjected(t, eventStore, readModel, past.length)
  t.same(projection.logged, [], 'it goes on from there')
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

/** A projection of one customer, whose third event it can't apply. @param isLive whether it follows when that one comes */
async function startStuck(t: Test, isLive = false) {
  const { eventStore, readModel } = await openStores(t)
  const [past] = someHistories(1) as [History]
  await appendHistories(eventStore, cut([past], 0, 2))
  const knighted = () => eventStore.append('customer-1', [event('CustomerKnighted', {})], { expected: 1 })
  if (!isLive) await knighted()
  const projection = start(t, { eventStore, readModel })
  await projection.caughtUp()
  if (isLive) await knighted()
  await projection.caughtUp()
  return { eventStore, readModel, projection }
}

t.test('a stuck customer goes on where a newer release has got past the event', async (t) => {
  for (const isLive of [false, true]) {
    const { eventStore, readModel, projection } = await startStuck(t, isLive)
    const [stuck] = await readModel.documents([1])
    await readModel.put([{ document: { ...(stuck as CustomerDocument), revision: 2 }, expected: 1 }])
    await eventStore.append('customer-1', [event('CustomerTokensRevoked', {})], { expected: 2 })
    await projection.caughtUp()
    t.equal((await readModel.documents([1]))[0]?.revision, 3)
  }
})

t.test('a delivery that is applied beside a filling outlasts its end', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const [past] = someHistories(1) as [History]
  await appendHistories(eventStore, [past])
  const [first, ...rest] = await collect(eventStore.readStream('customer-1'))
  const held = Promise.withResolvers<void>()
  const reading = Promise.withResolvers<void>()
  const applier = createApplier({
    eventStore,
    readModel: {
      ...readModel,
      documents: async (ids) => {
        reading.resolve()
        await held.promise
        return readModel.documents(ids)
      },
    },
    onFailure: (failure) => t.fail(String(failure.error)),
  })
  await applier.apply(first ? [first] : [])
  applier.forget()
  const applied = applier.apply(rest)
  await reading.promise
  applier.forget()
  held.resolve()
  await applied
  t.strictSame(await readModel.documents([1]), await straight(eventStore, [1]))
})

t.test('what was folded or stored before is forgotten where the read model is another one', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const { eventStore: other } = await openStores(t)
  await appendHistories(eventStore, cut(someHistories(2), 0, 3))
  await appendHistories(other, cut(someHistories(1, 2), 0, 3))
  const [events, others] = [await collect(eventStore.readAll()), await collect(other.readAll())]
  const applier = createApplier({ eventStore: other, readModel, onFailure: t.fail })
  await applier.fold(events)
  applier.forget()
  await applier.apply(others)
  await applier.write()
  t.strictSame(await readModel.documents([1, 2]), [await foldCustomer(other, 1), null], 'nobody of the log before')
  await readModel.reset()
  applier.forget()
  await applier.apply(others)
  t.strictSame(await readModel.documents([1]), await straight(other, [1]))
})

t.test('who is stuck is parked again in a read model that was emptied', async (t) => {
  const { readModel } = await startStuck(t)
  t.equal((await readModel.parked()).length, 1)
  await readModel.reset()
  await until('it is parked', async () => (await readModel.parked()).length > 0)
  t.ok(((await readModel.get([1]))[0]?.acknowledged ?? -1) >= 2, 'and queries see that it is behind')
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
      // No deletion, after which nothing is missing.
      await appendHistories(eventStore, cut(someHistories(2, 1, 5), 0, 4))
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

t.test('goes on where a customer’s stream is tombstoned by hand at a server', async (t) => {
  const [server, { readModel }] = await Promise.all([startEventStoreServer(t), openStores(t)])
  const eventStore = openKurrentEventStore(server.url)
  t.teardown(() => eventStore.close())
  await appendHistories(eventStore, someHistories(3, 1))
  const projection = start(t, { eventStore, readModel })
  await projection.caughtUp()
  await eventStore.tombstoneStream('customer-2', { expected: 'any' })
  await appendHistories(eventStore, someHistories(4, 1).slice(3))
  await projection.caughtUp()
  t.match(await readModel.documents([4]), [{ id: 4 }])
  t.match(await readModel.getCheckpoint(), { stream: 'customer-4' })
})
