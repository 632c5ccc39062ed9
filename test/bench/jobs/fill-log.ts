/** Writes a log of customers' events. */
import { fillLog } from '../log.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel } = openStores(options)
  await readModel.close()
  return async () => {
    await fillLog(eventStore, options.count)
    await eventStore.close()
    return options.count
  }
})
