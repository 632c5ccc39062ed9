/** A customer: the timeline by request, and beside it the customer as of a moment. */
import { resolveCustomer } from '../../../audit/customer-ref.ts'
import type { ParkedEvent } from '../../../projections/read-model.ts'
import { count, empty, facts, time } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { type Html, html } from '../../html.ts'
import { action, type ConsoleApp, type ConsoleOptions, page, type View } from '../../routes.ts'
import { shownAccess } from '../access-retention.ts'
import { FIND_ROLES } from '../find/roles.ts'
import { address } from './address.ts'
import { groupItem } from './groups.ts'
import { ENTRIES, type History, readHistory } from './history.ts'
import { readMoments, readState } from './state.ts'
import { hiddenFields, statePanel } from './state-panel.ts'

export function customer(app: ConsoleApp): void {
  registerOpening(app)
  page(
    app,
    { path: '/customers/:id', title: 'Customer', roles: FIND_ROLES, section: '/find', isPersonal: true },
    async (view) => {
      const { options, query, now } = view
      const customerId = readId(view)
      const moments = readMoments(query)
      const field = query.get('field')?.trim() || undefined
      const page = readPage(query.get('page'))
      const shown = await view.reveal({ command: 'history', customerId })
      const [history, state, parked] = await Promise.all([
        readHistory(options, customerId, { shown, field, page, isShown: shownAccess(options, now) }),
        readState(options.eventStore, customerId, moments, { shown, now }),
        parkedEvent(options, customerId),
      ])
      const { groups, newest } = history
      const body = html`${parked && parkedNote(parked)}
${facts([
  ['Revisions', newest < 0 ? 'none' : count(newest + 1)],
  [field === undefined ? 'Events in the timeline' : `Events that changed ${field}`, count(history.count)],
  ['In the log', html`<a href="/find?customer=${customerId}">Search and export its events</a>`],
])}
<div class="two-columns"><section aria-labelledby="timeline-title"><h2 id="timeline-title">Timeline</h2>
${fieldFilter(customerId, query, field)}
${groups.length === 0 ? nothing(customerId, field) : html`<ol class="timeline">${groups.map((group) => groupItem(customerId, query, group))}</ol>`}
${pager(customerId, query, page, history)}
</section>
${statePanel(customerId, state, query, newest)}</div>`
      return { title: `Customer ${customerId}`, body, command: commands(customerId, query, field) }
    },
  )
}

/** The form of the home page. An address is replaced by the customer's number. */
function registerOpening(app: ConsoleApp): void {
  action(app, { path: '/customers', roles: FIND_ROLES }, async ({ form, options }) => {
    const given = form.get('customer')?.trim() ?? ''
    return { redirect: `/customers/${await resolveCustomer(options.eventStore, given, () => options.emailHashKey)}` }
  })
}

/** @throws Refused 404 for what is no customer's number */
function readId({ params }: View): number {
  const { id = '' } = params
  if (!/^[1-9]\d{0,14}$/.test(id)) throw new Refused(404, 'That is no customer number.')
  return Number(id)
}

/** @throws Refused */
function readPage(text: string | null): number {
  if (text === null) return 1
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new Refused(400, 'The address of this page is incomplete. Start at the first page of the timeline.')
}

/** undefined: none, or the read model does not answer. */
async function parkedEvent({ readModel }: ConsoleOptions, customerId: number): Promise<ParkedEvent | undefined> {
  const parked = await readModel.parked().catch(() => [])
  return parked.find((event) => event.customerId === customerId)
}

const parkedNote = ({ revision, type, reason, at }: ParkedEvent): Html =>
  html`<p class="fault"><strong>Parked:</strong> the event at revision ${revision} (${type || 'missing'}) can't be applied:
${reason} Since ${time(at)} the customer's document stays as it was before it, until an operator replays it or drops it.</p>`

const FIELDS = ['addresses', 'city', 'street', 'telephone', 'email', 'firstname', 'lastname', 'dob', 'newsletter']

function fieldFilter(customerId: number, query: URLSearchParams, field: string | undefined): Html {
  return html`<form class="filter" method="get" action="/customers/${customerId}">${hiddenFields(query, ['at', 'from', 'zone'])}
<label for="c-field">Only changes of</label>
<span class="field"><input id="c-field" name="field" value="${field}" list="c-fields" placeholder="a field, such as addresses or email" autocomplete="off"><button>Filter</button></span>
<datalist id="c-fields">${FIELDS.map((name) => html`<option value="${name}"></option>`)}</datalist>
${field !== undefined && html`<a href="${address(customerId, query, { field: undefined, page: undefined })}">All changes</a>`}</form>`
}

const nothing = (customerId: number, field: string | undefined): Html =>
  empty(
    field === undefined ? 'Nothing is on this page of the timeline.' : `Nothing has changed ${field}.`,
    html`<a href="/customers/${customerId}">Show the timeline from its newest event</a>`,
  )

function pager(customerId: number, query: URLSearchParams, page: number, { count: all }: History): Html | false {
  const pages = Math.ceil(all / ENTRIES)
  if (pages <= 1) return false
  const link = (to: number, label: string) =>
    html`<a class="button" href="${address(customerId, query, { page: String(to) })}">${label}</a>`
  return html`<nav class="actions" aria-label="Pages of the timeline">${page > 1 && link(page - 1, 'Newer')}
<span>Page ${page} of ${pages}</span> ${page < pages && link(page + 1, 'Older')}</nav>`
}

function commands(customerId: number, query: URLSearchParams, field: string | undefined): string {
  const [at, from] = [query.get('at')?.trim(), query.get('from')?.trim()]
  const option = (name: string, value: string | undefined) => (value ? ` --${name} '${value.replaceAll("'", '')}'` : '')
  return [
    `customers audit history ${customerId}${option('field', field)}`,
    ...(at ? [`customers audit state ${customerId}${option('at', at)}`] : []),
    ...(from ? [`customers audit diff ${customerId}${option('from', from)}${option('to', at)}`] : []),
  ].join('\n')
}
