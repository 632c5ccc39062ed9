/**
 * Dates as customers and shops write them. In this grammar a day has one or two digits, and a year has four:
 *
 *     date     = iso | us | dayFirst | named
 *     iso      = YYYY "-" M "-" D | YYYY "/" M "/" D | YYYYMMDD
 *     us       = M "/" D "/" YYYY
 *     dayFirst = D "." M "." YYYY | D "-" M "-" YYYY
 *     named    = D [ordinal] month [","] YYYY | month D [ordinal] [","] YYYY     (parts apart by a blank, "-" or ".")
 *     month    = an English month, in full or by its first three letters ("Sept" too), in any case
 *     moment   = date [ ("T" | blanks | "," blanks) time ]
 *     time     = HH ":" MM [ ":" SS [ "." digits ] ] [ AM | PM ] [ zone ]
 *     zone     = "Z" | "UTC" | "GMT" | ("+" | "-") HH [":"] MM
 *
 * The whole text has to match. A time of day is checked and dropped: the day is the one that is written.
 */

/** The longest text that the grammar can match. A longer one is refused without parsing. */
const MAX_LENGTH = 64

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const MONTH =
  '(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)'
const DAY = '(\\d{1,2})(?:st|nd|rd|th)?'
const GAP = '(?: {1,3}|-|\\. ?)'
const TIME =
  '(?:(?:T|,? {1,3})(\\d{1,2}):(\\d{2})(?::(\\d{2})(?:[.,]\\d{1,9})?)?(?: ?([ap])\\.?m\\.?)?(?: ?(?:Z|UTC|GMT|[+-]\\d{2}:?\\d{2}))?)?'

/** Each form, with the places of year, month and day among its groups. The groups of the time follow. */
const FORMS = [
  { form: '(\\d{4})-(\\d{1,2})-(\\d{1,2})', year: 1, month: 2, day: 3 },
  { form: '(\\d{4})/(\\d{1,2})/(\\d{1,2})', year: 1, month: 2, day: 3 },
  { form: '(\\d{4})(\\d{2})(\\d{2})', year: 1, month: 2, day: 3 },
  { form: '(\\d{1,2})/(\\d{1,2})/(\\d{4})', year: 3, month: 1, day: 2 },
  { form: '(\\d{1,2})\\.(\\d{1,2})\\.(\\d{4})', year: 3, month: 2, day: 1 },
  { form: '(\\d{1,2})-(\\d{1,2})-(\\d{4})', year: 3, month: 2, day: 1 },
  { form: `${DAY}${GAP}${MONTH}(?:, ?|${GAP})(\\d{4})`, year: 3, month: 2, day: 1 },
  { form: `${MONTH}${GAP}${DAY}(?:, ?|${GAP})(\\d{4})`, year: 3, month: 1, day: 2 },
].map(({ form, ...places }) => ({ pattern: new RegExp(`^${form}${TIME}$`, 'i'), ...places }))

/**
 * Parses a day by the grammar above.
 * @returns YYYY-MM-DD; undefined if the text is not a date, or the calendar has no such day
 */
export function parseDate(text: string): string | undefined {
  return parse(text)?.date
}

/**
 * Parses a moment by the grammar above; midnight if the text has only a day. A time zone is ignored, as in Magento: the
 * time is the one that is written.
 * @returns YYYY-MM-DD HH:MM:SS; undefined as {@link parseDate}
 */
export function parseDateTime(text: string): string | undefined {
  const parsed = parse(text)
  return parsed && `${parsed.date} ${parsed.time}`
}

function parse(text: string): { readonly date: string; readonly time: string } | undefined {
  if (text.length > MAX_LENGTH) return undefined
  // ICU puts a narrow no-break space before AM and PM.
  const plain = text.replace(/\s/gu, ' ').trim()
  for (const { pattern, year, month, day } of FORMS) {
    const match = pattern.exec(plain)
    if (match === null) continue
    const [hour, minute, second, half] = match.slice(4)
    if (!isTimeOfDay(hour, minute, second, half)) return undefined
    const date = isoDate(match[year], match[month], match[day])
    return date === undefined ? undefined : { date, time: timeOf(hour, minute, second, half) }
  }
  return undefined
}

function isTimeOfDay(hour?: string, minute?: string, second?: string, half?: string): boolean {
  if (hour === undefined) return true
  const hours = Number(hour)
  const isHour = half === undefined ? hours <= 24 : hours >= 1 && hours <= 12
  const isWhole = hours < 24 || (Number(minute) === 0 && Number(second ?? 0) === 0)
  return isHour && isWhole && Number(minute) < 60 && Number(second ?? 0) <= 60
}

function timeOf(hour = '0', minute = '0', second = '0', half?: string): string {
  const hours = half === undefined ? Number(hour) % 24 : (Number(hour) % 12) + (/p/i.test(half) ? 12 : 0)
  return [String(hours), minute, String(Math.min(Number(second), 59))].map((part) => part.padStart(2, '0')).join(':')
}

function isoDate(year = '', month = '', day = ''): string | undefined {
  const number = /^\d/.test(month) ? month : String(MONTHS.indexOf(month.slice(0, 3).toLowerCase()) + 1)
  const iso = `${year}-${number.padStart(2, '0')}-${day.padStart(2, '0')}`
  const date = new Date(`${iso}T00:00:00Z`)
  // 31 February parses as a day in March, so only a date that round-trips is valid.
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(iso) ? iso : undefined
}
