/** Who looked at what, and why: by person and by customer. */
import { countLooks, type Look, type LookCount, newestLooks } from '../../../audit/looks.ts'
import { parseTime } from '../../../audit/moments.ts'
import { badge, count, empty, table, time } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { type Html, html } from '../../html.ts'
import { type ConsoleApp, page, type View } from '../../routes.ts'
import { LOOKS_ROLES } from './roles.ts'

/** Looks that a page counts, and rows of its tables. */
const COUNTED = 1_000
const ROWS = 100
const GROUPS = 20

interface Filters {
  readonly actor: string | undefined
  readonly customerId: number | undefined
  readonly before: Date | undefined
}

export function looks(app: ConsoleApp): void {
  page(
    app,
    {
      path: '/looks',
      title: 'Who looked',
      roles: LOOKS_ROLES,
      isLong: true,
      nav: { label: 'Who looked', about: 'Who saw personal data of whom, when and why, and who exported events.' },
    },
    async (view) => {
      const filters = readFilters(view.query)
      return { body: await body(view, filters), command: command(filters) }
    },
  )
}

const command = ({ actor, customerId, before }: Filters): string =>
  [
    'customers audit find --type PersonalDataRevealed --type EventsExported',
    actor !== undefined && `--actor '${actor.replaceAll("'", "'\\''")}'`,
    customerId !== undefined && `--customer ${customerId}`,
    before !== undefined && `--until ${before.toISOString()}`,
  ]
    .filter(Boolean)
    .join(' ')

/** @throws Refused 400 */
function readFilters(query: URLSearchParams): Filters {
  const [actor, customer, before] = ['actor', 'customer', 'before'].map((name) => query.get(name)?.trim() || undefined)
  if (customer !== undefined && !/^[1-9]\d{0,14}$/.test(customer))
    throw new Refused(400, "The customer is not a number; accepted: a customer's number.")
  const time = before === undefined ? undefined : parseTime(before)
  if (before !== undefined && time === undefined)
    throw new Refused(400, 'The time is none; accepted: such as 2026-01-31T12:00:00Z.')
  return { actor, customerId: customer === undefined ? undefined : Number(customer), before: time }
}

function urlOf({ actor, customerId, before }: Partial<Filters>): string {
  const query = new URLSearchParams()
  if (actor !== undefined) query.set('actor', actor)
  if (customerId !== undefined) query.set('customer', String(customerId))
  if (before !== undefined) query.set('before', before.toISOString())
  return `/looks${query.size > 0 ? `?${query}` : ''}`
}

async function body({ options }: View, filters: Filters): Promise<Html> {
  const found = await newestLooks(options.stored, { most: COUNTED, ...filters })
  const shown = found.looks.slice(0, ROWS)
  const last = shown.at(-1)
  // Those of the same millisecond come again.
  const older = found.looks.length > shown.length && last ? new Date(last.at.getTime() + 1) : found.before
  return html`<link rel="stylesheet" href="/assets/proof.css">
<p>Personal data is shown only to those who give a reason, and each look is recorded before anything is shown. Services that ask by GraphQL are here, too.</p>
${form(filters)}
${
  last === undefined
    ? empty(
        'Nobody looked.',
        html`No look fits. ${older ? html`<a href="${urlOf({ ...filters, before: older })}">Search older ones</a>` : html`<a href="/looks">Show all</a>`}`,
      )
    : html`<div class="beside">${byActor(found.looks, filters)}${byCustomer(found.looks, filters)}</div>
${found.before && html`<p class="soft">Counted: the newest ${count(found.looks.length)} looks.</p>`}
<h2>Each look, the newest first</h2>
${list(shown)}
<nav class="actions" aria-label="More looks">${older && html`<a class="button" href="${urlOf({ ...filters, before: older })}">Older ones</a>`} ${filters.before && html`<a href="${urlOf({ ...filters, before: undefined })}">Back to the newest</a>`}</nav>`
}`
}

const form = ({ actor, customerId }: Filters): Html =>
  html`<form class="panel in-row" method="get" action="/looks">
<span class="pair"><label for="actor">Who</label><input id="actor" name="actor" value="${actor}" placeholder="operator:olga" autocomplete="off"></span>
<span class="pair"><label for="customer">Customer</label><input id="customer" name="customer" value="${customerId}" inputmode="numeric" placeholder="7" autocomplete="off"></span>
<button class="primary">Filter</button> <a href="/looks">Show all</a></form>`

function byActor(all: readonly Look[], filters: Filters): Html {
  const counts = countLooks(
    all,
    ({ actor }) => actor,
    ({ customerId }) => customerId,
  )
  const row = ({ of, looks: number, others, last }: LookCount<string>) => [
    html`<a href="${urlOf({ ...filters, actor: of })}">${of}</a>`,
    count(number),
    count(others),
    time(last),
  ]
  const columns = [
    { label: 'Who' },
    { label: 'Looks', isNumber: true },
    { label: 'Customers', isNumber: true },
    { label: 'Last' },
  ]
  return html`<section aria-labelledby="by-actor"><h2 id="by-actor">By who looked</h2>${table('Looks by who looked', columns, counts.slice(0, GROUPS).map(row))}</section>`
}

function byCustomer(all: readonly Look[], filters: Filters): Html {
  const counts = countLooks(
    all,
    ({ customerId }) => customerId,
    ({ actor }) => actor,
  )
  const row = ({ of, looks: number, others, last }: LookCount<number | null>) => [
    of === null ? 'several' : html`<a href="${urlOf({ ...filters, customerId: of })}">${of}</a>`,
    count(number),
    count(others),
    time(last),
  ]
  const columns = [
    { label: 'Customer' },
    { label: 'Looks', isNumber: true },
    { label: 'People', isNumber: true },
    { label: 'Last' },
  ]
  return html`<section aria-labelledby="by-customer"><h2 id="by-customer">By customer</h2>${table('Looks by customer', columns, counts.slice(0, GROUPS).map(row))}</section>`
}

function list(shown: readonly Look[]): Html {
  const KINDS = {
    look: badge('in clear', 'warning'),
    'export in clear': badge('export in clear', 'bad'),
    'masked export': badge('masked export'),
    unreadable: badge('the record is not what this service writes', 'bad'),
  }
  return table(
    'Looks',
    [
      { label: 'When' },
      { label: 'Who' },
      { label: 'Customer' },
      { label: 'Saw' },
      { label: 'Asked for' },
      { label: 'Why' },
    ],
    shown.map(({ at, actor, customerId, command: asked, reason, kind }) => [
      time(at),
      actor,
      customerId === null ? 'several' : html`<a href="/customers/${customerId}">${customerId}</a>`,
      KINDS[kind],
      html`<code>${asked}</code>`,
      reason === null ? '' : html`<q>${reason}</q>`,
    ]),
  )
}
