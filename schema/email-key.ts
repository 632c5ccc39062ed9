/** The keyed hash that stands for an e-mail address in the log: it does not reveal an address to someone who guesses. */
import { createHmac } from 'node:crypto'

/** One form for all spellings of an address that count as the same: case does not matter. */
export function normalizeEmail(email: string): string {
  return email.normalize('NFC').toLowerCase()
}

/** @param hashKey the service's e-mail hash key @returns the rest of the name of the stream `customerEmail-…` */
export function emailKeyOf(hashKey: string, email: string): string {
  return createHmac('sha256', hashKey).update(normalizeEmail(email)).digest('hex')
}
