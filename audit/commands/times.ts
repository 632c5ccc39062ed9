/** Times that an operator gives. */
import { UsageError } from '../../runtime/process.ts'
import { ACCEPTED_TIMES, parseTime } from '../moments.ts'

/** @param name of the option @returns undefined where none was given @throws UsageError for what is no time */
export function timeOf(name: 'since' | 'until', given: string | undefined): Date | undefined {
  const time = given === undefined ? undefined : parseTime(given)
  if (given === undefined || time) return time
  throw new UsageError(`--${name}: ${JSON.stringify(given)} can't be used; accepted: ${ACCEPTED_TIMES}.`)
}
