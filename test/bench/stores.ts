/** The stores of a bench: SQLite in a folder of its own, or the servers whose URLs are given. */
import { join } from 'node:path'
import { openEventStore } from '../../eventstore/open.ts'
import { openReadModel } from '../../projections/open.ts'
import { loadConfiguration } from '../../schema/configuration.ts'
import { loadKeys } from '../../subgraph/identity/keys.ts'

export interface StoreOptions {
  readonly folder: string
  readonly eventStoreUrl?: string
  readonly readModelUrl?: string
}

/** The stores, made where they are missing, and the service's keys. */
export function openStores({ folder, eventStoreUrl, readModelUrl }: StoreOptions) {
  const configuration = loadConfiguration({
    EVENTSTORE_URL: eventStoreUrl ?? `sqlite:${join(folder, 'events.db')}`,
    READMODEL_URL: readModelUrl ?? `sqlite:${join(folder, 'readmodel.db')}`,
    DATA_DIR: folder,
  })
  return {
    eventStore: openEventStore(configuration.EVENTSTORE_URL),
    readModel: openReadModel(configuration.READMODEL_URL),
    // Made in the folder, as on the embedded store.
    keys: loadKeys({ ...configuration, EVENTSTORE_URL: 'sqlite:' }),
  }
}
