/**
 * Writes the rejected rows to a file that can be corrected and imported: the rows byte for byte as in the source, after
 * two columns with their line and the reason. It contains personal data, so only its owner may read it.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { ConfigurationError } from '../../../runtime/errors.ts'
import { REJECTED_COLUMNS } from './columns.ts'
import type { Row, Table } from './csv.ts'

export interface RejectedFile {
  readonly path: string
  /** @param above the rows needed to understand it: in a composite file, those from the customer's row on */
  add(row: Row, reason: string, above?: readonly Row[]): void
  /**
   * Writes the file, in the order of the source, if any row was rejected.
   * @returns whether it did
   * @throws ConfigurationError if it can't be written after all
   */
  write(): boolean
}

/** Where a row is in the source; its text if the source's encoding can't be written. */
type Place = { readonly from: number; readonly to: number } | { readonly text: string }

interface Rejected {
  readonly reason: string
  readonly place: Place
}

/**
 * @param path the path of the file; one of an earlier import, which somebody may have corrected, is kept beside it
 * @throws ConfigurationError if another file is in the way, or the file can't be written: an import may take hours
 */
export function createRejectedFile(path: string, table: Table & { readonly path: string }): RejectedFile {
  checkPlace(path)
  const { separator } = table
  const rejected = new Map<number, Rejected>()
  /** There are few distinct reasons. */
  const reasons = new Map<string, string>()

  /** A file of rejected rows has the two columns already. */
  const isOfRejected = REJECTED_COLUMNS.every((name, index) => table.names[index] === name)
  const field = `(?:"(?:[^"]|"")*"|[^${separator.replace('|', '\\|')}]*)${separator.replace('|', '\\|')}`
  const reasonColumns = new RegExp(`^(?:${field}){2}`)
  const own = (line: Buffer) =>
    isOfRejected ? Buffer.from(line.toString('latin1').replace(reasonColumns, ''), 'latin1') : line

  function placeOf({ from, bytes: to, fields }: Row): Place {
    if (table.isByteExact) return { from, to }
    const columns = isOfRejected ? table.columns.slice(REJECTED_COLUMNS.length) : table.columns
    return { text: columns.map((name) => quoted(fields[name] ?? '', separator)).join(separator) }
  }

  return {
    path,

    add(row, reason, above = []) {
      for (const each of above) {
        // The list grows while the file is being read.
        if (each.line < row.line && !rejected.has(each.line))
          rejected.set(each.line, { reason: '', place: placeOf(each) })
      }
      // A row of a composite file may be rejected both as a customer and as an address.
      const earlier = rejected.get(row.line)?.reason
      const all = earlier ? `${earlier}; ${reason}` : reason
      if (!reasons.has(all)) reasons.set(all, all)
      rejected.set(row.line, { reason: reasons.get(all) ?? all, place: placeOf(row) })
    },

    write() {
      if (rejected.size === 0) return false
      const reasons = [...rejected].sort(([a], [b]) => a - b)
      orUnwritable(path, () => writeRows(path, table, reasons, own))
      return true
    },
  }
}

/** Writes the file. @param own what is taken over of a line of the source */
function writeRows(
  path: string,
  table: Table & { readonly path: string },
  rejected: readonly (readonly [line: number, rejected: Rejected])[],
  own: (line: Buffer) => Buffer,
): void {
  const { separator } = table
  // Opened before anything is moved: it may be the file of an earlier import that is replaced here.
  const source = openSync(table.path, 'r')
  let target: number | undefined
  try {
    if (existsSync(path)) renameSync(path, `${path}.bak`)
    target = openSync(path, 'w', 0o600)
    if (table.hasMark || !table.isByteExact) writeSync(target, '\uFEFF')
    writeSync(target, `${REJECTED_COLUMNS.join(separator)}${separator}`)
    writeSync(target, table.isByteExact ? own(table.headLine) : namesOf(table))
    writeSync(target, '\n')
    for (const [line, { reason, place }] of rejected) {
      writeSync(target, `${line}${separator}${quoted(reason, separator)}${separator}`)
      writeSync(target, 'text' in place ? Buffer.from(place.text) : own(slice(source, place)))
      writeSync(target, '\n')
    }
  } finally {
    closeSync(source)
    if (target !== undefined) closeSync(target)
  }
}

function namesOf({ names, separator }: Table): Buffer {
  const own = names.filter((name) => !(REJECTED_COLUMNS as readonly string[]).includes(name))
  return Buffer.from(own.map((name) => quoted(name, separator)).join(separator))
}

/** The bytes of a row without the line feeds around it. */
function slice(file: number, { from, to }: { readonly from: number; readonly to: number }): Buffer {
  const bytes = Buffer.alloc(to - from)
  readSync(file, bytes, 0, bytes.length, from)
  let [start, end] = [0, bytes.length]
  const isBreak = (at: number) => bytes[at] === 10 || bytes[at] === 13 // bytes of ASCII, in each encoding that is byte exact
  while (start < end && isBreak(start)) start++
  while (end > start && isBreak(end - 1)) end--
  return bytes.subarray(start, end)
}

/** @throws ConfigurationError if the file can't be written, or no import has written the one that is there */
function checkPlace(path: string): void {
  const start = orUnwritable(path, () => {
    accessSync(path === '' ? '' : dirname(path), constants.W_OK | constants.X_OK)
    return existsSync(path) ? readFileSync(path, 'utf8').replace(/^\uFEFF/, '') : undefined
  })
  if (start === undefined) return
  if (!start.startsWith(REJECTED_COLUMNS[0] as string) && !start.startsWith('file,line,reason\n')) {
    throw new ConfigurationError(`--rejected: ${JSON.stringify(path)} is there and holds something else.`)
  }
}

/** @throws ConfigurationError for an error of the file system */
function orUnwritable<Result>(path: string, work: () => Result): Result {
  try {
    return work()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigurationError(
      `--rejected: ${JSON.stringify(path)} can't be written (${code}): run the same command with another file.`,
    )
  }
}

function quoted(text: string, separator: string): string {
  return /["\r\n]/.test(text) || text.includes(separator) ? `"${text.replaceAll('"', '""')}"` : text
}
