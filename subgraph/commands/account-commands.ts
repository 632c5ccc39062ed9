/** Commands on an account as a whole: its password, its tokens, its end. */
import { isHeld } from '../../audit/requests/register.ts'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { WrongExpectedRevision } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { customerDeleted, finishErasure, readAccount } from '../../projections/erasure.ts'
import { checkUsable, passwordChanged, revokeTokens } from '../domain/customer.ts'
import { checkPassword } from '../domain/password.ts'
import { isRefusal, refusal } from '../errors.ts'
import { hashPassword } from '../identity/passwords.ts'
import { holdsToken } from '../identity/token-holder.ts'
import type { Caller } from '../identity/tokens.ts'
import type { Command } from './command.ts'
import { leaveToOthers } from './consequences.ts'
import type { CommandParts, Commands } from './customer-commands.ts'
import { authorize } from './own-customer.ts'

export function createAccountCommands(
  parts: CommandParts,
): Pick<Commands, 'changePassword' | 'deleteCustomer' | 'revokeTokens'> {
  const { eventStore, customers, own, claims, credentials, signIn, access, store } = parts

  async function changePassword(
    caller: Caller | null,
    { currentPassword, newPassword }: { readonly currentPassword: string; readonly newPassword: string },
    command: Command,
  ): Promise<CustomerDocument> {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    for (const [name, value] of Object.entries({ currentPassword, newPassword })) {
      if (value.trim() === '') throw refusal('VALUE_MISSING', { name })
    }
    const customer = await own.load(caller)
    checkUsable(customer, command.at, store)
    const done = await earlierChange(customer, command)
    if (done) return done
    try {
      return await replacePassword(customer, caller, { currentPassword, newPassword }, command)
    } catch (error) {
      // Another attempt of the same request, under way at the same time, may have come first.
      const first = isRefusal(error) ? await earlierChange(customer, command) : undefined
      if (first === undefined) throw error
      return first
    }
  }

  /** What an earlier attempt of the command has made of the customer. */
  async function earlierChange(customer: CustomerDocument, command: Command): Promise<CustomerDocument | undefined> {
    if (!command.repeatable) return undefined
    await credentials.read(customer) // completes that attempt, if it was interrupted
    return (await customers.repetition(customer.id, command))?.state
  }

  async function replacePassword(
    { id, email }: CustomerDocument,
    caller: Caller,
    { currentPassword, newPassword }: { readonly currentPassword: string; readonly newPassword: string },
    command: Command,
  ): Promise<CustomerDocument> {
    for (;;) {
      const current = await signIn.confirm(id, currentPassword, command)
      checkPassword(newPassword, email, 'change', store.password)
      const hash = await hashPassword(newPassword)
      // Another change may have revoked this token in the meantime. A change after this check causes a conflict.
      const { tokenGeneration } = await own.load(caller)
      try {
        const asked = { keptToken: caller.tokenId, tokenGeneration }
        const revision = await credentials.set(id, hash, current, command, asked)
        const { state } = await own.execute(caller, command, (state) =>
          passwordChanged(state, revision, caller.tokenId),
        )
        access.record(id, 'password-changed', command)
        return state
      } catch (error) {
        // Another change came first, so its password is the current one.
        if (!(error instanceof WrongExpectedRevision)) throw error
      }
    }
  }

  /**
   * The event comes first: after a crash behind it, any reader of the event finishes the deletion. After a crash before
   * it, nothing has happened.
   */
  async function deleteCustomer(caller: Caller | null, command: Command): Promise<void> {
    if (caller === null) throw refusal('NOT_SIGNED_IN')
    keysOf(eventStore) // a log that can't erase anybody deletes nobody
    const { customerId } = caller
    if (command.repeatable && (await customers.repetition(customerId, command))) return
    let emailKeys: string[] = []
    await customers.execute(customerId, command, async (state) => {
      checkUsable(authorize(caller, state), command.at, store)
      if (await isHeld(eventStore, customerId)) throw refusal('ACCOUNT_HELD')
      const { addresses } = await readAccount(eventStore, customerId)
      emailKeys = [...new Set([state.email, ...addresses.toReversed()].flatMap(claims.keysOf))]
      return [customerDeleted(emailKeys)]
    })
    const eraser = { actor: command.actor, correlationId: command.correlationId, at: command.at }
    await leaveToOthers(finishErasure(eventStore, { customerId, emailKeys }, eraser))
  }

  return {
    changePassword,
    deleteCustomer,

    async revokeTokens(caller, command) {
      if (caller === null) throw refusal('NOT_SIGNED_IN')
      const decide = (state: CustomerDocument) => {
        authorize(caller, state)
        return revokeTokens()
      }
      const { state } = await customers.execute(caller.customerId, command, decide)
      // The token was issued after the revocation that this key already stands for. Whoever signs out means this one.
      if (holdsToken(caller, state)) {
        await customers.execute(caller.customerId, { ...command, repeatable: false }, decide)
      }
      access.record(caller.customerId, 'tokens-revoked', command)
    },
  }
}
