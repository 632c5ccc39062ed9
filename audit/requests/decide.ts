/**
 * What may happen to a request of a data subject: a command and what is known give the events, or a refusal. Pure: no
 * I/O and no clock.
 */
import type { RequestEvent } from '../../schema/events.ts'
import { RequestRefused } from '../errors.ts'
import { addMonths, dayOf, MONTHS } from './deadlines.ts'
import { isSamePerson } from './person.ts'
import {
  type ErasureStep,
  type ExtensionGround,
  type HoldGround,
  type IdentityCheck,
  isApproved,
  isOpen,
  type PrivacyRequest,
  type RefusalGround,
  type RequestChannel,
  type RequestKind,
  type Subject,
} from './request.ts'

/** The first command of a request. */
export interface Receive {
  readonly type: 'receive'
  readonly kind: RequestKind
  readonly subject: Subject
  readonly channel: RequestChannel
  /** The day it came in (ISO date). */
  readonly receivedOn: string
  /** An erasure that begins at once and that nobody approves. */
  readonly atOnce?: { readonly reason: string }
}

export type RequestCommand =
  | { readonly type: 'identify'; readonly how: IdentityCheck }
  | { readonly type: 'approve' }
  /** `toldOn`: the day on which the person was told (ISO date). */
  | { readonly type: 'extend'; readonly ground: ExtensionGround; readonly toldOn: string }
  | { readonly type: 'hold'; readonly ground: HoldGround }
  | { readonly type: 'release' }
  | { readonly type: 'refuse'; readonly ground: RefusalGround }
  /** Begins the execution, or resumes one that was interrupted. */
  | { readonly type: 'begin' }
  | { readonly type: 'finish'; readonly sha256?: string; readonly eventsInClear?: number }
  | { readonly type: 'record-step'; readonly step: ErasureStep }

/** The rules of the store (`audit` in schema/store.yaml). */
export interface RequestRules {
  /** Whether a second person has to approve. */
  readonly secondPerson: boolean
  /** How long an approval holds. */
  readonly approvalDays: number
}

/** What a decision depends on beside the request. */
export interface Circumstances {
  readonly actor: string
  readonly now: Date
  readonly rules: RequestRules
  /** The id of the note that goes with the command. */
  readonly note?: string | undefined
  /** The number of another request of the same person that is on legal hold. */
  readonly heldBy?: number | undefined
  /** Whether the request is about the actor's own data. */
  readonly isOwn?: boolean | undefined
}

/** @param number of the new request @throws RequestRefused */
export function decideReceipt(number: number, command: Receive, circumstances: Circumstances): RequestEvent[] {
  const { kind, subject, channel, receivedOn, atOnce } = command
  const { now, note, heldBy, rules } = circumstances
  if (receivedOn > dayOf(now)) throw new RequestRefused('A request can’t be received on a day that is yet to come.')
  const about = { request: number, ...(note !== undefined && { note }) }
  const who =
    subject.customerId === undefined ? { emailKeys: [...subject.emailKeys] } : { customerId: subject.customerId }
  const received: RequestEvent = {
    type: 'PrivacyRequestReceived',
    data: { ...about, kind, ...who, channel, receivedOn },
  }
  if (atOnce === undefined) return [received]
  if (kind !== 'erasure') throw new RequestRefused('Only an erasure can be begun at once.')
  if (heldBy !== undefined) throw onHold(heldBy)
  return [
    received,
    { type: 'ApprovalWaived', data: { request: number, reason: atOnce.reason } },
    { type: 'ExecutionBegun', data: { request: number, approval: rules.secondPerson ? 'waived' : 'not-required' } },
  ]
}

/** @returns the events; none if there is nothing to change @throws RequestRefused */
export function decide(request: PrivacyRequest, command: RequestCommand, circumstances: Circumstances): RequestEvent[] {
  const { note } = circumstances
  const about = { request: request.number, ...(note !== undefined && { note }) }
  switch (command.type) {
    case 'identify':
      checkOpen(request)
      if (request.execution) throw refused(request, 'is being executed: its identity check can’t be replaced')
      return [{ type: 'RequesterIdentified', data: { ...about, how: command.how } }]
    case 'approve':
      return [approve(request, circumstances, about)]
    case 'extend':
      return [extend(request, command, circumstances, about)]
    case 'hold':
      checkOpen(request)
      if (request.kind !== 'erasure') throw refused(request, `asks for ${request.kind}: a legal hold stops erasures`)
      if (request.hold) throw refused(request, `is on legal hold already, by ${request.hold.by}`)
      return [{ type: 'LegalHoldPlaced', data: { ...about, ground: command.ground } }]
    case 'release':
      checkOpen(request)
      if (!request.hold) throw refused(request, 'is not on legal hold')
      return [{ type: 'LegalHoldReleased', data: about }]
    case 'refuse':
      checkOpen(request)
      if (request.execution) throw refused(request, 'is being executed: it can’t be refused any more')
      return [{ type: 'PrivacyRequestRefused', data: { ...about, ground: command.ground } }]
    case 'begin':
      return begin(request, circumstances, about)
    case 'finish':
      return finish(request, command, about)
    case 'record-step':
      if (request.done?.outcome !== 'erased') throw refused(request, 'is not an erasure that is done')
      if (request.steps[command.step]) throw refused(request, `has this step on record: ${command.step}`)
      return [{ type: 'ErasureStepDone', data: { ...about, step: command.step } }]
  }
}

