/** The audit's commands about proofs: whether the log is whole, and proofs of what is in it. See audit/proof/. */
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { checkAuditKey, type PublicKey, readAuditKey, type SigningKey } from '../../audit/proof/signing-key.ts'
import {
  checkCommand,
  checkpointCommand,
  keyCommand,
  proveCommand,
  readEventName,
  readKeyFile,
  verifyCommand,
} from '../../audit/subcommands/proof.ts'
import { openStoredLog, requireLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { withRetriesFor } from '../../eventstore/retry.ts'
import type { Configuration } from '../../runtime/configuration.ts'
import { runCommand } from '../../runtime/process.ts'
import { loadKey } from '../../runtime/service-keys.ts'

interface Json {
  readonly json: boolean
}

const print = (text: string) => console.log(text)

export function verify({ key: files = [], json }: Json & { readonly key?: readonly string[] }): Promise<void> {
  return runCommand((configuration, signal) => {
    requireLog(configuration)
    const isOwn = files.length === 0
    const keys = isOwn ? [signingKey(configuration)] : files.map(readKeyFile)
    const by = `operator:${userInfo().username}`
    const work = (eventStore: EventStore) =>
      verifyCommand(eventStore, { keys, json, signal, print, note: console.error, by })
    return withLog(configuration, signal, work, isOwn)
  })
}

export function prove(
  name: string,
  { key: file, content }: { readonly key?: string; readonly content: boolean },
): Promise<void> {
  return runCommand((configuration, signal) => {
    requireLog(configuration)
    const event = readEventName(name)
    const key: PublicKey = file === undefined ? signingKey(configuration) : readKeyFile(file)
    const leafCache = join(configuration.DATA_DIR, 'proof-leaves')
    const work = (eventStore: EventStore) => proveCommand(eventStore, { key, event, content, leafCache, print })
    return withLog(configuration, signal, work, file === undefined)
  })
}

export const check = (file: string, { key, json }: Json & { readonly key: string }): Promise<void> =>
  runCommand(async () => checkCommand({ file, key: readKeyFile(key), json, print }))

export function checkpoint({ json }: Json): Promise<void> {
  return runCommand((configuration, signal) => {
    requireLog(configuration)
    const key = signingKey(configuration)
    return withLog(configuration, signal, (eventStore) => checkpointCommand(eventStore, { key, signal, json, print }))
  })
}

export function key({ json }: Json): Promise<void> {
  return runCommand((configuration, signal) => {
    const own = signingKey(configuration)
    return withLog(configuration, signal, async () => keyCommand({ key: own, json, print }))
  })
}

/** @param isOwn whether the service's own key is used, which then has to be the log's. A key from an option may be any. */
async function withLog(
  configuration: Configuration,
  signal: AbortSignal,
  work: (eventStore: EventStore) => Promise<number>,
  isOwn = true,
): Promise<number> {
  const onOutage = (reason: string) => console.error(`${reason} Waiting for it.`)
  const wrap = withRetriesFor(configuration.EVENTSTORE_URL, { signal, onOutage })
  const eventStore = await openStoredLog(configuration, wrap)
  try {
    if (isOwn) await checkAuditKey(eventStore, configuration, { record: false })
    return await work(eventStore)
  } finally {
    await eventStore.close()
  }
}

/** @throws ConfigurationError */
function signingKey(configuration: Configuration): SigningKey {
  return readAuditKey(loadKey(configuration, 'AUDIT_SIGNING_KEY'))
}
