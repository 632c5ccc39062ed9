/** `customers audit history`: what happened to a customer. */
import { matchersOf } from '../criteria.ts'
import { shownEntry } from '../masking.ts'
import { entryText } from '../terminal-text.ts'
import { type TimelineEntry, timeline } from '../timeline.ts'
import {
  type AuditContext,
  noteMask,
  openForCustomer,
  type ShowOptions,
  shownAccess,
  shownOf,
  stopped,
} from './context.ts'
import { criteriaOf, type FilterOptions, filtersAsked } from './filters.ts'
import { createOutput, line } from './output.ts'
import { noteZone, zoneOf } from './times.ts'

/** @returns the exit code @throws UsageError for a filter that can't be used; as `openForCustomer` */
export async function history(
  context: AuditContext,
  customer: string,
  options: ShowOptions & FilterOptions,
): Promise<number> {
  const criteria = criteriaOf(options)
  const zone = zoneOf(options)
  const asked = { command: 'history', options: filtersAsked(options) }
  const { eventStore, customerId } = await openForCustomer(context, asked, customer, options)
  const output = createOutput(context.write)
  const { fits } = matchersOf(criteria)
  const isShown = shownAccess(context)
  const shown = shownOf(context, options)
  const print = (entry: TimelineEntry) =>
    options.json ? line(entryJson(entry)) : entryText(entry, { styled: context.styled, zone })
  const entries = timeline(eventStore, customerId, undefined, { fits: (event) => isShown(event) && fits(event) })
  for await (const entry of entries) {
    await output.write(print(shownEntry(entry, shown)))
    if (context.signal?.aborted) break
  }
  await output.end()
  noteZone(context, options, zone)
  noteMask(options, context)
  return stopped(context)
}

function entryJson({ created, places: _, ...entry }: TimelineEntry): object {
  const { stream, revision, id, type, ...rest } = entry
  return { stream, revision, id, type, time: created.toISOString(), ...rest }
}
