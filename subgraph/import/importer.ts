/**
 * Imports customers from Magento's export files. The ids of a row's events are derived from the row, and the events are
 * appended only to empty streams. So an import that is run again writes nothing twice, and an interrupted one can be
 * resumed.
 *
 * A customer's appends have the order of a registration: the claim of the address, the credentials, the customer.
 */
import { stat } from 'node:fs/promises'
import type { EventStore } from '../../eventstore/port.ts'
import { importAddresses } from './addresses.ts'
import { forEachConcurrently } from './concurrently.ts'
import { createCustomerImport } from './customers.ts'
import { ADDRESS_ID_COLUMNS } from './files/address-row.ts'
import { isComposite } from './files/columns.ts'
import { CUSTOMER_ID_COLUMNS, readCustomer } from './files/customer-row.ts'
import { type FileOptions, openFiles } from './files/open-files.ts'
import { addressRows, alone, compositeRows, customersIn, grouped, whole } from './grouping.ts'
import { createSettle, type ImportReport, newReport, type Reporting } from './reports.ts'
import { startRun, withFloors } from './run.ts'

export interface ImportOptions extends FileOptions, Reporting {
  readonly eventStore: EventStore
  /** Keys the claims of addresses. */
  readonly emailHashKey: string
  /** Nothing is written. */
  readonly dryRun?: boolean
  /** In which `created_at` is written: newer versions of Magento take the store's; default UTC. */
  readonly timeZone?: string
  readonly now?: Date
}

/** How many batches of rows are imported concurrently: the stores group their appends. */
const BATCHES_IN_FLIGHT = 2

/**
 * Imports the files.
 * @throws EventStoreUnavailable; ConfigurationError as of {@link openFiles}; BrokenFileError and the system's errors
 * for a file that can't be read to its end
 */
export async function importFiles(
  options: ImportOptions,
): Promise<{ customers: ImportReport; addresses: ImportReport }> {
  const files = await openFiles(options)
  const { eventStore, emailHashKey, store, dryRun = false, signal, now = new Date(), timeZone = 'UTC' } = options
  const reports = { customers: newReport(files.customers), addresses: newReport(files.addresses) }
  const sizes = await Promise.all(
    [options.customers, options.addresses].map(async (path) => (path ? (await stat(path)).size : 0)),
  )
  const settle = createSettle(options, Math.max(1, (sizes[0] ?? 0) + (sizes[1] ?? 0)))
  const run = await startRun({ eventStore, emailHashKey, store, dryRun, now, signal })

  if (files.customers) {
    const { path: file, rows, columns } = files.customers
    const { importRows } = createCustomerImport(run, settle)
    const composite = isComposite(columns)
    const read = withFloors(run, rows(), 'customer', CUSTOMER_ID_COLUMNS)
    const attributes = store.customAttributes.customer.map(({ code }) => code)
    const ofCustomers = composite ? customersIn(grouped(read), attributes) : alone(read)
    const into = { report: reports.customers, file, before: 0 }
    await forEachConcurrently(ofCustomers, BATCHES_IN_FLIGHT, (batch) =>
      importRows(batch, (row) => readCustomer(whole(row), store, now, timeZone), into),
    )
    if (composite && !signal?.aborted) {
      const addresses = compositeRows(rows(), run.claims.keyOf, store, signal)
      await importAddresses(run, addresses, { report: reports.addresses, file, before: 0 }, settle)
    }
  }
  if (files.addresses && !signal?.aborted) {
    const { path: file, rows } = files.addresses
    const addresses = addressRows(withFloors(run, rows(), 'address', ADDRESS_ID_COLUMNS), store)
    const into = { report: reports.addresses, file, before: sizes[0] ?? 0 }
    await importAddresses(run, addresses, into, settle)
  }
  return reports
}
