/** Resolves the customer that an operator names, by number or by e-mail address. */

import type { EventStore } from '../eventstore/port.ts'
import { newestEvent } from '../eventstore/read.ts'
import { UsageError } from '../runtime/errors.ts'
import { emailKeysAsTyped } from '../schema/email-key.ts'
import type { EmailEvent } from '../schema/events.ts'
import { streamOf } from '../schema/streams.ts'
import { AuditError } from './errors.ts'

const ACCEPTED_CUSTOMERS = "a customer's number or e-mail address"

/** The person named: a customer, or the person behind an address that no customer has now. */
export type Holder =
  | { readonly customerId: number }
  /** `emailKeys`: the keyed hashes of the address. `former`: the customer who had it last. */
  | { readonly customerId: undefined; readonly emailKeys: readonly string[]; readonly former: number | undefined }

/**
 * @param emailHashKey called only if it is needed
 * @throws UsageError for a text that is neither a number nor an address; EventStoreUnavailable
 */
export async function findHolder(eventStore: EventStore, text: string, emailHashKey: () => string): Promise<Holder> {
  if (/^[1-9]\d{0,14}$/.test(text)) return { customerId: Number(text) }
  if (!text.includes('@')) throw new UsageError(`The customer can't be used; accepted: ${ACCEPTED_CUSTOMERS}.`)
  const emailKeys = emailKeysAsTyped(emailHashKey(), text)
  let former: number | undefined
  for (const key of emailKeys) {
    const claim = await newestEvent<EmailEvent>(eventStore, streamOf.email(key))
    if (claim?.type === 'EmailClaimed') return { customerId: claim.data.customerId }
    former ??= claim?.data.customerId
  }
  return { customerId: undefined, emailKeys, former }
}

/**
 * Like {@link findHolder}. @throws AuditError also for an address that no customer has; the message does not contain it
 */
export async function resolveCustomer(
  eventStore: EventStore,
  text: string,
  emailHashKey: () => string,
): Promise<number> {
  const holder = await findHolder(eventStore, text, emailHashKey)
  if (holder.customerId !== undefined) return holder.customerId
  if (holder.former === undefined) throw new AuditError('Nobody has this e-mail address.')
  throw new AuditError(`Nobody has this e-mail address now; customer ${holder.former} had it before.`)
}
