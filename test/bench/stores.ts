/** The stores of a bench: SQLite in a folder of its own, or the servers whose URLs are given. */
import { join } from 'node:path'
import { openEventStore, openLog } from '../../eventstore/open-event-store.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { KEYS } from '../support/keys.ts'

export interface StoreOptions {
  readonly folder: string
  readonly eventStoreUrl?: string
  readonly readModelUrl?: string
  /** The event store alone: no encryption, no hash chain. */
  readonly isBare?: boolean
}

/** The log as the service has it, the read model, made where they are missing, and the service's keys. */
export async function openStores({ folder, eventStoreUrl, readModelUrl, isBare = false }: StoreOptions) {
  const configuration = loadConfiguration({
    EVENTSTORE_URL: eventStoreUrl ?? `sqlite:${join(folder, 'events.db')}`,
    READMODEL_URL: readModelUrl ?? `sqlite:${join(folder, 'readmodel.db')}`,
    DATA_DIR: folder,
    ...KEYS,
  })
  return {
    eventStore: isBare ? await openEventStore(configuration.EVENTSTORE_URL) : (await openLog(configuration)).eventStore,
    readModel: await openReadModel(configuration.READMODEL_URL),
    keys: loadKeys(configuration),
  }
}
