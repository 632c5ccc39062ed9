/** Requests of data subjects: the list, and entering a new one. */
import { findHolder } from '../../../audit/customer-ref.ts'
import { dayOf } from '../../../audit/requests/deadlines.ts'
import { readRegister, receiveRequest } from '../../../audit/requests/register.ts'
import { isOpen, subjectText } from '../../../audit/requests/request.ts'
import { type RequestSummary, summaryOf } from '../../../audit/requests/views.ts'
import { REQUEST_CHANNELS, REQUEST_KINDS } from '../../../schema/privacy-requests.ts'
import { count, empty, table } from '../../components.ts'
import { describeFault } from '../../faults.ts'
import { choiceField, chosen, textArea, textField, textOf, words } from '../../form-fields.ts'
import { type Html, html } from '../../html.ts'
import type { Role } from '../../people.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import { commandField, MOST_NOTE, officerOf } from './officer.ts'
import { requestPages } from './request-pages.ts'
import { dueText, statusBadge } from './request-words.ts'
import { dayIn } from './steps.ts'

const ROLES: readonly Role[] = ['privacy-officer']

export function requests(app: ConsoleApp): void {
  const nav = {
    label: 'Requests',
    about: 'What people ask for under the GDPR: received, decided, done, and when it is due.',
  }
  page(app, { path: '/requests', title: 'Requests of data subjects', roles: ROLES, nav }, list)
  page(app, { path: '/requests/new', title: 'A new request', roles: ROLES }, (view) => ({
    body: newForm(view),
    command: 'customers privacy receive erasure CUSTOMER --channel letter --received-on 2026-01-31',
  }))
  action(app, { path: '/requests/new', roles: ROLES }, receive)
  requestPages(app, ROLES)
}

/** How many requests a page lists. */
const PAGE = 100

async function list(view: View) {
  const { requests: all } = await readRegister(view.options.eventStore)
  const isAll = view.query.get('show') === 'all'
  const open = [...all.values()].filter(isOpen)
  const chosen = (isAll ? [...all.values()] : open).toSorted(
    (a, b) => Number(isOpen(b)) - Number(isOpen(a)) || a.dueOn.localeCompare(b.dueOn) || a.number - b.number,
  )
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE))
  const number = Math.min(pages, Math.max(1, Math.trunc(Number(view.query.get('page'))) || 1))
  const shown = chosen.slice((number - 1) * PAGE, number * PAGE).map((request) => summaryOf(request, view.now))
  return {
    command: `customers privacy list${isAll ? ' --all' : ''}`,
    body: html`<p class="actions"><a class="button primary" href="/requests/new">Enter a request</a>
  ${isAll ? html`<a href="/requests">Only the open ones</a>` : html`<a href="/requests?show=all">Also those that are closed</a>`}</p>
${
  shown.length === 0
    ? empty(
        isAll ? 'There are no requests yet.' : 'No request is open.',
        'Enter a request when somebody asks for their data, a correction or an erasure.',
      )
    : html`<p>${count(open.length)} open of ${count(all.size)}, the most urgent first.</p>${listTable(shown)}${pages > 1 && pageLinks(number, pages, isAll)}`
}`,
  }
}

function pageLinks(number: number, pages: number, isAll: boolean): Html {
  const link = (to: number, text: string) =>
    html`<a class="button" href="/requests?page=${to}${isAll && '&show=all'}">${text}</a>`
  return html`<nav class="actions" aria-label="More requests">${number > 1 && link(number - 1, 'Before')}
<span>Page ${number} of ${pages}</span> ${number < pages && link(number + 1, 'After')}</nav>`
}

const listTable = (shown: readonly RequestSummary[]): Html =>
  table(
    'Requests',
    [
      { label: 'Request', isNumber: true },
      { label: 'Asks for' },
      { label: 'Who' },
      { label: 'Status' },
      { label: 'Received' },
      { label: 'Due' },
    ],
    shown.map((each) => [
      html`<a href="/requests/${each.request}">${each.request}</a>`,
      each.kind,
      each.subject,
      statusBadge(each.status),
      each.receivedOn,
      dueText(each),
    ]),
  )

/** @param given what was entered, after a fault @param fault why it was refused */
function newForm(view: View, given = new URLSearchParams(), fault?: string): Html {
  return html`${fault !== undefined && html`<p class="fault" role="alert">${fault}</p>`}
<form method="post" action="/requests/new" class="panel">${view.formToken}${commandField()}
<div class="fields">
${choiceField('kind', 'Asks for', REQUEST_KINDS, { value: given.get('kind') })}
${textField('customer', 'Who', { hint: 'customer number or e-mail address', required: true, maxLength: 320 })}
${choiceField('channel', 'Came in by', REQUEST_CHANNELS, { value: given.get('channel') })}
${textField('receivedOn', 'Received on', { type: 'date', value: given.get('receivedOn') ?? dayOf(view.now), required: true })}
${textArea('note', 'Note', { hint: "encrypted with the person's key, and erased with it", maxLength: MOST_NOTE })}
</div>
<p>It is due a month after that day. The register itself keeps no name and no address: a customer's number, or a keyed hash.</p>
<p class="actions"><button class="primary">Enter it</button> <a href="/requests">Cancel</a></p>
</form>`
}

async function receive(view: View) {
  const { form, options } = view
  const { eventStore, emailHashKey } = options
  try {
    const kind = chosen(form, 'kind', 'Asks for', REQUEST_KINDS)
    const channel = chosen(form, 'channel', 'Came in by', REQUEST_CHANNELS)
    const receivedOn = dayIn(form, 'receivedOn', 'Received on')
    const holder = await findHolder(eventStore, textOf(form, 'customer') ?? '', () => emailHashKey)
    const subject =
      holder.customerId === undefined ? { emailKeys: holder.emailKeys } : { customerId: holder.customerId }
    const request = await receiveRequest(
      eventStore,
      { type: 'receive', kind, subject, channel, receivedOn },
      officerOf(view),
      { note: textOf(form, 'note') },
    )
    const text = `Request ${request.number} is entered: ${words(kind)} for ${subjectText(subject)}, due on ${request.dueOn}.`
    return { redirect: `/requests/${request.number}`, notice: { kind: 'done', text } } as const
  } catch (error) {
    const { status, text } = describeFault(error, view.log)
    return { status, title: 'A new request', body: newForm(view, form, text) }
  }
}
