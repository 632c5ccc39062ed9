/** `updateCustomer`: details, newsletter subscription and e-mail address, whose claim moves with it. */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import {
  type CustomerInput,
  checkNotEmpty,
  checkUsable,
  type GuestStatus,
  revokeTokens,
  update,
} from '../domain/customer.ts'
import { refusal } from '../errors.ts'
import type { Caller } from '../identity/tokens.ts'
import { type LeftClaim, movesClaim } from '../streams/email-claims.ts'
import type { Command } from './command.ts'
import { handOver, leaveToOthers } from './consequences.ts'
import type { CommandParts, Commands } from './customer-commands.ts'

export function createUpdate(parts: CommandParts): Pick<Commands, 'updateCustomer'> {
  const { own, claims, signIn, subscribers, store } = parts

  async function updateCustomer(
    caller: Caller | null,
    input: CustomerInput,
    command: Command,
  ): Promise<CustomerDocument> {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    checkNotEmpty(input)
    const customerId = caller.customerId
    let guest: GuestStatus = 'none'
    if (input.email == null) {
      const { state } = await own.execute(caller, command, (state) => decideUpdate(state))
      await handOver(subscribers, state.email, customerId, guest, input.is_subscribed, command)
      return state
    }

    const newEmail = input.email
    const before = await own.load(caller)
    checkUsable(before, command.at, store)
    if (newEmail !== before.email) {
      if (!input.password) throw refusal('EMAIL_CHANGE_NEEDS_PASSWORD')
      await signIn.confirm(customerId, input.password, command)
    }
    let left: readonly LeftClaim[] = []
    const { state } = await own.execute(caller, command, async (state) => {
      decideUpdate(state) // faults of the input are reported before the address is claimed
      left = []
      if (movesClaim(claims, state.email, newEmail)) {
        // Again in every round, and after the state was read: see email-claims.ts.
        left = await claims.leaving(state.email, customerId, newEmail)
        await claims.claim(newEmail, customerId, command, 'change')
        guest = await subscribers.status(newEmail)
      }
      return decideUpdate(state)
    })
    // A request that is repeated after another change of address finds the customer at that one, and leaves none.
    await handOver(subscribers, state.email, customerId, guest, input.is_subscribed, command)
    // If the process stops before this, the next one who wants the address can still claim it: see email-claims.ts.
    await leaveToOthers(claims.releaseLeft(left, customerId, command))
    return state

    function decideUpdate(state: CustomerDocument): CustomerEvent[] {
      checkUsable(state, command.at, store)
      const events = update(state, input, store, command.at, guest)
      // The address is used to sign in and to reset a forgotten password.
      const isOther = events.some(({ type }) => type === 'CustomerEmailChanged')
      return isOther ? [...events, ...revokeTokens(caller?.tokenId)] : events
    }
  }

  return { updateCustomer }
}
