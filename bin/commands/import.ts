/** `customers import`: imports customers from Magento's export files. */
import { checkKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { withRetriesFor } from '../../eventstore/retry.ts'
import { UsageError } from '../../runtime/errors.ts'
import { runCommand } from '../../runtime/process.ts'
import { showProgress } from '../../runtime/progress.ts'
import { loadEmailHashKey } from '../../runtime/service-keys.ts'
import { loadStore } from '../../schema/store.ts'
import { isComposite } from '../../subgraph/import/files/columns.ts'
import { openFiles } from '../../subgraph/import/files/open-files.ts'
import { createRejectedFile } from '../../subgraph/import/files/rejected-file.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import type { ImportReport } from '../../subgraph/import/reports.ts'

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
    if (customers === undefined && addresses === undefined)
      throw new UsageError('A file of customers or --addresses is needed.')
    const store = loadStore(configuration.STORE_CONFIG)
    const files = { store, customers, addresses, encoding: options.encoding }
    const opened = await openFiles(files)
    const ofCustomers = opened.customers

    const emailHashKey = loadEmailHashKey(configuration)
    const onOutage = (reason: string) => console.error(`${reason} The import waits for it.`)
    const { eventStore } = await openLog(
      configuration,
      {},
      withRetriesFor(configuration.EVENTSTORE_URL, { signal, onOutage }),
    )
    await checkKeys(eventStore, { emailHashKey }, { record: !options.dryRun })
    const tables = [opened.customers, opened.addresses].filter((table) => table !== undefined)
    const rejectedFiles = new Map(
      tables.map((table, index) => [
        table.path,
        createRejectedFile(rejectedPath(table.path, index, options.rejected), table),
      ]),
    )
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
        onRejected: (file, _, reason, row, above) => rejectedFiles.get(file)?.add(row, reason, above),
      })
      const written: string[] = []
      let unwritten: unknown
      const reports = await importing.catch(sayHowToGoOn).finally(() => {
        progress.stop()
        try {
          for (const file of rejectedFiles.values()) if (file.write()) written.push(file.path)
        } catch (error) {
          unwritten = error // thrown once all is reported that is known
        }
        if (written.length > 0)
          console.log(`Rejected rows, with the reasons, to correct and import: ${written.join(', ')}`)
      })
      if (customers !== undefined) printReport('customers', reports.customers)
      if (addresses !== undefined || (ofCustomers && isComposite(ofCustomers.columns)))
        printReport('addresses', reports.addresses)
      if (options.dryRun) console.log('Nothing was written (--dry-run).')
      if (unwritten !== undefined) throw unwritten
      if (signal.aborted) {
        console.log('Stopped. The same command resumes from here.')
        return 130
      }
      return written.length > 0 ? 1 : 0
    } finally {
      await eventStore.close()
    }
  })

/** @throws the error */
function sayHowToGoOn(error: unknown): never {
  if (error instanceof EventStoreUnavailable)
    console.error('The import is not at its end: the same command resumes it.')
  throw error
}

/** @param option `--rejected`; of the second file beside that of the first */
function rejectedPath(source: string, index: number, option: string | undefined): string {
  if (option === undefined) return `${source.replace(/\.csv$/i, '')}.rejected.csv`
  return index === 0 ? option : `${option.replace(/\.csv$/i, '')}.addresses.csv`
}

/** Prints the counts, the rejections by reason (most frequent first), and the unused columns. */
function printReport(what: string, { imported, alreadyThere, rejected, reasons, unused }: ImportReport): void {
  const rows = imported + alreadyThere + rejected
  console.log(`${what}: ${imported} imported, ${alreadyThere} already there, ${rejected} rejected (${rows} rows read)`)
  for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1])) {
    console.log(`  ${String(count).padStart(8)}  ${reason}`)
  }
  if (unused.length > 0) console.log(`  Columns that were not used: ${unused.join(', ')}`)
}
