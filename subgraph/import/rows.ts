/** Rows of Magento's export files: CSV with a head line, of any size. */
import { createReadStream } from 'node:fs'
import { type CsvError, type InfoRecord, parse } from 'csv-parse'

/** A row by its column names; an empty field is ''. */
export interface Row {
  /** Of the file, where the row begins: fields may hold line feeds. */
  readonly line: number
  /** How far in the file the row ends, in bytes. */
  readonly bytes: number
  readonly fields: Readonly<Record<string, string>>
  /** Why the row has no fields. */
  readonly fault?: string
}

/** A row that can't be brought in. The message says why, without the row's data. */
export class RejectedRow extends Error {
  override readonly name = 'RejectedRow'
}

/** A file that can't be read to its end as CSV. */
export class BrokenFileError extends Error {
  override readonly name = 'BrokenFileError'
}

/** A row that is longer than that is a quote that was never closed. */
const MAX_ROW_BYTES = 512 * 1024
const FAULTS: Readonly<Record<string, string>> = {
  CSV_RECORD_INCONSISTENT_COLUMNS: 'the row has more or fewer fields than the head line',
  CSV_INVALID_CLOSING_QUOTE: 'a quote within a quoted field is not doubled',
  INVALID_OPENING_QUOTE: 'a quote stands within a field without quotes',
}

/**
 * Reads a file row by row, with constant memory; a row that can't be read has a fault.
 * @throws BrokenFileError where what follows a row can't be told from it; the system's error for a file that can't be read
 */
export async function* readRows(path: string): AsyncGenerator<Row> {
  let line = 1
  let blank = 0
  /** Rows that could not be read, and are told before the next one that could. */
  let faulty: Row[] = []
  const next = ({ lines, empty_lines }: Pick<InfoRecord, 'lines' | 'empty_lines'>) => {
    const begin = line + empty_lines - blank
    line = lines + 1
    blank = empty_lines
    return begin
  }
  const parser = parse({
    bom: true,
    columns: (head: string[]) => {
      next(parser.info)
      return head
    },
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: MAX_ROW_BYTES,
    on_record: (fields: Row['fields'], info: InfoRecord): Row => ({ line: next(info), bytes: info.bytes, fields }),
    on_skip: (error) => {
      if (error === undefined) return undefined
      const info = error as unknown as InfoRecord
      if (info.lines < line) return undefined // a second fault of the same row
      const begin = next(info)
      const fault = FAULTS[error.code]
      if (fault === undefined) parser.destroy(broken(path, begin, error))
      else faulty.push({ line: begin, bytes: info.bytes, fields: {}, fault })
      return undefined
    },
  })
  const input = createReadStream(path)
  input.on('error', (error) => parser.destroy(error))
  input.pipe(parser)
  try {
    for await (const row of parser) {
      if (faulty.length > 0) {
        yield* faulty
        faulty = []
      }
      yield row
    }
    yield* faulty
  } finally {
    input.destroy()
  }
}

function broken(path: string, line: number, { code }: CsvError): BrokenFileError {
  return new BrokenFileError(
    code === 'CSV_QUOTE_NOT_CLOSED' || code === 'CSV_MAX_RECORD_SIZE'
      ? `${path}: a quote that opens at line ${line} or after it is not closed: mend it and run the command again`
      : `${path}: it can't be read as CSV from line ${line} on (${code})`,
  )
}

/** The names in the head line; none where no row follows. */
export async function columnsOf(path: string): Promise<readonly string[]> {
  for await (const { fields, fault } of readRows(path)) if (fault === undefined) return Object.keys(fields)
  return []
}

/** The row's id; undefined where it has none. A text that is no id counts as none here, and is refused later. */
export function idOf(fields: Row['fields'], columns: readonly string[]): number | undefined {
  for (const column of columns) {
    const text = fields[column]
    if (text && /^\d{1,10}$/.test(text) && Number(text) > 0 && Number(text) <= MAX_ID) return Number(text)
  }
  return undefined
}

/** GraphQL's Int, and room for ids above it. */
const MAX_ID = 2_000_000_000

/** Characters: no column of Magento's holds more. */
const MAX_FIELD = 65_535

/** A field; null where it is empty. @throws RejectedRow for one that Magento can't hold */
export function text(fields: Row['fields'], column: string): string | null {
  const value = fields[column] || null
  if (value !== null && value.length > MAX_FIELD) {
    throw new RejectedRow(`${column} is longer than ${MAX_FIELD} characters`)
  }
  return value
}

const DATABASE = /^(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?$/
/** Of a locale in US order: `Mar 4, 2019, 5:06:07 AM` (some newer versions), `3/4/2019 17:06` (of a spreadsheet). */
const BY_NAME = /^([A-Z][a-z]{2})[a-z]*\.? (\d{1,2}), (\d{4}),? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ([AP])M)?$/
const BY_NUMBER = /^(\d{1,2})\/(\d{1,2})\/(\d{4}),? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ([AP])M)?$/
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/**
 * A moment as Magento exports it, as its database or as a locale writes it.
 * @param timeZone that of its clock, where it does not name one itself: the database's is UTC, newer versions write
 * `created_at` in the store's
 * @throws RejectedRow
 */
export function moment(fields: Row['fields'], column: string, timeZone: string): Date | null {
  // ICU puts a narrow no-break space before AM and PM.
  const value = text(fields, column)?.replace(/\s/gu, ' ').trim() || null
  if (value === null || value.startsWith('0000')) return null
  const date = read(value, timeZone)
  // The document's years have four digits.
  if (date === undefined || Number.isNaN(date.getTime()) || date.getUTCFullYear() > 9999) {
    throw new RejectedRow(`${column} is no date and time`)
  }
  return date
}

function read(value: string, timeZone: string): Date | undefined {
  const database = DATABASE.exec(value)
  if (database) return wallClock(database.slice(1, 7), timeZone)
  if (/^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:?\d\d)$/.test(value)) return new Date(value)
  const [, month, day, year, hour, minute, second, half] = BY_NAME.exec(value) ?? BY_NUMBER.exec(value) ?? []
  if (month === undefined) return undefined
  const hours = half === undefined ? Number(hour) : (Number(hour) % 12) + (half === 'P' ? 12 : 0)
  const number = /^\d/.test(month) ? month : String(MONTHS.indexOf(month) + 1)
  return wallClock([year, number, day, String(hours), minute, second], timeZone)
}

/** @returns undefined where the calendar or the clock has no such time */
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
