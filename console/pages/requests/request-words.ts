/** Where a request is and when it is due, in marks. */
import type { RequestSummary } from '../../../audit/requests/views.ts'
import { badge } from '../../components.ts'
import { type Html, html } from '../../html.ts'

export function statusBadge(status: RequestSummary['status']): Html {
  if (status === 'done') return badge(status, 'good')
  if (status === 'on hold' || status === 'executing') return badge(status, 'warning')
  return badge(status, status === 'refused' ? 'bad' : 'plain')
}

/** `2026-02-28, in 5 days`. */
export function dueText({ dueOn, secondsUntilDue, overdue }: RequestSummary): Html {
  if (secondsUntilDue === null) return html`${dueOn}`
  const days = Math.floor(Math.abs(secondsUntilDue) / 86_400)
  if (overdue) return html`${dueOn} ${badge('overdue', 'bad')}`
  const text = days === 0 ? 'today' : days === 1 ? 'tomorrow' : `in ${days} days`
  return html`${dueOn} ${badge(text, days <= 7 ? 'warning' : 'plain')}`
}
