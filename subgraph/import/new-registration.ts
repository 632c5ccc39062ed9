/**
 * The registration of a customer who is certainly new, as one sequence of bulk appends: the claim of the address, the
 * credentials, the customer.
 */
import type { Sequence } from '../../eventstore/bulk-appends.ts'
import { formerEmailKeysOf } from '../../schema/email-key.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import type { ImportedCustomer } from './files/customer-row.ts'
import { hashOf } from './registration.ts'
import { claimOf, claimStream, credentialsOf, credentialsStream, type ImportRun } from './run.ts'

export interface Registration {
  readonly id: number
  /** Of the customer, once it is written. */
  readonly revision: number
  readonly sequence: Sequence
}

/**
 * @returns undefined if something has to be read or decided first: an address or id that may be in use, a guest's
 * subscription to take over, a plain password to hash
 * @throws InvalidEvent for a row that can't be represented: nothing is written
 */
export async function newRegistration(
  run: ImportRun,
  { customer, key, own }: { readonly customer: ImportedCustomer; readonly key: string; readonly own: Command },
): Promise<Registration | undefined> {
  const { bulk, emailHashKey, givenOut, hasGuests, ids, isEmpty } = run
  if (bulk === undefined || hasGuests || customer.password !== undefined) return undefined
  if (customer.id === undefined ? !isEmpty : customer.id <= givenOut.customer) return undefined
  if (formerEmailKeysOf(emailHashKey, customer.email).length > 0) return undefined

  const id = customer.id ?? (await ids.nextCustomerId(run.own))
  const passwordHash = await hashOf(run, customer)
  const events = encodeAll(own, customer.events(id, passwordHash === undefined ? -1 : 0, 'none'))
  const expected = 'no_stream'
  const sequence = [{ stream: claimStream(key), events: claimOf(id, own), expected } as const]
  if (passwordHash !== undefined) {
    sequence.push({ stream: credentialsStream(id), events: credentialsOf(passwordHash, own), expected })
  }
  sequence.push({ stream: streamOf.customer(id), events, expected })
  return { id, revision: events.length - 1, sequence }
}
