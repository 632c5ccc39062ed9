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

/** What a registration needs beside the row. */
export interface Plan {
  readonly id: number
  readonly passwordHash: string | undefined
}

/**
 * Whether the customer is probably new. Not if something has to be read or decided first: an address or id that may be in
 * use, a guest's subscription to take over, a plain password to hash.
 */
export function mayBeNew(run: ImportRun, { id, email, password }: ImportedCustomer): boolean {
  const { bulk, emailHashKey, givenOut, hasGuests, isEmpty } = run
  if (bulk === undefined || hasGuests || password !== undefined) return false
  if (id === undefined ? !isEmpty : id <= givenOut.customer) return false
  return formerEmailKeysOf(emailHashKey, email).length === 0
}

/** @throws EventStoreUnavailable */
export const plan = async (run: ImportRun, customer: ImportedCustomer): Promise<Plan> => ({
  id: customer.id ?? (await run.ids.nextCustomerId(run.own)),
  passwordHash: await hashOf(run, customer),
})

/**
 * @param key of the e-mail address
 * @returns the appends, and the customer's revision after them
 * @throws InvalidEvent for a row that can't be represented: nothing of it is written
 */
export function registrationOf(
  { customer, key, own }: { readonly customer: ImportedCustomer; readonly key: string; readonly own: Command },
  { id, passwordHash }: Plan,
): { readonly sequence: Sequence; readonly revision: number } {
  const events = encodeAll(own, customer.events(id, passwordHash === undefined ? -1 : 0, 'none'))
  const expected = 'no_stream'
  const claim = { stream: claimStream(key), events: claimOf(id, own), expected } as const
  const registered = { stream: streamOf.customer(id), events, expected } as const
  const sequence =
    passwordHash === undefined
      ? [claim, registered]
      : [
          claim,
          { stream: credentialsStream(id), events: credentialsOf(passwordHash, own), expected } as const,
          registered,
        ]
  return { sequence, revision: events.length - 1 }
}
