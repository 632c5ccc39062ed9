/** The filters of `find`, `export` and `history`: the same options everywhere. */
import type { EventStore } from '../../eventstore/port.ts'
import { UsageError } from '../../runtime/errors.ts'
import { ACCESS_KINDS } from '../../schema/audit-events.ts'
import { eventSchemas } from '../../schema/events.ts'
import { type Criteria, parseField } from '../criteria.ts'
import { ACCEPTED_PLACES, parseEvent } from '../places.ts'
import { type AuditContext, openForAll, openForCustomer, type ShowOptions } from './context.ts'
import { timeOf, zoneOf } from './times.ts'

export interface FilterOptions {
  /** A number or an e-mail address: the same as the command's argument. */
  readonly customer?: string
  readonly actor?: readonly string[]
  readonly type?: readonly string[]
  readonly field?: readonly string[]
  readonly request?: readonly string[]
  readonly event?: readonly string[]
  readonly access?: readonly string[]
  readonly since?: string
  readonly until?: string
  /** Of dates, and of times without an offset. Default: UTC. */
  readonly zone?: string
}

export const ACCEPTED_ACCESS = ['any', 'none', ...ACCESS_KINDS] as const

/** @throws UsageError for a filter that can't be used */
export function criteriaOf(options: FilterOptions): Criteria {
  const { actor, type, field, request, event, access, since, until, zone } = options
  for (const each of type ?? []) {
    if (Object.hasOwn(eventSchemas, each)) continue
    throw new UsageError(`There is no event type ${JSON.stringify(each)}; types are named as in a history.`)
  }
  for (const each of field ?? []) {
    if (parseField(each)) continue
    throw new UsageError(
      `There is no field ${JSON.stringify(each)}; accepted: names as in a history, such as firstname or addresses.city.`,
    )
  }
  const events = event?.map((each) => {
    const parsed = parseEvent(each)
    if (parsed) return parsed
    throw new UsageError(
      `--event: ${JSON.stringify(each)} can't be used; accepted: an event's id, or ${ACCEPTED_PLACES}.`,
    )
  })
  const [from, to] = [timeOf('since', since, zone), timeOf('until', until, zone)]
  if (from && to && from > to) throw new UsageError('--since is after --until, so nothing can fit.')
  return {
    actors: actor,
    types: type,
    fields: field,
    requests: request,
    events,
    access: access?.map(accessOf),
    since: from,
    until: to,
  }
}

function accessOf(text: string): (typeof ACCEPTED_ACCESS)[number] {
  const known = ACCEPTED_ACCESS.find((each) => each === text)
  if (known) return known
  throw new UsageError(`--access: ${JSON.stringify(text)} can't be used; accepted: ${ACCEPTED_ACCESS.join(', ')}.`)
}

/**
 * The filters as they are recorded with a disclosure: without personal data, so a text that may be an e-mail address is
 * left out.
 */
export function filtersAsked(options: FilterOptions): Readonly<Record<string, string | readonly string[] | undefined>> {
  const { actor, type, field, request, event, access, since, until, zone } = options
  const asked = { actor, type, field, request, event, access, since, until, zone }
  const safe = (text: string) => (text.includes('@') ? '(an address)' : text)
  return Object.fromEntries(
    Object.entries(asked).map(([name, value]) => [name, typeof value === 'string' ? safe(value) : value?.map(safe)]),
  )
}

/**
 * Opens the log for a command about the whole log, or about one customer; a disclosure is recorded first.
 * @param argument the customer as an argument; it may be given as an option instead
 * @param more what else is recorded with a disclosure
 * @throws UsageError for a filter that can't be used; as `openForCustomer`
 */
export async function openFiltered(
  context: AuditContext,
  command: string,
  argument: string | undefined,
  options: ShowOptions & FilterOptions,
  more: Readonly<Record<string, string | undefined>> = {},
): Promise<{ readonly eventStore: EventStore; readonly criteria: Criteria; readonly zone: string }> {
  const zone = zoneOf(options)
  const criteria = criteriaOf(options)
  if (argument !== undefined && options.customer !== undefined && argument !== options.customer) {
    throw new UsageError('Name the customer once: as the argument, or with --customer.')
  }
  const customer = argument ?? options.customer
  const asked = { command, options: { ...more, ...filtersAsked(options) } }
  if (customer === undefined) return { eventStore: await openForAll(context, asked, options), criteria, zone }
  const { eventStore, customerId } = await openForCustomer(context, asked, customer, options)
  return { eventStore, criteria: { ...criteria, customerId }, zone }
}
