/**
 * The mutations around links in mails: resetting a password, confirming an account, subscribing to the newsletter. They
 * only write that a link is asked for; the mail worker sends it (folder mail).
 */
import { WrongExpectedRevision } from '../eventstore/port.ts'
import type { CustomerDocument } from '../projections/customer.ts'
import type { MailTokens } from '../schema/mail-tokens.ts'
import type { Store } from '../schema/store.ts'
import type { AccessLog } from './access-log.ts'
import type { Command } from './command.ts'
import { authorize } from './commands.ts'
import type { Customers } from './customers.ts'
import {
  isLocked,
  isResetExpired,
  passwordChanged,
  requestConfirmation,
  requestPasswordReset,
  subscribe,
} from './domain/customer.ts'
import { isValidEmail } from './domain/email.ts'
import { checkPassword } from './domain/password.ts'
import type { EmailClaims } from './email-claims.ts'
import { alreadyExists, invalidInput } from './errors.ts'
import type { Credentials } from './identity/credentials.ts'
import { evenly } from './identity/even-time.ts'
import { hashPassword } from './identity/passwords.ts'
import type { SignIn } from './identity/sign-in.ts'
import type { Caller } from './identity/tokens.ts'
import type { Subscribers } from './subscribers.ts'

export type SubscriptionStatus = 'SUBSCRIBED' | 'NOT_ACTIVE'

export interface LinkCommands {
  /** Does nothing for an address that nobody has, a locked account, or too often in a row: neither answer nor time tell. */
  requestPasswordReset(email: string, command: Command): Promise<void>
  /** Sets the password, and ends all of the customer's tokens and links. */
  resetPassword(
    request: { readonly email: string; readonly resetPasswordToken: string; readonly newPassword: string },
    command: Command,
  ): Promise<void>
  /** Where the store does not reveal accounts, neither this nor the next tells whether anybody has the address. */
  confirmEmail(email: string, key: string, command: Command): Promise<CustomerDocument>
  resendConfirmation(email: string, command: Command): Promise<void>
  subscribe(caller: Caller | null, email: string, command: Command): Promise<SubscriptionStatus>
  confirmSubscription(email: string, key: string, command: Command): Promise<SubscriptionStatus>
}

