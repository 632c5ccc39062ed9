/** The gateway as a process of its own: `npm run gateway`. */
import { listen, runProcess } from '../schema/process.ts'
import { startTracing } from '../schema/tracing.ts'
import { loadGatewayConfiguration } from './configuration.ts'
import { gatewayOptions } from './options.ts'
import { buildGateway } from './server.ts'

await runProcess(async (configuration) => {
  const gateway = loadGatewayConfiguration(process.env)
  const tracing = await startTracing(configuration, 'gateway')
  const app = await buildGateway(gatewayOptions(configuration, gateway))
  await listen(app, { port: configuration.GATEWAY_PORT, host: configuration.HOST }, 'GATEWAY_PORT')
  return {
    async close() {
      await app.close()
      await tracing.close()
    },
  }
})
