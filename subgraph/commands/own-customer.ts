/**
 * Commands on the caller's own customer. The token is checked against the current state of the customer that it names.
 */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { Customers, Decide, Outcome } from '../customers/customers.ts'
import { refusal, TokenRefused } from '../errors.ts'
import { holdsToken } from '../identity/token-holder.ts'
import type { Caller } from '../identity/tokens.ts'
import type { Command } from './command.ts'

/**
 * The customer, if the caller is signed in as that customer. @throws CustomerError for a guest, a revoked token or a
 * deleted customer
 */
export function authorize(caller: Caller | null, state: CustomerDocument): CustomerDocument {
  if (caller === null) throw refusal('NOT_SIGNED_IN')
  if (!holdsToken(caller, state)) throw new TokenRefused('revoked')
  return state
}

export interface OwnCustomer {
  /**
   * Runs a command on the caller's own customer. The token is checked on the same state on which the events are
   * decided.
   */
  execute(caller: Caller | null, command: Command, decide: Decide): Promise<Outcome>
  load(caller: Caller | null): Promise<CustomerDocument>
}

export const createOwnCustomer = (customers: Customers): OwnCustomer => ({
  async execute(caller, command, decide) {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    const outcome = await customers.execute(caller.customerId, command, (state) => decide(authorize(caller, state)))
    authorize(caller, outcome.state) // a repetition decides nothing
    return outcome
  },

  async load(caller) {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    return authorize(caller, await customers.load(caller.customerId))
  },
})
