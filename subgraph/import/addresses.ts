/** Imports rows of addresses, grouped by customer: the addresses of one customer are one append. */

import type { BulkAppend, Sequence } from '../../eventstore/bulk-appends.ts'
import { AppendTooLarge, type NewEvent, WrongExpectedRevision } from '../../eventstore/port.ts'
import { partsOf } from '../../runtime/in-batches.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { encodeAll } from '../commands/command.ts'
import {
  addressIdTaken,
  commandOf,
  type Found,
  findCustomer,
  owningOf,
  takeAddressId,
  withoutCustomer,
} from './address-customers.ts'
import { forEachConcurrently } from './concurrently.ts'
import { RejectedRow } from './errors.ts'
import type { ImportedAddress } from './files/address-row.ts'
import type { AddressRow, NoAddress } from './grouping.ts'
import { isRejection, rejectionOf } from './rejections.ts'
import type { Counted, Outcome, Settle } from './reports.ts'
import type { ImportRun } from './run.ts'

/** The addresses of how many customers are imported together, and how many such parts concurrently. */
const AT_ONCE = 128
const PARTS_IN_FLIGHT = 4
/** Addresses are grouped by customer within this many rows, and those that are read together with the last one. */
const GATHERED = 2_048
/** The most addresses of one customer in one append. */
const ADDRESSES_AT_ONCE = 100

/** Imports the addresses. */
export async function importAddresses(
  run: ImportRun,
  batches: AsyncIterable<readonly (AddressRow | NoAddress)[]>,
  into: Counted,
  settle: Settle,
): Promise<void> {
  let gathered: AddressRow[] = []
  /** While it is under way, the next rows are read. */
  let flushing = Promise.resolve()
  const flush = async () => {
    const rows = gathered
    gathered = []
    await flushing
    flushing = importGathered(run, rows, into, settle)
    flushing.catch(() => {}) // awaited by the next one
  }
  try {
    for await (const rows of batches) {
      for (const each of rows) {
        if ('error' in each) await settle(into, each, () => Promise.reject(each.error))
        else gathered.push(each)
      }
      if (gathered.length >= GATHERED) await flush()
    }
    await flush()
  } finally {
    await flushing
  }
}

/** Imports rows grouped by customer. Of those with one address id the first that is accepted gets it. */
async function importGathered(
  run: ImportRun,
  rows: readonly AddressRow[],
  into: Counted,
  settle: Settle,
): Promise<void> {
  const keyed: (readonly [key: string, row: AddressRow])[] = []
  for (const row of rows) {
    const key = run.claims.keyOf(row.address.email)
    if (run.websites.isOther(key, row.address.website)) await settle(into, row, () => Promise.reject(ofOtherWebsite()))
    else keyed.push([key, row])
  }
  for (const round of inRounds(keyed)) {
    const groups = [...Map.groupBy(round, ([key]) => key)].map(
      ([key, own]) => [key, own.map(([, row]) => row)] as const,
    )
    await forEachConcurrently(partsOf(groups, AT_ONCE), PARTS_IN_FLIGHT, (part) =>
      importGroups(run, part, into, settle),
    )
  }
}

const ofOtherWebsite = () =>
  new RejectedRow('the customer with this _email is of another _website: theirs has not come in')

/** A row whose address id an earlier one of another customer has comes a round after that one. */
function inRounds<Row extends readonly [key: string, row: AddressRow]>(rows: readonly Row[]): Row[][] {
  const holders = new Map<number, string[]>()
  const rounds: Row[][] = []
  for (const each of rows) {
    const [key, { address }] = each
    let round = 0
    if (address.id !== undefined) {
      const keys = holders.get(address.id) ?? []
      if (!keys.includes(key)) keys.push(key)
      holders.set(address.id, keys)
      round = keys.indexOf(key)
    }
    rounds[round] ??= []
    rounds[round]?.push(each)
  }
  return rounds
}

/** Writes addresses in bulk where that is possible. @returns for each customer whether that is done */
async function writeNew(
  run: ImportRun,
  groups: readonly (readonly [key: string, rows: readonly AddressRow[]])[],
): Promise<readonly boolean[]> {
  const { bulk, seen } = run
  if (bulk === undefined) return []
  const customers = groups.map(([key]) => seen.get(key)).filter((each) => typeof each === 'object')
  await bulk.prepare(customers.map(({ id }) => streamOf.customer(id)))
  return bulk.write(groups.map(([key, rows]) => newAddresses(run, key, rows) ?? []))
}

/** The addresses of some customers, by the keys of the customers' e-mail addresses. */
async function importGroups(
  run: ImportRun,
  groups: readonly (readonly [key: string, rows: readonly AddressRow[]])[],
  into: Counted,
  settle: Settle,
): Promise<void> {
  if (run.signal?.aborted) return
  const written = await writeNew(run, groups)
  const others = groups.filter(([, rows], index) => {
    if (!written[index]) return true
    for (const row of rows) settle.done(into, row, 'imported')
    return false
  })
  await forEachConcurrently(others, others.length, async ([key, rows]) => {
    const outcomes: Outcomes = []
    for (let from = 0; from < rows.length; from += ADDRESSES_AT_ONCE) {
      outcomes.push(...(await importAddressesOf(run, key, rows.slice(from, from + ADDRESSES_AT_ONCE))))
    }
    for (const [index, each] of rows.entries()) {
      await settle(into, each, async () => {
        const outcome = outcomes[index] as Outcome | RejectedRow
        if (outcome instanceof RejectedRow) throw outcome
        return outcome
      })
    }
  })
}

