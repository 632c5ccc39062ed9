/** The files of an import, opened and checked for the columns that they must have. */
import { ConfigurationError } from '../../../runtime/errors.ts'
import type { Store } from '../../../schema/store.ts'
import { addressColumns, customerColumns, isComposite } from './columns.ts'
import { openTable, type Table } from './csv.ts'

/** The files of an import, with their head lines read. */
export interface ImportFiles {
  readonly customers?: Table & { readonly path: string }
  readonly addresses?: Table & { readonly path: string }
}

/** The required columns: without them names and cities would be imported empty. */
const REQUIRED = {
  customers: ['email', 'firstname', 'lastname'],
  addresses: ['_email', '_entity_id', 'firstname', 'lastname', 'street', 'city', 'country_id'],
  composite: ['firstname', 'lastname', 'street', 'city', 'country_id'].map((name) => `_address_${name}`),
}

export interface FileOptions {
  /** Paths; either may be missing. A composite file of customers has their addresses, too. */
  readonly customers?: string | undefined
  readonly addresses?: string | undefined
  /** Of both files, as of {@link openTable}. */
  readonly encoding?: string | undefined
  readonly store: Store
}

/**
 * Opens the files and checks their head lines.
 * @throws ConfigurationError in one line, naming the columns that a file lacks
 */
export async function openFiles({ customers, addresses, encoding, store }: FileOptions): Promise<ImportFiles> {
  const codes = (declared: readonly { readonly code: string }[]) => declared.map(({ code }) => code)
  const own = { customer: codes(store.customAttributes.customer), address: codes(store.customAttributes.address) }
  const files: { -readonly [K in keyof ImportFiles]: ImportFiles[K] } = {}
  if (customers !== undefined) {
    const table = await openTable(customers, customerColumns(own.customer, own.address), encoding)
    requireColumns(customers, table, REQUIRED.customers)
    if (isComposite(table.columns)) requireColumns(customers, table, REQUIRED.composite)
    files.customers = { ...table, path: customers }
  }
  if (addresses !== undefined) {
    const table = await openTable(addresses, addressColumns(own.address), encoding)
    requireColumns(
      addresses,
      table,
      table.columns.includes('entity_id')
        ? REQUIRED.addresses.filter((name) => name !== '_entity_id')
        : REQUIRED.addresses,
    )
    files.addresses = { ...table, path: addresses }
  }
  return files
}

/** @throws ConfigurationError */
function requireColumns(path: string, { columns }: Table, required: readonly string[]): void {
  const missing = required.filter((name) => !columns.includes(name))
  if (missing.length === 0) return
  throw new ConfigurationError(
    `${path} has no column ${missing.join(', ')}; accepted: Magento's export of customers, then that of addresses, ` +
      `with commas, semicolons or tabs between the columns.`,
  )
}
