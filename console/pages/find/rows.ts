/** The rows of Find: one event each, without the values of its fields. */
import { metadataOf } from '../../../audit/criteria.ts'
import { streamsOf } from '../../../audit/timeline.ts'
import type { RecordedEvent } from '../../../eventstore/port.ts'
import { ownerOf } from '../../../schema/streams.ts'
import { time } from '../../components.ts'
import { words } from '../../form-fields.ts'
import { type Html, html } from '../../html.ts'
import { actorShown, eventWords, sentence } from '../../words.ts'
import { cursorOf } from './filters.ts'

/** The most names of fields in a row. */
const MOST_FIELDS = 6

export const TABLE_HEAD = html`<div class="table" role="region" aria-label="Events" tabindex="0"><table class="events">
<caption>Events</caption>
<thead><tr><th scope="col">Time</th><th scope="col">Customer</th><th scope="col">Event</th><th scope="col">Actor</th><th scope="col">Changed fields</th></tr></thead>
<tbody>
`
export const TABLE_END = html`</tbody></table></div>
`

/** @param event as stored: its personal fields may be encrypted, their names are not */
export function eventRow(event: RecordedEvent): Html {
  const { revision, stream, created, position } = event
  const customer = customerOf(event)
  const fields = fieldNames(event)
  const { actor = '', $correlationId: request } = metadataOf(event)
  return html`<tr id="e-${cursorOf(position)}" data-place>
<td>${time(created)}</td>
<td data-label="Customer">${customer !== undefined && html`<a class="cell" href="/customers/${customer}">${customer}</a>`}</td>
<td><a class="cell" href="${linkOf(event, customer)}">${titleOf(event)}</a><br><small class="place">${stream} revision ${revision}</small></td>
<td data-label="By">${actorShown(actor)}${request !== undefined && html`<br><small>request <a href="${requestUrl(request, created)}">${request.length > 14 ? `${request.slice(0, 12)}…` : request}</a></small>`}</td>
<td>${fields.slice(0, MOST_FIELDS).map((field) => html`<code class="field-name">${field}</code> `)}${fields.length > MOST_FIELDS && html`<small>and ${fields.length - MOST_FIELDS} more</small>`}</td>
</tr>
`
}

/** A row that says how far the search has come; the next row hides it. */
export const progressRow = (text: string): Html => html`<tr class="progress"><td colspan="5">${text}</td></tr>
`

/** The address of the search for an event. By its place, which is read directly. */
export const placeUrl = ({ stream, revision }: Pick<RecordedEvent, 'stream' | 'revision'>): string =>
  `/find?event=${encodeURIComponent(`${stream}:${revision}`)}`

/** How long before and after one of its events a request may have done something. */
const REQUEST_MS = 10 * 60_000

/** The address of the search for everything that a request did, in the part of the log around one of its events. */
export function requestUrl(request: string, around: Date): string {
  const time = (change: number) => new Date(around.getTime() + change).toISOString().replace(/\.\d+/, '')
  const query = { since: time(-REQUEST_MS), until: time(REQUEST_MS), request, order: 'oldest' }
  return `/find?${new URLSearchParams(query)}`
}

/** The customer's number, where the event is about one. */
function customerOf({ stream, data }: RecordedEvent): string | undefined {
  const owner = ownerOf(stream)
  if (owner !== undefined && /^[1-9]\d{0,15}$/.test(owner)) return owner
  const { customerId } = (data ?? {}) as { readonly customerId?: unknown }
  return typeof customerId === 'number' ? String(customerId) : undefined
}

/** Into the customer's timeline, where the event is in it; else to the event alone. */
function linkOf({ stream, revision }: RecordedEvent, customer: string | undefined): string {
  const streams = streamsOf(Number(customer ?? 0))
  if (customer === undefined || !Object.values(streams).includes(stream)) return placeUrl({ stream, revision })
  const moment = stream === streams.customer ? `?at=${revision}` : ''
  return `/customers/${customer}${moment}#${anchorOf({ stream, revision })}`
}

/** The place of an event in the page of its customer. */
export const anchorOf = ({ stream, revision }: Pick<RecordedEvent, 'stream' | 'revision'>): string =>
  `${stream.slice(0, stream.indexOf('-'))}-${revision}`

/** What happened; a record of access says what it records, as in the customer's timeline. */
function titleOf({ type, data }: RecordedEvent): string {
  const kind = (data as { readonly kind?: unknown } | null)?.kind
  return type === 'AccessRecorded' && typeof kind === 'string' ? sentence(words(kind)) : eventWords(type)
}

/** What stands in an event beside what it changed. */
const NOT_FIELDS: ReadonlySet<string> = new Set(['addressId', 'customerId', 'kind', 'encrypted'])

function fieldNames({ type, data }: RecordedEvent): readonly string[] {
  if (typeof data !== 'object' || data === null || Array.isArray(data) || data instanceof Uint8Array) return []
  const values = data as Readonly<Record<string, unknown>>
  const prefix =
    type.startsWith('CustomerAddress') && typeof values.addressId === 'number' ? `addresses.${values.addressId}.` : ''
  return Object.keys(values)
    .filter((name) => !NOT_FIELDS.has(name) && !name.startsWith('$'))
    .map((name) => prefix + name)
}
