/** A request of a data subject as its events describe it. Pure: see decide.ts for what may happen to it. */
import type { Recorded } from '../../eventstore/codec.ts'
import type { RequestEvent } from '../../schema/events.ts'
import type {
  ERASURE_STEPS,
  EXTENSION_GROUNDS,
  HOLD_GROUNDS,
  IDENTITY_CHECKS,
  REFUSAL_GROUNDS,
  REQUEST_CHANNELS,
  REQUEST_KINDS,
} from '../../schema/privacy-requests.ts'
import { addMonths, MONTHS, secondsUntilEnd } from './deadlines.ts'

export type RequestKind = (typeof REQUEST_KINDS)[number]
export type RequestChannel = (typeof REQUEST_CHANNELS)[number]
export type IdentityCheck = (typeof IDENTITY_CHECKS)[number]
export type ExtensionGround = (typeof EXTENSION_GROUNDS)[number]
export type HoldGround = (typeof HOLD_GROUNDS)[number]
export type RefusalGround = (typeof REFUSAL_GROUNDS)[number]
export type ErasureStep = (typeof ERASURE_STEPS)[number]

/** Whose data it is about: a customer, or whoever is behind an address that no customer has (its keyed hashes). */
export type Subject =
  | { readonly customerId: number }
  | { readonly customerId?: undefined; readonly emailKeys: readonly string[] }

/** One step: who took it, and when (ISO 8601, UTC). */
interface Step {
  readonly by: string
  readonly at: string
  /** The id of the note that goes with it. */
  readonly note?: string | undefined
}

export interface PrivacyRequest {
  readonly number: number
  /** How many events it has: what somebody has seen of it. */
  readonly version: number
  readonly kind: RequestKind
  readonly subject: Subject
  readonly channel: RequestChannel
  readonly receivedOn: string
  /** Who entered it. */
  readonly recorded: Step
  /** The last day for an answer. */
  readonly dueOn: string
  readonly identity?: Step & { readonly how: IdentityCheck }
  readonly extension?: Step & { readonly ground: ExtensionGround; readonly toldOn: string }
  readonly approval?: (Step & { readonly expiresAt: string }) | undefined
  /** Nobody approved it, for this reason. */
  readonly waiver?: Step & { readonly reason: string }
  readonly hold?: (Step & { readonly ground: HoldGround }) | undefined
  readonly refusal?: Step & { readonly ground: RefusalGround }
  readonly execution?: Step & { readonly approval: 'given' | 'waived' | 'not-required' }
  readonly done?: Step & {
    readonly outcome: 'erased' | 'handed-out' | 'carried-out'
    readonly sha256?: string | undefined
    readonly eventsInClear?: number | undefined
  }
  /** What people did after an erasure. */
  readonly steps: Readonly<Partial<Record<ErasureStep, Step>>>
  /** All of it in order, each with its revision in the register. */
  readonly history: readonly (Step & { readonly type: RequestEvent['type']; readonly revision: number })[]
}

/** Applies one event. @param request undefined before the first one */
export function evolve(request: PrivacyRequest | undefined, event: Recorded<RequestEvent>): PrivacyRequest {
  const { type, data, metadata, revision } = event
  const step: Step = { by: metadata.actor, at: metadata.at, ...(data.note !== undefined && { note: data.note }) }
  const entry = { ...step, type, revision }
  if (type === 'PrivacyRequestReceived') return received(data, step, entry)
  if (request === undefined) throw new Error(`Request ${data.request} begins with ${type}.`)
  return {
    ...request,
    ...changeOf(request, event, step),
    version: request.version + 1,
    history: [...request.history, entry],
  }
}

function received(
  data: Extract<RequestEvent, { type: 'PrivacyRequestReceived' }>['data'],
  recorded: Step,
  entry: PrivacyRequest['history'][number],
): PrivacyRequest {
  const { request: number, kind, customerId, emailKeys = [], channel, receivedOn } = data
  const subject = customerId === undefined ? { emailKeys } : { customerId }
  const dueOn = addMonths(receivedOn, MONTHS.first)
  return { number, version: 1, kind, subject, channel, receivedOn, recorded, dueOn, steps: {}, history: [entry] }
}

function changeOf(request: PrivacyRequest, { type, data }: RequestEvent, step: Step): Partial<PrivacyRequest> {
  switch (type) {
    case 'RequesterIdentified':
      // What was approved was another person's check.
      return { identity: { ...step, how: data.how }, approval: undefined }
    case 'PrivacyRequestExtended':
      return { extension: { ...step, ground: data.ground, toldOn: data.toldOn }, dueOn: data.dueOn }
    case 'PrivacyRequestApproved':
      return { approval: { ...step, expiresAt: data.expiresAt } }
    case 'ApprovalWaived':
      return { waiver: { ...step, reason: data.reason } }
    case 'LegalHoldPlaced':
      return { hold: { ...step, ground: data.ground } }
    case 'LegalHoldReleased':
      return { hold: undefined }
    case 'PrivacyRequestRefused':
      return { refusal: { ...step, ground: data.ground }, hold: undefined }
    case 'ExecutionBegun':
      return { execution: { ...step, approval: data.approval } }
    case 'PrivacyRequestDone': {
      const { outcome, sha256, eventsInClear } = data
      return { done: { ...step, outcome, sha256, eventsInClear } }
    }
    case 'ErasureStepDone':
      return { steps: { ...request.steps, [data.step]: step } }
    default:
      return {}
  }
}

export type RequestStatus = 'received' | 'identified' | 'approved' | 'on hold' | 'executing' | 'refused' | 'done'

/** Where a request is now. An approval that has expired counts no more. */
export function statusOf(request: PrivacyRequest, now: Date): RequestStatus {
  if (request.refusal) return 'refused'
  if (request.done) return 'done'
  if (request.hold) return 'on hold'
  if (request.execution) return 'executing'
  if (isApproved(request, now)) return 'approved'
  return request.identity ? 'identified' : 'received'
}

export const isOpen = ({ refusal, done }: PrivacyRequest): boolean => refusal === undefined && done === undefined

export const isApproved = ({ approval }: PrivacyRequest, now: Date): boolean =>
  approval !== undefined && Date.parse(approval.expiresAt) > now.getTime()

/** Seconds until the end of its last day; negative for one that is overdue. */
export const secondsUntilDue = ({ dueOn }: PrivacyRequest, now: Date): number => secondsUntilEnd(dueOn, now)

export const isSameSubject = (a: Subject, b: Subject): boolean =>
  a.customerId === undefined && b.customerId === undefined
    ? a.emailKeys.some((key) => b.emailKeys.includes(key))
    : a.customerId === b.customerId

/** `customer 7`, or the beginning of an address's keyed hash. */
export const subjectText = (subject: Subject): string =>
  subject.customerId === undefined ? `address ${subject.emailKeys[0]?.slice(0, 12)}…` : `customer ${subject.customerId}`
