/**
 * The commands around links in mails: resetting a password, confirming an account, subscribing to the newsletter. They
 * only record that a link was requested; the mail worker sends it (folder mail).
 */
import type { CustomerDocument } from '../../projections/customer.ts'
import type { MailTokens } from '../../schema/mail-tokens.ts'
import type { Store } from '../../schema/store.ts'
import type { Customers } from '../customers/customers.ts'
import { subscribe } from '../domain/customer.ts'
import { isValidEmail } from '../domain/email.ts'
import { refusal } from '../errors.ts'
import { evenly } from '../identity/constant-time.ts'
import type { Credentials } from '../identity/credentials.ts'
import type { SignIn } from '../identity/sign-in.ts'
import type { Caller } from '../identity/tokens.ts'
import type { AccessLog } from '../streams/access-log.ts'
import type { EmailClaims } from '../streams/email-claims.ts'
import type { Subscribers } from '../streams/newsletter-subscribers.ts'
import type { Command } from './command.ts'
import { createConfirmationCommands } from './confirmation-commands.ts'
import { leaveToOthers } from './consequences.ts'
import { authorize } from './own-customer.ts'
import { createResetCommands } from './reset-commands.ts'

type SubscriptionStatus = 'SUBSCRIBED' | 'NOT_ACTIVE'

export interface LinkCommands {
  /**
   * Does nothing for an unknown address, a locked account, or after too many requests. Neither the answer nor its
   * duration reveals which.
   */
  requestPasswordReset(email: string, command: Command): Promise<void>
  /** Sets the password, and revokes all of the customer's tokens and links. */
  resetPassword(
    request: { readonly email: string; readonly resetPasswordToken: string; readonly newPassword: string },
    command: Command,
  ): Promise<void>
  /** If the store does not reveal accounts, neither this nor the next one reveals whether the address is known. */
  confirmEmail(email: string, key: string, command: Command): Promise<CustomerDocument>
  resendConfirmation(email: string, command: Command): Promise<void>
  subscribe(caller: Caller | null, email: string, command: Command): Promise<SubscriptionStatus>
  confirmSubscription(email: string, key: string, command: Command): Promise<SubscriptionStatus>
}

export interface LinkParts {
  readonly customers: Customers
  readonly claims: EmailClaims
  readonly credentials: Credentials
  readonly signIn: SignIn
  readonly subscribers: Subscribers
  readonly access: AccessLog
  readonly tokens: MailTokens
  readonly store: Store
}

export const createLinkCommands = (parts: LinkParts): LinkCommands => ({
  ...createResetCommands(parts),
  ...createConfirmationCommands(parts),
  ...createNewsletterCommands(parts),
})

function createNewsletterCommands({
  customers,
  claims,
  subscribers,
  tokens,
  store,
}: LinkParts): Pick<LinkCommands, 'subscribe' | 'confirmSubscription'> {
  async function subscribeAddress(caller: Caller | null, email: string, command: Command): Promise<SubscriptionStatus> {
    const refused = () => refusal('NEWSLETTER_REFUSED')
    if (caller !== null) authorize(caller, await customers.load(caller.customerId))
    if (!store.newsletter.active) throw refused()
    const customer = await claims.find(email)
    if (customer && caller && customer.id !== caller.customerId) throw refused()
    const alreadySubscribed = () => refusal('NEWSLETTER_ALREADY_SUBSCRIBED')
    const awaited = store.newsletter.confirmationRequired ? 'NOT_ACTIVE' : 'SUBSCRIBED'
    // Not by the key alone: with one, a customer's address is refused the second time. What was done for a guest is not
    // done again for the customer, who may have unsubscribed since.
    if (await subscribers.isRepetition(email, command)) return awaited
    if (customer) {
      await customers.execute(customer.id, command, (state) => {
        if (state.newsletter === 'subscribed') throw alreadySubscribed()
        return subscribe(state, store, command.at)
      })
      return awaited
    }
    if ((await subscribers.status(email)) === 'subscribed') throw alreadySubscribed()
    const type = store.newsletter.confirmationRequired ? 'GuestConfirmationRequested' : 'GuestSubscribed'
    await subscribers.append(type, email, command)
    return awaited
  }

  async function confirmAddress(email: string, key: string, command: Command): Promise<SubscriptionStatus> {
    const invalid = () => refusal('NEWSLETTER_CODE_INVALID')
    const fits = (eventId: string | undefined) =>
      eventId !== undefined && tokens.fits(key, 'confirm-newsletter', eventId)
    const customer = await claims.find(email)
    const isOfGuest = fits(await subscribers.awaiting(email))
    if (customer) {
      await customers.execute(customer.id, command, ({ newsletter, newsletterConfirmation, ...state }) => {
        // A link that was sent before the address belonged to a customer subscribes the customer.
        const isOfAddress = isOfGuest && claims.keyOf(state.email) === claims.keyOf(email)
        if (!isOfAddress && !fits(newsletterConfirmation?.eventId)) throw invalid()
        return newsletter === 'subscribed' ? [] : [{ type: 'NewsletterSubscribed', data: {} }]
      })
      await leaveToOthers(subscribers.handOver(email, customer.id, command))
      return 'SUBSCRIBED'
    }
    if (!isOfGuest) throw invalid()
    await subscribers.append('GuestSubscribed', email, command)
    return 'SUBSCRIBED'
  }

  return {
    async subscribe(caller, email, command) {
      if (email.trim() === '') {
        throw refusal('NEWSLETTER_EMAIL_MISSING')
      }
      if (!isValidEmail(email)) throw refusal('NEWSLETTER_EMAIL_INVALID')
      if (caller !== null) return subscribeAddress(caller, email, command)
      if (!store.newsletter.allowGuests) throw refusal('NEWSLETTER_NO_GUESTS')
      // A customer's subscription is another stream than a guest's.
      return evenly(() => subscribeAddress(null, email, command))
    },

    confirmSubscription: (email, key, command) => evenly(() => confirmAddress(email, key, command)),
  }
}
