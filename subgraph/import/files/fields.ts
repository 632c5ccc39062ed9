/** Parses fields of Magento's export files: ids, texts, moments, yes and no. */

import { parseDate } from '../../domain/date.ts'
import { RejectedRow } from '../errors.ts'
import type { Row } from './csv.ts'

/** The row's id; undefined if it has none. An invalid one counts as none here, and is refused later. */
export function idOf(fields: Row['fields'], columns: readonly string[]): number | undefined {
  for (const column of columns) {
    const text = fields[column]?.trim()
    // Some programs write ids as decimal numbers, with a fraction of zeros.
    if (text && /^\d{1,10}(\.0+)?$/.test(text) && Number(text) > 0 && Number(text) <= MAX_ID) return Number(text)
  }
  return undefined
}

/** GraphQL's Int, and room for ids above it. */
const MAX_ID = 2_000_000_000

/** Characters: no column of Magento holds more. */
const MAX_FIELD = 65_535

/** A number without its last digits, an error, what did not fit into the column, a formula. */
const OF_SPREADSHEET = /^(\d([.,]\d+)?[Ee]\+\d+|#(N\/A|NV|DIV\/0!|\p{Lu}+[?!])|#{3,}|=".*")$/u

/**
 * The trimmed field; null if it is empty. @throws RejectedRow for one that Magento can't hold, or that a spreadsheet has
 * lost
 */
export function text(fields: Row['fields'], column: string): string | null {
  const value = fields[column] || null
  if (value !== null && value.length > MAX_FIELD) {
    throw new RejectedRow(`${column} is longer than ${MAX_FIELD} characters`)
  }
  const trimmed = value?.trim() || null
  if (trimmed !== null && OF_SPREADSHEET.test(trimmed)) {
    throw new RejectedRow(`${column} is what a spreadsheet has made of it`)
  }
  return trimmed
}

/** Whether a field means yes. @throws RejectedRow for a word of which that is not known: it may be about a consent */
export function isSet(fields: Row['fields'], column: string): boolean {
  const value = text(fields, column)?.toLowerCase() ?? ''
  if (/^(|0+(\.0+)?|no?|false|off)$/.test(value)) return false
  if (/^(\d+(\.\d+)?|y(es)?|true|on|x)$/.test(value)) return true
  throw new RejectedRow(`${column} is neither yes nor no`)
}

const DATABASE = /^(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?$/
/** Of a locale in US order: `Mar 4, 2019, 5:06:07 AM` (some newer versions), `3/4/2019 17:06` (of a spreadsheet). */
const BY_NAME = /^([A-Z][a-z]{2})[a-z]*\.? (\d{1,2}), (\d{4}),? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ([AP])M)?$/
const BY_NUMBER = /^(\d{1,2})\/(\d{1,2})\/(\d{4}),? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ([AP])M)?$/
const OTHER_SPACE = /[^\S ]/gu
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/**
 * A moment as Magento exports it, as its database or as a locale writes it.
 * @param timeZone the time zone, unless the text names one: the database uses UTC, newer versions write `created_at` in
 * the store's time zone
 * @throws RejectedRow
 */
export function moment(fields: Row['fields'], column: string, timeZone: string): Date | null {
  // ICU puts a narrow no-break space before AM and PM.
  const value = text(fields, column)?.replace(OTHER_SPACE, ' ')
  if (value === undefined || value.startsWith('0000')) return null
  const date = read(value, timeZone)
  // The document's years have four digits.
  if (date === undefined || Number.isNaN(date.getTime()) || date.getUTCFullYear() > 9999) {
    throw new RejectedRow(`${column} is not a date and time`)
  }
  return date
}

function read(value: string, timeZone: string): Date | undefined {
  const database = DATABASE.exec(value)
  if (database) return wallClock(database.slice(1, 7), timeZone)
  if (/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:?\d\d)$/.test(value)) {
    // 30 February would parse as a day in March.
    return parseDate(value) === undefined ? undefined : new Date(value)
  }
  const [, month, day, year, hour, minute, second, half] = BY_NAME.exec(value) ?? BY_NUMBER.exec(value) ?? []
  if (month === undefined) return undefined
  const hours = half === undefined ? Number(hour) : (Number(hour) % 12) + (half === 'P' ? 12 : 0)
  const number = /^\d/.test(month) ? month : String(MONTHS.indexOf(month) + 1)
  return wallClock([year, number, day, String(hours), minute, second], timeZone)
}

/** @returns undefined if there is no such time */
function wallClock(parts: readonly (string | undefined)[], timeZone: string): Date | undefined {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.map((part) => Number(part ?? 0))
  const utc = Date.UTC(year, month - 1, day, hour, minute, second)
  const back = new Date(utc)
  if (back.getUTCMonth() !== month - 1 || back.getUTCDate() !== day || back.getUTCHours() !== hour) return undefined
  if (timeZone === 'UTC') return back
  // The offset at about that time, then at that time: around a change of the clock they differ.
  const first = utc - offsetOf(utc, timeZone)
  return new Date(utc - offsetOf(first, timeZone))
}

const formats = new Map<string, Intl.DateTimeFormat>()

/** Milliseconds by which the zone's clocks are ahead of UTC. */
function offsetOf(instant: number, timeZone: string): number {
  let format = formats.get(timeZone)
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
    formats.set(timeZone, format)
  }
  const parts = Object.fromEntries(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]))
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(instant / 1000) * 1000
}
