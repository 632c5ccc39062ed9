/** `customers privacy`: the requests of data subjects. */
import type { EventStore } from '../../eventstore/port.ts'
import { UsageError } from '../../runtime/errors.ts'
import type { RequestEvent } from '../../schema/events.ts'
import { findHolder } from '../customer-ref.ts'
import { dayOf } from '../requests/deadlines.ts'
import type { Receive, RequestCommand } from '../requests/decide.ts'
import { executeRequest } from '../requests/execute.ts'
import { holdingsOf, toDoAfterErasure } from '../requests/holdings.ts'
import {
  changeRequest,
  findRequest,
  type Officer,
  readNotes,
  readRegister,
  receiveRequest,
} from '../requests/register.ts'
import { isOpen, type PrivacyRequest, subjectText } from '../requests/request.ts'
import { receiptOf, summaryOf } from '../requests/views.ts'
import { recordReveal } from '../reveals.ts'
import { plain } from '../terminal-text.ts'
import { type AuditContext, shownAccess } from './context.ts'
import { line, openFile } from './output.ts'
import { receiptText, summaryText } from './privacy-text.ts'

interface Json {
  readonly json: boolean
}

/** @returns the exit code @throws EventStoreUnavailable */
export async function list(context: AuditContext, { json, all }: Json & { readonly all: boolean }): Promise<number> {
  const { requests } = await readRegister(await context.openEventStore())
  const now = new Date()
  const shown = [...requests.values()]
    .filter((request) => all || isOpen(request))
    .sort((a, b) => (isOpen(a) && isOpen(b) ? a.dueOn.localeCompare(b.dueOn) : Number(isOpen(b)) - Number(isOpen(a))))
    .map((request) => summaryOf(request, now))
  await context.write(json ? shown.map(line).join('') : shown.map(summaryText).join(''))
  if (!json && shown.length === 0) context.note(all ? 'There are no requests.' : 'No request is open.')
  return 0
}

/**
 * A request with its steps, and what is held of the person.
 * @param options.reveal with the notes, which is recorded as a disclosure
 * @returns the exit code @throws AuditError; EventStoreUnavailable | ReadModelUnavailable
 */
export async function show(
  context: AuditContext,
  number: string,
  options: Json & { readonly reveal: boolean; readonly reason?: string },
): Promise<number> {
  const eventStore = await context.openEventStore()
  const request = await findRequest(eventStore, Number(number))
  const notes = options.reveal ? await revealNotes(context, eventStore, request, options.reason ?? '') : undefined
  const receipt = await receiptFor(context, eventStore, request)
  if (options.json) await context.write(line({ ...receipt, ...(notes && { notes: Object.fromEntries(notes) }) }))
  else await context.write(receiptText(receipt, notes))
  return 0
}

/** The receipt of a request that is closed. @throws AuditError for one that is open */
export async function receipt(context: AuditContext, number: string, { json }: Json): Promise<number> {
  const eventStore = await context.openEventStore()
  const request = await findRequest(eventStore, Number(number))
  if (isOpen(request)) {
    context.note(`Request ${number} is open: it has a receipt once it is done or refused.`)
    return 1
  }
  const shown = await receiptFor(context, eventStore, request)
  await context.write(json ? line(shown) : receiptText(shown))
  return 0
}

async function revealNotes(context: AuditContext, eventStore: EventStore, request: PrivacyRequest, reason: string) {
  const { subject, number } = request
  await recordReveal(eventStore, {
    customerId: subject.customerId ?? null,
    ...(subject.customerId === undefined && { emailKeys: subject.emailKeys }),
    command: `privacy show ${number}`,
    reason,
    actor: `operator:${context.operator}`,
  })
  return readNotes(eventStore, subject)
}

async function receiptFor(context: AuditContext, eventStore: EventStore, request: PrivacyRequest) {
  const readModel = await context.openReadModel()
  try {
    const held = await holdingsOf(eventStore, readModel, request.subject, context.emailHashKey())
    return receiptOf(request, new Date(), { held, toDo: toDoAfterErasure(context.places()) })
  } finally {
    await readModel.close()
  }
}

export interface ReceiveOptions extends Json {
  readonly channel: Receive['channel']
  readonly receivedOn?: string
  readonly note?: string
}

/**
 * Enters a request. @param customer a number or an e-mail address, also one that no customer has
 * @returns the exit code @throws AuditError | RequestRefused | UsageError; EventStoreUnavailable
 */
export async function receive(
  context: AuditContext,
  kind: Receive['kind'],
  customer: string,
  options: ReceiveOptions,
): Promise<number> {
  const eventStore = await context.openEventStore()
  const holder = await findHolder(eventStore, customer, context.emailHashKey)
  const subject = holder.customerId === undefined ? { emailKeys: holder.emailKeys } : { customerId: holder.customerId }
  const officer = officerOf(context)
  const receivedOn = options.receivedOn ?? dayOf(officer.now)
  const command = { type: 'receive', kind, subject, channel: options.channel, receivedOn } as const
  const request = await receiveRequest(eventStore, command, officer, { note: options.note })
  const text = `Request ${request.number} is entered: ${kind} for ${subjectText(subject)}, due on ${request.dueOn}.`
  await tell(context, request, text, options)
  return 0
}

