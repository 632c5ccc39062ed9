/** Which customer an operator means: by its number, or by the e-mail address that it has. */

import type { EventStore } from '../eventstore/port.ts'
import { newestEvent } from '../eventstore/read.ts'
import { UsageError } from '../runtime/errors.ts'
import { emailKeysAsTyped } from '../schema/email-key.ts'
import type { EmailEvent } from '../schema/events.ts'
import { streamOf } from '../schema/streams.ts'
import { AuditError } from './errors.ts'

const ACCEPTED_CUSTOMERS = "a customer's number or e-mail address"

/** Who is meant: a customer, or whoever is behind an address that is nobody's now. */
export type Holder =
  | { readonly customerId: number }
  /** `emailKeys`: what stands for the address. `former`: the customer who had it last. */
  | { readonly customerId: undefined; readonly emailKeys: readonly string[]; readonly former: number | undefined }

/**
 * @param emailHashKey asked for only where it is needed
 * @throws UsageError for what is neither a number nor an address; EventStoreUnavailable
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

/** As {@link findHolder}. @throws AuditError where it is nobody's too, without the address in it */
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
