/** `npm run import -- customers.csv addresses.csv`: moves customers in from Magento's export files. */
import { appendFileSync, existsSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { checkKeys } from '../../eventstore/key-fingerprints.ts'
import { openLog } from '../../eventstore/open.ts'
import { ConfigurationError } from '../../schema/configuration.ts'
import { loadEmailHashKey } from '../../schema/keys.ts'
import { readArguments, runCommand } from '../../schema/process.ts'
import { showProgress } from '../../schema/progress.ts'
import { loadStore } from '../../schema/store.ts'
import { type ImportReport, importFiles } from './importer.ts'
import { columnsOf } from './rows.ts'

const USAGE =
  'CUSTOMERS.csv [ADDRESSES.csv] [--addresses ADDRESSES.csv] [--rejected FILE] [--timezone ZONE] [--dry-run]'

const HEAD = 'file,line,reason\n'

await runCommand(async (configuration, signal) => {
  const { values, positionals } = readArguments(
    {
      allowPositionals: true,
      options: {
        addresses: { type: 'string' },
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
  if (customers !== undefined) await checkFile(customers, 'email')
  if (addresses !== undefined) await checkFile(addresses, '_email')

  const store = loadStore(configuration.STORE_CONFIG)
  const emailHashKey = loadEmailHashKey(configuration)
  const { eventStore } = await openLog(configuration)
  await checkKeys(eventStore, { emailHashKey }, { record: values['dry-run'] !== true })
  const rejectedPath = values.rejected ?? `${first.replace(/\.csv$/i, '')}.rejected.csv`
  dropRejected(rejectedPath)
  let rejected = false
  const progress = showProgress('importing', 'rows')
  try {
    const importing = importFiles({
      eventStore,
      emailHashKey,
      store,
      customers,
      addresses,
      dryRun: values['dry-run'],
      timeZone: checkTimeZone(values.timezone),
      signal,
      onProgress: (rows, share) => progress.report(rows, share),
      onRejected(file, line, reason) {
        if (!rejected) writeFileSync(rejectedPath, HEAD)
        rejected = true
        appendFileSync(rejectedPath, `${quoted(file)},${line},${quoted(reason)}\n`)
      },
    })
    const reports = await importing.finally(() => progress.stop())
    if (customers !== undefined) tell('customers', reports.customers)
    if (addresses !== undefined) tell('addresses', reports.addresses)
    if (values['dry-run']) console.log('Nothing was written (--dry-run).')
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

/** @throws ConfigurationError */
function checkTimeZone(zone: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return zone
  } catch {
    throw new ConfigurationError(`--timezone: ${JSON.stringify(zone)} is none; accepted: UTC, Europe/Berlin and so on.`)
  }
}

function tell(what: string, { imported, alreadyThere, rejected }: ImportReport): void {
  console.log(`${what}: ${imported} imported, ${alreadyThere} already there, ${rejected} rejected`)
}

/** @throws ConfigurationError in one line */
async function checkFile(path: string, column: string): Promise<void> {
  try {
    await access(path)
  } catch (error) {
    throw new ConfigurationError(`${JSON.stringify(path)} can't be read (${(error as NodeJS.ErrnoException).code}).`)
  }
  let columns: readonly string[]
  try {
    columns = await columnsOf(path)
  } catch (error) {
    throw new ConfigurationError(`${path} is no CSV file: ${(error as Error).message.split('\n')[0]}`)
  }
  if (columns.length > 0 && !columns.includes(column)) {
    throw new ConfigurationError(
      `${path} has no column ${column}; accepted: Magento's export of customers, then that of addresses.`,
    )
  }
}

function quoted(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
