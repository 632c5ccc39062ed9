/** `customers audit find`: searches events in the whole log, or of one customer. */
import { findEvents } from '../find.ts'
import { placeText } from '../places.ts'
import { type EventRecord, recordOf } from '../records.ts'
import { plain, valueText } from '../terminal-text.ts'
import { timeInZone } from '../zones.ts'
import { type AuditContext, noteMask, type ShowOptions, shownAccess, shownOf, stopped } from './context.ts'
import { type FilterOptions, openFiltered } from './filters.ts'
import { createOutput, line } from './output.ts'
import { noteZone } from './times.ts'

/**
 * @param customer a number or an e-mail address; none: the whole log
 * @returns the exit code
 * @throws UsageError for a filter that can't be used; as `openForCustomer`
 */
export async function find(
  context: AuditContext,
  customer: string | undefined,
  options: ShowOptions & FilterOptions,
): Promise<number> {
  const { eventStore, criteria, zone } = await openFiltered(context, 'find', customer, options)
  const output = createOutput(context.write)
  const bar = context.progress('searching', 'events')
  const isShown = shownAccess(context)
  const shown = shownOf(context, options)
  let found = 0
  const { searched } = await findEvents(
    eventStore,
    criteria,
    (event) => {
      if (!isShown(event)) return undefined
      found++
      const record = recordOf(event, shown)
      return output.write(options.json ? line(record) : foundText(record, timeInZone(event.created, zone)))
    },
    { onProgress: (count, share) => bar.report(count, share), signal: context.signal },
  )
  await output.end()
  bar.report(searched, 1)
  bar.stop()
  context.note(`${found} of ${searched} events looked at ${found === 1 ? 'fits' : 'fit'}.`)
  noteZone(context, options, zone)
  noteMask(options, context)
  return stopped(context)
}

function foundText(record: EventRecord, time: string): string {
  const { stream, revision, type, actor, requestId, data } = record
  const isGroup = typeof data === 'object' && data !== null && !Array.isArray(data)
  const fields = Object.entries(isGroup ? data : { data })
    .filter(([, value]) => value != null)
    .map(([name, value]) => `${plain(name)}: ${valueText(value ?? null)}`)
  const head = `${time}  ${plain(placeText({ stream, revision }))}  ${plain(type)}`
  const who = `by ${plain(actor ?? '-')}, request ${plain(requestId ?? '-')}`
  return `${head}  ${who}\n${fields.length > 0 ? `    ${fields.join(', ')}\n` : ''}`
}
