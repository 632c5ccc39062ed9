/** Parked events: what can't be applied and why; replayed or dropped. */
import { placeText } from '../../../audit/places.ts'
import {
  dropParked,
  type Replayed,
  replayParked,
  type Waiting,
  waitingEvents,
  waitingText,
} from '../../../projections/parked-events.ts'
import { hasAddress, hasWords } from '../../../runtime/reason-text.ts'
import { badge, commandBox, count, empty, facts, table, time } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { textArea, textOf } from '../../form-fields.ts'
import { type Html, html } from '../../html.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import type { Operations } from './operations.ts'
import { subNavigation } from './parts.ts'

const PATH = '/operations/parked'
const LONGEST_REASON = 500

export function parkedPages(app: ConsoleApp, { roles }: Operations): void {
  page(app, { path: PATH, title: 'Parked events', roles }, list)
  page(app, { path: `${PATH}/replay`, title: 'Replay', roles }, confirmReplay)
  page(app, { path: `${PATH}/:customer`, title: 'Parked event', roles }, async (view) =>
    show(view, view.params.customer),
  )
  action(app, { path: `${PATH}/replay`, roles }, async (view) => {
    const waiting = await chosenBy(view, view.form.get('customer') ?? undefined)
    const what = waitingText(waiting)
    view.log.info({ by: view.actor, customers: waiting.length }, 'an operator replays parked events')
    return told(
      `Replayed: ${what}`,
      replayParked(
        view.options,
        waiting.map(({ parked }) => parked),
      ),
    )
  })
  action(app, { path: `${PATH}/drop`, roles }, async (view) => {
    const reason = textOf(view.form, 'reason') ?? ''
    if (!hasWords(reason) || reason.length > LONGEST_REASON) {
      throw new Refused(
        400,
        `Say why, in up to ${LONGEST_REASON} characters: the reason is recorded in the log. Nothing was dropped.`,
      )
    }
    if (hasAddress(reason)) {
      throw new Refused(400, 'The reason stays in the log for good: name nobody in it. Nothing was dropped.')
    }
    const waiting = await chosenBy(view, view.form.get('customer') ?? '')
    const events = waiting.map(({ parked }) => parked)
    const revision = Number(view.form.get('revision'))
    if (events.some((each) => each.revision !== revision)) {
      throw new Refused(409, 'Another event of this customer is parked by now. Look again. Nothing was dropped.')
    }
    return told('Dropped', dropParked(view.options, events, { reason, actor: view.actor }))
  })
}

/**
 * What is parked, of all customers or of one.
 * @throws Refused 404 if that customer has no parked event, or none has
 */
async function chosenBy({ options }: View, customer: string | undefined): Promise<readonly Waiting[]> {
  const { eventStore, readModel } = options
  await readModel.follow()
  const parked = await readModel.parked()
  const chosen = customer === undefined ? parked : parked.filter(({ customerId }) => String(customerId) === customer)
  if (chosen.length > 0) return waitingEvents(eventStore, chosen)
  throw new Refused(404, customer === undefined ? 'No event is parked.' : 'This customer has no parked event.')
}

async function told(what: string, outcomes: AsyncIterable<Replayed>) {
  let [replayed, stuck] = [0, 0]
  let reason = ''
  for await (const each of outcomes) {
    if (each.stuck === undefined) replayed++
    else {
      stuck++
      reason = `customer ${each.customerId} is stuck at revision ${each.stuck.revision}: ${each.stuck.reason}`
    }
  }
  const text =
    stuck === 0
      ? `${what}. All ${replayed} documents are up to date.`
      : `${what}. ${replayed} documents are up to date; ${stuck} still ${stuck === 1 ? 'waits' : 'wait, for example'}: ${reason}`
  return { redirect: PATH, notice: { kind: stuck === 0 ? 'done' : 'failed', text } } as const
}

async function list({ options }: View) {
  const { eventStore, readModel } = options
  await readModel.follow()
  const parked = await readModel.parked()
  const waiting = await waitingEvents(eventStore, parked)
  return {
    command: 'customers parked list',
    body: html`${subNavigation(PATH, parked.length)}
${
  parked.length === 0
    ? empty(
        'No event is parked.',
        "Here you find events that the projection can't apply, such as those of a newer release.",
      )
    : html`<p>Queries and commands of these customers fail until their events are replayed or dropped. Waiting: ${waitingText(waiting)}.</p>
<p class="actions"><a class="button primary" href="${PATH}/replay">Replay all</a></p>
${parkedTable(waiting)}`
}`,
  }
}

const parkedTable = (waiting: readonly Waiting[]): Html =>
  table(
    'Parked events',
    [
      { label: 'Customer', isNumber: true },
      { label: 'Event' },
      { label: 'Type' },
      { label: 'Why' },
      { label: 'Parked' },
      { label: 'Waiting', isNumber: true },
    ],
    waiting.map(({ parked: { customerId, stream, revision, type, reason, at }, events }) => [
      html`<a href="${PATH}/${customerId}">${customerId}</a>`,
      html`<code>${placeText({ stream, revision })}</code>`,
      type === '' ? badge('missing') : type,
      reason,
      time(at),
      count(events),
    ]),
  )

async function confirmReplay(view: View) {
  const customer = view.query.get('customer') ?? undefined
  const waiting = await chosenBy(view, customer)
  const what = waitingText(waiting)
  return {
    title: `Replay ${what}`,
    command: `customers parked replay ${customer ?? '--all'}`,
    body: html`${subNavigation(PATH)}
<p>The replay applies ${what} again, in order. It helps once a release can apply them; those that still can't be applied stay parked.</p>
${parkedTable(waiting)}
<form method="post" action="${PATH}/replay">${view.formToken}${customer !== undefined && html`<input type="hidden" name="customer" value="${customer}">`}
<p class="actions"><button class="primary">Replay ${what}</button> <a class="button" href="${PATH}">Not now</a></p></form>`,
  }
}

async function show(view: View, customer = '') {
  const [waiting] = await chosenBy(view, customer)
  if (waiting === undefined) throw new Refused(404, 'This customer has no parked event.')
  const { parked, events } = waiting
  const { customerId, stream, revision, type, reason, at } = parked
  return {
    title: `Parked event of customer ${customerId}`,
    command: `customers parked show ${customerId}`,
    body: html`${subNavigation(PATH)}
<div class="panel">${facts([
      ['Event', html`<code>${placeText({ stream, revision })}</code>`],
      ['Type', type === '' ? 'missing from its stream' : type],
      ['Why', reason],
      ['Parked', time(at)],
      ['Document', `stays at revision ${revision - 1}`],
      ['Waiting', `${count(events)} events`],
    ])}</div>
<div class="steps">
<section class="panel" aria-label="Replay"><h2>Replay</h2><p>Once a release can apply it.</p>
<p><a class="button primary" href="${PATH}/replay?customer=${customerId}">Replay ${waitingText([waiting])}</a></p></section>
<form class="panel" method="post" action="${PATH}/drop">${view.formToken}<h2>Drop</h2>
<p>The event is skipped for good, by every reader. The decision and its reason are recorded in the log.</p>
<input type="hidden" name="customer" value="${customerId}"><input type="hidden" name="revision" value="${revision}">
${textArea('reason', 'Reason', { required: true, maxLength: LONGEST_REASON, hint: 'name nobody in it' })}
<p><button class="danger">Drop the event</button></p>${commandBox(`customers parked drop ${customerId} --reason '…'`)}</form>
</div>`,
  }
}
