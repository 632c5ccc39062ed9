/** The simplest projection into Redis: for each event one GET and one SET. */
import { createClient } from 'redis'
import { decode } from '../../../eventstore/codec.ts'
import type { RecordedEvent } from '../../../eventstore/port.ts'
import { absentCustomer, project } from '../../../projections/customer.ts'
import type { CustomerEvent } from '../../../schema/events.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

/** Slow as it is, a part of the log tells its speed. */
const EVENTS = 20_000

await job<StoreOptions>(async (options) => {
  const { eventStore, readModel } = await openStores(options)
  await readModel.close()
  const events: RecordedEvent[] = []
  const some = eventStore.readAll({ filter: { streamPrefixes: ['customer-'] }, maxCount: EVENTS })
  for await (const event of some) events.push(event)
  const client = createClient({ url: options.readModelUrl ?? '' })
  await client.connect()
  await client.flushAll()
  return async () => {
    for (const event of events) {
      const stored = await client.get(event.stream)
      const document =
        stored === null ? absentCustomer(Number(event.stream.slice('customer-'.length))) : JSON.parse(stored)
      await client.set(event.stream, JSON.stringify(project(document, decode<CustomerEvent>(event))))
    }
    return events.length
  }
})
