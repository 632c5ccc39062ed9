/** One customer folded from its stream. */
import t from 'tap'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { absentCustomer } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { encoded } from '../support/histories.ts'
import { appendHistories, openStores, someHistories } from './support.ts'

t.test('a customer without a stream is absent', async (t) => {
  const { eventStore } = await openStores(t)
  t.same(await foldCustomer(eventStore, 5), absentCustomer(5))
})

t.test('only what is newer than the known document is read', async (t) => {
  const { eventStore } = await openStores(t)
  const [past] = someHistories(1)
  if (!past) throw new Error('no history')
  await appendHistories(eventStore, [{ ...past, events: past.events.slice(0, 3) }])
  const first = await foldCustomer(eventStore, 1)
  t.equal(first.revision, 2)
  await eventStore.append('customer-1', encoded(past).slice(3), { expected: 2 })
  const reads: unknown[] = []
  const watched: typeof eventStore = {
    ...eventStore,
    readStream(stream, options) {
      reads.push(options?.from)
      return eventStore.readStream(stream, options)
    },
  }
  const newest = await foldCustomer(watched, 1, first)
  t.same(reads, [3])
  t.equal(newest.revision, past.events.length - 1)
  t.same(newest, await foldCustomer(eventStore, 1), 'the same as from the start')
  t.equal(await foldCustomer(eventStore, 1, newest), newest, 'nothing new: the same document')
})

t.test('an event store that is away is said to be', async (t) => {
  const { eventStore } = await openStores(t)
  await eventStore.close()
  await t.rejects(foldCustomer(eventStore, 1), EventStoreUnavailable)
})
