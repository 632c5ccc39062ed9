/** Whether a backup could be restored: its files, the log's chain and signatures, and keys that read the log. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { loadSigningKey } from '../audit/proof/signing-key.ts'
import { verifyLog } from '../audit/proof/verify.ts'
import { createCustomerKeys } from '../eventstore/encryption/customer-keys.ts'
import { encryptedLog } from '../eventstore/encryption/encrypted-log.ts'
import { loadMasterKeys } from '../eventstore/encryption/master-key.ts'
import type { EventStore, Position } from '../eventstore/port.ts'
import { logEnd } from '../eventstore/read.ts'
import { openSqliteEventStore } from '../eventstore/sqlite/event-store.ts'
import type { Configuration } from '../runtime/configuration.ts'
import { BackupError } from '../runtime/errors.ts'
import { showProgress } from '../runtime/progress.ts'
import { KEY_VARIABLES, keyFile } from '../runtime/service-keys.ts'
import { type BackupFolders, damageOf, KEYS_FILE, LOG_FILE, readList } from './backup-set.ts'

export interface BackupCheck {
  /** What is wrong, a line each. */
  readonly faults: readonly string[]
  /** What was checked, a line each. */
  readonly found: readonly string[]
}

/**
 * Checks a backup without writing to it. If only one of the two folders is there, that one alone: the other may be kept
 * elsewhere. A folder with files and no list is a backup that was interrupted.
 * @throws BackupError if there is none; the signal's reason once it is aborted
 */
export async function checkBackup(
  folders: BackupFolders,
  configuration: Configuration,
  signal: AbortSignal,
): Promise<BackupCheck> {
  const lists = { log: readList(folders.log), keys: readList(folders.keys) }
  if (!lists.log && !lists.keys) {
    throw new BackupError(`There is no complete backup in ${folders.log} or ${folders.keys}.`)
  }
  const faults: string[] = []
  const found: string[] = []
  for (const half of ['log', 'keys'] as const) {
    const list = lists[half]
    if (!list && isInUse(folders[half])) {
      faults.push(`${folders[half]} has no list: this backup was interrupted. Make another one.`)
      continue
    }
    if (!list) {
      found.push(`${folders[half]} has no backup: the other half is checked alone.`)
      continue
    }
    for await (const fault of damageOf(folders[half], list)) faults.push(fault)
    found.push(`${folders[half]}: ${Object.keys(list.files).join(', ')}, of ${list.at}, by release ${list.release}`)
  }
  if (faults.length > 0) return { faults, found }
  const settings = withKeysOf(configuration, folders)
  if (lists.log) await checkLog(folders, settings, { faults, found, signal })
  if (lists.log && lists.keys) await checkKeys(folders, settings, { faults, found, signal })
  return { faults, found }
}

const isInUse = (folder: string): boolean => existsSync(folder) && readdirSync(folder).length > 0

interface Findings {
  readonly faults: string[]
  readonly found: string[]
  readonly signal: AbortSignal
}

/** The keys that the backup has go before those of the environment. */
function withKeysOf(configuration: Configuration, { log, keys }: BackupFolders): Configuration {
  const settings = { ...configuration, EVENTSTORE_URL: `sqlite:${join(log, LOG_FILE)}`, DATA_DIR: keys }
  for (const variable of KEY_VARIABLES) {
    const file = join(keys, basename(keyFile(configuration, variable)))
    if (existsSync(file)) settings[variable] = readFileSync(file, 'utf8')
  }
  return settings
}

const open = (folder: string, file: string): EventStore =>
  openSqliteEventStore({ path: join(folder, file), isCopy: true })

async function checkLog(
  { log }: BackupFolders,
  configuration: Configuration,
  { faults, found, signal }: Findings,
): Promise<void> {
  const eventStore = open(log, LOG_FILE)
  const bar = showProgress('checking the log', 'events')
  try {
    const key = loadSigningKey(configuration)
    const end = await logEnd(eventStore)
    const result = await verifyLog(eventStore, { keys: key ? [key] : [], signal, report: reporter(bar.report, end) })
    signal.throwIfAborted()
    const unsigned = result.checkpoints.count > 0 && !key
    // Without the key each checkpoint counts as a fault.
    const faulty = unsigned ? result.faults.filter(({ kind }) => kind !== 'checkpoint') : result.faults
    for (const { kind, stream, revision, message } of faulty) faults.push(`${kind}: ${stream}:${revision}: ${message}`)
    const { count, good } = result.checkpoints
    const signatures = unsigned ? 'their signatures were not checked: there is no key' : `${good} of ${count} are valid`
    found.push(`the log: ${result.events} events of ${result.streams} streams; checkpoints: ${signatures}`)
  } finally {
    bar.stop()
    await eventStore.close()
  }
}

/** Reads the whole log as the service does: a key that is missing, or another master key, shows. */
async function checkKeys(
  { log, keys: folder }: BackupFolders,
  configuration: Configuration,
  { faults, found, signal }: Findings,
): Promise<void> {
  const stored = open(log, LOG_FILE)
  const keyStore = existsSync(join(folder, KEYS_FILE)) ? open(folder, KEYS_FILE) : stored
  const bar = showProgress('reading with the keys', 'events')
  try {
    const keys = createCustomerKeys({ log: stored, keyStore, masterKeys: loadMasterKeys(configuration) })
    await keys.check()
    const report = reporter(bar.report, await logEnd(stored))
    let count = 0
    for await (const { position } of encryptedLog(keys, configuration.CIPHER).readAll()) {
      if (++count % 1_000 !== 0) continue
      signal.throwIfAborted()
      report(count, position)
    }
    found.push('the keys: they are those of the log, and read all of it')
  } catch (error) {
    if (signal.aborted) throw error
    faults.push(`the keys: ${(error as Error).message}`)
  } finally {
    bar.stop()
    await keyStore.close()
    await stored.close()
  }
}

const reporter =
  (report: (done: number, share: number, position: bigint) => void, end: Position | undefined) =>
  (events: number, { commit }: Position): void => {
    if (events % 1_000 === 0) report(events, Math.min(1, Number(commit) / Number(end?.commit ?? 1n)), commit)
  }
