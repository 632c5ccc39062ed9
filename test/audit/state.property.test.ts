/** `state --at`, at each revision and each time of random histories, beside a fold made here. */
import fc from 'fast-check'
import t from 'tap'
import { decode } from '../../eventstore/codec.ts'
import type { EventStore, NewEvent, RecordedEvent } from '../../eventstore/port.ts'
import { absentCustomer, type CustomerDocument, project } from '../../projections/customer.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { openStores } from '../projections/support.ts'
import { encoded, history } from '../support/histories.ts'
import { auditor, json } from './support.ts'

const START = Date.parse('2026-01-01T00:00:00Z')

/** The document after each event, from the events themselves. */
function folded(id: number, events: readonly NewEvent[]): CustomerDocument[] {
  let document = absentCustomer(id)
  return events.map((event, revision) => {
    const stored = { ...event, stream: `customer-${id}`, revision, created: new Date(0) } as unknown as RecordedEvent
    document = project(document, decode<CustomerEvent>(JSON.parse(JSON.stringify(stored))))
    return document
  })
}

t.test('at every revision, from the store', async (t) => {
  const { eventStore } = await openStores(t)
  const audit = auditor(eventStore)
  let id = 0
  await fc.assert(
    fc.asyncProperty(history(1), async ({ events }) => {
      const customer = ++id
      const own = events.map((event) =>
        JSON.parse(JSON.stringify(event).replace('"customerId":1', `"customerId":${id}`)),
      )
      const written = encoded({ id: customer, events: own })
      await eventStore.append(`customer-${customer}`, written, { expected: 'no_stream' })
      const expected = folded(customer, written)
      for (const [revision, document] of expected.entries()) {
        const args = ['state', String(customer), '--at', String(revision), '--json', '--reveal', '--reason', 'test']
        t.strictSame(json(await audit(...args))[0].customer, document)
      }
    }),
    { numRuns: 80 },
  )
})

t.test('at every time', async (t) => {
  await fc.assert(
    fc.asyncProperty(history(7), fc.array(fc.nat(3), { minLength: 1 }), async ({ events }, pauses) => {
      const written = encoded({ id: 7, events })
      const expected = folded(7, written)
      let time = START
      const stored = written.map((event, revision) => {
        time += (pauses[revision % pauses.length] ?? 0) * 1000
        return { ...event, stream: 'customer-7', revision, created: new Date(time) } as RecordedEvent
      })
      const audit = auditor(holding(stored))
      for (const second of [-1, 0, 1, Math.floor((time - START) / 1000), Math.floor((time - START) / 1000) + 5]) {
        const at = new Date(START + second * 1000)
        const last = stored.findLastIndex(({ created }) => created <= at)
        const args = ['state', '7', '--at', at.toISOString(), '--json', '--reveal', '--reason', 'test'] as const
        if (last === -1) await t.rejects(audit(...args), { message: 'Customer 7 was not there yet at that time.' })
        else t.strictSame(json(await audit(...args))[0].customer, expected[last])
      }
    }),
    { numRuns: 50 },
  )
})

/** A store that holds one customer's stream. */
function holding(events: readonly RecordedEvent[]): EventStore {
  return {
    async append() {
      return { revision: 0 }
    },
    async *readStream(stream: string) {
      if (stream === 'customer-7') yield* structuredClone(events)
    },
  } as Partial<EventStore> as EventStore
}
