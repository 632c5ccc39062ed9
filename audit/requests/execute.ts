/**
 * Executes requests of data subjects. What is begun is in the register before anything is done, and what is done after
 * it. If the process dies in between, the request is `executing`; executing it again resumes it. All of it may be done
 * twice: an erased customer stays erased, and a file that is made again is on record again.
 */
import { createHash } from 'node:crypto'
import { uuidOf } from '../../eventstore/derived-uuid.ts'
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'
import { newestEvent } from '../../eventstore/read.ts'
import { eraseAddress } from '../../projections/erasure.ts'
import { isOfOtherLog } from '../../projections/provenance.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import type { EmailEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { eraseCustomer } from '../erase.ts'
import { AuditError, RequestRefused } from '../errors.ts'
import { recordReveal } from '../reveals.ts'
import { addressData, subjectData } from '../subject.ts'
import { checkNamesNobody } from './clear-reason.ts'
import { dayOf } from './deadlines.ts'
import {
  changeRequest,
  changeRequestBy,
  findRequest,
  type Officer,
  readRegister,
  receiveRequest,
  type Said,
} from './register.ts'
import { isSameSubject, type PrivacyRequest, type Subject } from './request.ts'

export interface ExecutionOptions {
  readonly eventStore: EventStore
  /** Whose documents an erasure removes at once; otherwise the workers do that. */
  readonly readModel?: ReadModel | undefined
  readonly emailHashKey: string
  readonly officer: Officer
  readonly said?: Said
  /** Whether an event has not expired: what a file has. */
  readonly isShown: (event: RecordedEvent) => boolean
  /** Hands out the file of an access or a portability request (JSON). It counts as done once this resolves. */
  readonly handOut: (file: string) => Promise<void>
  /** Told when an execution is resumed that somebody began before. */
  readonly onResume?: (request: PrivacyRequest) => void
  /** Told when an execution that has begun fails: it can be resumed. */
  readonly onInterruption?: (request: PrivacyRequest) => void
}

/** A request that was executed. */
export interface Executed {
  readonly request: PrivacyRequest
  /** Of an erasure of a customer: deleted now, or already before. */
  readonly erased?: 'deleted' | 'already deleted' | undefined
}

/**
 * Executes a request, or resumes its execution: an erasure erases, access and portability hand out a file. The others
 * (rectification, restriction, objection) are carried out by people elsewhere: this records that they are.
 * @throws RequestRefused | RequestConflict | AuditError; EventStoreUnavailable | ReadModelUnavailable, after which it
 * can be repeated
 */
export async function executeRequest(number: number, options: ExecutionOptions): Promise<Executed> {
  const { eventStore, officer, said, onResume } = options
  const before = await findRequest(eventStore, number)
  if (before.kind === 'erasure') {
    await checkAddress(eventStore, before.subject)
    await checkReadModel(options)
  }
  if (!isByMachine(before)) {
    return {
      request: await changeRequestBy(eventStore, number, [{ type: 'begin' }, { type: 'finish' }], officer, said),
    }
  }
  const begun = await changeRequest(eventStore, number, { type: 'begin' }, officer, said)
  if (before.execution && !before.done) onResume?.(begun)
  return carryOut(begun, options)
}

/**
 * Erases a person at once, without anybody's approval. It is on record as a request of its own, with the reason; one
 * that was interrupted is resumed. A legal hold stops it all the same.
 * @throws as {@link executeRequest}
 */
export async function eraseAtOnce(
  subject: Subject,
  reason: string,
  options: Omit<ExecutionOptions, 'handOut' | 'isShown' | 'said'>,
): Promise<Executed> {
  const { eventStore, officer, onResume } = options
  await checkNamesNobody(eventStore, subject, reason)
  await checkAddress(eventStore, subject)
  await checkReadModel(options)
  const all = { ...options, isShown: () => true, handOut: async () => {} }
  const begunBefore = await findInterrupted(eventStore, subject)
  if (begunBefore) {
    onResume?.(begunBefore)
    return executeRequest(begunBefore.number, { ...options, ...all, onResume: () => {} })
  }
  const receive = { type: 'receive', kind: 'erasure', subject, channel: 'other', atOnce: { reason } } as const
  const begun = await receiveRequest(eventStore, { ...receive, receivedOn: dayOf(officer.now) }, officer)
  return carryOut(begun, all)
}

