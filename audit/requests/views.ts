/** What an officer reads about requests: the same on the command line, as JSON and on the pages. */

import { type Holding, STAYS, type ToDo } from './holdings.ts'
import { isApproved, isOpen, type PrivacyRequest, secondsUntilDue, statusOf, subjectText } from './request.ts'

/** One line of the list. */
export interface RequestSummary {
  readonly request: number
  readonly kind: PrivacyRequest['kind']
  readonly subject: string
  readonly customerId: number | null
  readonly status: ReturnType<typeof statusOf>
  readonly receivedOn: string
  readonly dueOn: string
  /** Until the end of the last day; null for one that is closed. */
  readonly secondsUntilDue: number | null
  readonly overdue: boolean
}

export function summaryOf(request: PrivacyRequest, now: Date): RequestSummary {
  const { number, kind, subject, receivedOn, dueOn } = request
  const seconds = isOpen(request) ? secondsUntilDue(request, now) : null
  return {
    request: number,
    kind,
    subject: subjectText(subject),
    customerId: subject.customerId ?? null,
    status: statusOf(request, now),
    receivedOn,
    dueOn,
    secondsUntilDue: seconds,
    overdue: seconds !== null && seconds < 0,
  }
}

/** What came of a request, to print and to keep. It has no personal data. */
export interface Receipt extends RequestSummary {
  readonly channel: string
  readonly recordedBy: string
  readonly identity: { readonly how: string; readonly by: string; readonly at: string } | null
  readonly extension: { readonly ground: string; readonly toldOn: string; readonly by: string } | null
  readonly approval: {
    readonly by: string
    readonly at: string
    readonly expiresAt: string
    readonly expired: boolean
  } | null
  readonly waiver: { readonly reason: string; readonly by: string } | null
  readonly hold: { readonly ground: string; readonly by: string; readonly at: string } | null
  readonly refusal: { readonly ground: string; readonly by: string; readonly at: string } | null
  readonly execution: { readonly approval: string; readonly by: string; readonly at: string } | null
  readonly done: {
    readonly outcome: string
    readonly by: string
    readonly at: string
    readonly sha256: string | null
    readonly eventsInClear: number | null
  } | null
  /** What is held now, or left. */
  readonly held: readonly Holding[]
  /** For an erasure: what stays by design, and what people have to do. */
  readonly stays: readonly string[]
  readonly toDo: readonly (ToDo & { readonly doneBy: string | null; readonly doneAt: string | null })[]
  /** Each step, and where its event is: `audit prove privacyRequests:3` proves it. */
  readonly history: PrivacyRequest['history']
}

export function receiptOf(
  request: PrivacyRequest,
  now: Date,
  { held, toDo }: { readonly held: readonly Holding[]; readonly toDo: readonly ToDo[] },
): Receipt {
  const { channel, recorded, identity, extension, approval, waiver, hold, refusal, execution, done, steps } = request
  const isErasure = request.kind === 'erasure'
  return {
    ...summaryOf(request, now),
    channel,
    recordedBy: recorded.by,
    identity: identity ? { how: identity.how, by: identity.by, at: identity.at } : null,
    extension: extension ? { ground: extension.ground, toldOn: extension.toldOn, by: extension.by } : null,
    approval: approval
      ? { by: approval.by, at: approval.at, expiresAt: approval.expiresAt, expired: !isApproved(request, now) }
      : null,
    waiver: waiver ? { reason: waiver.reason, by: waiver.by } : null,
    hold: hold ? { ground: hold.ground, by: hold.by, at: hold.at } : null,
    refusal: refusal ? { ground: refusal.ground, by: refusal.by, at: refusal.at } : null,
    execution: execution ? { approval: execution.approval, by: execution.by, at: execution.at } : null,
    done: done
      ? {
          outcome: done.outcome,
          by: done.by,
          at: done.at,
          sha256: done.sha256 ?? null,
          eventsInClear: done.eventsInClear ?? null,
        }
      : null,
    held,
    stays: isErasure ? STAYS : [],
    toDo: isErasure
      ? toDo.map((each) => ({ ...each, doneBy: steps[each.step]?.by ?? null, doneAt: steps[each.step]?.at ?? null }))
      : [],
    history: request.history,
  }
}
