/** Reads the whole log through the port, and does nothing with it. */
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions>(async (options) => {
  const { eventStore, readModel } = await openStores({ ...options, isBare: true })
  await readModel.close()
  await eventStore.ping()
  return async () => {
    let count = 0
    for await (const _ of eventStore.readAll()) count++
    return count
  }
})
