/** The errors of an import. */
import { errorClass } from '../../runtime/error-class.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  SUB_ERR_BROKEN_FILE: 'The CSV file cannot be read to its end. The message says where it breaks.',
  SUB_ERR_REJECTED_ROW:
    'A row cannot be imported. The import goes on, and the row is written to the file of rejected rows with the reason.',
} as const

/** A file that can't be read to its end as CSV. */
export class BrokenFileError extends errorClass('BrokenFileError', 'SUB_ERR_BROKEN_FILE') {}

/** A row that can't be imported. The message says why, without the row's data. */
export class RejectedRow extends errorClass('RejectedRow', 'SUB_ERR_REJECTED_ROW') {}
