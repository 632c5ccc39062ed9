/** `npm run import -- customers.csv addresses.csv`: moves customers in from Magento's export files. */
import { checkKeys } from '../eventstore/key-fingerprints.ts'
import { openLog } from '../eventstore/open.ts'
import { patientWith } from '../eventstore/retry.ts'
import { ConfigurationError } from '../runtime/configuration.ts'
import { readArguments, runCommand } from '../runtime/process.ts'
import { showProgress } from '../runtime/progress.ts'
import { loadEmailHashKey } from '../runtime/service-keys.ts'
import { loadStore } from '../schema/store.ts'
import { isComposite } from '../subgraph/import/columns.ts'
import { openFiles } from '../subgraph/import/files.ts'
import { importFiles } from '../subgraph/import/importer.ts'
import { createRejectedFile } from '../subgraph/import/rejected-file.ts'
import type { ImportReport } from '../subgraph/import/reports.ts'

const USAGE =
  'CUSTOMERS.csv [ADDRESSES.csv] [--addresses ADDRESSES.csv] [--encoding NAME] [--rejected FILE] [--timezone ZONE] [--dry-run]'

await runCommand(async (configuration, signal) => {
  const { values, positionals } = readArguments(
    {
      allowPositionals: true,
      options: {
        addresses: { type: 'string' },
        encoding: { type: 'string' },
        rejected: { type: 'string' },
        timezone: { type: 'string', default: 'UTC' },
        'dry-run': { type: 'boolean', default: false },
      },
    },
    USAGE,
  )
  const [customers, addresses = values.addresses] = positionals
  const first = customers ?? addresses
  if (first === undefined || positionals.length > 2) throw new ConfigurationError(`Accepted: ${USAGE}.`)
  const timeZone = checkTimeZone(values.timezone)
  const store = loadStore(configuration.STORE_CONFIG)
  const files = { store, customers, addresses, encoding: values.encoding }
  const opened = await openFiles(files)
  const ofCustomers = opened.customers

  const emailHashKey = loadEmailHashKey(configuration)
  const onOutage = (reason: string) => console.error(`${reason} The import waits for it.`)
  const { eventStore } = await openLog(
    configuration,
    {},
    patientWith(configuration.EVENTSTORE_URL, { signal, onOutage }),
  )
  await checkKeys(eventStore, { emailHashKey }, { record: values['dry-run'] !== true })
  const tables = [opened.customers, opened.addresses].filter((table) => table !== undefined)
  const rejectedFiles = new Map(
    tables.map((table, index) => [table.path, createRejectedFile(rejectedPath(table.path, index), table)]),
  )

  /** Of the second file beside that of the first. */
  function rejectedPath(path: string, index: number): string {
    if (values.rejected === undefined) return `${path.replace(/\.csv$/i, '')}.rejected.csv`
    return index === 0 ? values.rejected : `${values.rejected.replace(/\.csv$/i, '')}.addresses.csv`
  }

  const progress = showProgress('importing', 'rows')
  try {
    const importing = importFiles({
      eventStore,
      emailHashKey,
      ...files,
      dryRun: values['dry-run'],
      timeZone,
      signal,
      onProgress: (rows, share) => progress.report(rows, share),
      onRejected: (file, _, reason, row, above) => rejectedFiles.get(file)?.add(row, reason, above),
    })
    let written: string[] = []
    const reports = await importing.finally(() => {
      progress.stop()
      written = [...rejectedFiles.values()].filter((file) => file.write()).map(({ path }) => path)
      if (written.length > 0) console.log(`What was rejected and why, to be mended and imported: ${written.join(', ')}`)
    })
    if (customers !== undefined) tell('customers', reports.customers)
    if (addresses !== undefined || (ofCustomers && isComposite(ofCustomers.columns)))
      tell('addresses', reports.addresses)
    if (values['dry-run']) console.log('Nothing was written (--dry-run).')
    if (signal.aborted) {
      console.log('Stopped. The same command goes on from here.')
      return 130
    }
    return written.length > 0 ? 1 : 0
  } finally {
    await eventStore.close()
  }
})

/** @throws ConfigurationError */
function checkTimeZone(zone: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return zone
  } catch {
    throw new ConfigurationError(`--timezone: ${JSON.stringify(zone)} is none; accepted: UTC, Europe/Berlin and so on.`)
  }
}

/** The counts, what was rejected by reason, most first, and the columns that nothing was done with. */
function tell(what: string, { imported, alreadyThere, rejected, reasons, unused }: ImportReport): void {
  const rows = imported + alreadyThere + rejected
  console.log(`${what}: ${imported} imported, ${alreadyThere} already there, ${rejected} rejected (${rows} rows read)`)
  for (const [reason, count] of [...reasons].sort((a, b) => b[1] - a[1])) {
    console.log(`  ${String(count).padStart(8)}  ${reason}`)
  }
  if (unused.length > 0) console.log(`  Columns that were not used: ${unused.join(', ')}`)
}
