/** Confirmation of accounts. A setting of the store decides whether the answers reveal who has an account. */
import type { CustomerDocument } from '../../projections/customer.ts'
import { requestConfirmation } from '../domain/customer.ts'
import { isValidEmail } from '../domain/email.ts'
import { refusal } from '../errors.ts'
import { evenly } from '../identity/constant-time.ts'
import type { Command } from './command.ts'
import type { LinkCommands, LinkParts } from './link-commands.ts'

export function createConfirmationCommands({
  customers,
  claims,
  tokens,
  store,
}: LinkParts): Pick<LinkCommands, 'confirmEmail' | 'resendConfirmation'> {
  const { revealConfirmation } = store.account
  /** Magento's text, or, where accounts are not revealed, one text for every fault. */
  const notConfirmed = (code: 'CONFIRMATION_FAILED' | 'CONFIRMATION_ALREADY_ACTIVE' | 'CONFIRMATION_TOKEN_INVALID') =>
    refusal(revealConfirmation ? code : 'CONFIRMATION_TOKEN_INVALID')

  async function confirmEmail(email: string, key: string, command: Command): Promise<CustomerDocument> {
    const customer = await claims.find(email)
    if (customer === undefined) throw notConfirmed('CONFIRMATION_FAILED')
    if (command.repeatable) {
      const earlier = await customers.repetition(customer.id, command)
      // Who has the link may see the account as it was confirmed, and nothing that it got later.
      const confirmed = earlier?.events.at(-1)
      if (earlier && earlier.state.revision !== confirmed?.revision) throw notConfirmed('CONFIRMATION_ALREADY_ACTIVE')
    }
    const { state } = await customers.execute(customer.id, command, ({ confirmation }) => {
      if (confirmation === null) throw notConfirmed('CONFIRMATION_ALREADY_ACTIVE')
      if (!tokens.fits(key, 'confirm-account', confirmation.eventId)) {
        throw notConfirmed('CONFIRMATION_TOKEN_INVALID')
      }
      return [{ type: 'EmailConfirmed', data: {} }]
    })
    return state
  }

  async function resendConfirmation(email: string, command: Command): Promise<void> {
    const customer = await claims.find(email)
    if (customer === undefined) {
      if (revealConfirmation) throw refusal('CONFIRMATION_NO_ACCOUNT')
      return
    }
    await customers.execute(customer.id, command, (state) => {
      if (state.confirmation !== null) return requestConfirmation(state, command.at, store)
      if (revealConfirmation) throw refusal('CONFIRMATION_NOT_NEEDED')
      return []
    })
  }

  return {
    async confirmEmail(email, key, command) {
      if (!isValidEmail(email)) throw refusal('CONFIRMATION_EMAIL_INVALID')
      return revealConfirmation ? confirmEmail(email, key, command) : evenly(() => confirmEmail(email, key, command))
    },

    async resendConfirmation(email, command) {
      if (!isValidEmail(email)) throw refusal('CONFIRMATION_RESEND_EMAIL_INVALID')
      await (revealConfirmation ? resendConfirmation(email, command) : evenly(() => resendConfirmation(email, command)))
    },
  }
}
