/** The customer subgraph over the stores in a folder. The projection is another process's work: it does not run here. */
import { buildSubgraph } from '../../../subgraph/server.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { options, ready } from './contender.ts'

const app = await buildSubgraph(await openStores(options<StoreOptions>()))
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
