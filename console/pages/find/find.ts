/** Find: events of the whole log, or of one customer, by an auditor's filters. Rows are sent as they are found. */
import { resolveCustomer } from '../../../audit/customer-ref.ts'
import { countTypes, findEvents, type Searched } from '../../../audit/find.ts'
import type { EventStore, Position } from '../../../eventstore/port.ts'
import { logEnd } from '../../../eventstore/read.ts'
import { count, empty, table } from '../../components.ts'
import { type Html, html } from '../../html.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import { streamed } from '../../streamed.ts'
import { eventWords } from '../../words.ts'
import { shownAccess } from '../access-retention.ts'
import { exportPanel, registerExport } from './export.ts'
import {
  asOptions,
  criteriaFrom,
  cursorOf,
  type Filters,
  findUrl,
  isFiltered,
  readCursor,
  readFilters,
  refuseAddresses,
} from './filters.ts'
import { searchForm } from './form.ts'
import { FIND_ROLES } from './roles.ts'
import { eventRow, progressRow, TABLE_END, TABLE_HEAD } from './rows.ts'

/** Rows of a page. */
const ROWS = 50

export function find(app: ConsoleApp): void {
  page(
    app,
    {
      path: '/find',
      title: 'Find',
      roles: FIND_ROLES,
      nav: {
        label: 'Find',
        about: 'Who changed what, and when: search the log by customer, request, field, person and day.',
      },
      isPersonal: true,
      isLong: true,
    },
    (view) => {
      const filters = readFilters(view.query)
      criteriaFrom(filters)
      const after = readCursor(view.query.get('after'))
      return { body: results(view, filters, after), command: `customers audit find${asOptions(filters)}` }
    },
  )
  action(app, { path: '/find/search', roles: FIND_ROLES }, async ({ form, options }) => {
    const filters = readFilters(form)
    const { customer } = filters
    // An address never gets into an address bar, a log or a history.
    const id =
      customer?.includes('@') && (await resolveCustomer(options.eventStore, customer, () => options.emailHashKey))
    const found = { ...filters, ...(id && { customer: String(id) }) }
    refuseAddresses(found)
    criteriaFrom(found)
    return { redirect: findUrl(found) }
  })
  page(app, { path: '/find/types', title: 'Events by type', roles: FIND_ROLES, isLong: true }, (view) => {
    const filters = readFilters(view.query)
    return { body: typeCounts(view, filters) }
  })
  registerExport(app)
}

/** What a search has come to. */
interface Outcome extends Searched {
  readonly rows: number
  /** The last event that was shown. */
  readonly last: Position | undefined
}

async function* results(view: View, filters: Filters, after: Position | undefined): AsyncGenerator<Html> {
  yield searchForm(view, filters)
  const total = await totalOf(view.options.stored)
  yield html`<h2>${isFiltered(filters) ? 'Events found' : 'All events'} <button type="button" class="quiet" data-stop hidden>Stop</button></h2>
${TABLE_HEAD}`
  yield progressRow('Searching …')
  const outcome = yield* streamed<Html, Outcome>((give) => searchRows(view, filters, { after, total }, give))
  if (outcome.rows === 0) yield progressRow('Nothing found.')
  yield TABLE_END
  yield summary(filters, outcome, { total, isContinued: after !== undefined })
  if (outcome.rows === 0) return
  // The streams of one customer are counted at once.
  if (filters.customer !== undefined) yield await typeLinks(view, filters)
  yield exportPanel(view, filters)
}

