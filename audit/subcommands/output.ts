/** Buffered output of the audit commands, to standard output or to a file. */
import { closeSync, createWriteStream, fchmodSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { AuditError } from '../errors.ts'
import type { AuditContext } from './context.ts'

/** A value as a line of JSON Lines. */
export const line = (value: object) => `${JSON.stringify(value)}\n`

/** Gathers texts into chunks that are worth a write. */
export function createOutput(write: AuditContext['write']) {
  const PIECE = 64 * 1024
  let texts: string[] = []
  let length = 0
  const flush = async () => {
    const piece = texts.join('')
    texts = []
    length = 0
    if (piece !== '') await write(piece)
  }
  return {
    write(text: string): void | Promise<void> {
      texts.push(text)
      length += text.length
      if (length >= PIECE) return flush()
    },
    end: flush,
  }
}

const DATABASE = 'SQLite format 3'

/** The service's log is such a file: written over, it is lost. @throws AuditError */
function checkIsNoDatabase(path: string): void {
  let file: number
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return
    file = openSync(path, 'r')
  } catch {
    return // the first write says what is wrong
  }
  try {
    const bytes = Buffer.alloc(DATABASE.length)
    readSync(file, bytes)
    if (bytes.toString() === DATABASE) {
      throw new AuditError(`--output: ${JSON.stringify(path)} is a database: name another file.`)
    }
  } finally {
    closeSync(file)
  }
}

/**
 * A file that only its owner can read, because it may contain personal data.
 * @throws AuditError if it is a database; at the first write if it can't be written
 */
export function openFile(path: string) {
  checkIsNoDatabase(path)
  const stream = createWriteStream(path, { mode: 0o600 })
  let failure: Error | undefined
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<never>((_, reject) => {
    fail = reject
  })
  failed.catch(() => {})
  stream.on('error', (error: NodeJS.ErrnoException) => {
    failure = new AuditError(`--output: ${JSON.stringify(path)} can't be written (${error.code}).`)
    fail(failure)
  })
  // One that was there before keeps its mode. A device is everybody's.
  stream.on('open', (file) => {
    try {
      if (fstatSync(file).isFile()) fchmodSync(file, 0o600)
    } catch (error) {
      stream.destroy(error as Error)
    }
  })
  const done = (start: (callback: () => void) => unknown) =>
    Promise.race([failed, new Promise<void>((resolve) => start(resolve))])
  return {
    write: (piece: string) => done((callback) => stream.write(piece, (error) => error ?? callback())),
    close: () => done((callback) => stream.end(callback)),
  }
}