/**
 * The addresses of a customer whom this run has registered, as one sequence of bulk appends: the owners of their ids, then
 * the customer.
 * @returns undefined if something has to be read or decided first, or if an address is rejected
 */
function newAddresses(run: ImportRun, key: string, rows: readonly AddressRow[]): Sequence | undefined {
  const customer = run.seen.get(key)
  if (run.bulk === undefined || customer === undefined || customer === 'there') return undefined
  if (rows.length > ADDRESSES_AT_ONCE) return undefined
  const sequence: BulkAppend[] = []
  const events: NewEvent[] = []
  const defaults = { billing: null, shipping: null }
  const ids = new Set<number>()
  try {
    for (const each of rows) {
      const { id } = each.address
      if (id === undefined || id <= run.givenOut.address || ids.has(id)) return undefined
      ids.add(id)
      const own = commandOf(run, each, customer.id)
      events.push(...encodeAll(own, eventsOf(each.address, id, defaults)))
      sequence.push({ stream: streamOf.addressOwner(id), events: owningOf(customer.id, own), expected: 'no_stream' })
    }
  } catch (error) {
    if (isRejection(error)) return undefined
    throw error
  }
  run.seen.set(key, 'there')
  sequence.push({ stream: streamOf.customer(customer.id), events, expected: customer.revision })
  return sequence
}

type Outcomes = (Outcome | RejectedRow)[]

/** The addresses of one customer, in one append. */
async function importAddressesOf(run: ImportRun, key: string, addresses: readonly AddressRow[]): Promise<Outcomes> {
  for (;;) {
    const customer = await findCustomer(run, key, addresses)
    if (customer === undefined || customer === 'stranger') {
      return Promise.all(addresses.map((each) => withoutCustomer(run, key, each, customer)))
    }
    const { outcomes, events } = await encodeAddresses(run, customer, addresses)
    if (run.dryRun) return outcomes
    run.seen.set(key, 'there')
    if (events.length === 0) return outcomes
    try {
      await run.eventStore.append(streamOf.customer(customer.id), events, { expected: customer.revision })
      return outcomes
    } catch (error) {
      if (error instanceof AppendTooLarge && addresses.length > 1) {
        const outcomes: Outcomes = []
        for (const address of addresses) outcomes.push(...(await importAddressesOf(run, key, [address])))
        return outcomes
      }
      if (isRejection(error)) return addresses.map(() => rejectionOf(error))
      if (!(error instanceof WrongExpectedRevision)) throw error // somebody has changed the customer in the meantime: try again
    }
  }
}

/** The events of the addresses that are new and accepted, and the outcome of each address. */
async function encodeAddresses(
  run: ImportRun,
  customer: Found,
  addresses: readonly AddressRow[],
): Promise<{ readonly outcomes: Outcomes; readonly events: readonly NewEvent[] }> {
  const outcomes: Outcomes = []
  const events: NewEvent[] = []
  const { defaults } = customer
  let { lastAddressId } = customer
  const seen = new Set<number>()
  for (const each of addresses) {
    const { address } = each
    const own = commandOf(run, each, customer.id)
    try {
      if (customer.eventIds?.has(own.id)) {
        outcomes.push('alreadyThere')
        continue
      }
      if (address.id !== undefined && seen.has(address.id)) {
        throw new RejectedRow(`the address id ${address.id} occurs twice`)
      }
      const moved = { ...defaults }
      // Encoded first: an address that can't be represented must not use up an id.
      let encoded = encodeAll(own, eventsOf(address, address.id ?? 1, moved))
      if (address.id === undefined) {
        if (!run.dryRun) lastAddressId = await nextAddressId(run, customer.id, lastAddressId)
        Object.assign(moved, defaults)
        encoded = encodeAll(own, eventsOf(address, lastAddressId || 1, moved))
      } else if (!(await takeAddressId(run, address.id, customer.id, own))) throw addressIdTaken(address.id)
      else seen.add(address.id)
      events.push(...encoded)
      Object.assign(defaults, moved)
      outcomes.push('imported')
    } catch (error) {
      outcomes.push(rejectionOf(error))
    }
  }
  return { outcomes, events }
}

/** The next id for an address of the customer's own. */
async function nextAddressId({ ids, own }: ImportRun, customerId: number, lastAddressId: number): Promise<number> {
  return ids.nextAddressId({ lastAddressId }) ?? (await ids.reserveAddressIds(customerId, own))
}

/** @param addressId the address's own, or of a block that was reserved for the customer */
function eventsOf(
  { id, fields, isDefaultBilling, isDefaultShipping }: ImportedAddress,
  addressId: number,
  defaults: { billing: number | null; shipping: number | null },
): CustomerEvent[] {
  const type = id === undefined ? 'CustomerAddressAdded' : 'CustomerAddressImported'
  const events: CustomerEvent[] = [{ type, data: { addressId, ...fields } }]
  // A default that the customer has chosen since takes precedence.
  if (isDefaultBilling && defaults.billing === null) {
    events.push({ type: 'DefaultBillingAddressSet', data: { addressId } })
    defaults.billing = addressId
  }
  if (isDefaultShipping && defaults.shipping === null) {
    events.push({ type: 'DefaultShippingAddressSet', data: { addressId } })
    defaults.shipping = addressId
  }
  return events
}
