/** The import's event store: reads a few at a time, and more than one try. */

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite.ts'
import { patient } from '../../subgraph/import/patient.ts'
import { all, someEvents } from '../contract/event-store.ts'
import { temporaryFolder } from '../support/graph.ts'

/** A store whose calls fail so often before they succeed. */
async function shaky(t: Test, failures: number) {
  const store = openSqliteEventStore({ path: join(await temporaryFolder(t), 'events.db') })
  t.teardown(() => store.close())
  const seen = { underWay: 0, most: 0, appends: 0 }
  let left = failures
  const fail = () => {
    if (left-- > 0) throw new EventStoreUnavailable('It has not answered.')
  }
  const eventStore: EventStore = {
    ...store,
    async append(stream, events, options) {
      seen.appends++
      const result = await store.append(stream, events, options)
      fail() // after the write: the answer is what was lost
      return result
    },
    async *readStream(stream, options) {
      seen.most = Math.max(seen.most, ++seen.underWay)
      try {
        await delay(5)
        fail()
        yield* store.readStream(stream, options)
      } finally {
        seen.underWay--
      }
    },
  }
  return { eventStore, seen, failAgain: (count: number) => (left = count) }
}

t.test('reads: a bounded number under way, each tried again', async (t) => {
  const { eventStore, seen, failAgain } = await shaky(t, 0)
  await eventStore.append('a', someEvents(3), { expected: 'no_stream' })
  const store = patient(eventStore, { mostReads: 8, backOff: 1 })
  failAgain(20)
  const read = await Promise.all(Array.from({ length: 200 }, () => all(store.readStream('a'))))
  t.ok(read.every(({ length }) => length === 3))
  t.equal(seen.most, 8)
  t.equal(seen.underWay, 0)
})

t.test('appends: repeated where that writes nothing twice', async (t) => {
  const { eventStore, seen, failAgain } = await shaky(t, 3)
  const store = patient(eventStore, { backOff: 1 })
  t.equal((await store.append('a', someEvents(2), { expected: 'no_stream' })).revision, 1)
  failAgain(2)
  t.equal((await store.append('a', someEvents(1, 2), { expected: 1 })).revision, 2)
  t.equal((await all(eventStore.readStream('a'))).length, 3)
  failAgain(1)
  await t.rejects(store.append('a', someEvents(1, 3), { expected: 'any' }), EventStoreUnavailable)
  const { appends } = seen
  await t.rejects(store.append('a', someEvents(1), { expected: 'no_stream' }), WrongExpectedRevision)
  t.equal(seen.appends, appends + 1, 'what is refused is not tried again')
})

t.test('an outage that lasts is told', async (t) => {
  const { eventStore } = await shaky(t, 1_000)
  const store = patient(eventStore, { backOff: 1 })
  await t.rejects(all(store.readStream('a')), EventStoreUnavailable)
})
