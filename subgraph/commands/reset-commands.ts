/**
 * Password reset: a link is requested, and used once. Neither the answers nor their durations reveal who has an
 * account.
 */
import { WrongExpectedRevision } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { isLocked, isResetExpired, passwordChanged, requestPasswordReset } from '../domain/customer.ts'
import { isValidEmail } from '../domain/email.ts'
import { checkPassword } from '../domain/password.ts'
import { isRefusal, refusal } from '../errors.ts'
import { evenly } from '../identity/constant-time.ts'
import { hashPassword } from '../identity/passwords.ts'
import type { Command } from './command.ts'
import type { LinkCommands, LinkParts } from './link-commands.ts'

export function createResetCommands(parts: LinkParts): Pick<LinkCommands, 'requestPasswordReset' | 'resetPassword'> {
  const { customers, claims, credentials, access, tokens, store } = parts

  function checkEmail(email: string): void {
    if (email.trim() === '') throw refusal('RESET_EMAIL_MISSING')
    if (!isValidEmail(email)) throw refusal('RESET_EMAIL_INVALID')
  }

  /** @throws CustomerError (graphql-input) if the link is not valid, or the account is locked */
  function checkResetLink(state: CustomerDocument | undefined, token: string, now: Date): CustomerDocument {
    // The same text as for a wrong token: it must not reveal whose address this is, nor that an account is locked.
    const mismatch = () => refusal('RESET_TOKEN_MISMATCHED')
    if (state === undefined || isLocked(state, now)) throw mismatch()
    const { passwordReset } = state
    if (passwordReset === null || !tokens.fits(token, 'reset-password', passwordReset.eventId)) throw mismatch()
    if (isResetExpired(state, now, store)) throw refusal('RESET_TOKEN_EXPIRED')
    return state
  }

  async function requestReset(email: string, command: Command): Promise<void> {
    const customer = await claims.find(email)
    access.record(customer?.id ?? claims.keyOf(email), 'password-reset-requested', command)
    if (customer === undefined) return
    await customers.execute(customer.id, command, (state) =>
      state.status === 'registered' && !isLocked(state, command.at)
        ? requestPasswordReset(state, command.at, store)
        : [],
    )
  }

  /** Whether this reset was already carried out: then the link is used up. */
  async function isResetDone(email: string, command: Command): Promise<boolean> {
    const customer = command.repeatable ? await claims.find(email) : undefined
    if (customer === undefined) return false
    await credentials.read(customer) // completes the first time, if it was interrupted
    return (await customers.repetition(customer.id, command)) !== undefined
  }

  async function resetPassword(email: string, token: string, newPassword: string, command: Command): Promise<void> {
    if (await isResetDone(email, command)) return
    try {
      await useLink(email, token, newPassword, command)
    } catch (error) {
      // Another attempt of the same request, under way at the same time, may have come first.
      if (!isRefusal(error) || !(await isResetDone(email, command))) throw error
    }
  }

  async function useLink(email: string, token: string, newPassword: string, command: Command): Promise<void> {
    let hash: string | undefined
    for (;;) {
      const customer = checkResetLink(await claims.find(email), token, command.at)
      checkPassword(newPassword, customer.email, 'reset', store.password)
      if (hash === undefined) {
        hash = await hashPassword(newPassword)
        continue // hashing is slow: the link may have ended
      }
      const stored = await credentials.read(customer)
      // Reading the credentials completed an interrupted change, which ended the link.
      if (stored && stored.revision > customer.credentialsRevision) continue
      try {
        const revision = await credentials.set(customer.id, hash, stored, command)
        await customers.execute(customer.id, command, (state) => passwordChanged(state, revision, undefined))
      } catch (error) {
        // Another change came first, and ended the link.
        if (!(error instanceof WrongExpectedRevision)) throw error
        continue
      }
      access.record(customer.id, 'password-reset', command)
      await parts.signIn.forgive(customer.id, command)
      return
    }
  }

  return {
    async requestPasswordReset(email, command) {
      checkEmail(email)
      await evenly(() => requestReset(email, command))
    },

    async resetPassword({ email, resetPasswordToken, newPassword }, command) {
      checkEmail(email)
      if (resetPasswordToken === '') throw refusal('RESET_VALUE_MISSING', { name: 'resetPasswordToken' })
      if (newPassword === '') throw refusal('RESET_VALUE_MISSING', { name: 'newPassword' })
      await evenly(() => resetPassword(email, resetPasswordToken, newPassword, command))
    },
  }
}
