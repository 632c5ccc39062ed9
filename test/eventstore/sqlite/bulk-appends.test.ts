/** Bulk appends write what appends would write, and stop where an append would have to decide something. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type BulkAppends, bulkAppendsOf, type Sequence } from '../../../eventstore/bulk-appends.ts'
import { encode, isEncrypted } from '../../../eventstore/codec.ts'
import { linkOf } from '../../../eventstore/event-hash.ts'
import { chained } from '../../../eventstore/hash-chain.ts'
import { type OpenedLog, openLog } from '../../../eventstore/open-event-store.ts'
import { type EventStore, EventStoreUnavailable, type NewEvent, type RecordedEvent } from '../../../eventstore/port.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import type { DomainEvent } from '../../../schema/events.ts'
import { caughtUp, having, pull, someEvents } from '../../contract/event-store.ts'
import { environment } from '../../support/graph.ts'
import { registered } from '../../support/registered.ts'
import { openStore, temporaryFolder } from './support.ts'

const first = (stream: string, ...events: NewEvent[]) => ({ stream, events, expected: 'no_stream' }) as const
const after = (revision: number, stream: string, ...events: NewEvent[]) => ({ stream, events, expected: revision })
const bulkOf = (eventStore: EventStore) => bulkAppendsOf(eventStore) as BulkAppends

async function logOf(eventStore: EventStore): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = []
  for await (const event of eventStore.readAll()) events.push(event)
  return events
}

const told = (events: readonly RecordedEvent[]) =>
  events.map(({ stream, revision, id }) => `${stream} ${revision} ${id}`)
const named = (events: readonly RecordedEvent[]) => events.map(({ stream, revision }) => `${stream} ${revision}`)

t.test('sequences are written in order, and wake who waits for them', async (t) => {
  const { path, store } = await openStore(t)
  const { store: second } = await openStore(t, path)
  const subscription = second.subscribeToAll({ from: 'start' })
  await pull(subscription, caughtUp)
  const woken = pull(subscription, having(6))
  const [a, b, c, d, e, f] = someEvents(6) as [NewEvent, NewEvent, NewEvent, NewEvent, NewEvent, NewEvent]
  const written = await bulkOf(store).write([[first('a', a, b), first('b', c)], [], [first('c', d)]])
  t.same(written, [true, false, true])
  t.same(await bulkOf(store).write([[after(1, 'a', e), after(0, 'b', f)]]), [true])
  await woken
  t.same(told(await logOf(second)), [
    `a 0 ${a.id}`,
    `a 1 ${b.id}`,
    `b 0 ${c.id}`,
    `c 0 ${d.id}`,
    `a 2 ${e.id}`,
    `b 1 ${f.id}`,
  ])
  t.match((await store.append('a', [e], { expected: 1 })).revision, 2, 'an append recognises what was written in bulk')
})

t.test(
  'a sequence ends where an append would be refused, repeats an earlier one, or needs more than a write',
  async (t) => {
    const { store } = await openStore(t)
    const [event] = someEvents(1) as [NewEvent]
    const [other] = someEvents(1) as [NewEvent]
    await store.append('there', [event], { expected: 'any' })
    await store.append('limited', [event], { expected: 'any' })
    await store.setStreamMetadata('limited', { $maxCount: 1 })
    await store.append('deleted', [event], { expected: 'any' })
    await store.deleteStream('deleted', { expected: 'any' })
    await store.append('tombstoned', [event], { expected: 'any' })
    await store.tombstoneStream('tombstoned', { expected: 'any' })
    const before = (await logOf(store)).length
    const refused = {
      'a stream that is there': first('there', other),
      'the same event again': first('there', event),
      'another revision': after(1, 'there', other),
      'no such stream': after(0, 'missing', other),
      'a limit of events': after(0, 'limited', other),
      'a deleted stream': first('deleted', other),
      'a deleted stream at its revision': after(0, 'deleted', other),
      'a tombstone': first('tombstoned', other),
      'a tombstone at its revision': after(1, 'tombstoned', other),
      bytes: first('bytes', { ...other, data: Buffer.of(1) }),
      'an id that is none': first('id', { ...other, id: 'x' }),
      'a name of the system': first('$$name', other),
    }
    for (const [what, append] of Object.entries(refused)) {
      const sequences: Sequence[] = [[append, first(`after ${what}`, other)], [first(`beside ${what}`, other)]]
      t.same(await bulkOf(store).write(sequences), [false, true], what)
    }
    const names = Object.keys(refused).map((what) => `beside ${what} 0`)
    t.same(named((await logOf(store)).slice(before)), names, 'nothing of them is written')
    t.same(await bulkOf(store).write([[first('kept', event), first('there', other), first('not', other)]]), [false])
    t.match(named(await logOf(store)).at(-1), 'kept 0', 'what was written before the refusal stays')
  },
)

t.test('only the very store has them: a wrapper that replaces `append` is never passed by', async (t) => {
  const { store } = await openStore(t)
  t.ok(bulkAppendsOf(store))
  t.ok(bulkAppendsOf(chained(store)))
  const wrapped = { ...store }
  t.notOk(bulkAppendsOf(wrapped))
  t.notOk(bulkAppendsOf(chained(wrapped)))
})

t.test(
  'others write meanwhile: stores of this process and of others wait for their turn, nothing is lost',
  async (t) => {
    const { path, store } = await openStore(t)
    const { store: second } = await openStore(t, path)
    const sequences = Array.from({ length: 2_000 }, (_, index): Sequence => [first(`bulk${index}`, ...someEvents(2))])
    const parts = Array.from({ length: 20 }, (_, index) => sequences.slice(100 * index, 100 * index + 100))
    let isDone = false
    const bulk = Promise.all(parts.map((part) => bulkOf(store).write(part))).finally(() => {
      isDone = true
    })
    let single = 0
    do
      await Promise.all(
        [store, second].map((each) => each.append(`single${++single}`, someEvents(1), { expected: 'no_stream' })),
      )
    while (!isDone)
    t.same(new Set((await bulk).flat()), new Set([true]))
    t.equal((await logOf(second)).length, 4_000 + single)
  },
)

t.test('closing waits for what is under way, and refuses what comes later', async (t) => {
  const { path, store } = await openStore(t)
  const bulk = bulkOf(store)
  const written = bulk.write([[first('s', ...someEvents(3))]])
  await store.close()
  t.same(await written, [true])
  await t.rejects(bulk.write([[first('t', ...someEvents(1))]]), EventStoreUnavailable)
  const { store: again } = await openStore(t, path)
  t.equal((await logOf(again)).length, 3)
})

t.test('the thread keeps its process while it writes, and not longer', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  const module = (name: string) => JSON.stringify(new URL(`../../../eventstore/${name}`, import.meta.url).href)
  const script = `
    import { bulkAppendsOf } from ${module('bulk-appends.ts')}
    import { openSqliteEventStore } from ${module('sqlite/event-store.ts')}
    const store = openSqliteEventStore({ path: ${JSON.stringify(path)} })
    const events = [{ id: crypto.randomUUID(), type: 'A', data: {}, metadata: {} }]
    bulkAppendsOf(store).write([[{ stream: 's', events, expected: 'no_stream' }]]).then((written) => process.stdout.write(String(written)))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  t.same(await Promise.race([once(child, 'close'), delay(60_000, ['still there'], { ref: false })]), [0, null])
  t.equal(said, 'true')
})

t.test('the log of the service', async (t) => {
  const folder = await temporaryFolder(t)
  const open = async (): Promise<OpenedLog> => {
    const log = await openLog(loadConfiguration(environment(folder)))
    t.teardown(() => log.eventStore.close())
    return log
  }
  const encoded = (event: DomainEvent) => {
    const id = crypto.randomUUID()
    return encode(event, id, { $correlationId: id, $causationId: id, actor: 'test', at: '2026-01-02T03:04:05.000Z' })
  }
  const EMAIL = 'zoe.quux@example.com'
  const { eventStore, stored, keys } = await open()
  const claim = encoded({ type: 'EmailClaimed', data: { customerId: 7 } })
  const [registration, second] = [encoded(registered(7, EMAIL)), encoded(registered(7, EMAIL))]
  const bulk = bulkOf(eventStore)

  t.same(await bulk.write([[first('customer-7', registration)]]), [false], 'without its key nothing is written')
  await bulk.prepare(['customer-7', 'customerEmail-abc'])
  t.same(await bulk.write([[first('customerEmail-abc', claim), first('customer-7', registration)]]), [true])
  t.same(await bulk.write([[after(0, 'customer-7', encoded({ type: 'NewsletterSubscribed', data: {} }))]]), [true])
  const events = (await logOf(stored)).filter(({ stream }) => /^customer(Email)?-/.test(stream))
  t.same(named(events), ['customerEmail-abc 0', 'customer-7 0', 'customer-7 1'])
  t.notMatch(JSON.stringify(events.map(({ data }) => data)), 'quux', 'encrypted')
  t.ok(isEncrypted(events[1] as RecordedEvent))
  t.equal(linkOf(events[2] as RecordedEvent).previous, linkOf(events[1] as RecordedEvent).hash, 'the chain continues')
  const read: RecordedEvent[] = []
  for await (const event of eventStore.readStream('customer-7')) read.push(event)
  t.match(read[0]?.data, { email: EMAIL })

  // A chain whose end this process has not written: it is read.
  const other = await open()
  const unsubscribed = encoded({ type: 'NewsletterUnsubscribed', data: {} })
  t.same(await bulkOf(other.eventStore).write([[after(1, 'customer-7', unsubscribed)]]), [true])

  const refused = [
    first('customer-8', { ...claim, type: 'EmailClaimed' }),
    first('unknown', claim),
    first('customerCredentials-x', encoded(registered(8, EMAIL))),
  ]
  t.same(await bulk.write(refused.map((append) => [append])), [false, false, false], 'the table of streams holds')
  await keys.destroy('7')
  t.same(await bulk.write([[after(2, 'customer-7', second)]]), [false], 'nothing is encrypted with a destroyed key')
})
