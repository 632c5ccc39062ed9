/** What the pages of a request show. */
import { placeText } from '../../../audit/places.ts'
import type { Holding } from '../../../audit/requests/holdings.ts'
import { isOpen, type PrivacyRequest } from '../../../audit/requests/request.ts'
import type { Receipt } from '../../../audit/requests/views.ts'
import { STREAM_NAMES } from '../../../schema/streams.ts'
import { badge, commandBox, facts, table, time } from '../../components.ts'
import { textArea, words } from '../../form-fields.ts'
import { type Content, type Html, html } from '../../html.ts'
import type { View } from '../../routes.ts'
import { commandField, MOST_NOTE } from './officer.ts'
import type { Found } from './request-pages.ts'
import { dueText, statusBadge } from './request-words.ts'
import { REQUEST_STEPS, type RequestStep, refusalOf } from './steps.ts'

export function requestPage(
  view: View,
  found: Found,
  receipt: Receipt,
  { notes, fault }: { readonly notes: ReadonlyMap<string, string> | undefined; readonly fault: string | undefined },
): Html {
  const { request } = found
  return html`${fault !== undefined && html`<p class="fault" role="alert">${fault} Nothing was done.</p>`}
${summary(receipt)}
${isOpen(request) ? steps(view, found) : closing(view, found, receipt)}
<h2>What happened</h2>
${historyTable(receipt, notes)}
<h2>What is held of the person</h2>
${heldTable(receipt)}
${request.kind === 'erasure' && leftToDo(view, request, receipt)}
<p class="actions"><a class="button" href="/requests">All open requests</a></p>`
}

/** What a decision depends on. */
const circumstancesOf = ({ actor, now, options }: View, { heldBy, isOwn }: Found) => ({
  actor,
  now,
  rules: options.store.audit,
  heldBy,
  isOwn,
})

const by = (step: { readonly by: string; readonly at: string }): Html => html`by ${step.by}, ${time(step.at)}`

function summary(receipt: Receipt): Html {
  const { kind, subject, customerId, status, channel, receivedOn, identity, extension, approval, hold } = receipt
  const { waiver, refusal, execution, done } = receipt
  return html`<div class="panel">${facts([
    ['Status', statusBadge(status)],
    ['Asks for', kind],
    [
      'Who',
      customerId === null
        ? html`${subject} <small>nobody's account</small>`
        : html`<a href="/customers/${customerId}">${subject}</a>`,
    ],
    ['Received', html`${receivedOn}, by ${words(channel)}, entered by ${receipt.recordedBy}`],
    ['Due', dueText(receipt)],
    ['Identity', identity ? html`${words(identity.how)} ${by(identity)}` : 'not checked yet'],
    ...(extension
      ? [['Extended', html`${words(extension.ground)}; the person was told on ${extension.toldOn}`] as const]
      : []),
    ...(waiver ? [['Not approved', html`begun at once by ${waiver.by}: ${waiver.reason}`] as const] : []),
    ...(approval
      ? [
          [
            'Approved',
            html`${by(approval)}; ${approval.expired ? badge('expired', 'warning') : html`until ${time(approval.expiresAt)}`}`,
          ] as const,
        ]
      : []),
    ...(hold ? [['Legal hold', html`${words(hold.ground)} ${by(hold)}`] as const] : []),
    ...(refusal ? [['Refused', html`${words(refusal.ground)} ${by(refusal)}`] as const] : []),
    ...(execution && !done ? [['Begun', html`${by(execution)}`] as const] : []),
    ...(done ? [['Done', html`${words(done.outcome)} ${by(done)}`] as const] : []),
    ...(done?.sha256 ? [['SHA-256 of the file', html`<code>${done.sha256}</code>`] as const] : []),
  ])}</div>
${
  done?.eventsInClear
    ? html`<p class="fault">${done.eventsInClear} events are from before encryption. What is personal in them stays in the log, in clear.</p>`
    : ''
}`
}

/** The forms of the steps that are possible, and why the main ones are not. */
function steps(view: View, found: Found): Html {
  const { request } = found
  const circumstances = circumstancesOf(view, found)
  const rows = REQUEST_STEPS.map((step) => ({ step, refusal: refusalOf(request, step.sample, circumstances) }))
  const refusal = refusalOf(request, { type: 'begin' }, circumstances)
  return html`<h2>What to do next</h2>
