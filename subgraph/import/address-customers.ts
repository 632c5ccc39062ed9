/**
 * Finds the customer of an imported address: the one who has its e-mail address, or had it when an earlier run imported
 * it.
 */

import { readNewest } from '../../eventstore/read.ts'
import { absentCustomer, project } from '../../projections/customer.ts'
import type { CustomerEvent, EmailEvent, ImportedIdEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import { RejectedRow } from './errors.ts'
import type { ImportedAddress } from './files/address-row.ts'
import type { AddressRow } from './grouping.ts'
import type { Outcome } from './reports.ts'
import { all, appendFirst, claimStream, type ImportRun } from './run.ts'

/** What addresses need to know of their customer. */
export interface Found {
  readonly id: number
  readonly revision: number
  /** undefined: none that an import would have written. */
  readonly eventIds?: ReadonlySet<string>
  readonly defaults: { billing: number | null; shipping: number | null }
  /** The newest address id that was assigned here. */
  readonly lastAddressId: number
}

/** In a composite file addresses are distinguished by their number, elsewhere by their id. */
export function commandOf(
  { command }: ImportRun,
  { address: { id }, number }: AddressRow,
  customerId: number,
): Command {
  return command(`address:${id ?? `number ${number}`}:${customerId}`)
}

/**
 * An address whose customer has another e-mail address by now, was deleted, or never existed.
 * @param hasCustomers whether the run has a file of customers, which may contain the customer
 */
export async function withoutCustomer(
  run: ImportRun,
  key: string,
  each: AddressRow,
  hasCustomers: boolean,
): Promise<Outcome | RejectedRow> {
  const owner = await ownerOf(run, key, each.address)
  if (owner !== undefined) {
    const own = commandOf(run, each, owner)
    if ((await all(run, streamOf.customer(owner))).some((event) => event.id === own.id)) return 'alreadyThere'
  }
  if (run.dryRun && hasCustomers) return 'imported'
  return new RejectedRow('there is no customer with this _email')
}

/** The owner of the address, if an earlier run imported it. */
async function ownerOf(run: ImportRun, key: string, { id }: ImportedAddress): Promise<number | undefined> {
  if (id === undefined) return (await all<EmailEvent>(run, claimStream(key))).at(-1)?.data.customerId
  const [imported] = await readNewest<Extract<ImportedIdEvent, { type: 'AddressIdImported' }>>(
    run.eventStore,
    streamOf.addressOwner(id),
    1,
  )
  return imported?.data.customerId
}

/** The customer with this e-mail address. */
export async function findCustomer(
  run: ImportRun,
  key: string,
  [first]: readonly AddressRow[],
): Promise<Found | undefined> {
  const { eventStore, claims, seen } = run
  const known = seen.get(key)
  if (known !== undefined && known !== 'there')
    return { ...known, defaults: { billing: null, shipping: null }, lastAddressId: 0 }
  for (const each of first ? claims.keysOf(first.address.email) : [key]) {
    const [claimed] = await readNewest<EmailEvent>(eventStore, claimStream(each), 1)
    if (claimed?.type !== 'EmailClaimed') continue
    const events = await all<CustomerEvent>(run, streamOf.customer(claimed.data.customerId))
    const state = events.reduce(project, absentCustomer(claimed.data.customerId))
    if (state.status !== 'registered' || claims.keyOf(state.email) !== key) continue
    const { id, revision, defaultBilling, defaultShipping, lastAddressId } = state
    const eventIds = new Set(events.map((event) => event.id))
    return { id, revision, eventIds, defaults: { billing: defaultBilling, shipping: defaultShipping }, lastAddressId }
  }
  return undefined
}

/** The event that makes the customer the owner of an address's id. */
export const owningOf = (customerId: number, own: Command) =>
  encodeAll(own, [{ type: 'AddressIdImported', data: { customerId } }], 'owner')

/** Makes the customer the owner of the id. @returns whether that succeeded */
export async function claimAddressId(
  run: ImportRun,
  addressId: number,
  customerId: number,
  own: Command,
): Promise<boolean> {
  const { eventStore, ids, givenOut } = run
  if (addressId <= givenOut.address && (await ids.addressOwner(addressId)) !== undefined) {
    const [imported] = await readNewest(eventStore, streamOf.addressOwner(addressId), 1)
    if (imported === undefined) return false
  }
  return (await appendFirst(run, streamOf.addressOwner(addressId), owningOf(customerId, own))).written
}
