/** Dates and times of a time zone: what a person writes and reads, to and from moments in UTC. */

export const DEFAULT_ZONE = 'UTC'
export const ACCEPTED_ZONES = 'the name of a time zone such as Europe/Berlin, or an offset such as +02:00'

const MINUTE_MS = 60_000

/** Whether it names a time zone, as {@link ACCEPTED_ZONES} says. */
export function isZone(zone: string): boolean {
  try {
    clockOf(zone)
    return true
  } catch {
    return false
  }
}

const clocks = new Map<string, Intl.DateTimeFormat>()
/** Names come from a list, so there are few; a caller that passes any text must not fill the memory. */
const MOST_CLOCKS = 1_000

/** @throws RangeError for an unknown zone */
function clockOf(zone: string): Intl.DateTimeFormat {
  const known = clocks.get(zone)
  if (known) return known
  const clock = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
  if (clocks.size < MOST_CLOCKS) clocks.set(zone, clock)
  return clock
}

/** The zone's offset from UTC at that moment, in minutes. @throws RangeError for an unknown zone */
function offsetAt(zone: string, time: number): number {
  const name = clockOf(zone)
    .formatToParts(time)
    .find(({ type }) => type === 'timeZoneName')?.value
  const [, sign = '+', hours = '0', minutes = '0', seconds = '0'] =
    /^GMT([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(name ?? '') ?? []
  const size = Number(hours) * 60 + Number(minutes) + Number(seconds) / 60
  return sign === '-' ? -size : size
}

/**
 * The moment at which the zone's clocks show this time.
 * @param shown the time on the clock, as if it were in UTC (milliseconds since the epoch)
 * @param edge which one, of a time that the clocks show twice; a time that they leave out is the moment of the change
 */
export function momentInZone(shown: number, zone: string, edge: 'first' | 'last'): number {
  if (zone === DEFAULT_ZONE) return shown
  const DAY_MS = 24 * 60 * MINUTE_MS
  const offsets = [offsetAt(zone, shown - DAY_MS), offsetAt(zone, shown + DAY_MS)]
  const moments = offsets.map((offset) => shown - offset * MINUTE_MS)
  const fitting = moments.filter((moment) => moment + offsetAt(zone, moment) * MINUTE_MS === shown)
  if (fitting.length > 0) return edge === 'first' ? Math.min(...fitting) : Math.max(...fitting)
  return changeBetween(zone, Math.min(...moments), Math.max(...moments))
}

/** The moment between the two at which the zone's offset changes. */
function changeBetween(zone: string, before: number, after: number): number {
  const old = offsetAt(zone, before)
  let [low, high] = [before, after]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetAt(zone, middle) === old) low = middle
    else high = middle
  }
  return high
}

/** `2026-11-24 23:02:35.068+01:00`, in UTC with `Z`. */
export function timeInZone(time: Date, zone: string = DEFAULT_ZONE): string {
  const offset = zone === DEFAULT_ZONE ? 0 : offsetAt(zone, time.getTime())
  const text = new Date(time.getTime() + offset * MINUTE_MS).toISOString().replace('T', ' ')
  if (zone === DEFAULT_ZONE) return text
  const size = Math.abs(Math.round(offset))
  const two = (number: number) => String(number).padStart(2, '0')
  return `${text.slice(0, -1)}${offset < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
}
