/** The part of the log between two times: found in few reads, on both stores, and no event is missing. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { findEvents } from '../../audit/find.ts'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { rangeBetween } from '../../eventstore/times.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { someEvents } from '../contract/event-store/support.ts'
import { collect, temporaryFolder } from '../projections/support.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'

/** The store, counting the events that are read from it. */
function counting(eventStore: EventStore) {
  const counted = { events: 0, reads: 0 }
  async function* count(events: ReturnType<EventStore['readAll']>) {
    counted.reads++
    for await (const event of events) {
      counted.events++
      yield event
    }
  }
  const store: EventStore = {
    ...eventStore,
    readAll: (options) => count(eventStore.readAll(options)),
    readStream: (stream, options) => count(eventStore.readStream(stream, options)),
  }
  return { counted, store }
}

const HOUR = 3_600_000
const EVENTS = 4_000
const FIRST = Date.UTC(2026, 0, 1)
const timeOf = (index: number) => new Date(FIRST + index * HOUR)

t.test('SQLite: a read can start at any position', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  const eventStore = await openEventStore(`sqlite:${path}`)
  t.teardown(() => eventStore.close())
  const { counted, store } = counting(eventStore)
  const criteria = { actors: [], types: [], fields: [] }
  const found = async (since?: Date, until?: Date) => {
    Object.assign(counted, { events: 0, reads: 0 })
    const numbers: number[] = []
    await findEvents(store, { ...criteria, since, until }, ({ data }) => void numbers.push(data as number))
    return numbers
  }
  t.same(await found(timeOf(3), timeOf(5)), [], 'an empty log')
  await eventStore.append('customer-1', someEvents(EVENTS), { expected: 'no_stream' })
  const database = new DatabaseSync(path)
  database.exec(`UPDATE events SET created = ${FIRST} + revision * ${HOUR}`)
  database.exec('DELETE FROM events WHERE revision BETWEEN 1990 AND 2010') // leaves positions without an event
  database.close()

  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index)
  t.same(await found(timeOf(EVENTS - 20)), range(EVENTS - 20, EVENTS))
  t.ok(counted.events < 100, `${counted.events} events were read for the newest 20`)
  t.same(await found(timeOf(1_500), timeOf(1_509)), range(1_500, 1_510), 'both inclusive')
  t.ok(counted.events < 100, `${counted.events} events were read for ten in the middle`)
  t.same(await found(undefined, timeOf(9)), range(0, 10))
  t.ok(counted.events < 100, `${counted.events} events were read for the oldest ten`)
  t.same(await found(timeOf(1_985), timeOf(2_015)), [...range(1_985, 1_990), ...range(2_011, 2_016)])
  t.same(await found(timeOf(EVENTS)), [])
  t.same(await found(undefined, timeOf(-1)), [])
  t.same(await found(timeOf(10), timeOf(5)), [], 'times in the wrong order')
  t.equal((await found()).length, EVENTS - 21)

  const late = new DatabaseSync(path)
  late.exec(`UPDATE events SET created = created - 120000 WHERE revision = 3000`) // the clock was set back
  late.exec(`UPDATE events SET created = created - 3590000 WHERE revision = 2999`)
  late.close()
  t.same(await found(new Date(timeOf(3_000).getTime() - 150_000), timeOf(3_001)), [3_000, 3_001])
})

t.test('KurrentDB: from the events of single streams, whose positions are known', async (t) => {
  const eventStore = await openEventStore((await startEventStoreServer(t)).url)
  t.teardown(() => eventStore.close())
  const { counted, store } = counting(eventStore)
  t.same(await rangeBetween(store, new Date(0), new Date(), 0), { from: 'start', to: undefined }, 'an empty log')
  const moments: Date[] = []
  for (let index = 0; index < 20; index++) {
    await eventStore.append('customer-1', someEvents(50, index * 50), { expected: 'any' })
    const landmark = index % 2 === 0 ? STREAM_NAMES.logCheckpoints : STREAM_NAMES.reveals
    await eventStore.append(landmark, someEvents(1), { expected: 'any' })
    await new Promise((resolve) => setTimeout(resolve, 3))
    moments.push(new Date())
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
  const all = await collect(eventStore.readAll())
  for (const [since, until] of [
    [moments[17], undefined],
    [moments[3], moments[4]],
    [undefined, moments[2]],
    [moments[19], undefined],
    [new Date(0), moments[19]],
  ]) {
    Object.assign(counted, { events: 0, reads: 0 })
    const { from, to } = await rangeBetween(store, since, until, 0)
    const events = await collect(store.readAll({ from, ...(to && { to }) }))
    const fits = ({ created }: { created: Date }) => !(since && created < since) && !(until && created > until)
    t.same(events.filter(fits), all.filter(fits), 'nothing is missed')
    const needed = all.filter(fits).length
    t.ok(events.length <= needed + 2 * 102, `${events.length} events for ${needed}`)
    t.ok(counted.reads < 60, `${counted.reads} reads`)
  }
})
