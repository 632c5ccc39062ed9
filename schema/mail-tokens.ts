/**
 * The tokens of the links in mails. None is stored: a token is derived from the event that asked for the mail, with a
 * key. So the log does not reveal it, and a mail that is sent twice has the same token.
 */
import { createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto'

export type MailPurpose = 'reset-password' | 'confirm-account' | 'confirm-newsletter'

export interface MailTokens {
  /** @param eventId the id of the event that asked for the link @returns 32 letters and digits, as Magento's are */
  of(purpose: MailPurpose, eventId: string): string
  /** Whether the token belongs to the event, in constant time. */
  fits(token: string, purpose: MailPurpose, eventId: string): boolean
}

/** @param emailHashKey the service's key that never changes: links in mails outlive a rotation of the token key */
export function createMailTokens(emailHashKey: string): MailTokens {
  // As an object: with a key as bytes, createHmac costs twenty times as much.
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', emailHashKey, '', 'mail tokens', 32)))
  const of = (purpose: MailPurpose, eventId: string) =>
    createHmac('sha256', key).update(`${purpose}:${eventId}`).digest('hex').slice(0, 32)
  return {
    of,
    fits(token, purpose, eventId) {
      const expected = Buffer.from(of(purpose, eventId))
      const given = Buffer.from(token)
      return given.length === expected.length && timingSafeEqual(given, expected)
    },
  }
}
