/** The overview: projections and their trend, mail, stores. */
import type { StoreFact } from '../../../eventstore/port.ts'
import { registerStream } from '../../../projections/fence/register.ts'
import { stateOf } from '../../../projections/generations.ts'
import { within } from '../../../runtime/time-limits.ts'
import { chart } from '../../charts.ts'
import { badge, count, empty, facts, table, time } from '../../components.ts'
import { type Content, type Html, html } from '../../html.ts'
import type { Content as PageContent, View } from '../../routes.ts'
import { type MailState, readMailState } from './mails.ts'
import type { Operations } from './operations.ts'
import { bar, jobSummary, liveScript, subNavigation } from './parts.ts'
import { type GroupState, type Measure, type ProjectionState, projectionState, writtenPerSecond } from './watch.ts'

/** A page does not wait longer for what takes long to count. */
const PATIENCE_MS = 250
/** How long a store may take for what it says about itself. */
const STORE_MS = 1_500

export async function overview(view: View, operations: Operations): Promise<PageContent> {
  const { options, now } = view
  const { watch, jobs } = operations
  const { eventStore, readModel } = options
  const [measure, written, group, parked, mail, stores, generations] = await Promise.all([
    known(within(PATIENCE_MS, watch.measure())),
    known(writtenPerSecond(eventStore, now)),
    known(watch.group()),
    known(readModel.parked()),
    known(readMailState(eventStore)),
    storesOf(view),
    known(readModel.generations()),
  ])
  const state = projectionState(watch.measures, options.configuration.PROJECTION_MAX_LAG_SECONDS)
  const filling = generations.value
    ?.map((each) => stateOf(each, measure.value?.end))
    .filter((each) => each.state === 'being filled')
  const lastParked = parked.value?.toSorted((a, b) => b.at.localeCompare(a.at))[0]
  return {
    command: 'customers parked list\ncustomers rebuild --status\ncustomers config',
    body: html`${subNavigation('/operations', parked.value?.length)}
<p class="actions"><a class="button" href="/operations">Refresh</a> <small>as of ${time(now)}</small></p>
${jobSummary(jobs.current())}
<h2>Documents of customers</h2>
<div class="panel">${facts([
      ['State', html`<span data-live="state">${measure.value ? stateBadge(state) : unknown(measure)}</span>`],
      [
        'Events behind',
        html`<span data-live="lagEvents">${measure.value ? count(measure.value.lag.events) : unknown(measure)}</span>`,
      ],
      [
        'Seconds behind',
        html`<span data-live="lagSeconds">${measure.value ? secondsText(measure.value.lag.seconds) : unknown(measure)}</span>`,
      ],
      ['Position', html`<span data-live="position">${positionText(measure.value?.position)}</span>`],
      ['End of the log', html`<span data-live="end">${positionText(measure.value?.end)}</span>`],
      ['Applied', html`<span data-live="applied">${appliedText(measure.value)}</span>`],
      ['Written', written.value === undefined ? unknown(written) : `${rate(written.value)} (last minute)`],
      ['Who applies them', groupText(group)],
      [
        'Parked events',
        html`<a href="/operations/parked"><span data-live="parked">${parked.value === undefined ? 'unknown' : count(parked.value.length)}</span></a>`,
      ],
      [
        'Last error on record',
        lastParked ? html`${lastParked.reason} ${time(lastParked.at)}` : 'none: no event is parked',
      ],
    ])}
${filling?.map((each) => html`<p>Generation ${each.number} is being filled:</p>${bar(`Generation ${each.number}`, each.share)}`)}
</div>
${trend(watch.measures)}
<p><small>Outages and other errors of a process are in its own log, and in its metrics: they can't be known here.</small></p>
<h2>Mail</h2>
${mail.fault ? unknown(mail) : mailPanel(mail.value)}
<h2>Who holds what</h2>
${await holders(view, group.value, mail.value)}
<h2>Stores</h2>
${stores}
${liveScript()}`,
  }
}

/** A value, or why it is not known. */
interface Known<T> {
  readonly value?: T
  readonly fault?: string
}

async function known<T>(work: Promise<T>): Promise<Known<T>> {
  try {
    return { value: await work }
  } catch (error) {
    const { name, message } = error as Error
    const isLate = message.startsWith('no answer within')
    return { fault: isLate ? 'still being counted: refresh' : `not known: ${STORE_FAULTS[name] ?? 'see the log'}` }
  }
}

const STORE_FAULTS: Readonly<Record<string, string>> = {
  EventStoreUnavailable: 'the event store does not answer',
  ReadModelUnavailable: 'the read model does not answer',
}

const unknown = ({ fault = 'unknown' }: Known<unknown>): Html => html`<em>${fault}</em>`

const STATE_KINDS: Readonly<Record<ProjectionState, 'good' | 'warning' | 'bad'>> = {
  'keeps up': 'good',
  'is being filled': 'warning',
  'has not begun': 'warning',
  behind: 'warning',
  stalled: 'bad',
}

const stateBadge = (state: ProjectionState): Html => badge(state, STATE_KINDS[state])

export const positionText = (position: { readonly commit: bigint } | undefined): string =>
  position === undefined ? 'none' : position.commit.toString()

