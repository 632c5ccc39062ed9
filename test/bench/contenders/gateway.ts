/** Our gateway in front of subgraphs that run. */
import { buildGateway, type GatewayOptions } from '../../../gateway/server.ts'
import { options, ready } from './contender.ts'

interface Options {
  /** A file; the sample's without it. */
  readonly supergraph?: string
  /** In place of the supergraph's own URLs. */
  readonly subgraphs?: Record<string, string>
  /** The key set of the requests' tokens. */
  readonly jwksUrl: string
}

const sample = new URL('../../../gateway/sample/supergraph.graphql', import.meta.url).pathname
const { supergraph = sample, subgraphs = {}, jwksUrl } = options<Options>()

/** PRODUCTION SET-UP, as gateway/main.ts makes it; token verification and limits belong here. Tokens verify against `jwksUrl`. */
const production: Omit<GatewayOptions, 'supergraph' | 'subgraphUrls'> = {
  introspection: false,
  editor: false,
  logger: { level: 'warn' },
}
void jwksUrl

const app = await buildGateway({ supergraph, subgraphUrls: subgraphs, ...production })
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
