/** The errors of the read model: the same from every adapter. */
import { errorClass } from '../runtime/error-class.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  PRJ_ERR_READ_MODEL_UNAVAILABLE:
    'The read model cannot be reached, or refuses writes. Queries are answered from the event store meanwhile. Check `READMODEL_URL` and Redis.',
} as const

/** The read model can't be reached: fold the stream instead. */
export class ReadModelUnavailable extends errorClass('ReadModelUnavailable', 'PRJ_ERR_READ_MODEL_UNAVAILABLE') {}
