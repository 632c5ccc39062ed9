/**
 * Reads CSV files of any size, as spreadsheets and shops write them. The separator is detected, the encoding is UTF-8
 * unless named, and no byte is ever replaced: a row that can't be decoded gets a fault.
 */

import { createReadStream, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { type Readable, Transform } from 'node:stream'
import { type CsvError, type InfoRecord, type Parser, parse } from 'csv-parse'
import { parse as parseSync } from 'csv-parse/sync'
import { ConfigurationError } from '../../../runtime/errors.ts'
import { partsOf } from '../../../runtime/in-batches.ts'
import { BrokenFileError } from '../errors.ts'
import { type Columns, matchColumns } from './columns.ts'

/** A row by its column names; an empty field is ''. */
export interface Row {
  /** The line on which the row begins, counted from 1; fields may contain line feeds. */
  readonly line: number
  /** Where the row begins and ends in the file, in bytes, including line feeds around it. */
  readonly from: number
  readonly bytes: number
  readonly fields: Readonly<Record<string, string>>
  /** Why the row could not be read; then it has no fields. */
  readonly fault?: string
}

/** A CSV file whose header row has been read. */
export interface Table {
  /** The names of the columns: the known ones in their canonical spelling. */
  readonly columns: readonly string[]
  /** Unused columns, as the file spells them. */
  readonly unused: readonly string[]
  readonly separator: string
  /** The names of the columns as the file spells them, and the bytes of their line. */
  readonly names: readonly string[]
  readonly headLine: Buffer
  /** Whether the file begins with a byte-order mark. */
  readonly hasMark: boolean
  /** Whether rows can be located in the file by bytes: not if it is transcoded before parsing. */
  readonly isByteExact: boolean
  /** @throws BrokenFileError if it is no longer the file that was opened, or has been written to */
  checkUnchanged(): void
  /**
   * Reads the file in constant memory, up to {@link ROWS_AT_ONCE} rows together: a promise for each would cost as much as
   * the row.
   * @throws BrokenFileError if the end of a row can't be determined, or if the file has changed; the system's error for a file that can't be read
   */
  rows(): AsyncGenerator<Row[]>
}

/** The most rows that are read together. */
const ROWS_AT_ONCE = 512
/** A longer row means that a quote was never closed. */
const MAX_ROW_BYTES = 512 * 1024
/** The largest header row, in bytes. */
const MAX_HEAD_BYTES = 64 * 1024
const SEPARATORS = [',', ';', '\t', '|'] as const
const FAULTS: Readonly<Record<string, string>> = {
  CSV_INVALID_CLOSING_QUOTE: 'a quote within a quoted field is not doubled',
  INVALID_OPENING_QUOTE: 'a quote stands within a field without quotes',
}
const SAMPLES = 'windows-1252 (Excel in Western Europe), windows-1250 (Central Europe), utf-16le'

/**
 * Opens a CSV file: detects its byte-order mark and its separator, and reads the header row.
 * @param known the columns that have a meaning
 * @param encoding a label of the WHATWG Encoding Standard; undefined: by the byte-order mark, otherwise UTF-8
 * @throws ConfigurationError in one line: an encoding that is unknown or not the file's, a file that can't be read, no
 * head line, two columns of one name
 */
export async function openTable(path: string, known: Columns, encoding?: string): Promise<Table> {
  const wanted = encoding === undefined ? undefined : encodingOf(encoding)
  const state = stateOf(path)
  const start = await readStart(path)
  const mark = markOf(start)
  if (mark && wanted && wanted !== mark.encoding && !(wanted === 'utf-16' && mark.encoding.startsWith('utf-16'))) {
    throw new ConfigurationError(`${path} begins with the byte-order mark of ${mark.encoding}; it is not ${wanted}.`)
  }
  const source: Source = { path, skip: mark?.bytes ?? 0, encoding: mark?.encoding ?? wanted ?? 'utf-8', state }
  if (start.toString('latin1', 0, 2) === 'PK') {
    throw new ConfigurationError(
      `${path} is a spreadsheet or an archive; accepted: CSV. Save the sheet as CSV (UTF-8).`,
    )
  }
  const text = decodeStart(start.subarray(source.skip), source.encoding)
  const lines = text.split(/\r\n|\n|\r/)
  if (mark === undefined && wanted === undefined && lines[0]?.includes('\0')) {
    throw new ConfigurationError(`${path} is not UTF-8. Name its encoding with --encoding: ${SAMPLES}.`)
  }
  // Excel's way to declare the separator, on a line before the header row.
  const named = /^"?sep=(.)"?\r?\n/i.exec(text)?.[1]
  const separator = named ?? separatorOf(lines[0] ?? '')
  const dialect = { separator, breaks: breaksOf(text) }
  const head = readHead(path, text, dialect, named ? 2 : 1)
  const { columns, unused, twice } = matchColumns(head, known)
  if (twice !== undefined) throw new ConfigurationError(`${path} has the column ${twice} twice.`)
  return {
    columns,
    unused,
    separator,
    isByteExact: isByField(source.encoding),
    hasMark: mark !== undefined,
    names: head,
    headLine: lineOf(start.subarray(source.skip), named ? 1 : 0),
    checkUnchanged: () => checkUnchanged(source),
    rows: () => readRows(source, dialect, columns, named ? 2 : 1),
  }
}

/** The bytes of the line at this index, empty ones not counted. */
function lineOf(bytes: Buffer, index: number): Buffer {
  const lines = bytes.toString('latin1').split(/[\r\n]+/)
  return Buffer.from(lines.filter((line) => line !== '')[index] ?? '', 'latin1')
}

/** How the text is divided. */
interface Dialect {
  readonly separator: string
  readonly breaks: string[]
}

interface Source {
  readonly path: string
  /** Bytes of the byte-order mark. */
  readonly skip: number
  readonly encoding: string
  /** As of {@link stateOf}. */
  readonly state: string
}

/**
 * What changes with a file: whoever still writes it would be read up to somewhere, and rows are looked up in it later.
 * @throws ConfigurationError if it is none; a pipe can be read only once, and might never be opened
 */
function stateOf(path: string): string {
  const state = statSync(path, { bigint: true, throwIfNoEntry: false })
  if (state === undefined) throw new ConfigurationError(`${JSON.stringify(path)} can't be read (ENOENT).`)
  if (!state.isFile()) throw new ConfigurationError(`${JSON.stringify(path)} is not a file.`)
  return [state.dev, state.ino, state.size, state.mtimeNs].join(' ')
}

function checkUnchanged({ path, state }: Source): void {
  try {
    if (stateOf(path) === state) return
  } catch {
    // It is gone.
  }
  throw new BrokenFileError(`${path} has changed since it was opened: run the command again when it is complete`)
}

/** The standard's own name of an encoding. @throws ConfigurationError */
function encodingOf(label: string): string {
  try {
    return new TextDecoder(label).encoding
  } catch {
    throw new ConfigurationError(
      `--encoding: ${JSON.stringify(label)} is unknown; accepted: utf-8, ${SAMPLES}, and the other names that browsers know.`,
    )
  }
}

async function readStart(path: string): Promise<Buffer> {
  let file: Awaited<ReturnType<typeof open>> | undefined
  try {
    file = await open(path)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_HEAD_BYTES), 0, MAX_HEAD_BYTES, 0)
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    throw new ConfigurationError(`${JSON.stringify(path)} can't be read (${(error as NodeJS.ErrnoException).code}).`)
  } finally {
    await file?.close()
  }
}

