/** The projection of the same events from a log that is neither encrypted nor chained. */
import { join } from 'node:path'
import { startProjection } from '../../../projections/worker.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel } = await openStores({
    ...options,
    folder: join(options.folder, 'clear'),
    isBare: true,
  })
  await readModel.reset()
  return async () => {
    const projection = startProjection({ eventStore, readModel })
    await projection.caughtUp()
    await projection.stop()
    return options.count
  }
})
