/** Writes export files of any number of customers, each with an address, in pieces. */
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { aCustomer, addressesFile, anAddress, customersFile, sha256Hash } from '../../support/magento-export.ts'

const PIECE = 10_000

export function writeExport(folder: string, count: number): { readonly customers: string; readonly addresses: string } {
  const files = { customers: join(folder, 'customers.csv'), addresses: join(folder, 'addresses.csv') }
  const password_hash = sha256Hash('Str0ng-pass')
  for (let first = 1; first <= count; first += PIECE) {
    const ids = Array.from({ length: Math.min(PIECE, count - first + 1) }, (_, index) => first + index)
    const pieces = {
      customers: customersFile(ids.map((id) => aCustomer(id, { password_hash }))),
      addresses: addressesFile(ids.map((id) => anAddress(id, id, { _address_default_billing_: '1' }))),
    }
    for (const kind of ['customers', 'addresses'] as const) {
      if (first === 1) writeFileSync(files[kind], pieces[kind])
      else appendFileSync(files[kind], pieces[kind].slice(pieces[kind].indexOf('\n') + 1))
    }
  }
  return files
}
