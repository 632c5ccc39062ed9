/** Commands on the caller's own customer: a token counts only for the customer that it names, and as that customer is now. */
import { type CustomerDocument, isRegistered } from '../../projections/customer.ts'
import type { Customers, Decide, Outcome } from '../customers/customers.ts'
import { refusal, TokenRefused } from '../errors.ts'
import { type Caller, isCurrent, isSameCustomer } from '../identity/tokens.ts'
import type { Command } from './command.ts'

/** The customer if the caller is signed in as it. @throws CustomerError for a guest, a revoked token, a customer who is gone */
export function authorize(caller: Caller | null, state: CustomerDocument): CustomerDocument {
  if (caller === null) throw refusal('NOT_SIGNED_IN')
  if (!isRegistered(state)) throw new TokenRefused('revoked')
  if (!isCurrent(caller, state) || !isSameCustomer(caller, state)) throw new TokenRefused('revoked')
  return state
}

export interface OwnCustomer {
  /** Runs a command on the caller's own customer; the token is checked on the very state that the events are decided on. */
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
