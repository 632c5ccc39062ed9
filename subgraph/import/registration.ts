/**
 * The registration of an imported customer, once its address is claimed: the credentials, then the customer, as when
 * somebody registers.
 */

import { WrongExpectedRevision } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import type { CredentialsEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import type { GuestStatus } from '../domain/customer.ts'
import { hashPassword, kindOf, MAGENTO } from '../identity/passwords.ts'
import { RejectedRow } from './errors.ts'
import type { ImportedCustomer } from './files/customer-row.ts'
import { idTaken, isRejection } from './rejections.ts'
import type { Outcome } from './reports.ts'
import { appendFirst, credentialsOf, credentialsStream, type ImportRun, takingOf } from './run.ts'

/** After the claim of the address: stores the credentials, then registers the customer. */
export async function registerImported(
  run: ImportRun,
  customer: ImportedCustomer,
  id: number,
  key: string,
  own: Command,
): Promise<Outcome> {
  const { claims, subscribers, seen, givenOut } = run
  try {
    const guest = run.hasGuests ? await subscribers.status(customer.email) : 'none'
    const revision =
      customer.id !== undefined && id <= givenOut.customer
        ? await registerReserved(run, customer, id, guest, own)
        : await registerFree(run, customer, id, guest, own)
    if (guest !== 'none') await subscribers.handOver(customer.email, id, own)
    seen.set(key, { id, revision })
    return 'imported'
  } catch (error) {
    if (isRejection(error)) await claims.release(customer.email, id, own)
    throw error
  }
}

/** Takes an id that nobody else has. @returns the customer's revision */
async function registerFree(
  run: ImportRun,
  customer: ImportedCustomer,
  id: number,
  guest: GuestStatus,
  own: Command,
): Promise<number> {
  const passwordHash = await hashOf(run, customer)
  const events = encodeAll(own, customer.events(id, passwordHash === undefined ? -1 : 0, guest))
  if (passwordHash !== undefined) {
    const { written } = await appendFirst(run, credentialsStream(id), credentialsOf(passwordHash, own))
    if (!written) throw idTaken(id)
  }
  if (!(await appendFirst(run, streamOf.customer(id), events)).written) throw idTaken(id)
  return events.length - 1
}

/**
 * Takes an id from a block that an instance has reserved, and may be about to assign to a new customer. The first event
 * of the customer's stream decides who gets it, before any credentials are written, so those of the other customer are
 * never this one's.
 */
async function registerReserved(
  run: ImportRun,
  customer: ImportedCustomer,
  id: number,
  guest: GuestStatus,
  own: Command,
): Promise<number> {
  if (!(await appendFirst(run, streamOf.customer(id), takingOf(own))).written) throw idTaken(id)
  // A customer without a password gets an unknown one, which blocks a late write of the other registration.
  const passwordHash = (await hashOf(run, customer)) ?? (await hashPassword(crypto.randomUUID()))
  for (;;) {
    const { status, revision } = await run.load(id)
    if (status !== 'absent') throw idTaken(id)
    try {
      const credentialsRevision = await replaceCredentials(run, id, passwordHash, own)
      const events = encodeAll(own, customer.events(id, credentialsRevision, guest))
      await run.eventStore.append(streamOf.customer(id), events, { expected: revision })
      return revision + events.length
    } catch (error) {
      // Another registration with this id has written its credentials, or its claim was abandoned.
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
}

/** Sets the credentials, replacing those of a registration that lost the id. @returns their revision */
async function replaceCredentials(
  { eventStore }: ImportRun,
  id: number,
  passwordHash: string,
  own: Command,
): Promise<number> {
  const stream = credentialsStream(id)
  const [left] = await readNewest<CredentialsEvent>(eventStore, stream, 1)
  if (left?.metadata.$causationId === own.id) return left.revision
  if (left) await eventStore.setStreamMetadata(stream, { $maxCount: 1 })
  const expected = left?.revision ?? 'no_stream'
  return (await eventStore.append(stream, credentialsOf(passwordHash, own), { expected })).revision
}

/** How many kinds of hashes the store may hold, our own among them: a wrong password costs the work of each. Magento has a few. */
const MOST_KINDS = 12

/** @throws RejectedRow for a hash of one kind too many */
export function noteKind({ kinds }: ImportRun, { passwordHash }: ImportedCustomer): void {
  const kind = passwordHash === undefined ? '' : kindOf(MAGENTO + passwordHash)
  if (kind === '' || kinds.has(kind)) return
  if (kinds.size >= MOST_KINDS)
    throw new RejectedRow(
      `password_hash would make every wrong sign-in slow; accepted are ${MOST_KINDS} ways of hashing (versions and costs)`,
    )
  kinds.add(kind)
}

/** Hashed only now: it is costly, and few rows of a resumed run need it. */
export async function hashOf(
  { hashKinds, own }: ImportRun,
  { passwordHash, password }: ImportedCustomer,
): Promise<string | undefined> {
  if (passwordHash !== undefined) {
    const hash = MAGENTO + passwordHash
    // Recorded before the first hash of its kind, so that a wrong password always takes the same time.
    await hashKinds.found(kindOf(hash), own)
    return hash
  }
  return password === undefined ? undefined : hashPassword(password)
}
