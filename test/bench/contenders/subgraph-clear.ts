/** The customer subgraph without encryption and hash chain. */
import { countAsChained } from '../../../eventstore/hash-chain.ts'
import { buildSubgraph } from '../../../subgraph/server.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const { eventStore, ...stores } = await openStores(options<StoreOptions>())
const app = await buildSubgraph({ ...stores, eventStore: countAsChained(eventStore) })
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
