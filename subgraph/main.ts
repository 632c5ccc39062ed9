/** The subgraph as a process of its own: `npm run subgraph`. */
import { openLog } from '../eventstore/open.ts'
import { openReadModel } from '../projections/open.ts'
import { loadLimits } from '../schema/configuration.ts'
import { listen, runProcess } from '../schema/process.ts'
import { loadStore } from '../schema/store.ts'
import { startTracing } from '../schema/tracing.ts'
import { loadKeys } from './identity/keys.ts'
import { buildSubgraph } from './server.ts'

await runProcess(async (configuration) => {
  const { READMODEL_URL, SUBGRAPH_SECRET, SUBGRAPH_PORT, HOST, LOG_LEVEL } = configuration
  const keys = loadKeys(configuration)
  const store = loadStore(configuration.STORE_CONFIG)
  const tracing = await startTracing(configuration, 'subgraph')
  const { eventStore } = await openLog(configuration)
  const readModel = openReadModel(READMODEL_URL)
  const app = await buildSubgraph({
    eventStore,
    readModel,
    keys,
    store,
    secret: SUBGRAPH_SECRET,
    loadLimits: loadLimits(configuration),
    logger: { level: LOG_LEVEL },
  })
  await listen(app, { port: SUBGRAPH_PORT, host: HOST }, 'SUBGRAPH_PORT')
  return {
    async close() {
      await app.close()
      await readModel.close()
      await eventStore.close()
      await tracing.close()
    },
  }
})
