/** Reads and decodes the whole log through our adapter. */
import { decode } from '../../../eventstore/codec.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions>(async (options) => {
  const { eventStore, readModel } = await openStores(options)
  await readModel.close()
  await eventStore.ping()
  return async () => {
    let count = 0
    for await (const event of eventStore.readAll({ systemEvents: true })) {
      if (event.stream.startsWith('customer-')) decode(event)
      count++
    }
    return count
  }
})
