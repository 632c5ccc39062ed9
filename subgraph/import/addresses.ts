/** Imports rows of addresses, grouped by customer: the addresses of one customer are one append. */

import { AppendTooLarge, type NewEvent, WrongExpectedRevision } from '../../eventstore/port.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { encodeAll } from '../commands/command.ts'
import { claimAddressId, commandOf, type Found, findCustomer, withoutCustomer } from './address-customers.ts'
import { forEachConcurrently } from './concurrently.ts'
import { RejectedRow } from './errors.ts'
import type { ImportedAddress } from './files/address-row.ts'
import type { AddressRow, NoAddress } from './grouping.ts'
import { isRejection, rejectionOf } from './rejections.ts'
import type { Counted, Outcome, Settle } from './reports.ts'
import type { ImportRun } from './run.ts'

/** How many customers are imported concurrently: the stores group their appends. */
const IN_FLIGHT = 1_024
/** Addresses are grouped by customer within this many rows. */
const GATHERED = 4_096
/** The most addresses of one customer in one append. */
const ADDRESSES_AT_ONCE = 100

/**
 * Imports the addresses.
 * @param alsoImports whether the run has a file of customers, which may contain missing ones
 */
export async function importAddresses(
  run: ImportRun,
  rows: AsyncIterable<AddressRow | NoAddress>,
  into: Counted,
  settle: Settle,
  alsoImports: { readonly customers: boolean },
): Promise<void> {
  let gathered: AddressRow[] = []
  const flush = async () => {
    const byCustomer = Map.groupBy(gathered, ({ address }) => run.claims.keyOf(address.email))
    gathered = []
    await forEachConcurrently(byCustomer, IN_FLIGHT, async ([key, group]) => {
      const outcomes: (Outcome | RejectedRow)[] = []
      for (let from = 0; from < group.length; from += ADDRESSES_AT_ONCE) {
        outcomes.push(...(await importAddressesOf(run, key, group.slice(from, from + ADDRESSES_AT_ONCE), alsoImports)))
      }
      for (const [index, each] of group.entries()) {
        await settle(into, each, async () => {
          const outcome = outcomes[index] as Outcome | RejectedRow
          if (outcome instanceof RejectedRow) throw outcome
          return outcome
        })
      }
    })
  }
  for await (const each of rows) {
    if ('error' in each) await settle(into, each, () => Promise.reject(each.error))
    else gathered.push(each)
    if (gathered.length === GATHERED) await flush()
  }
  await flush()
}

type Outcomes = (Outcome | RejectedRow)[]

/** The addresses of one customer, in one append. */
async function importAddressesOf(
  run: ImportRun,
  key: string,
  addresses: readonly AddressRow[],
  alsoImports: { readonly customers: boolean },
): Promise<Outcomes> {
  for (;;) {
    const customer = await findCustomer(run, key, addresses)
    if (customer === undefined) {
      return Promise.all(addresses.map((each) => withoutCustomer(run, key, each, alsoImports.customers)))
    }
    const { outcomes, events } = await encodeAddresses(run, customer, addresses)
    run.seen.delete(key)
    if (run.dryRun || events.length === 0) return outcomes
    try {
      await run.eventStore.append(streamOf.customer(customer.id), events, { expected: customer.revision })
      return outcomes
    } catch (error) {
      if (error instanceof AppendTooLarge && addresses.length > 1) {
        const outcomes: Outcomes = []
        for (const address of addresses) outcomes.push(...(await importAddressesOf(run, key, [address], alsoImports)))
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
      } else if (!run.dryRun && !(await claimAddressId(run, address.id, customer.id, own))) {
        throw new RejectedRow(`the address id ${address.id} belongs to another address`)
      } else seen.add(address.id)
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
