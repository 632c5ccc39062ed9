/**
 * `npm run audit`: see audit/command-line.ts, and proof.ts for what proves the log. What is found is on standard output,
 * progress and notes on standard error.
 */
import { once } from 'node:events'
import { userInfo } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { runAudit } from '../audit/command-line.ts'
import { checkKeys } from '../eventstore/key-fingerprints.ts'
import { openLog } from '../eventstore/open.ts'
import type { EventStore } from '../eventstore/port.ts'
import { patientWith } from '../eventstore/retry.ts'
import { openReadModel } from '../projections/open.ts'
import { runCommand } from '../runtime/process.ts'
import { showProgress } from '../runtime/progress.ts'
import { findKey, loadEmailHashKey } from '../runtime/service-keys.ts'
import { loadStore } from '../schema/store.ts'

// Whoever reads the output has seen enough (`| head`).
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const PROOF = ['verify', 'prove', 'check', 'checkpoint', 'key']
if (PROOF.includes(process.argv[2] ?? '')) await import('./proof.ts')

await runCommand(async (configuration, signal) => {
  let eventStore: EventStore | undefined
  try {
    return await runAudit(process.argv.slice(2), {
      openEventStore: async () => {
        if (eventStore === undefined) {
          const onOutage = (reason: string) => console.error(`${reason} Waiting for it.`)
          const wrap = patientWith(configuration.EVENTSTORE_URL, { signal, onOutage })
          eventStore = (await openLog(configuration, {}, wrap)).eventStore
          await checkKeys(eventStore, { emailHashKey: findKey(configuration, 'EMAIL_HASH_KEY') }, { record: false })
        }
        return eventStore
      },
      emailHashKey: () => loadEmailHashKey(configuration),
      accessRetentionDays: () => loadStore(configuration.STORE_CONFIG).audit.retentionDays,
      openReadModel: () => openReadModel(configuration.READMODEL_URL),
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

/** undefined where there is no terminal: nobody can be asked. */
async function confirm(question: string): Promise<boolean | undefined> {
  if (!process.stdin.isTTY) return undefined
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} (y/N) `)).trim())
  } finally {
    terminal.close()
  }
}
