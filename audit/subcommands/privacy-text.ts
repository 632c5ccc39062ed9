/** Requests of data subjects as text for a terminal. */
import type { Receipt, RequestSummary } from '../requests/views.ts'
import { columns, plain } from '../terminal-text.ts'

/** One line of the list. */
export function summaryText({ request, kind, subject, status, receivedOn, dueOn, overdue }: RequestSummary): string {
  const due = overdue ? `OVERDUE since ${dueOn}` : `due ${dueOn}`
  return `${String(request).padStart(4)}  ${kind.padEnd(13)}  ${status.padEnd(10)}  received ${receivedOn}  ${due}  ${subject}\n`
}

/** @param notes the officers' words, by the id that a step names */
export function receiptText(receipt: Receipt, notes?: ReadonlyMap<string, string>): string {
  const { request, kind, subject, status, held, stays, toDo, history } = receipt
  const sections = [
    `Request ${request}: ${kind}, ${subject}, ${status}\n${columns(facts(receipt)).join('\n')}`,
    section(
      'Steps (each an event of the stream privacyRequests)',
      history.map(({ revision, type, by, at, note }) => {
        const text = note === undefined ? '' : (notes?.get(note) ?? 'with a note')
        return [`${revision} ${type}`, `${at} by ${plain(by)}${text && `: ${plain(text)}`}`]
      }),
    ),
    section(
      'Held now',
      held.map(({ store, what, count, fate }) => [
        `${store}, ${count}`,
        `${what}${kind === 'erasure' ? ` (${fate})` : ''}`,
      ]),
    ),
    section(
      'Stays after an erasure',
      stays.map((what) => ['-', what]),
    ),
    section(
      'To do by hand after an erasure',
      toDo.map(({ step, what, doneBy, doneAt }) => [
        step,
        doneBy === null ? what : `done ${doneAt} by ${plain(doneBy)}`,
      ]),
    ),
  ]
  return `${sections.filter((text) => text !== '').join('\n')}\n`
}

function facts(receipt: Receipt): [string, string][] {
  const { channel, receivedOn, recordedBy, dueOn, overdue } = receipt
  const { identity, extension, approval, waiver, hold, refusal, execution, done } = receipt
  const optional: [string, string | null | false | undefined][] = [
    ['received', `${receivedOn}, ${channel}, entered by ${recordedBy}`],
    ['due', `${dueOn}${overdue ? ' (overdue)' : ''}`],
    ['extended', extension && `${extension.ground}, told on ${extension.toldOn}, by ${extension.by}`],
    ['identity', identity && `${identity.how}, checked by ${identity.by} at ${identity.at}`],
    [
      'approved',
      approval &&
        `by ${approval.by} at ${approval.at}, ${approval.expired ? 'expired' : 'until'} ${approval.expiresAt}`,
    ],
    ['not approved', waiver && `begun at once by ${waiver.by}: ${waiver.reason}`],
    ['legal hold', hold && `${hold.ground}, by ${hold.by} at ${hold.at}`],
    ['refused', refusal && `${refusal.ground}, by ${refusal.by} at ${refusal.at}`],
    ['execution', execution && `begun by ${execution.by} at ${execution.at}, approval ${execution.approval}`],
    ['done', done && `${done.outcome}, by ${done.by} at ${done.at}`],
    ['file', done?.sha256 && `SHA-256 ${done.sha256}`],
    [
      'in clear',
      !!done?.eventsInClear && `${done.eventsInClear} events from before encryption still have personal data`,
    ],
  ]
  return optional.flatMap(([name, text]) => (text ? [[name, plain(text)]] : []))
}

const section = (title: string, rows: readonly [string, string][]) =>
  rows.length === 0 ? '' : `${title}:\n${columns(rows).join('\n')}`
