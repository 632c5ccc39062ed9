/** The customer that a token was issued to. */
import { type CustomerDocument, isRegistered } from '../../projections/customer.ts'
import type { Customers } from '../customers/customers.ts'
import { type Caller, isCurrent, isSameCustomer } from './tokens.ts'

/** Whether the customer is the caller, and the token still counts. */
export function holdsToken(caller: Caller, customer: CustomerDocument): boolean {
  return isRegistered(customer) && isCurrent(caller, customer) && isSameCustomer(caller, customer)
}

/**
 * The customer that the caller's token names. Where the document is of another one with the same id, the stream decides: the
 * document may be another log's, because it takes a second until that is noticed (log-guard.ts).
 * @param traceparent the parent of its spans
 * @throws EventStoreUnavailable
 */
export async function holderOf(
  customers: Pick<Customers, 'get' | 'load'>,
  caller: Caller,
  traceparent?: string,
): Promise<CustomerDocument> {
  const customer = await customers.get(caller.customerId, traceparent)
  return isSameCustomer(caller, customer) ? customer : customers.load(caller.customerId)
}
