/** The mail worker as a process of its own: `customers mail`. */
import type { FastifyBaseLogger } from 'fastify'
import { checkKeys, checkKeysAtStart } from '../../eventstore/encryption/key-fingerprints.ts'
import { addReachability } from '../../eventstore/encryption/reachability.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { buildMailServer } from '../../mail/health.ts'
import { createMailMetrics } from '../../mail/metrics.ts'
import { type Mail, startMail } from '../../mail/start.ts'
import type { MailStatus } from '../../mail/worker.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { createRegistry } from '../../runtime/metrics.ts'
import { startMetricsExport } from '../../runtime/metrics-export.ts'
import { endProcess, listen, runProcess } from '../../runtime/process.ts'
import { loadEmailHashKey } from '../../runtime/service-keys.ts'
import { loadStore } from '../../schema/store.ts'

export const mail = (): Promise<void> =>
  runProcess(async (configuration) => {
    const { MAIL_PORT: port, HOST: host } = configuration
    const emailHashKey = loadEmailHashKey(configuration)
    const store = loadStore(configuration.STORE_CONFIG)
    let log: FastifyBaseLogger | undefined
    const opened = await openLog(configuration, {
      onDrop: (reason) => log?.warn({ reason }, 'subscription to the event store dropped; it resumes where it was'),
      onOutage: (reason) => log?.warn({ reason }, 'subscription to the event store is still dropped'),
      onResume: () => log?.info('subscription to the event store resumed'),
    })
    const { eventStore } = opened
    await checkKeysAtStart(opened, () => checkKeys(eventStore, { emailHashKey }, { record: true }), endProcess)
    const registry = createRegistry('mail')
    addReachability(registry, eventStore)
    let worker: Mail | undefined
    const status = (): MailStatus => worker?.status() ?? { waiting: 0, lagSeconds: 0, isServerThere: true }
    const observer = createMailMetrics(registry, status)
    const app = buildMailServer({ eventStore, status, registry, logger: loggerOptions(configuration, 'mail') })
    log = app.log
    const exporting = await startMetricsExport(configuration, 'mail', [registry], log)
    await listen(app, { port, host }, 'MAIL_PORT')
    worker = startMail({ configuration, eventStore, emailHashKey, store, log, observer })
    log.info(`mails go to ${worker.description}`)
    return {
      log: app.log,
      async close() {
        await app.close()
        await exporting.close()
        await worker?.close()
        await eventStore.close()
      },
    }
  })
