/** The times of options such as `--since`. */
import { UsageError } from '../../runtime/errors.ts'
import { ACCEPTED_TIMES, parseTime } from '../moments.ts'

/**
 * Reads the option. Both ends are inclusive, so a date means the whole day: `--until` ends with its last moment.
 * @returns undefined if the option is not set @throws UsageError for a value that is not a time
 */
export function timeOf(name: 'since' | 'until', given: string | undefined): Date | undefined {
  const time = given === undefined ? undefined : parseTime(given, name === 'since' ? 'first' : 'last')
  if (given === undefined || time) return time
  throw new UsageError(`--${name}: ${JSON.stringify(given)} can't be used; accepted: ${ACCEPTED_TIMES}.`)
}
