/**
 * A process that runs one GraphQL operation on a subgraph and is killed (SIGKILL) right after its n-th write to the event
 * store, or ends by itself with the answer on stdout. Arguments: the data folder, n (0: never), the request as JSON.
 */

import { openLog } from '../../eventstore/open.ts'
import { openReadModel } from '../../projections/open.ts'
import { loadConfiguration } from '../../schema/configuration.ts'
import { loadKeys } from '../../subgraph/identity/keys.ts'
import { buildSubgraph } from '../../subgraph/server.ts'
import { environment, injector } from './graph.ts'

const [folder = '', killAfter = '0', request = '{}'] = process.argv.slice(2)
const configuration = loadConfiguration(environment(folder))
let writes = 0

/** Passes a write on, then counts it: the kill comes when it is durable and before anybody is told. */
function counted<A extends unknown[], R>(write: (...args: A) => Promise<R>) {
  return async (...args: A): Promise<R> => {
    const result = await write(...args)
    if (++writes === Number(killAfter)) process.kill(process.pid, 'SIGKILL')
    return result
  }
}

const { eventStore } = await openLog(configuration, {}, (store) => ({
  ...store,
  append: counted(store.append),
  setStreamMetadata: counted(store.setStreamMetadata),
  deleteStream: counted(store.deleteStream),
}))
const readModel = openReadModel(configuration.READMODEL_URL)
const app = await buildSubgraph({ eventStore, readModel, keys: loadKeys(configuration) })
const { query, ...options } = JSON.parse(request)
const answer = await injector(app)(query, options)
console.log(JSON.stringify({ writes, answer }))
await app.close()
await readModel.close()
await eventStore.close()
