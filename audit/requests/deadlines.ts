/**
 * The time limits of requests (GDPR art. 12, paragraph 3): a month from receipt, and once two further months. Days are
 * ISO dates (`2026-01-31`) in UTC.
 */

/** Months that a request may take, at first and with an extension. */
export const MONTHS = { first: 1, extended: 3 } as const

const DAY_MS = 86_400_000

/**
 * The same day so many months later, or the last day of that month if it has no such day: a month after 31 January is
 * 28 or 29 February.
 */
export function addMonths(day: string, months: number): string {
  const [year = 0, month = 0, date = 0] = day.split('-').map(Number)
  const last = new Date(Date.UTC(year, month - 1 + months + 1, 0))
  return dayOf(new Date(Date.UTC(last.getUTCFullYear(), last.getUTCMonth(), Math.min(date, last.getUTCDate()))))
}

/** The day on which a time falls. */
export const dayOf = (time: Date): string => time.toISOString().slice(0, 10)

/** Seconds until the end of the day; negative after it. */
export const secondsUntilEnd = (day: string, now: Date): number =>
  Math.round((Date.parse(`${day}T00:00:00Z`) + DAY_MS - now.getTime()) / 1000)

export const ACCEPTED_DAYS = 'a date such as 2026-01-31'

/** @returns the text, if it is a date that exists */
export function parseDay(text: string): string | undefined {
  const isDay = /^\d{4}-\d\d-\d\d$/.test(text) && new Date(`${text}T00:00Z`).toJSON()?.startsWith(text)
  return isDay ? text : undefined
}
