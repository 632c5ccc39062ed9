/** `customers audit export`: the events of the log, or of one customer; the same as `find` finds. */
import { UsageError } from '../../runtime/errors.ts'
import { CSV_HEADER, createCsv } from '../csv.ts'
import { findEvents } from '../find.ts'
import { recordOf } from '../records.ts'
import { type AuditContext, type ShowOptions, shownAccess, shownOf, stopped } from './context.ts'
import { type FilterOptions, openFiltered } from './filters.ts'
import { createOutput, line, openFile } from './output.ts'
import { noteZone } from './times.ts'

export interface ExportOptions extends ShowOptions, FilterOptions {
  /** Default: jsonl. */
  readonly format?: 'jsonl' | 'csv'
  readonly output?: string
}

/**
 * @param customer a number or an e-mail address; none: the whole log
 * @returns the exit code
 * @throws UsageError for a filter that can't be used; as `openForCustomer`
 */
export async function exportEvents(
  context: AuditContext,
  customer: string | undefined,
  options: ExportOptions,
): Promise<number> {
  const { format } = options
  if (options.json && format === 'csv') throw new UsageError('--json and --format csv exclude each other.')
  const { eventStore, criteria, zone } = await openFiltered(context, 'export', customer, options, { format })
  const file = options.output === undefined ? undefined : openFile(options.output)
  const output = createOutput(file?.write ?? context.write)
  const bar = context.progress('exporting', 'events')
  const isShown = shownAccess(context)
  const shown = shownOf(context, options)
  const csv = createCsv(eventStore, shown, zone, criteria.fields)
  if (format === 'csv') await output.write(CSV_HEADER)
  const { searched } = await findEvents(
    eventStore,
    criteria,
    (event) => {
      if (!isShown(event)) return undefined
      return format === 'csv' ? csv(event).then(output.write) : output.write(line(recordOf(event, shown)))
    },
    { onProgress: (count, share) => bar.report(count, share), signal: context.signal },
  )
  await output.end()
  await file?.close()
  bar.report(searched, 1)
  bar.stop()
  noteZone(context, { ...options, json: format !== 'csv' }, zone)
  return stopped(context)
}
