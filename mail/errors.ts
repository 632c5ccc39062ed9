/** Why a mail was not sent. Messages hold SMTP codes alone: a server's own words often repeat the address. */
import { errorClass } from '../runtime/error-class.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  MAIL_ERR_REFUSED: 'The mail server refuses this mail for good. It is not tried again.',
  MAIL_ERR_DEFERRED: 'The mail server does not accept this mail now. It is tried again later.',
  MAIL_ERR_SERVER_UNAVAILABLE:
    'The mail server cannot be reached, or accepts no mail now. All mails wait. Check `SMTP_URL`.',
} as const

/**
 * The server refuses this mail for good. The message holds codes alone: a server's own words often repeat the address.
 */
export class MailRefused extends errorClass('MailRefused', 'MAIL_ERR_REFUSED') {}

/** The server does not accept this mail now. The message holds codes alone. */
export class MailDeferred extends errorClass('MailDeferred', 'MAIL_ERR_DEFERRED') {}

/** The server can't be reached, or does not accept mails from us now. The message holds codes alone. */
export class MailServerUnavailable extends errorClass('MailServerUnavailable', 'MAIL_ERR_SERVER_UNAVAILABLE') {}
