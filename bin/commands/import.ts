/** `customers import`: moves customers in from Magento's export files. */
import { appendFileSync, existsSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { checkKeys } from '../../eventstore/key-fingerprints.ts'
import { openLog } from '../../eventstore/open.ts'
import { patientWith } from '../../eventstore/retry.ts'
import { ConfigurationError } from '../../runtime/configuration.ts'
import { runCommand, UsageError } from '../../runtime/process.ts'
import { showProgress } from '../../runtime/progress.ts'
import { loadEmailHashKey } from '../../runtime/service-keys.ts'
import { loadStore } from '../../schema/store.ts'
import { isComposite } from '../../subgraph/import/columns.ts'
import { type ImportReport, importFiles, openFiles } from '../../subgraph/import/importer.ts'

const HEAD = 'file,line,reason\n'

export interface ImportOptions {
  readonly addresses?: string
  readonly encoding?: string
  readonly rejected?: string
  readonly timezone: string
  readonly dryRun: boolean
}

/** @param second the file of addresses, as `options.addresses` */
export const importCustomers = (
  customers: string | undefined,
  second: string | undefined,
  options: ImportOptions,
): Promise<void> =>
  runCommand(async (configuration, signal) => {
    const addresses = second ?? options.addresses
    const first = customers ?? addresses
    if (first === undefined) throw new UsageError('A file of customers or --addresses is needed.')
    const store = loadStore(configuration.STORE_CONFIG)
    const files = { store, customers, addresses, encoding: options.encoding }
    const { customers: ofCustomers } = await openFiles(files)

    const emailHashKey = loadEmailHashKey(configuration)
    const onOutage = (reason: string) => console.error(`${reason} The import waits for it.`)
    const { eventStore } = await openLog(
      configuration,
      {},
      patientWith(configuration.EVENTSTORE_URL, { signal, onOutage }),
    )
    await checkKeys(eventStore, { emailHashKey }, { record: !options.dryRun })
    const rejectedPath = options.rejected ?? `${first.replace(/\.csv$/i, '')}.rejected.csv`
    dropRejected(rejectedPath)
    let rejected = false
    const progress = showProgress('importing', 'rows')
    try {
      const importing = importFiles({
        eventStore,
        emailHashKey,
        ...files,
        dryRun: options.dryRun,
        timeZone: options.timezone,
        signal,
        onProgress: (rows, share) => progress.report(rows, share),
        onRejected(file, line, reason) {
          if (!rejected) writeFileSync(rejectedPath, HEAD)
          rejected = true
          appendFileSync(rejectedPath, `${quoted(file)},${line},${quoted(reason)}\n`)
        },
      })
      const reports = await importing.finally(() => progress.stop())
      if (customers !== undefined) printReport('customers', reports.customers)
      if (addresses !== undefined || (ofCustomers && isComposite(ofCustomers.columns)))
        printReport('addresses', reports.addresses)
      if (options.dryRun) console.log('Nothing was written (--dry-run).')
      if (signal.aborted) {
        console.log('Stopped. The same command goes on from here.')
        return 130
      }
      if (!rejected) return 0
      console.log(`What was rejected and why: ${rejectedPath}`)
      return 1
    } finally {
      await eventStore.close()
    }
  })

/** What an earlier run has rejected. @throws ConfigurationError where the file is another one */
function dropRejected(path: string): void {
  if (!existsSync(path)) return
  if (!readFileSync(path, 'utf8').startsWith(HEAD)) {
    throw new ConfigurationError(`--rejected: ${JSON.stringify(path)} is there and holds something else.`)
  }
  unlinkSync(path)
}

/** The counts, what was rejected by reason, most first, and the columns that nothing was done with. */
function printReport(what: string, { imported, alreadyThere, rejected, reasons, unused }: ImportReport): void {
  const rows = imported + alreadyThere + rejected
  console.log(`${what}: ${imported} imported, ${alreadyThere} already there, ${rejected} rejected (${rows} rows read)`)
  for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1])) {
    console.log(`  ${String(count).padStart(8)}  ${reason}`)
  }
  if (unused.length > 0) console.log(`  Columns that were not used: ${unused.join(', ')}`)
}

function quoted(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
