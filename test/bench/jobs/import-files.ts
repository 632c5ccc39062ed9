/** What both jobs of the import bench work on: export files of so many rows, and where the events go. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openEventStore, openLog } from '../../../eventstore/open-event-store.ts'
import type { EventStore } from '../../../eventstore/port.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import { store } from '../../../schema/store.ts'
import { importFiles } from '../../../subgraph/import/importer.ts'
import { KEYS } from '../../support/keys.ts'
import { aCustomer, addressesFile, anAddress, customersFile, sha256Hash } from '../../support/magento-export.ts'

export interface ImportBench {
  readonly folder: string
  /** Of both files together. */
  readonly rows: number
}

export function writeFiles({ folder, rows }: ImportBench): { readonly customers: string; readonly addresses: string } {
  const ids = Array.from({ length: rows / 2 }, (_, index) => index + 1)
  const password_hash = sha256Hash('Str0ng-pass')
  const files = { customers: join(folder, 'customers.csv'), addresses: join(folder, 'addresses.csv') }
  writeFileSync(files.customers, customersFile(ids.map((id) => aCustomer(id, { password_hash }))))
  writeFileSync(files.addresses, addressesFile(ids.map((id) => anAddress(id, id, { _address_default_billing_: '1' }))))
  return files
}

const emptyFile = (folder: string) => `sqlite:${join(mkdtempSync(join(folder, 'log-')), 'events.db')}`

/** An empty log in SQLite, as the service has it. */
export const emptyLog = async (folder: string) =>
  (await openLog(loadConfiguration({ EVENTSTORE_URL: emptyFile(folder), ...KEYS }))).eventStore

/** An empty event store in SQLite. */
export const emptyStore = (folder: string) => openEventStore(emptyFile(folder))

export async function importInto(
  eventStore: EventStore,
  files: { readonly customers: string; readonly addresses: string },
): Promise<void> {
  await importFiles({
    eventStore,
    emailHashKey: 'x'.repeat(32),
    store: store(),
    ...files,
    onRejected: (file, line, reason) => {
      throw new Error(`${file}:${line}: ${reason}`)
    },
  })
}
