/** The SAMPLE subgraphs as a process of their own, beside a customer subgraph. */

import { buildSamples } from '../../examples/commerce/server.ts'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { listen, runProcess } from '../../runtime/process.ts'
import { tokenNames } from '../../runtime/token-names.ts'

export const samples = (): Promise<void> =>
  runProcess(async (configuration) => {
    const { HOST, SUBGRAPH_PORT, SAMPLES_PORT } = configuration
    const { subgraphUrls } = loadGatewayConfiguration(process.env)
    const subgraph = subgraphUrls.CUSTOMERS ?? `http://${HOST}:${SUBGRAPH_PORT}/graphql`
    const jwksUrl = new URL('/.well-known/jwks.json', subgraph).href
    const app = await buildSamples({
      keys: { jwksUrl },
      names: tokenNames(configuration),
      logger: loggerOptions(configuration, 'samples'),
    })
    await listen(app, { port: SAMPLES_PORT, host: HOST }, 'SAMPLES_PORT')
    return app
  })
