/** Appends with the hash chain keep the port's semantics, and the chain holds whoever writes at the same time. */
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { verifyLog } from '../../../audit/proof/verify.ts'
import { linkOf } from '../../../eventstore/event-hash.ts'
import { chained } from '../../../eventstore/hash-chain.ts'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import {
  type EventStore,
  EventStoreUnavailable,
  InvalidArgument,
  type NewEvent,
  type RecordedEvent,
  StreamDeleted,
  WrongExpectedRevision,
} from '../../../eventstore/port.ts'
import { startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { aLog, anEvent, grow, KINDS } from './support.ts'

async function read(eventStore: EventStore, stream: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = []
  for await (const event of eventStore.readStream(stream)) events.push(event)
  return events
}
const faultsOf = async (eventStore: EventStore) => (await verifyLog(eventStore, { keys: [] })).faults
/** As a wrapper of another process: it remembers nothing of what others wrote. */
const another = (eventStore: EventStore) => chained({ ...eventStore })
/** With an id that others may append, too, and another time each time. */
let time = 0
const repeatable = (id: string): NewEvent => ({
  id,
  type: 'Happened',
  data: { time: ++time },
  metadata: { $causationId: '00000000-0000-8000-8000-000000000001', at: `${time}` },
})

for (const kind of KINDS) {
  t.test(`${kind}: each event is linked to the one before it`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    const store = chained(eventStore)
    t.equal(chained(store), store, 'once is enough')
    await store.append('customer-1', [anEvent(1), anEvent(2)], { expected: 'no_stream' })
    await store.append('customer-1', [anEvent(3)], { expected: 1 })
    await another(eventStore).append('customer-1', [{ id: crypto.randomUUID(), type: 'Bare', data: {} }], {
      expected: 2,
    })
    const links = (await read(store, 'customer-1')).map(linkOf)
    for (const [index, { hash, previous }] of links.entries()) {
      t.match(hash, /^[\w-]{43}$/)
      t.equal(previous, links[index - 1]?.hash ?? null)
    }
    t.same(await faultsOf(eventStore), [])
    t.match((await read(store, 'customer-1'))[0]?.metadata, { actor: 'customer:1' }, 'what was there stays')
  })

  t.test(`${kind}: refusals are those of the store`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    const store = chained(eventStore)
    await grow(store, 'customer-1', 2)
    const append = (expected: number | 'no_stream' | 'stream_exists', stream = 'customer-1') =>
      store.append(stream, [anEvent()], { expected })
    await t.rejects(append(0), WrongExpectedRevision)
    await t.rejects(append('no_stream'), WrongExpectedRevision)
    await t.rejects(append(7), { message: /expected at 7 but is at 1/ })
    await t.rejects(append('stream_exists', 'customer-2'), WrongExpectedRevision)
    await t.rejects(append(-1), InvalidArgument)
    t.equal((await append('stream_exists')).revision, 2)
    await store.setStreamMetadata('customer-2', { note: 'x' })
    t.equal((await append('stream_exists', 'customer-2')).revision, 0, 'with metadata it exists')
    await store.tombstoneStream('customer-2', { expected: 'any' })
    for (const expected of ['no_stream', 'stream_exists', 'any', 0] as const) {
      await t.rejects(store.append('customer-2', [anEvent()], { expected }), StreamDeleted)
    }
    for (const event of [
      { ...anEvent(), data: new Uint8Array(1) },
      { ...anEvent(), metadata: 'text' },
    ]) {
      await t.rejects(store.append('customer-3', [event], { expected: 'no_stream' }), InvalidArgument)
    }
    t.equal((await store.append('customer-1', [], { expected: 'any' })).revision, 2, 'no events: as ever')
    t.same(
      (await faultsOf(eventStore)).filter(({ stream }) => stream !== 'customer-2'),
      [],
    )
  })

  t.test(`${kind}: many writers of the same streams, in one process and in several`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    const stores = [chained(eventStore), another(eventStore), another(eventStore)]
    const ids = new Set<string>()
    const revisions = new Set<number>()
    await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const events = index % 3 === 0 ? [anEvent(), anEvent()] : [anEvent()]
        for (const { id } of events) ids.add(id)
        const store = stores[index % stores.length] as EventStore
        const { revision } = await store.append('addressIds', events, { expected: 'any' })
        revisions.add(revision)
      }),
    )
    t.equal(revisions.size, 30, 'each got its own revision')
    t.same(new Set((await read(eventStore, 'addressIds')).map(({ id }) => id)), ids)
    // Exact revisions: of those who try for the same one, one is written.
    await grow(eventStore, 'customer-1', 1)
    for (let revision = 0; revision < 5; revision++) {
      const tries = stores.map((store) => store.append('customer-1', [anEvent()], { expected: revision }))
      const written = (await Promise.allSettled(tries)).filter(({ status }) => status === 'fulfilled')
      t.equal(written.length, 1)
    }
    t.same(await faultsOf(eventStore), [])
  })

  t.test(`${kind}: appends that are not awaited keep their order`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    for (const [stream, store] of Object.entries({ a: chained(eventStore), b: another(eventStore) })) {
      const events = Array.from({ length: 8 }, (_, index) => (index % 3 ? anEvent() : repeatable(crypto.randomUUID())))
      const expected = ['no_stream', 0, 1, 'any', 'any', 4, 'stream_exists', 6] as const
      const results = await Promise.all(
        events.map((event, index) => store.append(stream, [event], { expected: expected[index] ?? 'any' })),
      )
      t.same(
        results.map(({ revision }) => revision),
        [0, 1, 2, 3, 4, 5, 6, 7],
      )
      t.same(
        (await read(store, stream)).map(({ id }) => id),
        events.map(({ id }) => id),
      )
    }
    t.same(await faultsOf(eventStore), [])
  })

  t.test(`${kind}: a repetition writes nothing, gives the first result, and the chain goes on`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    const [here, there] = [chained(eventStore), another(eventStore)]
    const ids = Array.from({ length: 3 }, () => crypto.randomUUID())
    const events = () => ids.map(repeatable)
    const first = await here.append('customer-1', events(), { expected: 'no_stream' })
    // Another process, with another content: what was written first counts.
    t.same(await there.append('customer-1', events(), { expected: 'no_stream' }), first)
    await there.append('customer-1', [anEvent()], { expected: 2 })
    await here.append('customer-1', [anEvent()], { expected: 3 })
    t.same(await there.append('customer-1', events(), { expected: 'no_stream' }), first, 'for ever')

    const anyIds = [crypto.randomUUID(), crypto.randomUUID()]
    const any = () => anyIds.map(repeatable)
    const original = await here.append('addressIds', any(), { expected: 'any' })
    await grow(there, 'addressIds', 2, 1)
    t.equal((await here.append('addressIds', any(), { expected: 'any' })).revision, original.revision)
    t.equal((await another(eventStore).append('addressIds', any(), { expected: 'any' })).revision, original.revision)
    t.equal((await here.append('addressIds', any().slice(0, 1), { expected: 'stream_exists' })).revision, 0)
    await t.rejects(
      here.append('addressIds', [...any(), anEvent()], { expected: 'any' }),
      WrongExpectedRevision,
      'known in part',
    )
    t.equal((await read(eventStore, 'addressIds')).length, 4)
    await grow(here, 'addressIds', 1, 3)
    t.same(await faultsOf(eventStore), [])
  })

  t.test(`${kind}: what is appended while the store closes is refused, or has its hash`, async (t) => {
    const { eventStore, url } = await aLog(t, kind)
    // Slow, so that there is a while in which it closes and the store below is still open.
    const slow = { ...eventStore, close: () => delay(100).then(eventStore.close) }
    const store = chained(slow)
    for (let stream = 1; stream <= 3; stream++) await grow(store, `customer-${stream}`, 1)
    const outcomes: Promise<unknown>[] = []
    let written = 0
    const append = (after: number) => {
      for (const expected of ['any', 'stream_exists', after] as const) {
        for (const stream of ['customer-1', 'customer-2', 'customer-3', `customer-${crypto.randomUUID()}`]) {
          const appended = store.append(stream, [anEvent()], { expected }).then(
            () => written++,
            (error: unknown) => {
              const isConflict = error instanceof WrongExpectedRevision
              if (!isConflict) t.ok(error instanceof EventStoreUnavailable, `${error}`)
            },
          )
          outcomes.push(appended)
        }
      }
    }
    append(0) // under way
    const closed = store.close()
    append(1) // in the same turn
    for (let round = 0; round < 20; round++) {
      await delay(round < 10 ? 0 : 10)
      append(round)
    }
    await Promise.all([...outcomes, closed])
    append(0)
    await Promise.all(outcomes)
    const again = await openEventStore(url)
    t.teardown(() => again.close())
    let count = 0
    for await (const event of again.readAll()) {
      count++
      t.match(linkOf(event).hash, /^[\w-]{43}$/, `${event.revision}@${event.stream}`)
    }
    t.equal(count, 3 + written, 'what was acknowledged is there, and nothing else')
    t.same(await faultsOf(again), [])
    await t.rejects(store.append('customer-1', [], { expected: 'any' }), EventStoreUnavailable)
  })

  t.test(`${kind}: streams that are deleted and come back begin their chain anew`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    const stores = [chained(eventStore), another(eventStore)]
    for (const expected of ['any', 'no_stream', 1] as const) {
      for (const [index, store] of stores.entries()) {
        const stream = `customerSignIns-${index}-${expected}`
        await grow(stores[0] as EventStore, stream, 2)
        await eventStore.deleteStream(stream, { expected: 'any' })
        t.equal((await store.append(stream, [anEvent()], { expected })).revision, 2, stream)
        await grow(store, stream, 2, 2)
        await grow(another(eventStore), stream, 1, 4)
      }
    }
    t.same(await faultsOf(eventStore), [])
    await grow(eventStore, 'customer-1', 1)
    await eventStore.deleteStream('customer-1', { expected: 'any' })
    await grow(chained(eventStore), 'customer-1', 1, 'any')
    t.match(await faultsOf(eventStore), [{ stream: 'customer-1' }], 'no event is meant to leave this one')
  })

  t.test(`${kind}: streams with a limit`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    const [here, there] = [chained(eventStore), another(eventStore)]
    await here.setStreamMetadata('customerCredentials-1', { $maxCount: 1 })
    const first = repeatable(crypto.randomUUID())
    await here.append('customerCredentials-1', [first], { expected: 'no_stream' })
    await grow(there, 'customerCredentials-1', 3, 0)
    await grow(here, 'customerCredentials-1', 1, 3)
    await grow(there, 'customerCredentials-1', 1, 'any')
    t.equal((await read(eventStore, 'customerCredentials-1')).length, 1)
    const again = here.append('customerCredentials-1', [first], { expected: 'no_stream' })
    t.equal((await again).revision, 0, 'a repetition of one that is gone')
    await here.setStreamMetadata('mailCheckpoint-a', { $maxCount: 2 })
    await Promise.all(
      Array.from({ length: 9 }, (_, index) => grow(index % 2 ? here : there, 'mailCheckpoint-a', 1, 'any')),
    )
    t.equal((await read(eventStore, 'mailCheckpoint-a')).at(-1)?.revision, 8)
    t.same(await faultsOf(eventStore), [])
  })
}

