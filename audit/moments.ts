/** Moments in a customer's history: a revision of the stream, or a time. */

/** `time`: everything that the store had written by then, by its own clock; inclusive, like a revision. */
export type Moment = { readonly revision: number } | { readonly time: Date }

export const ACCEPTED_MOMENTS = 'a revision (a whole number), or a time such as 2026-01-31T12:00:00Z'
export const ACCEPTED_TIMES = 'a date or a time such as 2026-01-31 or 2026-01-31T12:00:00Z'

const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/i

/**
 * Parses a date or a time in ISO 8601; without an offset it is UTC.
 * @param edge which moment of its day a date stands for
 * @returns undefined for anything else
 */
export function parseTime(text: string, edge: 'first' | 'last' = 'first'): Date | undefined {
  const [, day, time = edge === 'first' ? '00:00' : '23:59:59.999', offset = 'Z'] = TIME.exec(text.trim()) ?? []
  if (day === undefined) return undefined
  const date = new Date(`${day}T${time}${offset.toUpperCase()}`)
  // 31 February would parse as a day in March.
  const exists = new Date(`${day}T00:00Z`).toJSON()?.startsWith(day)
  return exists && !Number.isNaN(date.getTime()) ? date : undefined
}

/** Parses a revision, or a time as {@link parseTime} does. @returns undefined for anything else */
export function parseMoment(text: string): Moment | undefined {
  if (/^\d{1,15}$/.test(text)) return { revision: Number(text) }
  const time = parseTime(text)
  return time && { time }
}

/** Whether the event is after the moment. */
export function isAfter(event: { readonly revision: number; readonly created: Date }, moment: Moment): boolean {
  return 'revision' in moment ? event.revision > moment.revision : event.created.getTime() > moment.time.getTime()
}