const MARKS = [
  { encoding: 'utf-8', mark: Buffer.of(0xef, 0xbb, 0xbf) },
  { encoding: 'utf-16le', mark: Buffer.of(0xff, 0xfe) },
  { encoding: 'utf-16be', mark: Buffer.of(0xfe, 0xff) },
]

function markOf(start: Buffer): { readonly encoding: string; readonly bytes: number } | undefined {
  const found = MARKS.find(({ mark }) => start.subarray(0, mark.length).equals(mark))
  return found && { encoding: found.encoding, bytes: found.mark.length }
}

const decodeStart = (bytes: Buffer, encoding: string) => new TextDecoder(encoding).decode(bytes)

/** The most frequent separator in the header row, outside quotes; a comma if there is none. */
function separatorOf(head: string): string {
  const plain = head.replace(/"[^"]*"/g, '')
  const counts = SEPARATORS.map((separator) => plain.split(separator).length)
  return SEPARATORS[counts.indexOf(Math.max(...counts))] ?? ','
}

/**
 * What ends a row. All at once, because whoever edits the first line may change its end alone; a carriage return by itself
 * only if it ends the first line, because it may be within a field.
 */
const breaksOf = (text: string): string[] => ['\r\n', '\n', ...(/^[^\r\n]*\r(?!\n)/.test(text) ? ['\r'] : [])]

