/** Writes a log of customers' events; with `customer`, all of that one. */
import { fillCustomer, fillLog } from '../log.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number; readonly customer?: number; readonly firstId?: number }>(
  async (options) => {
    const { eventStore, readModel } = await openStores(options)
    await readModel.close()
    return async () => {
      if (options.customer) await fillCustomer(eventStore, options.customer, options.count)
      else await fillLog(eventStore, options.count, options.firstId)
      await eventStore.close()
      return options.count
    }
  },
)
