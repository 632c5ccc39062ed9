/**
 * Finds the customer of an imported address: the one who has its e-mail address, or had it when an earlier run imported
 * it.
 */

import type { Recorded } from '../../eventstore/codec.ts'
import type { NewEvent } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import { absentCustomer, project } from '../../projections/customer.ts'
import type { CustomerEvent, EmailEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import { RejectedRow } from './errors.ts'
import type { AddressRow } from './grouping.ts'
import type { Outcome } from './reports.ts'
import { all, appendFirst, claimStream, type ImportRun, isImportedAs } from './run.ts'

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
 * @param found who has the e-mail address instead
 */
export async function withoutCustomer(
  run: ImportRun,
  key: string,
  each: AddressRow,
  found: 'stranger' | undefined,
): Promise<Outcome | RejectedRow> {
  const { dryRun, seen } = run
  if (await cameEarlier(run, key, each)) return 'alreadyThere'
  // The file's customers were too many to remember: this may be one of them.
  if (dryRun && found === undefined && seen.hasForgotten) {
    const { id } = each.address
    return id === undefined || (await isIdFree(run, id)) ? 'imported' : addressIdTaken(id)
  }
  return new RejectedRow(
    found === undefined
      ? 'there is no customer with this _email'
      : 'the customer with this _email has not confirmed it, and may be somebody else',
  )
}

/**
 * In a dry run: whether the id could become the address's.
 * @param owning the event that would make the customer its owner
 */
async function isIdFree({ ids, eventStore, isEmpty, isFirst }: ImportRun, id: number, owning?: NewEvent) {
  if (!isFirst('address', id)) return false
  if (isEmpty || (await ids.addressOwner(id)) === undefined) return true
  const [imported] = await readNewest(eventStore, streamOf.addressOwner(id), 1)
  return imported !== undefined && imported.id === owning?.id
}

export const addressIdTaken = (id: number) => new RejectedRow(`the address id ${id} belongs to another address`)

/** Whether an earlier run imported the address, for somebody who had the e-mail address then. */
async function cameEarlier(run: ImportRun, key: string, each: AddressRow): Promise<boolean> {
  const keys = run.claims.keysOf(each.address.email)
  const holders = new Set<number>()
  for (const each of keys) {
    for (const { data } of await all<EmailEvent>(run, claimStream(each))) holders.add(data.customerId)
  }
  for (const holder of holders) {
    const own = commandOf(run, each, holder)
    const events = await all<CustomerEvent>(run, streamOf.customer(holder))
    if (events.some(({ id }) => id === own.id) && hasHad(run, key, keys, events)) return true
  }
  return false
}

/** A claim alone is not enough: a row whose id belongs to somebody else makes one, and releases it. */
function hasHad(
  { claims }: ImportRun,
  key: string,
  keys: readonly string[],
  events: readonly Recorded<CustomerEvent>[],
) {
  return events.some(({ type, data }) => {
    if (type === 'CustomerRegistered' || type === 'CustomerEmailChanged') return claims.keyOf(data.email) === key
    // Whoever is erased has no readable address. The first releases did not keep the keys.
    return type === 'CustomerDeleted' && (data.emailKeys?.some((each) => keys.includes(each)) ?? true)
  })
}

/**
 * The customer with this e-mail address. `stranger`: somebody who came by it here, and may be anybody, so that who opens an
 * account in the name of a customer of the old shop does not get to know where that one lives.
 */
export async function findCustomer(
  run: ImportRun,
  key: string,
  [first]: readonly AddressRow[],
): Promise<Found | 'stranger' | undefined> {
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
    if (!isImportedAs(run, key, events) && !hasUsedLink(events, state.id)) return 'stranger'
    const { id, revision, defaultBilling, defaultShipping, lastAddressId } = state
    const eventIds = new Set(events.map((event) => event.id))
    return { id, revision, eventIds, defaults: { billing: defaultBilling, shipping: defaultShipping }, lastAddressId }
  }
  return undefined
}

/** Whether the customer used a link that was mailed to their present address: to confirm it, or to set a password. */
function hasUsedLink(events: readonly Recorded<CustomerEvent>[], id: number): boolean {
  const since = events.findLastIndex(({ type }) => type === 'CustomerEmailChanged') + 1
  return events
    .slice(since)
    .some(
      ({ type, metadata }) =>
        type === 'EmailConfirmed' || (type === 'CustomerPasswordChanged' && metadata.actor !== `customer:${id}`),
    )
}

/** The event that makes the customer the owner of an address's id. */
export const owningOf = (customerId: number, own: Command) =>
  encodeAll(own, [{ type: 'AddressIdImported', data: { customerId } }], 'owner')

/** Makes the customer the owner of the id. @returns whether that succeeds */
export async function takeAddressId(
  run: ImportRun,
  addressId: number,
  customerId: number,
  own: Command,
): Promise<boolean> {
  const { eventStore, ids, givenOut, dryRun } = run
  if (dryRun) return isIdFree(run, addressId, owningOf(customerId, own)[0])
  if (addressId <= givenOut.address && (await ids.addressOwner(addressId)) !== undefined) {
    const [imported] = await readNewest(eventStore, streamOf.addressOwner(addressId), 1)
    if (imported === undefined) return false
  }
  return (await appendFirst(run, streamOf.addressOwner(addressId), owningOf(customerId, own))).written
}
