/** Validates e-mail addresses. For when two are the same, see schema/email-key.ts. */

// A dot-atom before the @ (letters of any script, as Magento 2.4.8), a host of at least two labels after it.
const LOCAL = /^[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~“”-]+(\.[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~“”-]+)*$/u
const LABEL = /^[\p{L}\p{M}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?$/u

/** Whether the text is an address: a local part of up to 64 characters, one @, a host with a dot. */
export function isValidEmail(email: string): boolean {
  const [local = '', host = '', ...rest] = email.split('@')
  if (rest.length > 0 || email.length > 254 || local.length > 64 || !LOCAL.test(local)) return false
  const labels = host.split('.')
  return (
    labels.length > 1 &&
    labels.every((label) => label.length < 64 && LABEL.test(label)) &&
    /\p{L}/u.test(labels.at(-1) ?? '')
  )
}
