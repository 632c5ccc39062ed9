/** Limits of the text fields that customers and addresses share. */

/** Characters. */
export const MAX_TEXT = 255

/**
 * Formats of Magento's validators (Customer/Model/Validator), the newest where versions differ. A country's letters,
 * marks and digits are all allowed; what ends a template or a tag is not.
 */
const NAME = /^[\p{L}\p{M}\p{Nd}\s,\-_.'’`&]+$/u
const CITY = /^[\p{L}\p{M}\p{N}\s\-_'’.,&()]+$/u
const TELEPHONE = /^[\d\s+\-()./]+$/
/**
 * Magento's list of allowed characters changes between versions; its purpose is to keep out tags and template
 * directives.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const NOT_IN_STREET = /[<>{}\u0000-\u0008\u000e-\u001f\u007f\ufffd]/
/** E.164 has 15 digits at most; some write a prefix or an extension beside them. */
const MOST_DIGITS = 20
const MOST_TELEPHONE = 40

export const isName = (text: string): boolean => NAME.test(text)
export const isCity = (text: string): boolean => CITY.test(text)
export const isStreet = (text: string): boolean => !NOT_IN_STREET.test(text)
export const isTelephone = (text: string): boolean =>
  text.length <= MOST_TELEPHONE && TELEPHONE.test(text) && text.replace(/\D/g, '').length <= MOST_DIGITS
