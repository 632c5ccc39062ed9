/** `customers backup` and `customers restore`: the embedded stores and their keys, while the service runs. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { keyStoreUrl, openStoredLog } from '../../eventstore/open-event-store.ts'
import { backUpSqliteFile, draftOf, flush } from '../../eventstore/sqlite/backup.ts'
import { type Configuration, isEmbedded } from '../../runtime/configuration.ts'
import { BackupError, ConfigurationError, UsageError } from '../../runtime/errors.ts'
import { runCommand } from '../../runtime/process.ts'
import { showProgress } from '../../runtime/progress.ts'
import { KEY_VARIABLES, keyFile } from '../../runtime/service-keys.ts'
import { checkBackup } from '../backup-check.ts'
import {
  type BackupFolders,
  foldersOf,
  KEYS_FILE,
  LOG_FILE,
  makeEmptyFolder,
  readList,
  sha256Of,
  writeList,
} from '../backup-set.ts'

const STOPPED = 130

interface Options {
  /** The folder of the keys. */
  readonly keys?: string
  readonly check: boolean
}

export const backup = (folder: string, { keys, check }: Options): Promise<void> =>
  stoppable(async (configuration, signal) => {
    const folders = foldersOf(folder, keys)
    return check ? checkOnly(folders, configuration, signal) : backUp(folder, folders, configuration, signal)
  })

export const restore = (folder: string, { keys }: Pick<Options, 'keys'>): Promise<void> =>
  stoppable(async (configuration, signal) => putBack(foldersOf(folder, keys), configuration, signal))

/** Stopped by the operator, a command has its own exit code. */
function stoppable(work: (configuration: Configuration, signal: AbortSignal) => Promise<number>): Promise<void> {
  return runCommand(async (configuration, signal) => {
    try {
      return await work(configuration, signal)
    } catch (error) {
      if (!signal.aborted) throw error
      console.error('Stopped before its end; what was begun is removed.')
      return STOPPED
    }
  })
}

/** The files of the embedded stores; undefined for a store on a server, and for keys in the log itself. */
function filesOf(configuration: Configuration): { readonly log?: string; readonly keyStore?: string } {
  const { EVENTSTORE_URL: logUrl } = configuration
  const keysUrl = keyStoreUrl(configuration)
  const path = (url: string) => (url.startsWith('sqlite:') ? url.slice('sqlite:'.length) : undefined)
  const [log, keyStore] = [path(logUrl), keysUrl === logUrl ? undefined : path(keysUrl)]
  if (log === undefined && keyStore === undefined) {
    throw new ConfigurationError(
      'EVENTSTORE_URL: the stores are on servers, which have backups of their own: see docs/operations.md. This command is for sqlite:PATH.',
    )
  }
  return { ...(log !== undefined && { log }), ...(keyStore !== undefined && { keyStore }) }
}

const keyPaths = (configuration: Configuration) => KEY_VARIABLES.map((variable) => keyFile(configuration, variable))

/**
 * The log first and the keys after it: whatever the log has was encrypted with keys that are in a later copy of the key
 * store, unless their customers were erased in between. The log's list is written last of all, so that a backup that
 * was interrupted never passes for a log that was backed up alone.
 */
async function backUp(
  folder: string,
  folders: BackupFolders,
  configuration: Configuration,
  signal: AbortSignal,
): Promise<number> {
  const { log, keyStore } = filesOf(configuration)
  for (const path of [log, keyStore]) {
    if (path !== undefined && !existsSync(path)) throw new ConfigurationError(`There is no ${path} to back up.`)
  }
  // A lost log would be copied as an empty one, and count as a good backup until it is needed.
  if (log !== undefined) await (await openStoredLog(configuration)).close()
  makeEmptyFolder(folder)
  makeEmptyFolder(folders.keys)
  const keyFiles = isEmbedded(configuration) ? keyPaths(configuration).filter((path) => existsSync(path)) : []
  try {
    if (log !== undefined) {
      makeEmptyFolder(folders.log)
      await copyStore(log, join(folders.log, LOG_FILE), signal)
    }
    if (keyStore !== undefined) await copyStore(keyStore, join(folders.keys, KEYS_FILE), signal)
    for (const path of keyFiles) copyKey(path, join(folders.keys, basename(path)))
    await writeList(folders.keys)
    if (log !== undefined) await writeList(folders.log)
  } catch (error) {
    for (const each of [folders.log, folders.keys]) clear(each)
    throw error
  }
  report(
    folders,
    { isLogElsewhere: log === undefined, hasKeysInLog: keyStoreUrl(configuration) === configuration.EVENTSTORE_URL },
    configuration,
  )
  return 0
}

/** The folder itself stays: it may be a mount. */
function clear(folder: string): void {
  if (!existsSync(folder)) return
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true })
}

