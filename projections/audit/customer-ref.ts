/** Which customer an operator means: by its number, or by the e-mail address that it has. */
import { decode } from '../../eventstore/codec.ts'
import { type EventStore, StreamNotFound } from '../../eventstore/port.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import type { EmailEvent } from '../../schema/events.ts'
import { AuditError } from './error.ts'

export const ACCEPTED_CUSTOMERS = "a customer's number or e-mail address"

/**
 * Who is to be erased: a customer, or whoever is behind an address that is no customer's.
 * @throws AuditError for what is neither; EventStoreUnavailable
 */
export async function findCustomer(
  eventStore: EventStore,
  text: string,
  emailHashKey: () => string,
): Promise<{ readonly customerId: number } | { readonly customerId: undefined; readonly emailKey: string }> {
  try {
    return { customerId: await resolveCustomer(eventStore, text, emailHashKey) }
  } catch (error) {
    if (!(error instanceof AuditError) || !text.includes('@')) throw error
    return { customerId: undefined, emailKey: emailKeyOf(emailHashKey(), text) }
  }
}

/**
 * @param emailHashKey asked for only where it is needed
 * @throws AuditError, without the address in it; EventStoreUnavailable
 */
export async function resolveCustomer(
  eventStore: EventStore,
  text: string,
  emailHashKey: () => string,
): Promise<number> {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text)
  if (!text.includes('@')) throw new AuditError(`The customer can't be used; accepted: ${ACCEPTED_CUSTOMERS}.`)
  const stream = `customerEmail-${emailKeyOf(emailHashKey(), text)}`
  try {
    for await (const stored of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) {
      const { type, data } = decode<EmailEvent>(stored)
      if (type === 'EmailClaimed') return data.customerId
      throw new AuditError(`Nobody has this e-mail address now; customer ${data.customerId} had it before.`)
    }
  } catch (error) {
    if (!(error instanceof StreamNotFound)) throw error
  }
  throw new AuditError('Nobody has this e-mail address.')
}