export const secondsText = (seconds: number): string => (seconds < 10 ? seconds.toFixed(1) : count(Math.round(seconds)))

const rate = (perSecond: number): string =>
  `${perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond))} events/s`

export const appliedText = (measure: Measure | undefined): string =>
  measure?.appliedPerSecond === undefined ? 'known after the next look' : rate(measure.appliedPerSecond)

function groupText(group: Known<GroupState | undefined>): Content {
  if (group.fault !== undefined) return unknown(group)
  if (group.value === undefined) return 'one process that follows the log; which one is not on record'
  const { name, consumers, inFlight } = group.value
  if (consumers === 0) return `nobody: the group ${name} has no consumer now`
  return `${count(consumers)} ${consumers === 1 ? 'process' : 'processes'} of the group ${name}, ${count(inFlight)} events in flight`
}

/** The course of the lag while somebody looked. */
function trend(measures: readonly Measure[]): Html {
  const [first] = measures
  if (first === undefined) return empty('There is no trend yet.', 'It begins when the stores answer.')
  const points = (value: (measure: Measure) => number) =>
    measures.slice(-40).map((each) => ({ label: each.at.toISOString().slice(11, 19), value: value(each) }))
  return html`<div class="charts">
${chart({ title: 'Events behind', kind: 'line', points: points(({ lag }) => lag.events), columns: ['Time (UTC)', 'Events'] })}
${chart({ title: 'Seconds behind', kind: 'line', points: points(({ lag }) => Math.round(lag.seconds * 10) / 10), columns: ['Time (UTC)', 'Seconds'] })}
</div>
<p><small>Measured when somebody looks here, first ${time(first.at)}. The course of before is in Prometheus: <code>projection_lag_events</code>.</small></p>`
}

function mailPanel(mail: MailState | undefined): Html {
  if (mail === undefined) return empty('No mail worker has stored anything yet.', 'Start one: npm run mail.')
  const { waiting, oldest, holder, storedAt, isAtEnd } = mail
  return html`<div class="panel">${facts([
    ['Waiting', count(waiting)],
    ['The oldest', oldest ? time(oldest) : waiting === 0 ? 'none waits' : 'not known'],
    ['Refused', html`not on record here: <code>mail_failed_total</code> of the mail process counts them`],
    [
      'Read up to',
      isAtEnd ? 'the end of the log' : html`some events before the end ${badge('stored at most once a minute')}`,
    ],
    ['Stored', time(storedAt)],
    ['Sending now', holder ?? 'nobody'],
  ])}</div>`
}

async function holders({ options }: View, group: GroupState | undefined, mail: MailState | undefined): Promise<Html> {
  const fence = await known(registerStream(options.eventStore).load())
  const rows: [string, Content, Content][] = [
    [
      'Events of the documents',
      group && group.consumers > 0 ? `group ${group.name}` : 'one process',
      groupText({ ...(group && { value: group }) }),
    ],
    ['Mails', mail?.holder ?? 'nobody', mail ? html`since ${time(mail.storedAt)}` : ''],
  ]
  const register = fence.value
  if (register === undefined) rows.push(['Trust in the read model', unknown(fence), ''])
  else {
    const { trusted, settling, fences, contest } = register
    rows.push([
      'Trust in the read model',
      trusted.length === 0
        ? 'no server of it'
        : `${trusted.length === 1 ? 'one start' : `${trusted.length} starts`} of its servers`,
      settling.length > 0 ? html`${settling.length} being settled, by ${settling.map(({ by }) => by).join(', ')}` : '',
    ])
    for (const { writer, challenger } of fences) {
      rows.push(['Fence: queries fold the streams', writer, challenger === null ? '' : html`asked by ${challenger}`])
    }
    if (contest) rows.push(['Start of a server that is in doubt', contest.by, contest.incarnation])
  }
  return table('Who holds what', [{ label: 'What' }, { label: 'Who' }, { label: 'More' }], rows)
}

async function storesOf({ options }: View): Promise<Html> {
  const { eventStore, readModel, keys } = options
  const [log, documents, keyStore] = await Promise.all([
    known(within(STORE_MS, eventStore.describe?.() ?? Promise.resolve([]))),
    known(within(STORE_MS, readModel.describe())),
    known(
      within(
        STORE_MS,
        keys.keyStore === options.stored
          ? Promise.resolve(IN_THE_LOG)
          : (keys.keyStore.describe?.() ?? Promise.resolve([])),
      ),
    ),
  ])
  return html`<div class="stores">${storePanel('Event store', log)}${storePanel('Read model', documents)}${storePanel('Key store', keyStore)}</div>`
}

const IN_THE_LOG: readonly StoreFact[] = [{ name: 'Kind', value: 'the event store itself' }]

function storePanel(name: string, store: Known<readonly StoreFact[]>): Html {
  return html`<section class="panel"><h3>${name}</h3>${
    store.value === undefined
      ? html`<p>${badge('does not answer', 'bad')} ${unknown(store)}</p>`
      : facts(
          store.value.map(({ name, value, problem }) => [
            name,
            problem === undefined ? value : html`${value} ${badge('to change', 'bad')} ${problem}`,
          ]),
        )
  }</section>`
}