t.test('an append whose answer was lost is there once, and the chain goes on from what was written', async (t) => {
  const server = await startEventStoreServer(t)
  const bare = await openEventStore(server.url)
  t.teardown(() => bare.close())
  const store = chained(bare)
  await grow(store, 'customer-1', 1)
  server.dropNextAppendResponses(1)
  await grow(store, 'customer-1', 1, 0)
  for (const expected of ['any', 1] as const) {
    const stream = expected === 'any' ? 'addressIds' : 'customer-1'
    const id = crypto.randomUUID()
    // At an exact revision it is tried again, for as long as its deadline lets it.
    server.dropNextAppendResponses(1_000)
    await t.rejects(store.append(stream, [repeatable(id)], { expected }), EventStoreUnavailable)
    server.dropNextAppendResponses(0)
    const { revision } = await store.append(stream, [repeatable(id)], { expected })
    t.equal((await read(bare, stream)).at(-1)?.id, id)
    await grow(store, stream, 2, revision)
    t.equal((await read(bare, stream)).length, revision + 3)
  }
  t.same(await faultsOf(bare), [])
})

t.test('whatever several writers do at once, the chain holds', async (t) => {
  const { eventStore } = await aLog(t, 'sqlite')
  let run = 0
  const operation = fc.record({
    writer: fc.nat({ max: 2 }),
    stream: fc.constantFrom('customer-', 'addressOwner-', 'customerSignIns-'),
    expected: fc.constantFrom('any' as const, 'no_stream' as const, 'stream_exists' as const, 0, 1, 2, 3),
    /** undefined: one of its own. */
    id: fc.option(fc.nat({ max: 3 }), { nil: undefined }),
    count: fc.integer({ min: 1, max: 3 }),
    wait: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 25 }), async (operations) => {
      const own = `${++run}`.padStart(8, '0')
      const stores = [another(eventStore), another(eventStore), another(eventStore)]
      const appends: Promise<unknown>[] = []
      for (const { writer, stream, expected, id, count, wait } of operations) {
        const events = Array.from({ length: count }, (_, index) =>
          id === undefined ? anEvent(index) : repeatable(`${own}-0000-8000-8000-00000000000${id + index}`),
        )
        const append = (stores[writer] as EventStore)
          .append(`${stream}${run}`, events, { expected })
          .catch((error: unknown) => {
            if (!(error instanceof WrongExpectedRevision)) throw error
          })
        appends.push(append)
        if (wait) await append
      }
      await Promise.all(appends)
      const faults = (await faultsOf(eventStore)).filter(({ stream }) => /\d+$/.exec(stream)?.[0] === `${run}`)
      if (faults.length > 0)
        throw new Error(faults.map(({ kind, revision, message }) => `${kind} ${revision}: ${message}`).join())
    }),
    { numRuns: 60 },
  )
})
