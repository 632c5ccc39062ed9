/** The gateway as a process of its own: `npm run gateway`. */
import { listen, runProcess } from '../schema/process.ts'
import { startTracing } from '../schema/tracing.ts'
import { loadGatewayConfiguration } from './configuration.ts'
import { createMetrics } from './metrics.ts'
import { startMetrics } from './metrics-server.ts'
import { gatewayOptions } from './options.ts'
import { buildGateway } from './server.ts'

await runProcess(async (configuration) => {
  const gateway = loadGatewayConfiguration(process.env)
  const tracing = await startTracing(configuration, 'gateway')
  const metrics = createMetrics()
  const app = await buildGateway({ ...gatewayOptions(configuration, gateway), metrics })
  await listen(app, { port: configuration.GATEWAY_PORT, host: configuration.HOST }, 'GATEWAY_PORT')
  const metricsServer = await startMetrics(metrics, { port: gateway.GATEWAY_METRICS_PORT, host: configuration.HOST })
  return {
    async close() {
      await app.close()
      await metricsServer.close()
      await tracing.close()
    },
  }
})