<div class="steps">
${rows.map(({ step, refusal }) => {
  if (refusal === undefined) return stepForm(view, request, step, isNext(request, step))
  return step.isMain && html`<p class="step-refused"><strong>${step.title}</strong>: ${refusal}</p>`
})}
${refusal === undefined ? execution(view, request) : html`<p class="step-refused"><strong>Execution</strong>: ${refusal}</p>`}
</div>`
}

/** Whether the form is open: the step that a request waits for. */
const isNext = (request: PrivacyRequest, { name }: RequestStep): boolean =>
  request.hold ? name === 'release' : request.identity ? name === 'approve' : name === 'identify'

function stepForm(view: View, request: PrivacyRequest, step: RequestStep, isOpenNow: boolean): Html {
  const { number } = request
  const { name, title, button, about, style, needsReason, fields, options } = step
  const label = needsReason ? 'Reason' : 'Note'
  return html`<details class="panel"${isOpenNow && html` open`}><summary class="step-title">${title}</summary>
<form method="post" action="/requests/${number}/steps/${name}">${hidden(view, request)}
<p>${about}</p>
<div class="fields">${fields(name, view.now)}
${textArea('note', label, { hint: "encrypted with the person's key", required: needsReason, maxLength: MOST_NOTE, form: name })}</div>
<button class="${style}">${button}</button>
</form>
${commandBox(`customers privacy ${name} ${number} ${options}`.trim())}
</details>`
}

/** The hidden fields of each form: the session's token, the command's name, and what the officer has seen. */
const hidden = (view: View, { version }: PrivacyRequest): Html =>
  html`${view.formToken}${commandField()}<input type="hidden" name="seen" value="${version}">`

function execution(view: View, request: PrivacyRequest): Html {
  const { number, kind } = request
  const begun = request.execution && !request.done
  if (kind === 'erasure') {
    return html`<div class="panel"><h3>Execution</h3>
${begun && html`<p>It was begun ${by(request.execution)} and did not end. You can resume it.</p>`}
<p>Look at what goes, what stays and what is left to do; then erase.</p>
<p><a class="button primary" href="/requests/${number}/erasure">${begun ? 'Resume the erasure' : 'To the erasure'}</a></p></div>`
  }
  const isFile = kind === 'access' || kind === 'portability'
  const text = isFile
    ? 'You get a file with all that is held of the person, in clear. That you got it is recorded. Load this page again after it.'
    : 'This records that it was carried out: here nothing is changed by it. Change the data in the shop, or by its API.'
  return html`<form class="panel" method="post" action="/requests/${number}/execution">${hidden(view, request)}
<h3>Execution</h3>
${begun && html`<p>It was begun ${by(request.execution)} and did not end. You can resume it.</p>`}
<p>${text}</p>
<button class="primary">${isFile ? 'Make the file' : 'It is carried out'}</button>
${commandBox(`customers privacy execute ${number}`)}</form>`
}

function closing(view: View, found: Found, receipt: Receipt): Html {
  const { request } = found
  const circumstances = circumstancesOf(view, found)
  const isAgain = refusalOf(request, { type: 'begin' }, circumstances) === undefined
  return html`<p class="actions"><a class="button" href="/requests/${receipt.request}/receipt">Receipt to print</a></p>
${isAgain && html`<h2>Once more</h2><p>The file can be made again while the approval holds.</p>${execution(view, request)}`}`
}

function historyTable({ history }: Receipt, notes: ReadonlyMap<string, string> | undefined, isReceipt = false): Html {
  const note = (id: string | undefined): Content =>
    id === undefined
      ? ''
      : notes === undefined
        ? html`<span class="mono">•••</span> <small>masked</small>`
        : (notes.get(id) ?? 'missing')
  return table(
    'Steps',
    [
      { label: 'When' },
      { label: 'What' },
      { label: 'Who' },
      ...(isReceipt ? [] : [{ label: 'Note' }]),
      { label: 'Event' },
    ],
    history.map((each) => [
      time(each.at),
      EVENT_WORDS[each.type] ?? each.type,
      each.by,
      ...(isReceipt ? [] : [note(each.note)]),
      html`<code>${placeText({ stream: STREAM_NAMES.privacyRequests, revision: each.revision })}</code>`,
    ]),
  )
}

const EVENT_WORDS: Readonly<Record<string, string>> = {
  PrivacyRequestReceived: 'received',
  RequesterIdentified: 'identity checked',
  PrivacyRequestExtended: 'extended',
  PrivacyRequestApproved: 'approved',
  ApprovalWaived: 'not approved, begun at once',
  LegalHoldPlaced: 'legal hold placed',
  LegalHoldReleased: 'legal hold released',
  PrivacyRequestRefused: 'refused',
  ExecutionBegun: 'execution begun',
  PrivacyRequestDone: 'done',
  ErasureStepDone: 'done by hand',
}

const FATE_WORDS: Readonly<Record<Holding['fate'], string>> = {
  goes: 'goes',
  unreadable: 'stays, unreadable',
  stays: 'stays',
}

function heldTable({ held, kind }: Receipt, chosen = held, caption = 'What is held'): Html {
  if (chosen.length === 0) return html`<p>Nothing.</p>`
  const hasFate = kind === 'erasure' && chosen === held
  return table(
    caption,
    [
      { label: 'Store' },
      { label: 'What' },
      { label: 'Count', isNumber: true },
      ...(hasFate ? [{ label: 'In an erasure' }] : []),
    ],
    chosen.map(({ store, what, count, fate }) => [store, what, count, ...(hasFate ? [FATE_WORDS[fate]] : [])]),
  )
}

function leftToDo(view: View, request: PrivacyRequest, { toDo }: Receipt): Html {
  const isDone = request.done !== undefined
  return html`<h2>What an erasure leaves to do</h2>
