/** Our gateway in front of subgraphs that run. */
import { buildGateway } from '../../../gateway/server.ts'
import { options, ready } from './contender.ts'

const { subgraphs } = options<{ subgraphs: Record<string, string> }>()
const supergraph = new URL('../../../gateway/sample/supergraph.graphql', import.meta.url).pathname
const app = await buildGateway({ supergraph, subgraphUrls: subgraphs })
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
