/** The projection worker reads from a node of a cluster that is behind, or from a stream that has lost events. */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import type { Failure } from '../../projections/worker/parking.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { until } from '../support/until.ts'
import { appendHistories, collect, openStores, someHistories } from './support.ts'
import { counting, cut, start, straight } from './worker-support.ts'

t.test('a node that is behind only holds it up', builtIn('it is behind'), async (t) => {
  /** A node of a cluster with the first events of two customers. */
  async function startNode(t: Test) {
    const [server, { readModel }] = await Promise.all([startEventStoreServer(t), openStores(t)])
    const eventStore = openKurrentEventStore(server.url.replace('://', '+discover://'))
    t.teardown(() => eventStore.close())
    await appendHistories(eventStore, cut(someHistories(2), 0, 3))
    return { server, eventStore, readModel }
  }

  await t.test('at the start: what was filled counts', async (t) => {
    const { server, eventStore, readModel } = await startNode(t)
    const first = start(t, { eventStore, readModel })
    await first.caughtUp()
    await first.stop()
    server.fallBehind(2)
    const reads = () => server.calls.read ?? 0
    const before = reads()
    const { counts, counted } = counting(readModel)
    const second = start(t, { eventStore, readModel: counted })
    await until('it has looked several times', () => reads() > before + 5 || second.logged.length > 0)
    server.fallBehind(0)
    await second.caughtUp()
    t.same(second.logged, [])
    t.equal(counts.put, 0)
  })

  await t.test('while a gap is filled, or what another worker was faster with is folded again', async (t) => {
    const { server, eventStore, readModel } = await startNode(t)
    const failures: Failure[] = []
    const { catchUpMs: _, ...withoutTime } = eventStore
    const anApplier = (own: EventStore = eventStore) =>
      createApplier({ eventStore: own, readModel, onFailure: (each) => failures.push(each) })
    const events = await collect(eventStore.readAll({}))
    const [slow, fast] = [anApplier(), anApplier()]
    /** Both with the newest event of each customer missing, and with all. */
    const assertHeldUp = async (apply: () => Promise<void>) => {
      for (const hidden of [2, events.length]) {
        server.fallBehind(hidden)
        await t.rejects(apply(), EventStoreUnavailable, `${hidden} are hidden`)
      }
      server.fallBehind(0)
    }
    await assertHeldUp(() => slow.apply(events.slice(-2)))
    await fast.apply(events.slice(0, 2))
    for (const each of [slow, anApplier(withoutTime)]) {
      await assertHeldUp(async () => {
        each.forget()
        await each.fold(events)
        await each.write()
      })
    }
    t.same(failures, [])
    t.same(await readModel.parked(), [])
    await slow.apply(events.slice(-2))
    t.strictSame(await readModel.documents([1, 2]), await straight(eventStore, [1, 2]))
  })

  await t.test('an event that was removed is parked all the same', async (t) => {
    const { eventStore, readModel } = await startNode(t)
    const events = await collect(eventStore.readAll({}))
    const failures: Failure[] = []
    const onFailure = (each: Failure) => void failures.push(each)
    const holey: EventStore = {
      ...eventStore,
      async *readStream(...args) {
        for await (const each of eventStore.readStream(...args)) if (each.revision !== 1) yield each
      },
    }
    await createApplier({ eventStore: holey, readModel, onFailure }).apply(events.slice(-1))
    t.match(failures, [{ stream: 'customer-2', revision: 1 }], 'a hole in a stream')
    await eventStore.setStreamMetadata('customer-1', { $tb: 3 })
    await eventStore.deleteStream('customer-2', { expected: 'any' })
    await createApplier({ eventStore, readModel, onFailure }).apply(events.slice(-2))
    t.match(failures.slice(1), [{ stream: 'customer-1' }, { stream: 'customer-2' }])
  })

  await t.test(
    'so is one that another worker has applied before it was removed, and one that has expired',
    async (t) => {
      const { eventStore, readModel } = await startNode(t)
      const { catchUpMs: _, ...withoutTime } = eventStore
      const events = await collect(eventStore.readAll({}))
      const [deleted, expired] = [1, 2].map((id) => events.filter(({ stream }) => stream === `customer-${id}`))
      const failures: Failure[] = []
      const anApplier = (own: EventStore = eventStore) =>
        createApplier({ eventStore: own, readModel, onFailure: (each) => failures.push(each) })
      for (const own of [deleted, expired]) await anApplier().apply(own?.slice(0, 1) ?? [])
      await eventStore.deleteStream('customer-1', { expected: 'any' })
      await eventStore.setStreamMetadata('customer-2', { $maxAge: 1 })
      for (const own of [eventStore, withoutTime]) await anApplier(own).apply(deleted?.slice(0, 2) ?? [])
      t.match(failures, [
        { stream: 'customer-1', revision: 1 },
        { stream: 'customer-1', revision: 1 },
      ])
      await delay(1_100)
      await anApplier().apply(expired?.slice(2, 3) ?? [])
      t.match(failures.slice(2), [{ stream: 'customer-2', revision: 1 }])
    },
  )

  await t.test(
    'one whose stream stays short of it is parked after a while, and goes on when it is there',
    async (t) => {
      const { server, eventStore, readModel } = await startNode(t)
      const events = await collect(eventStore.readAll({}))
      const failures: Failure[] = []
      const onFailure = (each: Failure) => void failures.push(each)
      const anApplier = (patienceMs: number) => createApplier({ eventStore, readModel, onFailure, patienceMs })
      const [patient, applier] = [anApplier(60_000), anApplier(1_000)]
      const delivered = events.slice(-2)
      server.fallBehind(events.length)
      // As a worker repeats it after each failure.
      const apply = (each: typeof applier) => {
        each.forget()
        return each.apply(delivered)
      }
      await t.rejects(apply(applier), EventStoreUnavailable, 'at first it is waited for')
      t.same(failures, [])
      await until('it is parked', async () => {
        await t.rejects(apply(patient), EventStoreUnavailable)
        return apply(applier).then(
          () => true,
          () => false,
        )
      })
      t.match(
        await readModel.parked(),
        [1, 2].map((customerId) => ({ customerId, revision: 0, reason: /does not appear/ })),
      )
      t.ok(failures.length >= 2)
      server.fallBehind(0)
      await apply(applier)
      t.strictSame(await readModel.documents([1, 2]), await straight(eventStore, [1, 2]))
      t.same(await readModel.parked(), [])

      server.fallBehind(events.length)
      await readModel.reset()
      await delay(1_100)
      await t.rejects(apply(applier), EventStoreUnavailable, 'what was waited for long ago does not count')
    },
  )
})