/** Gives a row for each event found, up to a page of them, and now and then one that says how far the search is. */
async function searchRows(
  { options, signal, now }: View,
  filters: Filters,
  { after, total }: { readonly after: Position | undefined; readonly total: number | undefined },
  give: (row: Html) => Promise<unknown>,
): Promise<Outcome> {
  const { criteria } = criteriaFrom(filters)
  const isShown = shownAccess(options, now)
  let rows = 0
  let last: Position | undefined
  const searched = await findEvents(
    options.eventStore,
    criteria,
    (event) => {
      if (!isShown(event)) return undefined
      if (rows === ROWS) return 'stop'
      rows++
      last = event.position
      return give(eventRow(event))
    },
    {
      newestFirst: filters.order === 'newest',
      after,
      signal,
      stored: true,
      onProgress: (count, share) => void give(progressRow(lookedAt(count, total, share))),
    },
  )
  return { ...searched, rows, last }
}

/** How many events the log has, where positions count them. */
async function totalOf(stored: EventStore): Promise<number | undefined> {
  if (!stored.readsFromAnyPosition) return undefined
  return Number((await logEnd(stored))?.commit ?? 0n)
}

function lookedAt(searched: number, total: number | undefined, share?: number): string {
  if (total !== undefined) return `${count(searched)} of ${count(total)} events looked at`
  return `${count(searched)} events looked at${share === undefined ? '' : ` (${Math.round(share * 100)} %)`}`
}

function summary(
  filters: Filters,
  { rows, searched, isComplete, last }: Outcome,
  { total, isContinued }: { readonly total: number | undefined; readonly isContinued: boolean },
): Html {
  if (rows === 0) {
    return isContinued
      ? empty(
          'There are no more events that fit.',
          html`${lookedAt(searched, total)}. <a href="${findUrl(filters)}">Back to the first ones</a>`,
        )
      : empty(
          'No event fits.',
          html`${lookedAt(searched, total)}. Take a filter away, or widen the days. An event of a customer is found by the customer's number; the name of a person is in no filter, because names are encrypted.`,
        )
  }
  const order = filters.order === 'newest' ? 'older' : 'newer'
  return html`<p class="looked-at" role="status">${count(rows)} ${rows === 1 ? 'event' : 'events'} shown. ${isComplete ? `The search is complete: ${count(searched)} events looked at.` : `${lookedAt(searched, total)} so far.`}</p>
<nav class="actions" aria-label="More events">${!isComplete && last && html`<a class="button" href="${findUrl(filters, { after: cursorOf(last) })}">Show ${order} ones</a>`}
${isContinued && html`<a href="${findUrl(filters)}">Back to the first ones</a>`} ${filters.customer === undefined && html`<a href="${findUrl(filters, {}, '/find/types')}">Count these by type</a>`}</nav>`
}

async function typeLinks({ options, signal }: View, filters: Filters): Promise<Html> {
  const { types } = await countTypes(options.eventStore, criteriaFrom(filters).criteria, { signal })
  return html`<h3>By type</h3><ul class="type-links">${[...types].map(
    ([type, number]) =>
      html`<li><a class="cell" href="${findUrl({ ...filters, type: [type] })}">${eventWords(type)}</a> ${count(number)}</li>`,
  )}</ul>`
}

async function* typeCounts({ options, signal }: View, filters: Filters): AsyncGenerator<Html> {
  const { criteria } = criteriaFrom(filters)
  yield html`<p>Events that fit <a href="${findUrl(filters)}">this search</a>, by their type. The whole log is read, which takes some seconds for a million events.</p>`
  const { types, searched } = await countTypes(options.eventStore, criteria, { signal })
  const rows = [...types].map(([type, number]) => [
    html`<a href="${findUrl({ ...filters, type: [type] })}">${eventWords(type)}</a>`,
    html`<code>${type}</code>`,
    count(number),
  ])
  if (rows.length === 0) {
    yield empty(
      'No event fits.',
      html`${lookedAt(searched, undefined)}. <a href="${findUrl(filters)}">Change the search</a>`,
    )
    return
  }
  yield table('Events by type', [{ label: 'Event' }, { label: 'Type' }, { label: 'Events', isNumber: true }], rows)
  yield html`<p role="status">${lookedAt(searched, await totalOf(options.stored))}.</p>`
}
