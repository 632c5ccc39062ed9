/** What a password must be like: Magento's rules and their order. */
import { canonicalEmail } from '../../schema/email-key.ts'
import type { Store } from '../../schema/store.ts'
import { invalidInput } from '../errors.ts'

const MAX_LENGTH = 256
const CLASSES = [/[a-z]/, /[A-Z]/, /\d/, /[^a-zA-Z\d]/]

/**
 * Checks a new password. An e-mail address as password is reported before weakness on a change and after it on
 * registration and reset, as Magento does.
 * @throws CustomerError (graphql-input)
 */
export function checkPassword(
  password: string,
  email: string,
  occasion: 'registration' | 'change' | 'reset',
  { minimumLength, requiredCharacterClasses }: Store['password'],
): void {
  const equalsEmail = canonicalEmail(password) === canonicalEmail(email)
  const refuseEmail = () =>
    invalidInput("The password can't be the same as the email address. Create a new password and try again.")

  if (occasion === 'change' && equalsEmail) throw refuseEmail()
  if (password.length > MAX_LENGTH) {
    throw invalidInput(`Please enter a password with at most ${MAX_LENGTH} characters.`)
  }
  if (password.length < minimumLength) {
    throw invalidInput(`The password needs at least ${minimumLength} characters. Create a new password and try again.`)
  }
  if (password.trim() !== password) {
    throw invalidInput("The password can't begin or end with a space. Verify the password and try again.")
  }
  if (CLASSES.filter((pattern) => pattern.test(password)).length < requiredCharacterClasses) {
    throw invalidInput(
      `Minimum of different classes of characters in password is ${requiredCharacterClasses}. ` +
        'Classes of characters: Lower Case, Upper Case, Digits, Special Characters.',
    )
  }
  if (equalsEmail) throw refuseEmail()
}
