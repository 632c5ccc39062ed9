/** However events are delivered (order, repetition, batches, by one worker or two), the documents are the straight fold's. */
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { check, decode } from '../../eventstore/codec.ts'
import { type EventStore, type RecordedEvent, StreamNotFound } from '../../eventstore/port.ts'
import { absentCustomer, type CustomerDocument, project } from '../../projections/customer.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { openSqliteReadModel } from '../../projections/sqlite/read-model.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { type History, histories, recorded } from '../support/histories.ts'
import { temporaryFolder } from './support.ts'

/** What filling a gap needs of an event store. */
function streamsOf(logs: ReadonlyMap<string, readonly RecordedEvent[]>): EventStore {
  async function* readStream(stream: string, { from = 0, direction }: { from?: number; direction?: string } = {}) {
    const events = logs.get(stream)
    if (!events) throw new StreamNotFound(stream)
    for (const event of direction === 'backwards' ? events.toReversed() : events) {
      if (event.revision < from) continue
      await null // as a store would: others get their turn
      yield event
    }
  }
  return { readStream } as Partial<EventStore> as EventStore
}

const fold = (id: number, events: readonly RecordedEvent[]): CustomerDocument =>
  events.reduce((document, event) => project(document, decode<CustomerEvent>(event)), absentCustomer(id))

/** With an event that can't be applied: the document before it, or after the deletion, if the customer was deleted since. */
function foldAround(id: number, events: readonly RecordedEvent[], broken: number): CustomerDocument | null {
  const before = fold(id, events.slice(0, broken))
  const last = events.at(-1)
  if (last?.type !== 'CustomerDeleted') return broken === 0 ? null : before
  return project({ ...before, revision: last.revision - 1 }, decode<CustomerEvent>(last))
}

/** One delivery: an event of one customer, to one of the workers; `cut` ends the batch. */
interface Delivery {
  readonly event: RecordedEvent
  readonly worker: number
  readonly cut: boolean
}

/** Every event at least once, in any order, some again; what each worker gets, in batches. */
const deliveries = (events: readonly RecordedEvent[], workers: number): fc.Arbitrary<Delivery[][][]> =>
  fc
    .record({
      order: fc.shuffledSubarray([...events], { minLength: events.length }),
      again: fc.array(fc.record({ event: fc.constantFrom(...events), at: fc.nat(events.length) }), { maxLength: 30 }),
      worker: fc.infiniteStream(fc.nat(workers - 1)),
      cut: fc.infiniteStream(fc.nat(6).map((number) => number === 0)),
    })
    .map(({ order, again, worker, cut }) => {
      const all = [...order]
      for (const { event, at } of again) all.splice(at, 0, event)
      const delivered = all.map((event) => ({
        event,
        worker: worker.next().value as number,
        cut: cut.next().value as boolean,
      }))
      return Array.from({ length: workers }, (_, index) => {
        const batches: Delivery[][] = [[]]
        for (const delivery of delivered) {
          if (delivery.worker !== index) continue
          batches.at(-1)?.push(delivery)
          if (delivery.cut) batches.push([])
        }
        return batches
      })
    })

const scenario = fc.record({
  past: histories({ customers: 3, maxChanges: 12 }),
  workers: fc.integer({ min: 1, max: 2 }),
})

async function deliver(workers: readonly Delivery[][][], eventStore: EventStore, readModel: ReadModel) {
  const failures: { stream: string; revision: number }[] = []
  await Promise.all(
    workers.map(async (batches) => {
      const onFailure = ({ stream, revision }: { stream: string; revision: number }) =>
        failures.push({ stream, revision })
      const applier = createApplier({ eventStore, readModel, onFailure })
      for (const batch of batches) {
        await applier.fold(batch.map(({ event }) => event))
        if (batch.length % 2 === 0) await applier.write() // the others are folded further before they are written
      }
      await applier.write()
    }),
  )
  return failures
}

t.test('the generated histories are valid', async () => {
  fc.assert(
    fc.property(histories(), (all) => {
      for (const { events } of all) for (const { type, data } of events) check(type, data)
    }),
    { numRuns: 100 },
  )
})

t.test('documents do not depend on the delivery', async (t) => {
  const readModel = openSqliteReadModel({ path: join(await temporaryFolder(t), 'readmodel.db') })
  t.teardown(() => readModel.close())
  const logsOf = (past: readonly History[]) =>
    new Map(past.map((history) => [`customer-${history.id}`, recorded(history)] as const))

  await t.test('of whole streams', async () => {
    const property = scenario.chain(({ past, workers }) => {
      const logs = logsOf(past)
      return fc.record({ logs: fc.constant(logs), delivered: deliveries([...logs.values()].flat(), workers) })
    })
    await fc.assert(
      fc.asyncProperty(property, async ({ logs, delivered }) => {
        await readModel.reset()
        const failures = await deliver(delivered, streamsOf(logs), readModel)
        t.same(failures, [], { bail: true })
        const expected = [...logs.values()].map((events, index) => fold(index + 1, events))
        const documents = await readModel.documents(expected.map(({ id }) => id))
        if (JSON.stringify(documents) !== JSON.stringify(expected)) t.strictSame(documents, expected)
        return JSON.stringify(documents) === JSON.stringify(expected)
      }),
      { numRuns: 150, interruptAfterTimeLimit: 8_000 },
    )
  })

  await t.test(
    'of a stream with an event that can not be applied: all stop before it, or at the deletion',
    async () => {
      const property = scenario
        .chain(({ past, workers }) =>
          fc.record({ past: fc.constant(past), workers: fc.constant(workers), at: fc.nat(100) }),
        )
        .chain(({ past, workers, at }) => {
          const logs = logsOf(past)
          const first = logs.get('customer-1') ?? []
          const broken = at % first.length
          logs.set(
            'customer-1',
            first.map((event) => (event.revision === broken ? { ...event, type: 'CustomerKnighted' } : event)),
          )
          return fc.record({
            logs: fc.constant(logs),
            broken: fc.constant(broken),
            delivered: deliveries([...logs.values()].flat(), workers),
          })
        })
      await fc.assert(
        fc.asyncProperty(property, async ({ logs, broken, delivered }) => {
          await readModel.reset()
          const failures = await deliver(delivered, streamsOf(logs), readModel)
          if (failures.some(({ stream, revision }) => stream !== 'customer-1' || revision !== broken)) return false
          const expected = [...logs.values()].map((events, index) =>
            index === 0 ? foldAround(1, events, broken) : fold(index + 1, events),
          )
          const documents = await readModel.documents([1, 2, 3])
          return JSON.stringify(documents) === JSON.stringify(expected)
        }),
        { numRuns: 100, interruptAfterTimeLimit: 6_000 },
      )
    },
  )
})
