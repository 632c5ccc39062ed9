/** The gateway as a process of its own: `customers gateway`. */

import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { createMetrics } from '../../gateway/metrics.ts'
import { startMetrics } from '../../gateway/metrics-server.ts'
import { gatewayOptions } from '../../gateway/options.ts'
import { startMetricsExport } from '../../runtime/metrics-export.ts'
import { listen, runProcess } from '../../runtime/process.ts'
import { startTracing } from '../../runtime/tracing.ts'

export const gateway = (): Promise<void> =>
  runProcess(async (configuration) => {
    const variables = loadGatewayConfiguration(process.env)
    const tracing = await startTracing(configuration, 'gateway')
    const metrics = createMetrics()
    const options = gatewayOptions(configuration, variables)
    // Loaded only now, so a wrong setting is reported at once.
    const { buildGateway } = await import('../../gateway/server.ts')
    const app = await buildGateway({ ...options, metrics })
    const exporting = await startMetricsExport(configuration, 'gateway', [metrics.registry], app.log)
    await listen(app, { port: configuration.GATEWAY_PORT, host: configuration.HOST }, 'GATEWAY_PORT')
    const metricsServer = await startMetrics(metrics, {
      port: variables.GATEWAY_METRICS_PORT,
      host: configuration.HOST,
    })
    return {
      log: app.log,
      async close() {
        await app.close()
        await metricsServer.close()
        await exporting.close()
        await tracing.close()
      },
    }
  })
