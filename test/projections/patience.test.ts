/** How long the projection waits for an event that was delivered and is missing from its stream: for each one anew. */
import t, { type Test } from 'tap'
import { createChangesOf } from '../../audit/timeline.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../../eventstore/port.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { dropParked, replayParked, waitingEvents } from '../../projections/parked-events.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import type { Failure } from '../../projections/worker/parking.ts'
import { stopClock } from '../support/clock.ts'
import { appendHistories, collect, openStores, someHistories } from './support.ts'
import { cut, straight } from './worker-support.ts'

/** Of four events each. Only a fifth or later one can be a deletion, after which nothing is missing. */
const histories = (customers: number, seed = 1) => cut(someHistories(customers, seed, 5), 0, 4)

/** A log of customers with four events each, of whose streams a node shows only a part. */
async function startShort(t: Test, customers = 2) {
  const { eventStore: whole, readModel } = await openStores(t)
  await appendHistories(whole, histories(customers))
  const all = await collect(whole.readAll({}))
  const shown = new Map<string, number>()
  const eventStore: EventStore = {
    ...whole,
    catchUpMs: 1, // as of a cluster
    async *readStream(stream, options) {
      for await (const each of whole.readStream(stream, options)) {
        if (each.revision <= (shown.get(stream) ?? 3)) yield each
      }
    },
  }
  const failures: Failure[] = []
  const applier = createApplier({ eventStore, readModel, onFailure: (each) => failures.push(each) })
  const moveOn = stopClock(t)
  /** Delivers an event, as a worker does it again after each failure. */
  function deliver(id: number, revision: number): Promise<void> {
    applier.forget()
    return applier.apply(all.filter((each) => each.stream === `customer-${id}` && each.revision === revision))
  }
  return {
    whole,
    all,
    eventStore,
    readModel,
    failures,
    applier,
    moveOn,
    deliver,
    /** Shows a customer's stream up to a revision. */
    show: (id: number, revision: number) => void shown.set(`customer-${id}`, revision),
    /** Delivers an event until its customer is parked. */
    async waitFor(t: Test, id: number, revision: number) {
      for (const milliseconds of [50_000, 11_000]) {
        await t.rejects(deliver(id, revision), EventStoreUnavailable)
        moveOn(milliseconds)
      }
      await deliver(id, revision)
    },
  }
}

async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

t.test('who got past the missing event waits as long for the next one', async (t) => {
  const { whole, readModel, failures, show, deliver, moveOn, waitFor } = await startShort(t)
  show(1, 0)
  await t.rejects(deliver(1, 1), EventStoreUnavailable)
  moveOn(50_000)
  await t.rejects(deliver(1, 1), EventStoreUnavailable)
  moveOn(5_000)
  show(1, 1)
  await deliver(1, 1)
  moveOn(6_000)
  await t.rejects(deliver(1, 3), EventStoreUnavailable, 'a minute after the first wait began')
  moveOn(50_000)
  show(1, 0) // another node, which is further behind
  await t.rejects(deliver(1, 3), EventStoreUnavailable)
  moveOn(5_000)
  show(1, 2)
  await t.rejects(deliver(1, 3), EventStoreUnavailable)
  t.same(failures, [])
  show(1, 1)
  await waitFor(t, 1, 3)
  t.match(await readModel.parked(), [{ customerId: 1, revision: 2, type: '' }], 'of the missing event no type is known')
  show(1, 3)
  await deliver(1, 3)
  t.strictSame(await readModel.documents([1]), await straight(whole, [1]))
})

t.test('who is parked for it is not waited for again', async (t) => {
  const { whole, readModel, failures, show, deliver, waitFor } = await startShort(t)
  for (const id of [1, 2]) {
    show(id, 0)
    await waitFor(t, id, 1)
  }
  await deliver(1, 2) // while the other customer was waited for, this one's failure was forgotten
  t.match(await readModel.parked(), [
    { customerId: 1, revision: 1 },
    { customerId: 2, revision: 1 },
  ])
  t.equal(failures.length, 3)
  show(1, 2)
  await t.rejects(deliver(1, 3), EventStoreUnavailable, 'another event is')
  show(1, 3)
  await deliver(1, 3)
  t.strictSame(await readModel.documents([1]), await straight(whole, [1]))
})

