/** The projection: from the log into an empty read model, until it has caught up. */
import { startProjection } from '../../../projections/worker/worker.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel } = await openStores(options)
  await readModel.reset()
  return async () => {
    const projection = startProjection({ eventStore, readModel })
    await projection.caughtUp()
    await projection.stop()
    return options.count
  }
})
