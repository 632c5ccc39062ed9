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
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
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
   * Writes the file, in the order of the source, if any row was rejected; as a whole or not at all.
   * @returns whether it did
   * @throws BrokenFileError if the source has changed; ConfigurationError if the file can't be written after all
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
      // Upwards, as far as none is there yet: a customer may have many. The list grows while the file is being read.
      for (let index = above.length - 1; index >= 0; index--) {
        const each = above[index] as Row
        if (rejected.has(each.line) && each.line < row.line) break
        if (each.line < row.line) rejected.set(each.line, { reason: '', place: placeOf(each) })
      }
      // A row of a composite file may be rejected both as a customer and as an address.
      const earlier = rejected.get(row.line)?.reason
      const all = earlier ? `${earlier}; ${reason}` : reason
      if (!reasons.has(all)) reasons.set(all, all)
      rejected.set(row.line, { reason: reasons.get(all) ?? all, place: placeOf(row) })
    },

    write() {
      if (rejected.size === 0) return false
      const partial = `${path}.partial`
      try {
        orUnwritable(path, () => writeTo(partial))
        table.checkUnchanged()
        orUnwritable(path, () => {
          if (existsSync(path)) renameSync(path, `${path}.bak`)
          renameSync(partial, path)
        })
      } finally {
        rmSync(partial, { force: true })
      }
      return true
    },
  }

  function writeTo(partial: string): void {
    rmSync(partial, { force: true })
    const source = openSync(table.path, 'r')
    const target = openSync(partial, 'wx', 0o600)
    // Unlike writeSync it goes on after a part.
    const put = (bytes: Buffer | string) => writeFileSync(target, bytes)
    try {
      if (table.hasMark || !table.isByteExact) put('\uFEFF')
      put(`${REJECTED_COLUMNS.join(separator)}${separator}`)
      put(table.isByteExact ? own(table.headLine) : namesOf(table))
      put('\n')
      for (const [line, { reason, place }] of [...rejected].sort(([a], [b]) => a - b)) {
        put(`${line}${separator}${quoted(reason, separator)}${separator}`)
        put('text' in place ? place.text : own(slice(source, place)))
        put('\n')
      }
    } finally {
      closeSync(source)
      closeSync(target)
    }
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

function beginningOf(path: string): string {
  const file = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(64)
    return bytes.toString('utf8', 0, readSync(file, bytes)).replace(/^\uFEFF/, '')
  } finally {
    closeSync(file)
  }
}

/** @throws ConfigurationError if the file can't be written, or no import has written the one that is there */
function checkPlace(path: string): void {
  const start = orUnwritable(path, () => {
    accessSync(path === '' ? '' : dirname(path), constants.W_OK | constants.X_OK)
    return existsSync(path) ? beginningOf(path) : undefined
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
