/** The subgraph as a process of its own: `customers subgraph`. */
import { checkKeys, checkKeysAtStart } from '../../eventstore/encryption/key-fingerprints.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { loadLimits } from '../../runtime/configuration.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { startMetricsExport } from '../../runtime/metrics-export.ts'
import { endProcess, listen, runProcess } from '../../runtime/process.ts'
import { tokenNames } from '../../runtime/token-names.ts'
import { startTracing } from '../../runtime/tracing.ts'
import { loadStore } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createMetrics } from '../../subgraph/metrics.ts'

export const subgraph = (): Promise<void> =>
  runProcess(async (configuration) => {
    const { READMODEL_URL, SUBGRAPH_SECRET, CAPTCHA_SECRET, SUBGRAPH_PORT, HOST, NODE_ENV } = configuration
    const keys = loadKeys(configuration)
    const store = loadStore(configuration.STORE_CONFIG)
    const tracing = await startTracing(configuration, 'subgraph')
    const opened = await openLog(configuration)
    const { eventStore } = opened
    await checkKeysAtStart(opened, () => checkKeys(eventStore, keys, { record: true }), endProcess)
    const readModel = await openReadModel(READMODEL_URL)
    const metrics = createMetrics()
    // Loaded only now, so a wrong setting or key is reported at once.
    const { buildSubgraph } = await import('../../subgraph/server.ts')
    const app = await buildSubgraph({
      metrics,
      eventStore,
      readModel,
      keys,
      store,
      secret: SUBGRAPH_SECRET,
      captchaSecret: CAPTCHA_SECRET,
      introspection: NODE_ENV !== 'production',
      tokenNames: tokenNames(configuration),
      cachedTokens: configuration.TOKEN_CACHE_SIZE,
      loadLimits: loadLimits(configuration),
      logger: loggerOptions(configuration, 'subgraph'),
    })
    const exporting = await startMetricsExport(configuration, 'subgraph', [metrics.registry], app.log)
    await listen(app, { port: SUBGRAPH_PORT, host: HOST }, 'SUBGRAPH_PORT')
    return {
      log: app.log,
      async close() {
        await app.close()
        await exporting.close()
        await readModel.close()
        await eventStore.close()
        await tracing.close()
      },
    }
  })
