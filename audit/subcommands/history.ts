/** `customers audit history`: what happened to a customer. */
import { shownChange, shownData } from '../masking.ts'
import { entryText } from '../terminal-text.ts'
import { type TimelineEntry, timeline } from '../timeline.ts'
import { type AuditContext, noteMask, openForCustomer, type ShowOptions } from './context.ts'
import { createOutput, line } from './output.ts'

/** @returns the exit code @throws as `openForCustomer` */
export async function history(context: AuditContext, customer: string, options: ShowOptions): Promise<number> {
  const { eventStore, customerId } = await openForCustomer(context, { command: 'history' }, customer, options)
  const output = createOutput(context.write)
  for await (const entry of timeline(eventStore, customerId)) {
    const shown = shownEntry(entry, options.reveal)
    await output.write(options.json ? line(entryJson(shown)) : entryText(customerId, shown, context.styled))
  }
  await output.end()
  noteMask(options, context)
  return 0
}

/** A timeline entry, masked if necessary. */
function shownEntry(entry: TimelineEntry, reveal: boolean): TimelineEntry {
  return {
    ...entry,
    changes: entry.changes.map((change) => shownChange(change, reveal)),
    details: shownData(entry.details, reveal) as TimelineEntry['details'],
  }
}

function entryJson({ created, places: _, ...entry }: TimelineEntry): object {
  const { stream, revision, id, type, ...rest } = entry
  return { stream, revision, id, type, time: created.toISOString(), ...rest }
}
