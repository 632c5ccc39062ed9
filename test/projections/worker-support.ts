import type { Test } from 'tap'
import type { EventStore, Json, NewEvent } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { type Projection, startProjection } from '../../projections/worker/worker.ts'
import { encoded, type History } from '../support/histories.ts'
import { collect } from './support.ts'

const METADATA = {
  $correlationId: 'c',
  $causationId: 'c',
  actor: 'guest',
  at: '2026-01-01T00:00:00.000Z',
  schemaVersion: 1,
}
export const event = (type: string, data: NewEvent['data'], metadata: Json = METADATA): NewEvent => ({
  id: crypto.randomUUID(),
  type,
  data,
  metadata,
})

export type Options = Parameters<typeof startProjection>[0]
/** A worker that ends with the test; what it logs is kept. One with a size of batch writes each of them. */
export function start(t: Test, options: Options): Projection & { readonly logged: [string, object, string][] } {
  const logged: [string, object, string][] = []
  const at = (level: string) => (details: object, message: string) => void logged.push([level, details, message])
  const log = { info: at('info'), warn: at('warn'), error: at('error') }
  const { batchSize: writeAfter } = options
  const projection = startProjection({ log, ...(writeAfter && { writeAfter }), ...options })
  t.teardown(() => projection.stop())
  return { ...projection, logged }
}

export const cut = (past: readonly History[], from: number, to?: number) =>
  past.map((history) => ({ ...history, events: history.events.slice(from, to) }))
export const appendRest = (eventStore: EventStore, past: readonly History[], from: number) =>
  Promise.all(
    past.map((history) =>
      eventStore.append(`customer-${history.id}`, encoded(history).slice(from), {
        expected: from === 0 ? 'no_stream' : from - 1,
      }),
    ),
  )
export const straight = (eventStore: EventStore, ids: readonly number[]): Promise<CustomerDocument[]> =>
  Promise.all(ids.map((id) => foldCustomer(eventStore, id)))

/** The documents are the streams', and the checkpoint is at the end of the log. */
export async function assertProjected(t: Test, eventStore: EventStore, readModel: ReadModel, customers: number) {
  const ids = Array.from({ length: customers }, (_, index) => index + 1)
  const expected = await straight(eventStore, ids)
  t.strictSame(await readModel.documents(ids), expected, 'the documents are the straight fold’s')
  t.strictSame(
    (await readModel.get(ids)).map(({ document }) => document),
    expected,
    'and queries see them',
  )
  const [last] = await collect(eventStore.readAll({ direction: 'backwards', maxCount: 1 }))
  const checkpoint = await readModel.getCheckpoint()
  t.strictSame(checkpoint?.position, last?.position, 'the checkpoint is at the end')
  t.equal(checkpoint?.complete, true)
}

/** The read model with its calls counted. */
export function counting(readModel: ReadModel) {
  const counts = { put: 0, written: 0, documents: 0, read: 0 }
  const counted: ReadModel = {
    ...readModel,
    put(writes, newest) {
      counts.put++
      counts.written += writes.length
      return readModel.put(writes, newest)
    },
    documents(ids) {
      counts.documents++
      counts.read += ids.length
      return readModel.documents(ids)
    },
  }
  return { counts, counted }
}
