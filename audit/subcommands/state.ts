/** `customers audit state` and `diff`: a customer as of a moment, and what changed between two. */
import type { EventStore } from '../../eventstore/port.ts'
import { newestRevision } from '../../eventstore/read.ts'
import { changesBetween, fieldsOf } from '../changes.ts'
import { AuditError } from '../errors.ts'
import { shownChange, shownDocument } from '../masking.ts'
import type { Moment } from '../moments.ts'
import { changeLines, columns, valueText } from '../terminal-text.ts'
import { type CustomerAt, customerAt, streamsOf } from '../timeline.ts'
import { timeInZone } from '../zones.ts'
import { type AuditContext, noteMask, openForCustomer, type ShowOptions, shownOf } from './context.ts'
import { line } from './output.ts'
import { momentOf, zoneNote, zoneOf } from './times.ts'

/** @returns the exit code @throws AuditError if the customer was not there then; as `openForCustomer` */
export async function state(
  context: AuditContext,
  customer: string,
  options: ShowOptions & { readonly at: string; readonly zone?: string },
): Promise<number> {
  const zone = zoneOf(options)
  const moment = momentOf(options.at, 'last', zone)
  const asked = { command: 'state', options: { at: options.at, zone: options.zone } }
  const { eventStore, customerId } = await openForCustomer(context, asked, customer, options)
  const [found] = await customerAt(eventStore, customerId, [moment])
  const { document, created } = await presentAt(eventStore, customerId, moment, found)
  const shown = shownOf(context, options)
  if (options.json) {
    const head = { customerId, revision: document.revision, time: created.toISOString() }
    await context.write(line({ ...head, customer: shownDocument(document, shown) }))
    return 0
  }
  const fields = fieldsOf(document).map(({ field, value }): [string, string] => {
    return [field, valueText(shownChange({ field, from: null, to: value }, shown, String(customerId)).to)]
  })
  const head = `Customer ${customerId} at revision ${document.revision}, since ${timeInZone(created, zone)}`
  await context.write(`${[head, ...columns(fields)].join('\n')}\n`)
  context.note(zoneNote(zone))
  noteMask(options, context)
  return 0
}

/** @returns the exit code @throws AuditError if the customer was not there then; as `openForCustomer` */
export async function diff(
  context: AuditContext,
  customer: string,
  options: ShowOptions & { readonly from: string; readonly to?: string; readonly zone?: string },
): Promise<number> {
  const zone = zoneOf(options)
  const from = momentOf(options.from, 'first', zone)
  const to = options.to === undefined ? { time: new Date() } : momentOf(options.to, 'last', zone)
  const asked = { command: 'diff', options: { from: options.from, to: options.to, zone: options.zone } }
  const { eventStore, customerId } = await openForCustomer(context, asked, customer, options)
  const found = await customerAt(eventStore, customerId, [from, to])
  const before = await presentAt(eventStore, customerId, from, found[0])
  const after = await presentAt(eventStore, customerId, to, found[1])
  const shown = shownOf(context, options)
  const changes = changesBetween(before.document, after.document).map((change) =>
    shownChange(change, shown, String(customerId)),
  )
  if (options.json) {
    await context.write(line({ customerId, from: endOf(before), to: endOf(after), changes }))
    return 0
  }
  const revisions = `revision ${before.document.revision} to ${after.document.revision}`
  const lines = changes.length > 0 ? changeLines(changes) : ['    nothing changed']
  await context.write(`${[`Customer ${customerId}, ${revisions}`, ...lines].join('\n')}\n`)
  context.note(zoneNote(zone))
  noteMask(options, context)
  return 0
}

const endOf = ({ document, created }: CustomerAt) => ({ revision: document.revision, time: created.toISOString() })

/** @throws AuditError if the customer was not there at the moment */
async function presentAt(
  eventStore: EventStore,
  customerId: number,
  moment: Moment,
  found: CustomerAt | undefined,
): Promise<CustomerAt> {
  if (found) return found
  const newest = await newestRevision(eventStore, streamsOf(customerId).customer)
  if ('revision' in moment && newest !== undefined) {
    throw new AuditError(`Customer ${customerId} has the revisions 0 to ${newest}; there is no ${moment.revision}.`)
  }
  throw new AuditError(`Customer ${customerId} was not there yet at that time.`)
}