<p>This can't be done from here, and not be seen from here. ${isDone ? 'Record it once it is done.' : ''}</p>
${table(
  'To do by hand',
  [{ label: 'What' }, { label: 'Done' }],
  toDo.map(({ step, what, doneBy, doneAt }) => [
    what,
    doneBy !== null && doneAt !== null
      ? html`${badge('done', 'good')} ${by({ by: doneBy, at: doneAt })}`
      : isDone
        ? html`<form method="post" action="/requests/${request.number}/left/${step}">${hidden(view, request)}<button class="quiet" aria-label="Done: ${step}">Done</button></form>`
        : 'after the erasure',
  ]),
)}
${isDone && commandBox(`customers privacy step ${request.number} ${toDo[0]?.step ?? 'backups'}`)}`
}

/** The last look before an erasure. */
export function erasurePage(view: View, found: Found, receipt: Receipt): Html {
  const { request } = found
  const circumstances = circumstancesOf(view, found)
  const refusal = refusalOf(request, { type: 'begin' }, circumstances)
  const { held, stays, toDo, subject } = receipt
  return html`<h2>What goes</h2>
${heldTable(
  receipt,
  held.filter(({ fate }) => fate === 'goes'),
  'What goes',
)}
<p>The values of these become unreadable for good, because their key goes:</p>
${heldTable(
  receipt,
  held.filter(({ fate }) => fate === 'unreadable'),
  'What becomes unreadable',
)}
<h2>What stays</h2>
<ul>${stays.map((what) => html`<li>${what}</li>`)}</ul>
${heldTable(
  receipt,
  held.filter(({ fate }) => fate === 'stays'),
  'What stays',
)}
<h2>What is left to do by hand</h2>
<ul>${toDo.map(({ what }) => html`<li>${what}</li>`)}</ul>
${
  refusal !== undefined
    ? html`<p class="fault" role="alert">${refusal}</p>`
    : html`<form class="panel" method="post" action="/requests/${request.number}/execution">${hidden(view, request)}
<p><input type="checkbox" id="sure" name="sure" value="yes" required> <label for="sure">Erase ${subject} for good. It can't be undone.</label></p>
<p class="actions"><button class="danger">Erase</button> <a href="/requests/${request.number}">Not now</a></p></form>`
}`
}

/** The receipt, to print and to file. It has no personal data. */
export function receiptPage(receipt: Receipt, now: Date): Html {
  const { kind, held, stays, toDo } = receipt
  return html`${summary(receipt)}
<h2>Steps</h2>
${historyTable(receipt, undefined, true)}
<p>Each step is an event of the log. <code>customers audit prove "privacyRequests revision …"</code> proves that it is there.</p>
<h2>Held now</h2>
${heldTable(receipt)}
${
  kind === 'erasure' &&
  html`<h2>What stays</h2><ul>${stays.map((what) => html`<li>${what}</li>`)}</ul>
<h2>Done by hand</h2>
<ul>${toDo.map(({ what, doneBy, doneAt }) => html`<li>${what} ${doneBy !== null && doneAt !== null ? html`<strong>Done</strong> ${by({ by: doneBy, at: doneAt })}.` : html`<strong>Not on record as done.</strong>`}</li>`)}</ul>`
}
<p>${held.length === 0 && 'Nothing is held of this person. '}Printed ${time(now)}. <span class="no-print">Use your browser's print command.</span></p>`
}
