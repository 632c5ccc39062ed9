/** A rebuild from its first event to the switch, the comparison with the live generation included. */
import { openReadModel } from '../../../projections/open-read-model.ts'
import { chooseGeneration, compareGenerations, startFilling } from '../../../projections/rebuild.ts'
import { SILENT } from '../../../runtime/log.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel: live } = await openStores(options)
  const generations = await chooseGeneration(live)
  const next = await openReadModel(options.readModelUrl ?? '', { generation: generations.next })
  return async () => {
    const filling = startFilling({ eventStore, readModel: next, log: SILENT, report() {} })
    await filling.complete
    for await (const _ of compareGenerations(next, live, { report() {} })) throw new Error('The generations differ.')
    await live.switchGeneration(generations.live, generations.next)
    await filling.caughtUp()
    await filling.stop()
    return options.count
  }
})
