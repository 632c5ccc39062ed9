/**
 * A backup of the embedded stores on the disk: a folder with the log and one with the keys, each with a list of its
 * files. The lists are written last, the log's after that of the keys, so a backup that was interrupted lacks one beside
 * its files.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { z } from 'zod'
import { BackupError, UsageError } from '../runtime/errors.ts'
import { VERSION } from '../runtime/version.ts'

export const LOG_FILE = 'events.db'
export const KEYS_FILE = 'events-keys.db'
const LIST = 'backup.json'

/** The two halves of a backup. */
export interface BackupFolders {
  readonly log: string
  readonly keys: string
}

/**
 * @param keys where the keys are; default: beside the log, in the folder `keys`
 * @throws UsageError if that is not a folder of its own
 */
export function foldersOf(folder: string, keys = join(folder, 'keys')): BackupFolders {
  const log = join(folder, 'log')
  const isIn = (inner: string, outer: string) => !/^\.\.(\/|$)/.test(relative(outer, inner))
  if (isIn(keys, log) || isIn(log, keys)) {
    throw new UsageError(`--keys: ${keys} can't be used; accepted: a folder apart from ${log}.`)
  }
  return { log, keys }
}

const listSchema = z.object({
  /** The release that made it. */
  release: z.string(),
  /** When it was complete (ISO 8601, UTC). */
  at: z.iso.datetime(),
  files: z.record(
    z.string().regex(/^[\w.-]+$/),
    z.object({ bytes: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  ),
})
export type BackupList = z.infer<typeof listSchema>

/**
 * Makes the folder, which only its owner may read.
 * @throws UsageError if there is something in it: nothing is ever overwritten
 */
export function makeEmptyFolder(folder: string): void {
  if (existsSync(folder)) {
    if (!statSync(folder).isDirectory())
      throw new UsageError(`${folder} is a file; accepted: a new or an empty folder.`)
    if (readdirSync(folder).length > 0)
      throw new UsageError(`${folder} is not empty; accepted: a new or an empty folder.`)
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
}

/** Writes the list of the files in the folder. */
export async function writeList(folder: string): Promise<BackupList> {
  const files: BackupList['files'] = {}
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name)
    files[name] = { bytes: statSync(path).size, sha256: await sha256Of(path) }
  }
  const list: BackupList = { release: VERSION, at: new Date().toISOString(), files }
  writeFileSync(join(folder, LIST), `${JSON.stringify(list, null, 2)}\n`, { mode: 0o600, flush: true, flag: 'wx' })
  return list
}

/** @returns undefined if the folder has no list @throws BackupError for a list that can't be read */
export function readList(folder: string): BackupList | undefined {
  const path = join(folder, LIST)
  if (!existsSync(path)) return undefined
  try {
    return listSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    throw new BackupError(`${path} is damaged.`)
  }
}

/** What is wrong with the files of a folder: those that are missing or have other bytes. */
export async function* damageOf(folder: string, list: BackupList): AsyncGenerator<string> {
  for (const [name, { bytes, sha256 }] of Object.entries(list.files)) {
    const path = join(folder, name)
    if (!existsSync(path)) yield `${path} is missing.`
    else if (statSync(path).size !== bytes || (await sha256Of(path)) !== sha256) {
      yield `${path} is not the file that was backed up: it has other bytes.`
    }
  }
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk)
  return hash.digest('hex')
}
