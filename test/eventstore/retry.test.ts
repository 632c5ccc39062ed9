/** Commands wait out an outage: what they read and append is as if there had been none. */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import {
  type EventStore,
  EventStoreUnavailable,
  type RecordedEvent,
  StreamNotFound,
  WrongExpectedRevision,
} from '../../eventstore/port.ts'
import { withRetries } from '../../eventstore/retry.ts'
import { all, datas, someEvents } from '../contract/event-store.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'

async function aServer(t: Test) {
  const server = await startEventStoreServer(t)
  const store = openKurrentEventStore(server.url)
  t.teardown(() => store.close())
  return { server, store }
}

t.test('reads go on where they were, in both directions, and end where they would have', async (t) => {
  const { server, store } = await aServer(t)
  await store.append('a', someEvents(3_000), { expected: 'no_stream' })
  const told: string[] = []
  const waiting = withRetries(store, { onOutage: (reason) => told.push(reason) })
  const reads = [
    () => waiting.readStream('a'),
    () => waiting.readStream('a', { from: 10, maxCount: 2_500 }),
    () => waiting.readStream('a', { direction: 'backwards' }),
    () => waiting.readAll({ filter: { streamPrefixes: ['a'] } }),
    () => waiting.readAll({ direction: 'backwards', maxCount: 2_000 }),
  ]
  const expected = await Promise.all(reads.map(async (read) => datas(await all(read()))))
  for (const [index, read] of reads.entries()) {
    const seen: RecordedEvent[] = []
    for await (const event of read()) {
      seen.push(event)
      if (seen.length === 1_000) {
        if (index > 0) server.cutConnections()
        else {
          await server.stop()
          void delay(700).then(server.start)
        }
      }
    }
    t.same(datas(seen), expected[index])
  }
  t.match(told[0], /^The event store does not answer/)
})

t.test('appends are repeated where that is safe', async (t) => {
  const { server, store } = await aServer(t)
  const waiting = withRetries(store)
  await server.stop()
  const begun = [
    waiting.append('a', someEvents(2), { expected: 'no_stream' }),
    t.rejects(waiting.append('b', someEvents(1), { expected: 'any' }), EventStoreUnavailable),
  ]
  await delay(1_500)
  await server.start()
  await Promise.all(begun)
  t.same(datas(await all(store.readStream('a'))), [0, 1])
  await t.rejects(all(store.readStream('b')), StreamNotFound)
  await t.rejects(waiting.append('a', someEvents(1), { expected: 7 }), WrongExpectedRevision)
  await t.rejects(all(waiting.readStream('b')), StreamNotFound, 'other errors are passed on')
})

t.test('not for ever, and not once it is told to stop', async (t) => {
  const { server, store } = await aServer(t)
  await server.stop()
  await t.rejects(all(withRetries(store, { longestOutage: 1_000 }).readStream('a')), EventStoreUnavailable)
  const stopping = new AbortController()
  const read = all(withRetries(store, { signal: stopping.signal }).readStream('a'))
  stopping.abort()
  await t.rejects(read, EventStoreUnavailable)
})

t.test('not for ever, although the last event that was read comes again each time', async (t) => {
  const { store } = await aServer(t)
  await store.append('a', someEvents(3), { expected: 'no_stream' })
  const outages: string[] = []
  const broken: EventStore = {
    ...store,
    async *readAll(options) {
      let count = 0
      for await (const event of store.readAll(options)) {
        if (event.revision === 2 || count++ === 2) throw new EventStoreUnavailable('no answer')
        yield event
      }
    },
  }
  const waiting = withRetries(broken, { longestOutage: 1_000, onOutage: (reason) => outages.push(reason) })
  await t.rejects(all(waiting.readAll({ filter: { streamPrefixes: ['a'] } })), EventStoreUnavailable)
  t.same(outages, ['no answer'], 'and one outage is told of once')
})
