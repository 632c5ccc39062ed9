/** Our gateway in front of subgraphs that run. */
import { join } from 'node:path'
import { buildGateway, type GatewayOptions } from '../../../gateway/server.ts'
import { options, ready } from './contender.ts'

interface Options {
  /** A file; the sample's without it. */
  readonly supergraph?: string
  /** In place of the supergraph's own URLs. */
  readonly subgraphs?: Record<string, string>
  /** The key set of the requests' tokens. */
  readonly jwksUrl: string
  /** Default: the gateway's own. */
  readonly sharedCalls?: GatewayOptions['sharedCalls']
  /** Default: the gateway's own. */
  readonly watchIntervalMs?: number
}

const sample = join(import.meta.dirname, '../../../examples/commerce/supergraph.graphql')
const { supergraph = sample, subgraphs = {}, jwksUrl, sharedCalls, watchIntervalMs } = options<Options>()

/** As in production, with limits that no load reaches. */
const production: Omit<GatewayOptions, 'supergraph' | 'subgraphUrls'> = {
  introspection: false,
  editor: false,
  logger: { level: 'warn' },
  rateLimits: { perMinute: 1e9, signInPerMinute: 1e9 },
  tokenKeys: { jwksUrl },
  ...(sharedCalls && { sharedCalls }),
  ...(watchIntervalMs && { watchIntervalMs }),
}

const app = await buildGateway({ supergraph, subgraphUrls: subgraphs, ...production })
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
