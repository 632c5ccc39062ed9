/** Accounts that wait until their address is confirmed. Whether anybody is told who has one is a setting of the store. */
import type { CustomerDocument } from '../projections/customer.ts'
import type { Command } from './command.ts'
import { requestConfirmation } from './domain/customer.ts'
import { isValidEmail } from './domain/email.ts'
import { invalidInput } from './errors.ts'
import { evenly } from './identity/even-time.ts'
import type { LinkCommands, LinkParts } from './link-commands.ts'

export function createConfirmationCommands({
  customers,
  claims,
  tokens,
  store,
}: LinkParts): Pick<LinkCommands, 'confirmEmail' | 'resendConfirmation'> {
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
    async confirmEmail(email, key, command) {
      if (!isValidEmail(email)) throw invalidInput('Email is invalid')
      return revealConfirmation ? confirmEmail(email, key, command) : evenly(() => confirmEmail(email, key, command))
    },

    async resendConfirmation(email, command) {
      if (!isValidEmail(email)) throw invalidInput('Email address is not valid')
      await (revealConfirmation ? resendConfirmation(email, command) : evenly(() => resendConfirmation(email, command)))
    },
  }
}
