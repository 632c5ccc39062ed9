/** Moments in a customer's history: a revision of the stream, or a time. */
import { DEFAULT_ZONE, momentInZone } from './zones.ts'

/** `time`: everything that the store had written by then, by its own clock; inclusive, like a revision. */
export type Moment = { readonly revision: number } | { readonly time: Date }

export const ACCEPTED_MOMENTS =
  'a revision (a whole number), a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z'
export const ACCEPTED_TIMES = 'a date or a time such as 2026-01-31 or 2026-01-31T12:00:00Z'

/** Which moment of its day a date stands for. */
export type Edge = 'first' | 'last'

const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z| UTC|[+-]\d\d:\d\d)?)?$/i

/**
 * Parses a date or a time in ISO 8601, or as the console shows it (`2026-01-31 12:00:00 UTC`).
 * @param edge which moment of its day a date stands for
 * @param zone whose day, and whose time without an offset. An unknown one is refused earlier ({@link isZone})
 * @returns undefined for anything else
 */
export function parseTime(text: string, edge: Edge = 'first', zone = DEFAULT_ZONE): Date | undefined {
  const [, day, clock, offset] = TIME.exec(text.trim()) ?? []
  // 31 February would parse as a day in March.
  if (day === undefined || !new Date(`${day}T00:00Z`).toJSON()?.startsWith(day)) return undefined
  const written = new Date(`${day}T${clock ?? '00:00'}${offset?.toUpperCase().replace(' UTC', 'Z') ?? 'Z'}`).getTime()
  if (Number.isNaN(written)) return undefined
  const at = (shown: number, which: Edge) => (offset === undefined ? momentInZone(shown, zone, which) : shown)
  if (clock !== undefined || edge === 'first') return new Date(at(written, edge))
  // The day ends where the next one begins: its length depends on the zone.
  return new Date(at(written + DAY_MS, 'first') - 1)
}

const DAY_MS = 86_400_000

/** Parses a revision, or a time as {@link parseTime} does. @returns undefined for anything else */
export function parseMoment(text: string, edge: Edge = 'last', zone = DEFAULT_ZONE): Moment | undefined {
  if (/^\d{1,15}$/.test(text)) return { revision: Number(text) }
  const time = parseTime(text, edge, zone)
  return time && { time }
}

/** Whether the event is after the moment. */
export function isAfter(event: { readonly revision: number; readonly created: Date }, moment: Moment): boolean {
  return 'revision' in moment ? event.revision > moment.revision : event.created.getTime() > moment.time.getTime()
}