interface About {
  readonly request: number
  readonly note?: string
}

function approve(request: PrivacyRequest, circumstances: Circumstances, about: About): RequestEvent {
  const { actor, now, rules, heldBy, isOwn } = circumstances
  checkOpen(request)
  if (isOwn) throw refused(request, 'is about your own data: another person has to approve it')
  if (request.execution) throw refused(request, `is being executed, since ${request.execution.at}`)
  if (!request.identity) throw refused(request, 'has no identity check yet')
  checkHold(request, heldBy)
  if (isApproved(request, now)) throw refused(request, `is approved already, by ${request.approval?.by}`)
  for (const [step, what] of [
    [request.recorded, 'recorded it'],
    [request.identity, 'checked the identity'],
  ] as const) {
    if (isSamePerson(step.by, actor)) throw refused(request, `needs a second person to approve it: ${actor} ${what}`)
  }
  const expiresAt = new Date(now.getTime() + rules.approvalDays * 86_400_000).toISOString()
  return { type: 'PrivacyRequestApproved', data: { ...about, expiresAt } }
}

function extend(
  request: PrivacyRequest,
  { ground, toldOn }: Extract<RequestCommand, { type: 'extend' }>,
  { now }: Circumstances,
  about: About,
): RequestEvent {
  checkOpen(request)
  if (request.extension) throw refused(request, 'is extended already: there is one extension')
  const today = dayOf(now)
  if (today > request.dueOn) throw refused(request, `was due on ${request.dueOn}: it is too late to extend it`)
  if (toldOn < request.receivedOn || toldOn > today) {
    throw refused(
      request,
      `can’t be extended: the person was told between ${request.receivedOn} and ${today}, or not yet`,
    )
  }
  const dueOn = addMonths(request.receivedOn, MONTHS.extended)
  return { type: 'PrivacyRequestExtended', data: { ...about, ground, toldOn, dueOn } }
}

function begin(request: PrivacyRequest, { now, rules, heldBy }: Circumstances, about: About): RequestEvent[] {
  if (request.refusal) throw refused(request, `is refused, by ${request.refusal.by}`)
  if (request.done && !isHandedOut(request)) throw refused(request, `is done already, by ${request.done.by}`)
  checkHold(request, heldBy)
  // What died halfway is resumed: what is done already does no harm when it is done again.
  if (request.execution && !request.done) return []
  if (!request.identity) throw refused(request, 'has no identity check yet')
  if (rules.secondPerson && !isApproved(request, now)) {
    throw refused(
      request,
      request.approval
        ? `needs another approval: the one by ${request.approval.by} has expired`
        : 'is not approved yet',
    )
  }
  const approval = isApproved(request, now) ? 'given' : 'not-required'
  return [{ type: 'ExecutionBegun', data: { ...about, approval } }]
}

function finish(
  request: PrivacyRequest,
  { sha256, eventsInClear }: Extract<RequestCommand, { type: 'finish' }>,
  about: About,
): RequestEvent[] {
  if (!request.execution) throw refused(request, 'is not being executed')
  if (request.done && !isHandedOut(request)) throw refused(request, `is done already, by ${request.done.by}`)
  const data = {
    ...about,
    outcome: outcomeOf(request.kind),
    ...(sha256 !== undefined && { sha256 }),
    ...(eventsInClear !== undefined && { eventsInClear }),
  }
  return [{ type: 'PrivacyRequestDone', data }]
}

/** A file that was lost on its way may be made again, for as long as the approval holds. */
const isHandedOut = ({ done }: PrivacyRequest) => done?.outcome === 'handed-out'

function outcomeOf(kind: RequestKind): 'erased' | 'handed-out' | 'carried-out' {
  if (kind === 'erasure') return 'erased'
  return kind === 'access' || kind === 'portability' ? 'handed-out' : 'carried-out'
}

function checkOpen(request: PrivacyRequest): void {
  if (isOpen(request)) return
  throw refused(request, request.refusal ? `is refused, by ${request.refusal.by}` : `is done, by ${request.done?.by}`)
}

function checkHold(request: PrivacyRequest, heldBy: number | undefined): void {
  if (request.kind !== 'erasure') return
  if (request.hold) throw onHold(request.number)
  if (heldBy !== undefined) throw onHold(heldBy)
}

const onHold = (number: number) =>
  new RequestRefused(`Request ${number} is on legal hold: nothing of this person is erased until it is released.`)

const refused = ({ number }: PrivacyRequest, why: string) => new RequestRefused(`Request ${number} ${why}.`)
