/** The signed-in customer of a request, for queries. */
import type { CustomerDocument } from '../../projections/customer.ts'
import { authorize } from '../commands/own-customer.ts'
import type { Customers } from '../customers/customers.ts'
import { refusal } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'

/** The caller's own document, read once for all fields of a request. @throws CustomerError for a guest, or a revoked token */
export type SignedIn = (context: RequestContext) => Promise<CustomerDocument>

export function createSignedIn(customers: Pick<Customers, 'get'>): SignedIn {
  return (context) => {
    const { caller } = context
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    const read = () => context.document ?? customers.get(caller.customerId, context.traceparent)
    context.customer ??= read().then((document) => authorize(caller, document))
    return context.customer
  }
}