function readHead(
  path: string,
  text: string,
  { separator: delimiter, breaks: record_delimiter }: Dialect,
  from_line: number,
): string[] {
  let rows: string[][]
  try {
    rows = parseSync(text, {
      delimiter,
      record_delimiter,
      from_line,
      to: 1,
      skip_empty_lines: true,
      relax_quotes: true,
    })
  } catch (error) {
    throw new ConfigurationError(`${path} is no CSV file: ${(error as Error).message.split('\n')[0]}`)
  }
  if (rows[0]) return rows[0]
  throw new ConfigurationError(`${path} is empty; accepted: CSV with the names of the columns in the first line.`)
}

/**
 * Whether the file can be decoded field by field, so that one bad byte costs one row. Other encodings have ASCII bytes
 * within characters, and are decoded before parsing.
 */
const isByField = (encoding: string) =>
  /^(utf-8|windows-\d+|iso-8859-\d+(-i)?|koi8-[ru]|ibm866|macintosh|x-mac-cyrillic)$/.test(encoding)

/** The bytes to parse, transcoded to UTF-8 unless they are decoded field by field. */
function bytesOf({ path, skip, encoding }: Source): Readable {
  const file = createReadStream(path, { start: skip })
  if (isByField(encoding)) return file
  const decoder = new TextDecoder(encoding, { fatal: true })
  const decode = new Transform({
    transform(chunk, _, done) {
      try {
        done(null, Buffer.from(decoder.decode(chunk, { stream: true })))
      } catch {
        done(new BrokenFileError(`${path}: it has bytes that are not ${encoding}`))
      }
    },
    flush(done) {
      try {
        done(null, Buffer.from(decoder.decode()))
      } catch {
        done(new BrokenFileError(`${path}: its last character is cut off`))
      }
    },
  })
  file.on('error', (error) => decode.destroy(error))
  decode.on('close', () => file.destroy())
  return file.pipe(decode)
}

async function* readRows(
  source: Source,
  dialect: Dialect,
  columns: readonly string[],
  fromLine: number,
): AsyncGenerator<Row[]> {
  const rows: Row[] = []
  const parser = createParser(source, dialect, columns, fromLine, (row) => rows.push(row))
  for await (const chunk of bytesOf(source)) {
    await parser.write(chunk)
    while (rows.length >= ROWS_AT_ONCE) yield rows.splice(0, ROWS_AT_ONCE)
  }
  // Before the last row, which ends with the file: it may be cut off.
  checkUnchanged(source)
  await parser.end()
  for (const part of partsOf(rows, ROWS_AT_ONCE)) yield part
}

/**
 * A parser that is given the file's bytes. The rows do not go through its stream, which would make several promises for
 * each.
 * @param onRow called with each row, in order
 */
function createParser(
  source: Source,
  { separator: delimiter, breaks: record_delimiter }: Dialect,
  columns: readonly string[],
  fromLine: number,
  onRow: (row: Row) => void,
): { readonly write: (bytes: Buffer) => Promise<void>; readonly end: () => Promise<void> } {
  const decode = fieldDecoder(isByField(source.encoding) ? source.encoding : 'utf-8')
  let isHead = true
  let line = fromLine
  let blank = 0
  let from = source.skip
  /** The line of a recent row with a misplaced quote, which may have opened a field that is never closed. */
  let openQuote: number | undefined
  /** What is wrong with the row that is being read. */
  let misplaced: CsvError | undefined
  const next = ({ lines, empty_lines, bytes }: Pick<InfoRecord, 'lines' | 'empty_lines' | 'bytes'>) => {
    const place = { line: line + empty_lines - blank, from, bytes: source.skip + bytes }
    line = lines + 1
    blank = empty_lines
    from = place.bytes
    return place
  }
  const parser = parse({
    delimiter,
    record_delimiter,
    // Raw bytes: each field is decoded by itself.
    encoding: 'latin1',
    from_line: fromLine,
    skip_empty_lines: true,
    skip_records_with_error: true,
    // Fields are counted below, because the parser would count those of the first row that has no fault.
    relax_column_count: true,
    max_record_size: MAX_ROW_BYTES,
    on_record: (record: string[], info: InfoRecord): null => {
      const place = next(info)
      if (isHead) isHead = false
      else if (misplaced !== undefined) onRow({ ...place, fields: {}, fault: FAULTS[misplaced.code] as string })
      else if (!isBlank(record)) onRow(read(place, record)) // empty rows at the end, as spreadsheets leave them
      if (misplaced !== undefined) openQuote = opensQuote(misplaced) ? place.line : undefined
      misplaced = undefined
      return null
    },
    on_skip: (error) => {
      if (error === undefined) return undefined
      if (FAULTS[error.code] === undefined || (isHead && opensQuote(error))) {
        const place = next(error as unknown as InfoRecord)
        parser.destroy(broken(source.path, Math.min(place.line, openQuote ?? place.line), error))
      }
      misplaced ??= error
      keepRow(parser)
      return undefined
    },
  })
  return driven(parser)

  function read({ line, from, bytes }: Pick<Row, 'line' | 'from' | 'bytes'>, record: string[]): Row {
    let fault: string | undefined
    if (record.length === columns.length) fault = decode(record)
    else {
      openQuote = undefined
      fault = 'the row has more or fewer fields than the head line'
    }
    if (fault === undefined) return { line, from, bytes, fields: fieldsOf(columns, record) }
    return { line, from, bytes, fields: {}, fault }
  }
}

