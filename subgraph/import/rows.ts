/** Rows of Magento's export files: CSV with a head line, of any size. */
import { createReadStream } from 'node:fs'
import { parse } from 'csv-parse'

/** A row by its column names; an empty field is ''. */
export interface Row {
  /** Of the file, where the row ends: fields may hold line feeds. */
  readonly line: number
  /** How far in the file the row ends, in bytes. */
  readonly bytes: number
  readonly fields: Readonly<Record<string, string>>
}

/** A row that can't be brought in. The message says why, without the row's data. */
export class RejectedRow extends Error {
  override readonly name = 'RejectedRow'
}

/** Reads a file row by row, with constant memory. @throws Error (one line) for a file that is no CSV or can't be read */
export async function* readRows(path: string): AsyncGenerator<Row> {
  const parser = createReadStream(path).pipe(
    parse({ columns: true, bom: true, info: true, skip_empty_lines: true, relax_column_count: true }),
  )
  for await (const { record, info } of parser) yield { line: info.lines, bytes: info.bytes, fields: record }
}

/** The names in the head line; none where no row follows. */
export async function columnsOf(path: string): Promise<readonly string[]> {
  for await (const { fields } of readRows(path)) return Object.keys(fields)
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

/** GraphQL's Int. */
const MAX_ID = 2 ** 31 - 1

export const text = (fields: Row['fields'], column: string): string | null => fields[column] || null

/** A moment as Magento writes it (UTC, no zone) or in ISO 8601. @throws RejectedRow */
export function moment(fields: Row['fields'], column: string): Date | null {
  const value = text(fields, column)
  if (value === null || value.startsWith('0000')) return null
  const date = new Date(/^\d{4}-\d\d-\d\d \d\d:\d\d/.test(value) ? `${value.replace(' ', 'T')}Z` : value)
  if (Number.isNaN(date.getTime())) throw new RejectedRow(`${column} is no date and time`)
  return date
}
