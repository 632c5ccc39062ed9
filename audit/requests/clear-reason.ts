/** A reason that stays in the log in clear must not name the person who is erased. */
import type { EventStore } from '../../eventstore/port.ts'
import { readAccount } from '../../projections/erasure.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { hasAddress } from '../../runtime/reason-text.ts'
import { AuditError } from '../errors.ts'
import type { Subject } from './request.ts'

/** A shorter one is part of too many words. */
const SHORTEST = 3

/**
 * @throws AuditError for a text with an e-mail address, or with the customer's name or telephone number;
 * EventStoreUnavailable
 */
export async function checkNamesNobody(eventStore: EventStore, subject: Subject, reason: string): Promise<void> {
  const isNamed =
    hasAddress(reason) ||
    (subject.customerId !== undefined &&
      (await namesOf(eventStore, subject.customerId)).some((name) => hasWord(reason, name)))
  if (!isNamed) return
  throw new AuditError(
    'The reason stays in the log after the erasure, so it must not name the person: write the number of a ticket.',
  )
}

async function namesOf(eventStore: EventStore, customerId: number): Promise<string[]> {
  const { addresses } = await readAccount(eventStore, customerId)
  // A customer whose events can't be applied is erased all the same.
  const document = await foldCustomer(eventStore, customerId).catch(() => undefined)
  const people = document?.status === 'registered' ? [document, ...document.addresses] : []
  const names = people.flatMap(({ firstname, middlename, lastname }) => [firstname, middlename, lastname])
  const numbers = document?.status === 'registered' ? document.addresses.map(({ telephone }) => telephone) : []
  return [...addresses, ...names, ...numbers].filter(
    (name) => typeof name === 'string' && name.length >= SHORTEST,
  ) as string[]
}

/** With letters and digits on neither side. Names are compared as they are written: `will` is no Will. */
function hasWord(text: string, word: string): boolean {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (!/[\p{L}\p{N}]/u.test((text[at - 1] ?? ' ') + (text[at + word.length] ?? ' '))) return true
  }
  return false
}
