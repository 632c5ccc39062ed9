/** The errors of the audit commands. */
import { errorClass } from '../runtime/error-class.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  AUD_ERR_REQUEST: 'What was asked for does not exist. The message says why.',
  AUD_ERR_REFUSED: 'The state of a request of a data subject does not allow this step. The message says why.',
  AUD_ERR_CONFLICT: 'Somebody else changed the request since you looked at it. Look again, then decide.',
  AUD_ERR_NO_PROOF: 'No checkpoint covers the event yet, or its stream is in no checkpoint.',
  AUD_ERR_CHECKPOINT: 'The newest checkpoint is forged, or belongs to another log. Run `npm run audit -- verify`.',
} as const

/** Something that an operator asked for does not exist. The message is one complete line. */
export class AuditError extends errorClass('AuditError', 'AUD_ERR_REQUEST') {}

/** A request of a data subject does not allow the step. The message is one complete line, without personal data. */
export class RequestRefused extends errorClass('RequestRefused', 'AUD_ERR_REFUSED') {}

/** The request changed since it was looked at. The message is one complete line. */
export class RequestConflict extends errorClass('RequestConflict', 'AUD_ERR_CONFLICT') {}

/** There is no proof; the message says why. */
export class NoProofError extends errorClass('NoProofError', 'AUD_ERR_NO_PROOF') {}

/** There is none yet: no checkpoint covers the event. */
export class NotCoveredError extends NoProofError {}

/** The newest checkpoint can't be continued: it is forged, or belongs to another log. */
export class LogCheckpointError extends errorClass('LogCheckpointError', 'AUD_ERR_CHECKPOINT') {}
