/** The form of Find. */
import { ACCEPTED_ACCESS } from '../../../audit/subcommands/filters.ts'
import { eventSchemas } from '../../../schema/events.ts'
import { STREAMS } from '../../../schema/streams.ts'
import { words } from '../../form-fields.ts'
import { type Html, html } from '../../html.ts'
import type { View } from '../../routes.ts'
import { eventWords } from '../../words.ts'
import type { Filters } from './filters.ts'

/** The types by the kind of stream that has them: those of customers first. */
const TYPES: readonly (readonly [string, readonly string[]])[] = groupTypes()

function groupTypes() {
  const seen = new Set<string>()
  const ofCustomers: string[] = []
  const others: string[] = []
  for (const { of, events } of STREAMS) {
    for (const type of events) {
      if (seen.has(type) || !Object.hasOwn(eventSchemas, type)) continue
      seen.add(type)
      if (of?.startsWith('customer')) ofCustomers.push(type)
      else others.push(type)
    }
  }
  return [
    ['About customers', ofCustomers],
    ['About the service', others],
  ] as const
}

const ACCESS_WORDS: Readonly<Record<string, string>> = {
  any: 'only records of access',
  none: 'no records of access',
}

/** Fields that people ask for most. */
const COMMON_FIELDS = [
  'addresses',
  'city',
  'street',
  'postcode',
  'telephone',
  'email',
  'firstname',
  'lastname',
  'dob',
  'newsletter',
  'defaultBilling',
  'defaultShipping',
  'status',
  'customAttributes',
]

export function searchForm(view: View, filters: Filters): Html {
  const chosen = new Set(filters.type ?? [])
  const hasMore = [filters.actor, filters.field, filters.access, filters.since, filters.until].some(
    (each) => each !== undefined,
  )
  return html`<form class="panel search" method="post" action="/find/search" role="search">${view.formToken}
<div class="fields">
  <div><label for="f-customer">Customer <small>number or e-mail</small></label><input id="f-customer" name="customer" value="${filters.customer}" autocomplete="off" spellcheck="false"></div>
  <div><label for="f-request">Request id</label><input id="f-request" name="request" value="${filters.request?.[0]}" autocomplete="off" spellcheck="false"></div>
  <div><label for="f-event">Event <small>id, or customer:revision</small></label><input id="f-event" name="event" value="${filters.event?.[0]}" autocomplete="off" spellcheck="false"></div>
  <div class="actions"><button class="primary">Search</button><a href="/find">Clear</a></div>
</div>
<details${(hasMore || chosen.size > 0) && html` open`}><summary>More filters</summary>
<div class="fields">
  <div><label for="f-since">From <small>the whole day</small></label><input id="f-since" name="since" type="${dateType(filters.since)}" value="${filters.since}"></div>
  <div><label for="f-until">To <small>the whole day</small></label><input id="f-until" name="until" type="${dateType(filters.until)}" value="${filters.until}"></div>
  <div><label for="f-zone">Days are in <small>time zone</small></label><input id="f-zone" name="zone" value="${filters.zone ?? 'UTC'}" list="f-zones"${filters.zone === undefined && html` data-viewer-zone`}><datalist id="f-zones"><option value="UTC"></option></datalist></div>
  <div><label for="f-field">Changed field</label><input id="f-field" name="field" value="${filters.field?.join(', ')}" list="f-fields" placeholder="city, addresses.11.street" autocomplete="off"><datalist id="f-fields">${COMMON_FIELDS.map((field) => html`<option value="${field}"></option>`)}</datalist></div>
  <div><label for="f-actor">Actor</label><input id="f-actor" name="actor" value="${filters.actor?.join(', ')}" list="f-actors" placeholder="customer:7, operator:*" autocomplete="off"><datalist id="f-actors">${['operator:*', 'service:*', 'customer:*', 'guest'].map((actor) => html`<option value="${actor}"></option>`)}</datalist></div>
  <div><label for="f-access">Sign-ins and the like</label><select id="f-access" name="access"><option value="">with all other events</option>${ACCEPTED_ACCESS.map(
    (kind) =>
      html`<option value="${kind}"${filters.access?.[0] === kind && html` selected`}>${ACCESS_WORDS[kind] ?? `only: ${words(kind)}`}</option>`,
  )}</select></div>
  <div><label for="f-order">Order</label><select id="f-order" name="order"><option value="newest">newest first</option><option value="oldest"${filters.order === 'oldest' && html` selected`}>oldest first</option></select></div>
</div>
<details class="types"${chosen.size > 0 && html` open`}><summary>Types of event${chosen.size > 0 && ` (${chosen.size} chosen)`}</summary>
${TYPES.map(
  ([legend, types]) =>
    html`<fieldset><legend>${legend}</legend><ul class="checks">${types.map(
      (type) =>
        html`<li><label><input type="checkbox" name="type" value="${type}"${chosen.has(type) && html` checked`}> ${eventWords(type)}</label></li>`,
    )}</ul></fieldset>`,
)}</details>
</details>
</form>`
}

/** A browser's date field shows nothing else. */
const dateType = (text: string | undefined) => (text === undefined || /^\d{4}-\d\d-\d\d$/.test(text) ? 'date' : 'text')
