/** The console as a process of its own: `customers console`. */
import { loadConsoleConfiguration } from '../../console/configuration.ts'
import { buildConsole } from '../../console/server.ts'
import { checkKeys, checkKeysAtStart } from '../../eventstore/encryption/key-fingerprints.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { endProcess, listen, runProcess } from '../../runtime/process.ts'
import { loadEmailHashKey } from '../../runtime/service-keys.ts'
import { loadStore } from '../../schema/store.ts'

/** Serves the console. Named so because `console` is Node's own. */
export const serveConsole = (): Promise<void> =>
  runProcess(async (configuration) => {
    const settings = loadConsoleConfiguration(process.env)
    const emailHashKey = loadEmailHashKey(configuration)
    const store = loadStore(configuration.STORE_CONFIG)
    const opened = await openLog(configuration)
    const { eventStore, stored, keys } = opened
    await checkKeysAtStart(opened, () => checkKeys(eventStore, { emailHashKey }, { record: false }), endProcess)
    const readModel = await openReadModel(configuration.READMODEL_URL)
    const app = await buildConsole(
      { eventStore, stored, keys, readModel, emailHashKey, store, configuration, settings },
      { logger: loggerOptions(configuration, 'console') },
    )
    await listen(app, { port: settings.CONSOLE_PORT, host: configuration.HOST }, 'CONSOLE_PORT')
    return {
      log: app.log,
      async close() {
        await app.close()
        await readModel.close()
        await eventStore.close()
      },
    }
  })
