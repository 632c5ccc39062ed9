/** The gateway as a process of its own: `npm run gateway`. */
import { ConfigurationError } from '../schema/configuration.ts'
import { listen, runProcess } from '../schema/process.ts'
import { startTracing } from '../schema/tracing.ts'
import { buildGateway } from './server.ts'

/** `SUBGRAPH_URL_<NAME>`: the URL of a subgraph in place of that in the supergraph; the name in capitals, with _ for - . */
function subgraphUrls(env: NodeJS.ProcessEnv): Record<string, string> {
  const prefix = 'SUBGRAPH_URL_'
  const urls = Object.entries(env).filter(([name, url]) => name.startsWith(prefix) && url)
  return Object.fromEntries(
    urls.map(([name, url = '']) => {
      if (!/^https?:\/\/./.test(url) || !URL.canParse(url)) {
        throw new ConfigurationError(`${name}: ${JSON.stringify(url)} can't be used; accepted: an http or https URL.`)
      }
      return [name.slice(prefix.length), url]
    }),
  )
}

await runProcess(async (configuration) => {
  const { SUPERGRAPH, SUBGRAPH_SECRET, NODE_ENV, GATEWAY_PORT, HOST, LOG_LEVEL } = configuration
  const tracing = await startTracing(configuration, 'gateway')
  const production = NODE_ENV === 'production'
  const app = await buildGateway({
    supergraph: SUPERGRAPH ?? 'schema/supergraph.graphql',
    subgraphUrls: subgraphUrls(process.env),
    subgraphSecret: SUBGRAPH_SECRET,
    introspection: !production,
    editor: !production,
    logger: { level: LOG_LEVEL },
  })
  await listen(app, { port: GATEWAY_PORT, host: HOST }, 'GATEWAY_PORT')
  return {
    async close() {
      await app.close()
      await tracing.close()
    },
  }
})