/** The erasure of the person that was begun and is not done. @throws EventStoreUnavailable */
export async function findInterrupted(eventStore: EventStore, subject: Subject): Promise<PrivacyRequest | undefined> {
  const { requests } = await readRegister(eventStore)
  return [...requests.values()].find(
    (each) => each.execution && !each.done && each.kind === 'erasure' && isSameSubject(each.subject, subject),
  )
}

const isByMachine = ({ kind }: PrivacyRequest) => kind === 'erasure' || kind === 'access' || kind === 'portability'

async function carryOut(request: PrivacyRequest, options: ExecutionOptions): Promise<Executed> {
  try {
    return await carryOutBegun(request, options)
  } catch (error) {
    options.onInterruption?.(request)
    throw error
  }
}

async function carryOutBegun(request: PrivacyRequest, options: ExecutionOptions): Promise<Executed> {
  const { eventStore, officer } = options
  // Both halves of a command are written once, whatever is repeated.
  const ending = { ...officer, commandId: uuidOf(`${officer.commandId}:finish`) }
  if (request.kind !== 'erasure') {
    const result = await handOut(request, options)
    return { request: await changeRequest(eventStore, request.number, { type: 'finish', ...result }, ending) }
  }
  const { customer, inClear } = await erase(request, options)
  const finish = { type: 'finish', eventsInClear: inClear } as const
  return { request: await changeRequest(eventStore, request.number, finish, ending), erased: customer }
}

async function erase(
  { number, subject, waiver }: PrivacyRequest,
  { eventStore, readModel, emailHashKey, officer }: ExecutionOptions,
): Promise<{ readonly customer?: 'deleted' | 'already deleted'; readonly inClear: number }> {
  const eraser = { actor: officer.actor, correlationId: officer.commandId, at: officer.now }
  if (subject.customerId === undefined) {
    for (const key of subject.emailKeys) await eraseAddress(eventStore, key, eraser)
    return { inClear: 0 }
  }
  const { customer, inClear } = await eraseCustomer({
    eventStore,
    ...(readModel && { readModel }),
    customerId: subject.customerId,
    emailHashKey,
    eraser,
    reason: waiver ? `request ${number}, not approved: ${waiver.reason}` : `request ${number}`,
  })
  if (customer === 'absent') throw new AuditError(`There is no customer ${subject.customerId}.`)
  return { customer, inClear }
}

async function handOut(
  { number, kind, subject }: PrivacyRequest,
  { eventStore, emailHashKey, officer, isShown, handOut }: ExecutionOptions,
): Promise<{ sha256: string }> {
  const { customerId } = subject
  await recordReveal(eventStore, {
    customerId: customerId ?? null,
    ...(subject.customerId === undefined && { emailKeys: subject.emailKeys }),
    command: `privacy execute ${number}`,
    reason: `request ${number} (${kind})`,
    actor: officer.actor,
    correlationId: officer.commandId,
  })
  const data =
    subject.customerId === undefined
      ? await addressData(eventStore, subject.emailKeys, isShown)
      : await subjectData(eventStore, subject.customerId, emailHashKey, isShown)
  const file = `${JSON.stringify(data, null, 2)}\n`
  await handOut(file)
  return { sha256: createHash('sha256').update(file).digest('hex') }
}

/** @throws RequestRefused for the erasure of an address that a customer has by now: that customer would be spared */
async function checkAddress(eventStore: EventStore, subject: Subject): Promise<void> {
  if (subject.customerId !== undefined) return
  for (const key of subject.emailKeys) {
    const claim = await newestEvent<EmailEvent>(eventStore, streamOf.email(key))
    if (claim?.type !== 'EmailClaimed') continue
    throw new RequestRefused(
      `Customer ${claim.data.customerId} has this address by now: enter a request for the customer.`,
    )
  }
}

/** @throws AuditError for the read model of another log: its customers with the same numbers are other people */
async function checkReadModel({ eventStore, readModel }: Pick<ExecutionOptions, 'eventStore' | 'readModel'>) {
  if (readModel === undefined || !(await isOfOtherLog(eventStore, await readModel.getCheckpoint()))) return
  throw new AuditError(
    'The read model has the documents of another log: check READMODEL_URL. If it is the right one, start the projection first, which fills it anew.',
  )
}
