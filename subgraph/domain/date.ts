/** Dates as customers type them. */

const YEAR_FIRST = /^(\d{4})[-/](\d{1,2})[-/](\d{1,2})$/
const US_ORDER = /^(\d{1,2})\/(\d{1,2})\/(\d{4})$/
const DAY_FIRST = /^(\d{1,2})[-.](\d{1,2})[-.](\d{4})$/
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}[T ]/
/** No notation is longer. */
const MAX_LENGTH = 100

/**
 * A date in the notations that PHP reads (`1972-03-11`, `3/11/1972` in US order, `11.03.1972`, `11 March 1972`).
 * @returns YYYY-MM-DD, or undefined where it is not a date of the calendar
 */
export function parseDate(text: string): string | undefined {
  if (text.length > MAX_LENGTH) return undefined
  const trimmed = text.trim()
  let match = YEAR_FIRST.exec(trimmed)
  if (match) return isoDate(match[1], match[2], match[3])
  match = US_ORDER.exec(trimmed)
  if (match) return isoDate(match[3], match[1], match[2])
  match = DAY_FIRST.exec(trimmed)
  if (match) return isoDate(match[3], match[2], match[1])
  // A month by name, or a date with a time of day; anything else is not guessed at.
  const hasMonthByName = /[a-z]{3}/i.test(trimmed) && /\d{4}/.test(trimmed)
  if (!hasMonthByName && !TIMESTAMP.test(trimmed)) return undefined
  const instant = Date.parse(/^\d{4}-\d{2}-\d{2}/.test(trimmed) ? trimmed.slice(0, 10) : `${trimmed} UTC`)
  return Number.isNaN(instant) ? undefined : new Date(instant).toISOString().slice(0, 10)
}

function isoDate(year = '', month = '', day = ''): string | undefined {
  const iso = `${year}-${month.padStart(2, '0')}-${day.padStart(2, '0')}`
  const date = new Date(`${iso}T00:00:00Z`)
  // 31 February parses as a day in March: only a date that comes back as it was is one of the calendar.
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(iso) ? iso : undefined
}