function report(
  folders: BackupFolders,
  { isLogElsewhere, hasKeysInLog }: { readonly isLogElsewhere: boolean; readonly hasKeysInLog: boolean },
  configuration: Configuration,
): void {
  const [log, keys] = [folders.log, folders.keys].map((each) => Object.keys(readList(each)?.files ?? {}).join(', '))
  if (isLogElsewhere) console.log('The log is on a server: only its keys were backed up. Back the log up before them.')
  else console.log(`${folders.log}: ${log}`)
  console.log(`${folders.keys}: ${keys || 'nothing'}`)
  const elsewhere = KEY_VARIABLES.filter((variable) => configuration[variable] !== undefined)
  if (elsewhere.length > 0) console.log(`Not in it, because the environment has them: ${elsewhere.join(', ')}`)
  if (hasKeysInLog) console.log('KEYS_URL is the log: its backups bring back who is erased later. See docs/privacy.md.')
  console.log('Keep the two folders apart, and the keys for a short time only: see docs/operations.md.')
}

async function copyStore(path: string, target: string, signal: AbortSignal): Promise<void> {
  const bar = showProgress(`backing up ${basename(path)}`, 'bytes')
  try {
    await backUpSqliteFile(path, target, { signal, report: (share, bytes) => bar.report(bytes, share) })
  } finally {
    bar.stop()
  }
}

const copyKey = (path: string, target: string) =>
  writeFileSync(target, readFileSync(path), { mode: 0o600, flush: true, flag: 'wx' })

async function checkOnly(folders: BackupFolders, configuration: Configuration, signal: AbortSignal): Promise<number> {
  const { faults, found } = await checkBackup(folders, configuration, signal)
  for (const line of [...found, ...faults.map((fault) => `fault: ${fault}`)]) console.log(line)
  console.log(faults.length === 0 ? 'The backup is whole.' : `The backup can't be used: faults: ${faults.length}.`)
  return faults.length === 0 ? 0 : 1
}

/**
 * Checks the backup and puts its files where the configuration expects them. If it is killed, its drafts keep the service
 * from beginning a new log in their place (open-event-store.ts), and the same command again puts all in theirs.
 */
async function putBack(folders: BackupFolders, configuration: Configuration, signal: AbortSignal): Promise<number> {
  const { log, keyStore } = filesOf(configuration)
  const listed = new Set(Object.keys(readList(folders.keys)?.files ?? {}))
  const copies = [
    ...(log === undefined ? [] : [{ from: join(folders.log, LOG_FILE), to: log }]),
    ...(keyStore === undefined ? [] : [{ from: join(folders.keys, KEYS_FILE), to: keyStore }]),
    ...(isEmbedded(configuration) ? keyPaths(configuration) : [])
      .map((path) => ({ from: join(folders.keys, basename(path)), to: path }))
      .filter(({ from }) => listed.has(basename(from))),
  ]
  const taken = await takenPlaces(copies)
  if (taken.length > 0) {
    throw new UsageError(`These are there already, and nothing is overwritten; move them away: ${taken.join(', ')}.`)
  }
  const missing = copies.map(({ from }) => from).filter((path) => !existsSync(path))
  if (missing.length > 0) throw new BackupError(`The backup lacks ${missing.join(', ')}.`)
  if ((await checkOnly(folders, configuration, signal)) !== 0) return 1
  const made: string[] = []
  try {
    for (const { from, to } of copies) {
      signal.throwIfAborted()
      mkdirSync(dirname(to), { recursive: true })
      const draft = draftOf(to)
      made.push(draft)
      copyFileSync(from, draft)
      flush(draft)
      if ((await sha256Of(draft)) !== (await sha256Of(from))) throw new BackupError(`${to} could not be written whole.`)
    }
    // The log last: until then its draft keeps the service from starting.
    for (const { to } of copies.toReversed()) renameSync(draftOf(to), to)
  } catch (error) {
    for (const path of made) rmSync(path, { force: true })
    throw error
  }
  console.log(`Restored: ${copies.map(({ to }) => to).join(', ')}`)
  console.log('Next, where keys are older than their log, or customers were erased since: npm run rebuild.')
  return 0
}

/**
 * The places that something else has taken already. A restore that was killed may have put files of the backup into theirs,
 * but not yet the first, which comes last.
 */
async function takenPlaces(copies: readonly { readonly from: string; readonly to: string }[]): Promise<string[]> {
  const isBegun = copies[0] !== undefined && existsSync(draftOf(copies[0].to))
  const taken: string[] = []
  for (const { from, to } of copies) {
    if (existsSync(`${to}-wal`)) taken.push(`${to}-wal`)
    if (!existsSync(to)) continue
    const isOurs = isBegun && existsSync(from) && (await sha256Of(to)) === (await sha256Of(from))
    if (!isOurs) taken.push(to)
  }
  return taken
}
