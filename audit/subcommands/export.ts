/** `customers audit export`: the events of the log, or of one customer. */
import { rangeBetween, shareBetween } from '../../eventstore/times.ts'
import { UsageError } from '../../runtime/errors.ts'
import { CSV_HEADER, csvLine, recordOf } from '../records.ts'
import { timelineEvents } from '../timeline.ts'
import { type AuditContext, openForAll, openForCustomer, type ShowOptions, shownAccess, stopped } from './context.ts'
import { createOutput, line, openFile } from './output.ts'
import { timeOf } from './times.ts'

export interface ExportOptions extends ShowOptions {
  /** Default: jsonl. */
  readonly format?: 'jsonl' | 'csv'
  readonly output?: string
  /** When the store wrote the events, both inclusive. */
  readonly since?: string
  readonly until?: string
}

/** @param customer none: the whole log @returns the exit code @throws as `openForCustomer` */
export async function exportEvents(
  context: AuditContext,
  customer: string | undefined,
  options: ExportOptions,
): Promise<number> {
  const { format } = options
  const [since, until] = [timeOf('since', options.since), timeOf('until', options.until)]
  if (options.json && format === 'csv') throw new UsageError('--json and --format csv exclude each other.')
  const asked = { command: 'export', options: { format, since: options.since, until: options.until } }
  const { eventStore, customerId } =
    customer === undefined
      ? { eventStore: await openForAll(context, asked, options), customerId: undefined }
      : await openForCustomer(context, asked, customer, options)
  const file = options.output === undefined ? undefined : openFile(options.output)
  const output = createOutput(file?.write ?? context.write)
  const bar = context.progress('exporting', 'events')
  const isShown = shownAccess(context)
  const { from, to } = await rangeBetween(eventStore, since, until)
  const shareOf = customerId === undefined ? await shareBetween(eventStore, from, to) : () => undefined
  const events =
    customerId === undefined ? eventStore.readAll({ from, ...(to && { to }) }) : timelineEvents(eventStore, customerId)
  const print = format === 'csv' ? csvLine : line
  let count = 0
  if (format === 'csv') await output.write(CSV_HEADER)
  for await (const event of events) {
    if (!isShown(event) || (since && event.created < since) || (until && event.created > until)) continue
    await output.write(print(recordOf(event, options.reveal)))
    if (++count % 1_000 !== 0) continue
    bar.report(count, shareOf(event.position))
    if (context.signal?.aborted) break
  }
  await output.end()
  await file?.close()
  bar.report(count, 1)
  bar.stop()
  return stopped(context)
}
