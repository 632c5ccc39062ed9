/** One `npm run audit` with its output thrown away. */
import type { AuditContext } from '../../../audit/subcommands/context.ts'
import { addAudit } from '../../../bin/command-line/audit.ts'
import { CliCommand } from '../../../bin/command-line/cli-command.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly args: readonly string[]; readonly count: number }>(async (options) => {
  const { eventStore, readModel, keys } = await openStores(options)
  await readModel.close()
  await eventStore.ping()
  return async () => {
    const context: AuditContext = {
      openEventStore: () => eventStore,
      openReadModel: () => {
        throw new Error('No command here needs documents.')
      },
      confirm: async () => true,
      emailHashKey: () => keys.emailHashKey,
      accessRetentionDays: () => 365,
      requestRules: () => ({ secondPerson: true, approvalDays: 14 }),
      places: () => ({ isServer: false, isRedis: false, hasKeysInLog: false }),
      operator: 'bench',
      write() {},
      note() {},
      progress: () => ({ report() {}, stop() {} }),
      styled: false,
    }
    const program = new CliCommand('customers').exitOverride()
    addAudit(program, async (work) => void (await work(context)))
    await program.parseAsync(['audit', ...options.args], { from: 'user' })
    return options.count
  }
})
