/** The import's event store: reads a few at a time, whatever becomes of them. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { withRetries } from '../../eventstore/retry.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { withBoundedReads } from '../../subgraph/import/bounded-reads.ts'
import { all, someEvents } from '../contract/event-store.ts'
import { temporaryFolder } from '../support/graph.ts'

/** A store whose calls fail so often before they succeed. */
async function shaky(t: Test, failures: number) {
  const store = openSqliteEventStore({ path: join(await temporaryFolder(t), 'events.db') })
  t.teardown(() => store.close())
  const seen = { underWay: 0, most: 0 }
  let left = failures
  const fail = () => {
    if (left-- > 0) throw new EventStoreUnavailable('It has not answered.')
  }
  const eventStore: EventStore = {
    ...store,
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
  const store = withBoundedReads(withRetries(eventStore), 8)
  failAgain(20)
  const read = await Promise.all(Array.from({ length: 200 }, () => all(store.readStream('a'))))
  t.ok(read.every(({ length }) => length === 3))
  t.equal(seen.most, 8)
  t.equal(seen.underWay, 0)
})
