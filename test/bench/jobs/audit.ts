/** One `npm run audit` with its output thrown away. */
import { runAudit } from '../../../audit/command-line.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly args: readonly string[]; readonly count: number }>(async (options) => {
  const { eventStore, readModel, keys } = await openStores(options)
  await readModel.close()
  await eventStore.ping()
  return async () => {
    await runAudit(options.args, {
      openEventStore: () => eventStore,
      openReadModel: () => {
        throw new Error('No command here needs documents.')
      },
      confirm: async () => true,
      emailHashKey: () => keys.emailHashKey,
      accessRetentionDays: () => 365,
      operator: 'bench',
      write() {},
      note() {},
      progress: () => ({ report() {}, stop() {} }),
      styled: false,
    })
    return options.count
  }
})
