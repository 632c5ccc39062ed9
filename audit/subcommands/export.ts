/** `customers audit export`: the events of the log, or of one customer. */
import { endOfLog } from '../../eventstore/read.ts'
import { UsageError } from '../../runtime/errors.ts'
import { CSV_HEADER, csvLine, recordOf } from '../records.ts'
import { timelineEvents } from '../timeline.ts'
import { type AuditContext, openForAll, openForCustomer, type ShowOptions, shownAccess, stopped } from './context.ts'
import { createOutput, line, openFile, share } from './output.ts'

export interface ExportOptions extends ShowOptions {
  /** Default: jsonl. */
  readonly format?: 'jsonl' | 'csv'
  readonly output?: string
}

/** @param customer none: the whole log @returns the exit code @throws as `openForCustomer` */
export async function exportEvents(
  context: AuditContext,
  customer: string | undefined,
  options: ExportOptions,
): Promise<number> {
  const { format } = options
  if (options.json && format === 'csv') throw new UsageError('--json and --format csv exclude each other.')
  const asked = { command: 'export', options: { format } }
  const { eventStore, customerId } =
    customer === undefined
      ? { eventStore: await openForAll(context, asked, options), customerId: undefined }
      : await openForCustomer(context, asked, customer, options)
  const file = options.output === undefined ? undefined : openFile(options.output)
  const output = createOutput(file?.write ?? context.write)
  const bar = context.progress('exporting', 'events')
  const isShown = shownAccess(context)
  const end = customerId === undefined ? await endOfLog(eventStore) : undefined
  const print = format === 'csv' ? csvLine : line
  let count = 0
  if (format === 'csv') await output.write(CSV_HEADER)
  for await (const event of customerId === undefined ? eventStore.readAll() : timelineEvents(eventStore, customerId)) {
    if (!isShown(event)) continue
    await output.write(print(recordOf(event, options.reveal)))
    if (++count % 1_000 !== 0) continue
    bar.report(count, end === undefined ? undefined : share(event.position.commit, end))
    if (context.signal?.aborted) break
  }
  await output.end()
  await file?.close()
  bar.report(count, 1)
  bar.stop()
  return stopped(context)
}