/** Takes one step of a request. @returns the exit code @throws AuditError | RequestRefused; EventStoreUnavailable */
export async function change(
  context: AuditContext,
  number: string,
  command: RequestCommand,
  options: Json & { readonly note?: string | undefined },
): Promise<number> {
  const eventStore = await context.openEventStore()
  const request = await changeRequest(eventStore, Number(number), command, officerOf(context), { note: options.note })
  const last = request.history.at(-1)
  await tell(context, request, textOf(request, last?.type), options)
  if (options.note && last?.note === undefined) context.note('The note is not kept: the person is erased.')
  return 0
}

const textOf = (request: PrivacyRequest, type: RequestEvent['type'] | undefined): string => {
  const { number, dueOn, approval } = request
  switch (type) {
    case 'RequesterIdentified':
      return `The identity check of request ${number} is on record.`
    case 'PrivacyRequestApproved':
      return `Request ${number} is approved until ${approval?.expiresAt}.`
    case 'PrivacyRequestExtended':
      return `Request ${number} is extended, to ${dueOn}.`
    case 'LegalHoldPlaced':
      return `Request ${number} is on legal hold: nothing of the person is erased until it is released.`
    case 'LegalHoldReleased':
      return `Request ${number} is released from its legal hold.`
    case 'PrivacyRequestRefused':
      return `Request ${number} is refused.`
    case 'ErasureStepDone':
      return `The step is on record for request ${number}.`
    default:
      return `Request ${number} is done.`
  }
}

export interface ExecuteOptions extends Json {
  readonly output?: string
  readonly note?: string
  readonly yes: boolean
}

/**
 * Executes a request: see requests/execute.ts.
 * @param options.output where the file of an access or a portability request goes; `-`: standard output
 * @returns the exit code @throws AuditError | RequestRefused; EventStoreUnavailable | ReadModelUnavailable
 */
export async function execute(context: AuditContext, number: string, options: ExecuteOptions): Promise<number> {
  const eventStore = await context.openEventStore()
  const { kind, subject } = await findRequest(eventStore, Number(number))
  if (kind === 'erasure' && !(await isConfirmed(context, `Erase ${subjectText(subject)} for good?`, options.yes))) {
    context.note('Nothing was erased.')
    return 1
  }
  const path = options.output ?? `request-${number}.json`
  const readModel = await context.openReadModel()
  try {
    const { request } = await executeRequest(Number(number), {
      eventStore,
      readModel,
      emailHashKey: context.emailHashKey(),
      officer: officerOf(context),
      said: { note: options.note },
      isShown: shownAccess(context),
      handOut: (file) => writeTo(context, path, file),
      onResume: ({ execution }) => context.note(`Resumed: ${execution?.by} began it at ${execution?.at}.`),
      onInterruption: interruptionOf(context),
    })
    const isFile = request.done?.outcome === 'handed-out'
    if (isFile && path !== '-') context.note(`All that is held of ${subjectText(subject)}: ${plain(path)}`)
    if (!isFile || path !== '-')
      await tell(context, request, `Request ${number} is done: ${request.done?.outcome}.`, options)
    return tellClear(context, request)
  } finally {
    await readModel.close()
  }
}

/** Says how an execution that failed after its beginning is brought to its end. */
export const interruptionOf =
  ({ note }: AuditContext) =>
  ({ number }: PrivacyRequest): void =>
    note(`Request ${number} is begun, but not done: run the same command again, which resumes it.`)

/** Says what an erasure could not reach. @returns the exit code */
export function tellClear(context: AuditContext, { done }: PrivacyRequest): number {
  const inClear = done?.eventsInClear ?? 0
  if (inClear === 0) return 0
  context.note(
    `Events from before there was encryption: ${inClear}. What is personal in them stays in the log, in clear.`,
  )
  return 1
}

async function writeTo(context: AuditContext, path: string, text: string): Promise<void> {
  if (path === '-') return context.write(text)
  const file = openFile(path)
  await file.write(text)
  await file.close()
}

/** @throws UsageError if nobody can be asked */
export async function isConfirmed(context: AuditContext, question: string, yes: boolean): Promise<boolean> {
  if (yes) return true
  const answer = await context.confirm(question)
  if (answer === undefined) throw new UsageError('An erasure needs --yes where there is no terminal to ask on.')
  return answer
}

export const officerOf = ({ operator, requestRules, emailHashKey }: AuditContext): Officer => ({
  actor: `operator:${operator}`,
  commandId: crypto.randomUUID(),
  now: new Date(),
  rules: requestRules(),
  ...(operator.includes('@') && { emailHashKey: emailHashKey() }),
})

async function tell(context: AuditContext, request: PrivacyRequest, text: string, { json }: Json): Promise<void> {
  await context.write(json ? line(summaryOf(request, new Date())) : `${text}\n`)
}
