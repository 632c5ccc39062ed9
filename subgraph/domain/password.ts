/** The rules for passwords: Magento's, in Magento's order. */
import { canonicalEmail } from '../../schema/email-key.ts'
import type { Store } from '../../schema/store.ts'
import { fault } from './faults.ts'

const MAX_LENGTH = 256
const CLASSES = [/[a-z]/, /[A-Z]/, /\d/, /[^a-zA-Z\d]/]

/**
 * Checks a new password. An e-mail address as password is reported before weakness on a change and after it on
 * registration and reset, as Magento does.
 * @throws Fault
 */
export function checkPassword(
  password: string,
  email: string,
  occasion: 'registration' | 'change' | 'reset',
  { minimumLength, requiredCharacterClasses }: Store['password'],
): void {
  const equalsEmail = canonicalEmail(password) === canonicalEmail(email)
  if (occasion === 'change' && equalsEmail) throw fault('PASSWORD_IS_EMAIL')
  if (password.length > MAX_LENGTH) throw fault('PASSWORD_TOO_LONG', { most: MAX_LENGTH })
  if (password.length < minimumLength) throw fault('PASSWORD_TOO_SHORT', { least: minimumLength })
  if (password.trim() !== password) throw fault('PASSWORD_PADDED')
  if (CLASSES.filter((pattern) => pattern.test(password)).length < requiredCharacterClasses) {
    throw fault('PASSWORD_TOO_SIMPLE', { classes: requiredCharacterClasses })
  }
  if (equalsEmail) throw fault('PASSWORD_IS_EMAIL')
}
