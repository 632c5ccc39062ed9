/** An import that runs in the test's process. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { type PartialStore, store } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import { environment, type Send } from '../support/graph.ts'
import { sha256Hash } from '../support/magento-export.ts'

export const OLD = 'Magent0-password'
export const password_hash = sha256Hash(OLD)

interface Given {
  readonly customers?: string
  readonly addresses?: string
  readonly store?: PartialStore
  readonly timeZone?: string
  readonly dryRun?: boolean
  /** The store that the import writes to. */
  readonly wrap?: (eventStore: EventStore) => EventStore
}

/** Runs an import in this process; gives its report, and what it rejected as `file:line: reason`. */
export async function run(folder: string, { customers, addresses, wrap = (each) => each, ...given }: Given) {
  const configuration = loadConfiguration(environment(folder))
  const paths = { customers: join(folder, 'customers.csv'), addresses: join(folder, 'addresses.csv') }
  if (customers !== undefined) await writeFile(paths.customers, customers)
  if (addresses !== undefined) await writeFile(paths.addresses, addresses)
  const { eventStore } = await openLog(configuration, {}, wrap)
  const rejected: string[] = []
  try {
    const reports = await importFiles({
      ...given,
      eventStore,
      emailHashKey: loadKeys(configuration).emailHashKey,
      store: store(given.store),
      customers: customers === undefined ? undefined : paths.customers,
      addresses: addresses === undefined ? undefined : paths.addresses,
      onRejected: (file, line, reason) => void rejected.push(`${file.slice(folder.length + 1)}:${line}: ${reason}`),
    })
    return { ...reports, rejected: rejected.toSorted() }
  } finally {
    await eventStore.close()
  }
}

export const moved = (id: number) => `moved${id}@example.com`

/** Registers a customer without a password, whose hash would take its time; gives the id. */
export async function register(send: Send, email: string): Promise<number> {
  const input = { firstname: 'A', lastname: 'B', email }
  const query = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }'
  return (await send(query, { variables: { input } })).data.createCustomer.customer.id
}
