/** The stores of a bench: SQLite, in a folder of its own. */
import { join } from 'node:path'
import { openEventStore } from '../../eventstore/open.ts'
import { openReadModel } from '../../projections/open.ts'
import { loadConfiguration } from '../../schema/configuration.ts'
import { loadKeys } from '../../subgraph/identity/keys.ts'

/** The stores in a folder, made where they are missing, and the service's keys. */
export function openStores(folder: string) {
  const configuration = loadConfiguration({
    EVENTSTORE_URL: `sqlite:${join(folder, 'events.db')}`,
    READMODEL_URL: `sqlite:${join(folder, 'readmodel.db')}`,
    DATA_DIR: folder,
  })
  return {
    eventStore: openEventStore(configuration.EVENTSTORE_URL),
    readModel: openReadModel(configuration.READMODEL_URL),
    keys: loadKeys(configuration),
  }
}
