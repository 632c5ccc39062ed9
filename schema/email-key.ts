/**
 * E-mail addresses: the one canonical form that tells which are the same mailbox, and the keyed hash that stands for it in the
 * log, which does not tell who is in it to one who guesses addresses.
 */
import { createHmac } from 'node:crypto'
import { domainToASCII, domainToUnicode } from 'node:url'

/** An address as it is kept and shown: as it was typed, without the blanks around it, in Unicode's form NFC. */
export const tidyEmail = (typed: string): string => typed.trim().normalize('NFC')

/** A domain that is its own ASCII form: not one with an encoded label, nor what the URL standard reads as an IPv4 address. */
const PLAIN_DOMAIN = /^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z][a-z0-9-]*$/
const ENCODED_LABEL = /(^|\.)xn--/

/**
 * The form that all spellings of a mailbox's address have in common: without blanks around it, in NFC and lower case, the
 * domain in ASCII as `node:url` converts it (UTS 46, nontransitional). It is its own canonical form.
 * @param email any text; what has no domain that can be converted is only put into lower case
 */
export function canonicalEmail(email: string): string {
  const lower = lowerCase(email)
  const at = lower.lastIndexOf('@')
  const domain = lower.slice(at + 1)
  if (at < 0 || (PLAIN_DOMAIN.test(domain) && !ENCODED_LABEL.test(domain))) return lower
  return `${lower.slice(0, at)}@${domainToASCII(domain) || domain}`
}

/** What stood for an address before domains were converted to ASCII. */
const lowerCase = (email: string): string => tidyEmail(email).toLowerCase()

/** @param hashKey the service's e-mail hash key @returns the rest of the name of the stream `customerEmail-…` */
export const emailKeyOf = (hashKey: string, email: string): string => keyOf(hashKey, canonicalEmail(email))

/**
 * The keys under which earlier releases may have written of the mailbox, which made them of the address as it was typed: none
 * for nearly all addresses, whose domain is plain ASCII.
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

/** Every key under which there may be something of the mailbox, the one of today first. */
export const allEmailKeysOf = (hashKey: string, email: string): readonly string[] => [
  emailKeyOf(hashKey, email),
  ...formerEmailKeysOf(hashKey, email),
]

/** The same, in the order in which an account is looked for: of two accounts of earlier releases each is found by its own spelling. */
export const emailKeysAsTyped = (hashKey: string, email: string): readonly string[] => [
  ...new Set([keyOf(hashKey, lowerCase(email)), ...allEmailKeysOf(hashKey, email)]),
]

const keyOf = (hashKey: string, form: string): string => createHmac('sha256', hashKey).update(form).digest('hex')
