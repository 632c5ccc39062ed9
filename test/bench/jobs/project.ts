/**
 * The projection: from the log into an empty read model, until it has caught up. Without the two seconds that a filling of
 * Redis lasts at least: they are no work.
 */
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { startProjection } from '../../../projections/worker/worker.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel: served } = await openStores(options)
  const { readModelUrl } = options
  const readModel = readModelUrl ? openRedisReadModel(readModelUrl, { settleMs: 0 }) : served
  await readModel.reset()
  return async () => {
    const projection = startProjection({ eventStore, readModel })
    await projection.caughtUp()
    await projection.stop()
    return options.count
  }
})