t.test('a replay that does not find it leaves it parked; who drops it goes on without it', async (t) => {
  const { whole, eventStore, readModel, show, waitFor } = await startShort(t)
  show(1, 1)
  show(2, -1)
  await waitFor(t, 1, 3)
  await waitFor(t, 2, 1)
  const parked = await readModel.parked()
  const replay = () => gathered(replayParked({ eventStore, readModel }, parked))
  t.match(await replay(), [
    { customerId: 1, stuck: { revision: 2, reason: /does not appear/ } },
    { customerId: 2, stuck: { revision: 0, reason: /does not appear/ } },
  ])
  t.same(await readModel.parked(), parked)

  show(1, 3)
  t.match(await replay(), [
    { customerId: 1, stuck: undefined },
    { customerId: 2, stuck: { revision: 0 } },
  ])
  t.strictSame(await readModel.documents([1]), await straight(whole, [1]))
  const decision = { reason: 'lost', actor: 'operator' }
  const dropped = dropParked({ eventStore, readModel }, await readModel.parked(), decision)
  t.same(await gathered(dropped), [{ customerId: 2 }])
  t.same(await readModel.parked(), [])
})

t.test('a missing event that an operator has dropped holds up none that comes after it', async (t) => {
  const { eventStore: whole, readModel } = await openStores(t)
  await appendHistories(whole, histories(1, 3))
  const all = await collect(whole.readStream('customer-1', {}))
  // The index of the stream is damaged: its second event was delivered, but can't be read.
  const eventStore: EventStore = {
    ...whole,
    async *readStream(stream, options) {
      for await (const each of whole.readStream(stream, options)) if (each.revision !== 1) yield each
    },
  }
  const failures: Failure[] = []
  const applier = createApplier({ eventStore, readModel, onFailure: (each) => failures.push(each) })
  await applier.apply(all.filter(({ revision }) => revision === 0 || revision === 2))
  t.match(await readModel.parked(), [{ customerId: 1, revision: 1, reason: 'The event is gone from its stream.' }])
  await t.rejects(foldCustomer(eventStore, 1), RangeError)

  const decision = { reason: 'lost', actor: 'operator' }
  t.same(await gathered(dropParked({ eventStore, readModel }, await readModel.parked(), decision)), [{ customerId: 1 }])
  t.same(await readModel.parked(), [])
  applier.forget()
  await applier.apply(all.filter(({ revision }) => revision === 3))
  t.match(await readModel.documents([1]), [{ revision: 3 }])
  t.strictSame(await readModel.documents([1]), [await foldCustomer(eventStore, 1)])
  t.equal(failures.length, 1)
  const [newest] = all.slice(-1) as [RecordedEvent]
  t.match(
    await createChangesOf(eventStore)(1, newest),
    [{ field: 'email' }],
    'nor does an auditor miss what it changed',
  )
})

t.test('a customer whose stream was deleted keeps nobody from a replay, and can be dropped', async (t) => {
  const { whole, readModel, show, deliver, waitFor } = await startShort(t)
  await whole.deleteStream('customer-1', { expected: 'any' })
  await deliver(1, 1)
  show(2, 1)
  await waitFor(t, 2, 3)
  const stores = { eventStore: whole, readModel }
  const parked = await readModel.parked()
  t.match(await waitingEvents(whole, parked), [{ events: 1 }, { events: 2 }])
  const replayed = await gathered(replayParked(stores, parked))
  t.match(replayed, [
    { customerId: 1, stuck: { revision: 0, reason: /gone/ } },
    { customerId: 2, stuck: undefined },
  ])
  const dropped = dropParked(stores, await readModel.parked(), { reason: 'deleted', actor: 'operator' })
  t.same(await gathered(dropped), [{ customerId: 1 }])
  t.same(await readModel.parked(), [])
})

t.test('all wait at the same time whose documents another worker has written', async (t) => {
  const { whole, all, eventStore, readModel, applier, show, moveOn } = await startShort(t, 40)
  const ids = Array.from({ length: 40 }, (_, index) => index + 1)
  const eventsUpTo = (revision: number) => all.filter((each) => each.revision <= revision)
  for (const id of ids) show(id, 0)
  /** Folds documents that another worker is faster with. */
  async function lose() {
    applier.forget()
    await readModel.reset()
    await applier.fold(eventsUpTo(1))
    await createApplier({ eventStore, readModel, onFailure: () => {} }).apply(eventsUpTo(0))
    await applier.write()
  }
  await t.rejects(lose(), EventStoreUnavailable)
  moveOn(50_000)
  await t.rejects(lose(), EventStoreUnavailable)
  moveOn(11_000)
  await lose()
  t.equal((await readModel.parked()).length, 40)
  for (const id of ids) show(id, 3)
  await gathered(replayParked({ eventStore, readModel }, await readModel.parked()))
  t.strictSame(await readModel.documents(ids), await straight(whole, ids))
})
