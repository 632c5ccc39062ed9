/**
 * Runs the audit commands on the configured log. Results go to standard output, progress and notes to standard error.
 */
import { once } from 'node:events'
import { userInfo } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { placesOf } from '../../audit/requests/holdings.ts'
import type { AuditContext } from '../../audit/subcommands/context.ts'
import { checkKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import { openLog, requireLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { withRetriesFor } from '../../eventstore/retry.ts'
import { openForCommand } from '../../projections/open-read-model.ts'
import { runCommand } from '../../runtime/process.ts'
import { showProgress } from '../../runtime/progress.ts'
import { findKey, loadEmailHashKey } from '../../runtime/service-keys.ts'
import { loadStore } from '../../schema/store.ts'

/** Does the work and ends the process with its exit code. */
export function runAudit(work: (context: AuditContext) => Promise<number>): Promise<void> {
  // The reader of the output has stopped reading (`| head`).
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  return runCommand(async (configuration, signal) => {
    let eventStore: EventStore | undefined
    try {
      return await work({
        openEventStore: async () => {
          if (eventStore === undefined) {
            requireLog(configuration)
            const onOutage = (reason: string) => console.error(`${reason} Waiting for it.`)
            const wrap = withRetriesFor(configuration.EVENTSTORE_URL, { signal, onOutage })
            eventStore = (await openLog(configuration, {}, wrap)).eventStore
            await checkKeys(eventStore, { emailHashKey: findKey(configuration, 'EMAIL_HASH_KEY') }, { record: false })
          }
          return eventStore
        },
        emailHashKey: () => loadEmailHashKey(configuration),
        accessRetentionDays: () => loadStore(configuration.STORE_CONFIG).audit.retentionDays,
        requestRules: () => loadStore(configuration.STORE_CONFIG).audit,
        places: () => placesOf(configuration),
        openReadModel: () => openForCommand(configuration.READMODEL_URL),
        confirm,
        operator: userInfo().username,
        async write(text) {
          if (!process.stdout.write(text)) await once(process.stdout, 'drain')
        },
        note: console.error,
        progress: showProgress,
        styled: process.stdout.isTTY,
        signal,
      })
    } finally {
      await eventStore?.close()
    }
  })
}

/** undefined without a terminal, because then nobody can be asked. */
async function confirm(question: string): Promise<boolean | undefined> {
  if (!process.stdin.isTTY) return undefined
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} (y/N) `)).trim())
  } finally {
    terminal.close()
  }
}
