/** Relates rows to each other: in a composite file, the addresses of a customer are in the rows below its own. */
import type { Store } from '../../schema/store.ts'
import { RejectedRow } from './errors.ts'
import { type ImportedAddress, readAddress, readCompositeAddress } from './files/address-row.ts'
import { addressFieldsOf, OF_PERSON } from './files/columns.ts'
import type { Row } from './files/csv.ts'
import { createCounts } from './seen.ts'

/** An address with its row and, in a composite file, its number among the customer's addresses. */
export interface AddressRow {
  readonly row: Row
  readonly address: ImportedAddress
  readonly number: number
  /** In a composite file: the rows from the customer's row on. */
  readonly above?: readonly Row[]
}

/** A row that is not an address, and why. */
export interface NoAddress {
  readonly row: Row
  readonly error: unknown
  readonly above?: readonly Row[]
}

/** Of how many customers, at least, the addresses are counted. Up to 18 MB. */
const COUNTED = 300_000

/** A row that could be read. @throws RejectedRow */
export function whole(row: Row): Row {
  if (row.fault !== undefined) throw new RejectedRow(row.fault)
  return row
}

/** The e-mail address of a row, if it has one. */
function emailIn({ fields, fault }: Row): string | null {
  return fault === undefined ? fields.email?.trim() || null : null
}

/**
 * Whether a row of a composite file begins a customer. One that has the fields of a person and no e-mail address does, too:
 * it is rejected, and what follows is not of the customer above it.
 */
const beginsCustomer = (row: Row): boolean =>
  emailIn(row) !== null || (row.fault === undefined && OF_PERSON.some((name) => row.fields[name]?.trim()))

/** A row of a composite file with the rows above it, back to the one that begins the customer. */
interface GroupedRow {
  readonly row: Row
  readonly above: readonly Row[]
}

/** Rows as they are read, some together. */
type Batches<T> = AsyncIterable<readonly T[]>

export async function* alone(batches: Batches<Row>): AsyncGenerator<readonly { readonly row: Row }[]> {
  for await (const rows of batches) yield rows.map((row) => ({ row }))
}

/** Groups the rows of a composite file. */
export async function* grouped(batches: Batches<Row>): AsyncGenerator<readonly GroupedRow[]> {
  let above: Row[] | undefined
  for await (const rows of batches) {
    yield rows.map((row) => {
      if (beginsCustomer(row)) above = []
      const group = { row, above: above ?? [] }
      above?.push(row)
      return group
    })
  }
}

/**
 * The rows of customers in a composite file: any other is a further address of the one above it.
 * @param attributes codes of the customers' own: Magento 1 writes further values of one into the rows below, too
 */
export async function* customersIn(
  batches: Batches<GroupedRow>,
  attributes: readonly string[],
): AsyncGenerator<readonly GroupedRow[]> {
  for await (const groups of batches) {
    yield groups
      .map(({ row, above }) => {
        const value = attributes.find((code) => row.fields[code]?.trim())
        return value === undefined || beginsCustomer(row) ? { row, above } : { row: belowCustomer(row, value), above }
      })
      .filter(({ row }) => row.fault !== undefined || beginsCustomer(row))
  }
}

/** The customer may be imported by the time that the row is read, so the value can't be added. */
const belowCustomer = (row: Row, code: string): Row => ({
  ...row,
  fault: `a value of ${code} is below its customer: write all of them into the customer's row, with commas between them`,
})

/** The addresses of a separate file, or why a row is not one. */
export async function* addressRows(
  batches: Batches<Row>,
  store: Store,
): AsyncGenerator<readonly (AddressRow | NoAddress)[]> {
  for await (const rows of batches) {
    yield rows.map((row) => {
      try {
        return { row, address: readAddress(whole(row), store), number: 0 }
      } catch (error) {
        return { row, error }
      }
    })
  }
}

/**
 * The addresses in a composite file. Each belongs to the customer in the same row, or in the nearest row above that has
 * one.
 * @param keyOf the keyed hash of an e-mail address
 */
export async function* compositeRows(
  batches: Batches<Row>,
  keyOf: (email: string) => string,
  store: Store,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly (AddressRow | NoAddress)[]> {
  const counts = createCounts(COUNTED)
  /** undefined: not known, because a row could not be read that may have been a customer's. */
  let email: string | null | undefined = null
  let website: string | null = null

  function read(group: GroupedRow): AddressRow | NoAddress | undefined {
    const { row } = group
    if (row.fault !== undefined) {
      email = undefined
      return undefined // reported as a row of a customer
    }
    if (beginsCustomer(row)) {
      email = emailIn(row) ?? undefined
      website = row.fields._website?.trim() || null
    }
    const fields = addressFieldsOf(row.fields)
    if (fields === undefined) return undefined
    try {
      if (email === null) throw new RejectedRow('the address comes before any customer')
      if (email === undefined)
        throw new RejectedRow('the customer of the address is unknown because a row above it was rejected')
      const number = counts.next(keyOf(email))
      return { ...group, address: readCompositeAddress(fields, { email, website }, store), number }
    } catch (error) {
      return { ...group, error }
    }
  }

  for await (const groups of grouped(batches)) {
    if (signal?.aborted) return
    yield groups.map(read).filter((each) => each !== undefined)
  }
}
