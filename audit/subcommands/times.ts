/** The times of options such as `--since`, and the time zone that they are in. */
import { UsageError } from '../../runtime/errors.ts'
import { ACCEPTED_MOMENTS, ACCEPTED_TIMES, type Edge, type Moment, parseMoment, parseTime } from '../moments.ts'
import { ACCEPTED_ZONES, DEFAULT_ZONE, isZone } from '../zones.ts'

/** The zone of a command: of the dates it is given, and of the times it shows. @throws UsageError for an unknown one */
export function zoneOf({ zone = DEFAULT_ZONE }: { readonly zone?: string | undefined }): string {
  if (isZone(zone)) return /^(utc|z)$/i.test(zone) ? DEFAULT_ZONE : zone
  throw new UsageError(`--zone: ${JSON.stringify(zone)} can't be used; accepted: ${ACCEPTED_ZONES}.`)
}

/**
 * Reads the option. Both ends are inclusive, so a date means the whole day: `--until` ends with its last moment.
 * @returns undefined if the option is not set @throws UsageError for a value that is not a time
 */
export function timeOf(name: 'since' | 'until', given: string | undefined, zone: string | undefined): Date | undefined {
  if (given === undefined) return undefined
  const time = parseTime(given, name === 'since' ? 'first' : 'last', zoneOf({ zone }))
  if (time) return time
  throw new UsageError(`--${name}: ${JSON.stringify(given)} can't be used; accepted: ${ACCEPTED_TIMES}.`)
}

/**
 * Reads the moment of an option.
 * @param edge which moment of its day a date stands for
 * @throws UsageError
 */
export function momentOf(given: string, edge: Edge, zone: string): Moment {
  const moment = parseMoment(given, edge, zone)
  if (moment) return moment
  throw new UsageError(`${JSON.stringify(given)} can't be used; accepted: ${ACCEPTED_MOMENTS}.`)
}

/** Says in which zone dates were read and times are shown. */
export const zoneNote = (zone: string): string =>
  `Dates and times are in ${zone}${zone === DEFAULT_ZONE ? '; --zone chooses another time zone' : ''}.`

/** The same, where dates were given or a person reads the times. */
export function noteZone(
  { note, styled }: { readonly note: (line: string) => void; readonly styled: boolean },
  { json, since, until, zone: asked }: { readonly json: boolean } & Partial<Record<'since' | 'until' | 'zone', string>>,
  zone: string,
): void {
  if ((styled && !json) || [since, until, asked].some((given) => given !== undefined)) note(zoneNote(zone))
}
