/** The console's errors. */
import { errorClass } from '../runtime/error-class.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  CON_ERR_REFUSED: 'The console has refused a request. The page has the reason.',
} as const

/**
 * A request that the console refuses. The message is shown to the person: plain words, nothing personal.
 * @param status of the answer: 400, 403, 404, 409 and the like
 */
export class Refused extends errorClass('Refused', 'CON_ERR_REFUSED') {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}