export function createLinkCommands(parts: {
  readonly customers: Customers
  readonly claims: EmailClaims
  readonly credentials: Credentials
  readonly signIn: SignIn
  readonly subscribers: Subscribers
  readonly access: AccessLog
  readonly tokens: MailTokens
  readonly store: Store
}): LinkCommands {
  const { customers, claims, credentials, subscribers, access, tokens, store } = parts

  function checkEmail(email: string): void {
    if (email.trim() === '') throw invalidInput('You must specify an email address.')
    if (!isValidEmail(email)) throw invalidInput('The email address has an invalid format.')
  }

  /** @throws CustomerError (graphql-input) where the link does not hold, or the account is locked */
  function checkResetLink(state: CustomerDocument | undefined, token: string, now: Date): CustomerDocument {
    // The same text as for a wrong token: it must not tell whose address this is, nor that an account is locked.
    const mismatch = () => invalidInput('The password token is mismatched. Reset and try again.')
    if (state === undefined || isLocked(state, now)) throw mismatch()
    const { passwordReset } = state
    if (passwordReset === null || !tokens.fits(token, 'reset-password', passwordReset.eventId)) throw mismatch()
    if (isResetExpired(state, now, store)) throw invalidInput('The password token is expired. Reset and try again.')
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

  /** Whether the reset has been done: the link is over by then. */
  async function isResetDone(email: string, command: Command): Promise<boolean> {
    const customer = command.repeatable ? await claims.find(email) : undefined
    if (customer === undefined) return false
    await credentials.read(customer) // completes the first time, where it was cut off
    return (await customers.repetition(customer.id, command)) !== undefined
  }

  async function resetPassword(email: string, token: string, newPassword: string, command: Command): Promise<void> {
    if (await isResetDone(email, command)) return
    let hash: string | undefined
    for (;;) {
      const customer = checkResetLink(await claims.find(email), token, command.at)
      checkPassword(newPassword, customer.email, 'reset', store.password)
      if (hash === undefined) {
        hash = await hashPassword(newPassword)
        continue // it took a while: the link may have ended
      }
      const stored = await credentials.read(customer)
      // A change that was cut off has been completed by the reading, and has ended the link.
      if (stored && stored.revision > customer.credentialsRevision) continue
      try {
        const revision = await credentials.set(customer.id, hash, stored, command)
        await customers.execute(customer.id, command, (state) => passwordChanged(state, revision, undefined))
      } catch (error) {
        // Another change came first: it has ended the link.
        if (!(error instanceof WrongExpectedRevision)) throw error
        continue
      }
      access.record(customer.id, 'password-reset', command)
      await parts.signIn.forgive(customer.id, command)
      return
    }
  }

  const { revealConfirmation } = store.account
  /** Magento's text, or where accounts are not revealed the one text for all that is wrong. */
  const notConfirmed = (text: string) =>
    invalidInput(revealConfirmation ? text : 'The confirmation token is invalid. Verify the token and try again.')

  async function confirmEmail(email: string, key: string, command: Command): Promise<CustomerDocument> {
    const customer = await claims.find(email)
    if (customer === undefined) throw notConfirmed('There was an error confirming the account')
    const { state } = await customers.execute(customer.id, command, ({ confirmation }) => {
      if (confirmation === null) throw notConfirmed('The account is already active.')
      if (!tokens.fits(key, 'confirm-account', confirmation.eventId)) {
        throw notConfirmed('The confirmation token is invalid. Verify the token and try again.')
      }
      return [{ type: 'EmailConfirmed', data: {} }]
    })
    return state
  }

  async function resendConfirmation(email: string, command: Command): Promise<void> {
    const customer = await claims.find(email)
    if (customer === undefined) {
      if (revealConfirmation) throw invalidInput('There is no user registered with that email address.')
      return
    }
    await customers.execute(customer.id, command, (state) => {
      if (state.confirmation !== null) return requestConfirmation(state, command.at, store)
      if (revealConfirmation) throw invalidInput("Confirmation isn't needed.")
      return []
    })
  }

  return {
    async requestPasswordReset(email, command) {
      checkEmail(email)
      await evenly(() => requestReset(email, command))
    },

    async resetPassword({ email, resetPasswordToken, newPassword }, command) {
      checkEmail(email)
      if (resetPasswordToken === '') throw invalidInput('resetPasswordToken must be specified')
      if (newPassword === '') throw invalidInput('newPassword must be specified')
      await evenly(() => resetPassword(email, resetPasswordToken, newPassword, command))
    },

    async confirmEmail(email, key, command) {
      if (!isValidEmail(email)) throw invalidInput('Email is invalid')
      return revealConfirmation ? confirmEmail(email, key, command) : evenly(() => confirmEmail(email, key, command))
    },

    async resendConfirmation(email, command) {
      if (!isValidEmail(email)) throw invalidInput('Email address is not valid')
      await (revealConfirmation ? resendConfirmation(email, command) : evenly(() => resendConfirmation(email, command)))
    },

    async subscribe(caller, email, command) {
      if (email.trim() === '') {
        throw invalidInput('You must specify an email address to subscribe to a newsletter.')
      }
      if (!isValidEmail(email)) throw invalidInput('Enter a valid email address.')
      const refused = () => invalidInput('Cannot create a newsletter subscription.')
      if (caller === null && !store.newsletter.allowGuests) {
        throw invalidInput('Guests can not subscribe to the newsletter. You must create an account to subscribe.')
      }
      if (caller !== null) authorize(caller, await customers.load(caller.customerId))
      if (!store.newsletter.active) throw refused()
      const customer = await claims.find(email)
      if (customer && caller && customer.id !== caller.customerId) throw refused()
      const taken = () => alreadyExists('This email address is already subscribed.')
      const awaited = store.newsletter.confirmationRequired ? 'NOT_ACTIVE' : 'SUBSCRIBED'
      if (customer) {
        await customers.execute(customer.id, command, (state) => {
          if (state.newsletter === 'subscribed') throw taken()
          return subscribe(state, store, command.at)
        })
        return awaited
      }
      if ((await subscribers.status(email)) === 'subscribed' && !command.repeatable) throw taken()
      const type = store.newsletter.confirmationRequired ? 'GuestConfirmationRequested' : 'GuestSubscribed'
      await subscribers.append(type, email, command)
      return awaited
    },

    async confirmSubscription(email, key, command) {
      const invalid = () => invalidInput('This is an invalid subscription confirmation code.')
      const customer = await claims.find(email)
      if (customer?.newsletterConfirmation) {
        await customers.execute(customer.id, command, ({ newsletterConfirmation }) => {
          const eventId = newsletterConfirmation?.eventId
          if (eventId === undefined || !tokens.fits(key, 'confirm-newsletter', eventId)) throw invalid()
          return [{ type: 'NewsletterSubscribed', data: {} }]
        })
        return 'SUBSCRIBED'
      }
      const eventId = await subscribers.awaiting(email)
      if (eventId === undefined || !tokens.fits(key, 'confirm-newsletter', eventId)) throw invalid()
      await subscribers.append('GuestSubscribed', email, command)
      return 'SUBSCRIBED'
    },
  }
}
