/** What the gateways of the bench call: the customer subgraph and the sample subgraphs. */
import { buildSamples } from '../../../examples/commerce/server.ts'
import { buildSubgraph } from '../../../subgraph/server.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const subgraph = await buildSubgraph(await openStores(options<StoreOptions>()))
const url = await subgraph.listen({ port: 0, host: '127.0.0.1' })
const samples = await buildSamples({ keys: { jwksUrl: `${url}/.well-known/jwks.json` } })
const samplesUrl = await samples.listen({ port: 0, host: '127.0.0.1' })
ready(url, {
  customers: `${url}/graphql`,
  orders: `${samplesUrl}/orders/graphql`,
  catalog: `${samplesUrl}/catalog/graphql`,
})