const opensQuote = ({ code }: CsvError) => code === 'CSV_INVALID_CLOSING_QUOTE'

/**
 * Called while a fault is reported: otherwise the parser would read the rest of the row, and drop it without telling
 * where it ends.
 */
function keepRow(parser: Parser): void {
  const { state } = parser as unknown as { readonly state: { recordHasError?: boolean } }
  if (state.recordHasError !== true) throw new Error('csv-parse no longer marks rows with a fault as it did')
  state.recordHasError = false
}

/** Gives a parser bytes, and waits until it has taken them. @throws the error that it was destroyed with */
function driven(parser: Parser): {
  readonly write: (bytes: Buffer) => Promise<void>
  readonly end: () => Promise<void>
} {
  const taken = async (give: (done: () => void) => void) => {
    await new Promise<void>((resolve) => give(resolve))
    if (parser.errored) throw parser.errored
  }
  parser.on('error', () => {}) // the call under way throws it
  return {
    write: (bytes) => taken((done) => parser.write(bytes, done)),
    end: () => taken((done) => parser.end(done)),
  }
}

/** The parser itself defines each property of a row, which takes ten times as long as assigning it. */
function fieldsOf(columns: readonly string[], record: readonly string[]): Record<string, string> {
  const fields: Record<string, string> = {}
  for (let index = 0; index < columns.length; index++) fields[columns[index] as string] = record[index] as string
  return fields
}

const isBlank = (record: readonly string[]): boolean => record.every((field) => field.trim() === '')

const NOT_PLAIN = /[\0\x80-\xff]/
/** Characters that never occur in names: legacy encodings produce them for undefined bytes. */
const CONTROL = /[\0\x80-\x9f]/

/**
 * Decodes the fields of a row in place. Returns the row's fault, without its content, if that is not possible without
 * loss.
 */
function fieldDecoder(encoding: string): (record: string[]) => string | undefined {
  const decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true })
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  const decoded = (bytes: Buffer, by: TextDecoder) => {
    try {
      return by.decode(bytes)
    } catch {
      return undefined
    }
  }
  return (record) => {
    let isUtf8 = encoding !== 'utf-8'
    let hasOthers = false
    for (let index = 0; index < record.length; index++) {
      const field = record[index] as string
      if (field === '' || !NOT_PLAIN.test(field)) continue
      if (field.includes('\0')) return 'the row has a NUL character'
      const bytes = Buffer.from(field, 'latin1')
      const text = decoded(bytes, decoder)
      if (text === undefined && encoding === 'utf-8') {
        return 'the row is not UTF-8: name the encoding of the file with --encoding, for example windows-1252'
      }
      if (text === undefined || CONTROL.test(text)) return `the row has a byte that ${encoding} does not have`
      if (text.includes('\uFFFD')) {
        return 'the row has the character U+FFFD: a letter was lost before this file was written'
      }
      hasOthers = true
      isUtf8 &&= decoded(bytes, utf8) !== undefined
      record[index] = text
    }
    return hasOthers && isUtf8 ? `the row is UTF-8, not ${encoding}` : undefined
  }
}

function broken(path: string, line: number, { code }: CsvError): BrokenFileError {
  return new BrokenFileError(
    code === 'CSV_QUOTE_NOT_CLOSED' || code === 'CSV_MAX_RECORD_SIZE'
      ? `${path}: a quote that opens at line ${line} or after it is not closed, or the row is longer than ` +
          `${MAX_ROW_BYTES / 1024} KiB: correct it and run the command again`
      : `${path}: it can't be read as CSV from line ${line} on (${code})`,
  )
}
