/**
 * E-mail addresses: the canonical form, which is the same for all spellings of one mailbox, and the keyed hash that
 * replaces it in the log, so that nobody can find a person in the log by guessing addresses.
 */
import { createHmac } from 'node:crypto'
import { domainToASCII, domainToUnicode } from 'node:url'

/** An address as it is stored and shown: as typed, trimmed, in Unicode NFC. */
export const tidyEmail = (typed: string): string => typed.trim().normalize('NFC')

/** A domain that is already in ASCII: no encoded label, and nothing that the URL standard reads as an IPv4 address. */
const PLAIN_DOMAIN = /^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*$/
const ENCODED_LABEL = /(^|\.)xn--/

/**
 * The canonical form of an address: trimmed, NFC, lower case, with the domain in ASCII as `node:url` converts it (UTS
 * 46, nontransitional). The function is idempotent.
 * @param email any text; if it has no domain that can be converted, it is only lower-cased
 */
export function canonicalEmail(email: string): string {
  const lower = lowerCase(email)
  const at = lower.lastIndexOf('@')
  const domain = lower.slice(at + 1)
  if (at < 0 || (PLAIN_DOMAIN.test(domain) && !ENCODED_LABEL.test(domain))) return lower
  return `${lower.slice(0, at)}@${domainToASCII(domain) || domain}`
}

/** The canonical form before domains were converted to ASCII. */
const lowerCase = (email: string): string => tidyEmail(email).toLowerCase()

/** @param hashKey the service's e-mail hash key @returns the rest of the name of the stream `customerEmail-…` */
export const emailKeyOf = (hashKey: string, email: string): string => keyOf(hashKey, canonicalEmail(email))

/**
 * The keys that earlier releases may have used for the mailbox, derived from the address as typed. There are none for
 * an address whose domain is plain ASCII, which is nearly every address.
 */
export function formerEmailKeysOf(hashKey: string, email: string): readonly string[] {
  const canonical = canonicalEmail(email)
  const at = canonical.lastIndexOf('@')
  const former = new Set([lowerCase(email)])
  if (ENCODED_LABEL.test(canonical.slice(at + 1))) {
    former.add(`${canonical.slice(0, at)}@${domainToUnicode(canonical.slice(at + 1))}`)
  }
  former.delete(canonical)
  return [...former].map((form) => keyOf(hashKey, form))
}

/** All keys that may have been used for the mailbox, the current one first. */
export const allEmailKeysOf = (hashKey: string, email: string): readonly string[] => [
  emailKeyOf(hashKey, email),
  ...formerEmailKeysOf(hashKey, email),
]

/**
 * The same keys in the order for finding an account: where earlier releases allowed two accounts, each is found by its
 * own spelling.
 */
export const emailKeysAsTyped = (hashKey: string, email: string): readonly string[] => [
  ...new Set([keyOf(hashKey, lowerCase(email)), ...allEmailKeysOf(hashKey, email)]),
]

const keyOf = (hashKey: string, form: string): string => createHmac('sha256', hashKey).update(form).digest('hex')
