/** `customers audit erase`: erases a person for good, on an approved request or without one. */
import type { EventStore } from '../../eventstore/port.ts'
import { UsageError } from '../../runtime/errors.ts'
import { findHolder, type Holder } from '../customer-ref.ts'
import { AuditError } from '../errors.ts'
import { type Executed, eraseAtOnce, executeRequest, findInterrupted } from '../requests/execute.ts'
import { holdingsOf } from '../requests/holdings.ts'
import { findRequest } from '../requests/register.ts'
import { isSameSubject, type Subject } from '../requests/request.ts'
import { type AuditContext, shownAccess } from './context.ts'
import { line } from './output.ts'
import { interruptionOf, isConfirmed, officerOf, tellClear } from './privacy.ts'

export interface EraseOptions {
  /** Why, without a request. */
  readonly reason?: string
  /** The number of the request that asks for it. */
  readonly request?: string
  /** Without a request, although the store's rules want one that is approved. */
  readonly emergency: boolean
  /** Skip the confirmation. */
  readonly yes: boolean
  readonly json: boolean
}

/**
 * @returns the exit code
 * @throws AuditError if the customer or the address is unknown; RequestRefused; UsageError; EventStoreUnavailable
 */
export async function erase(context: AuditContext, customer: string, options: EraseOptions): Promise<number> {
  const { request: number, emergency } = options
  if (number === undefined && !emergency && context.requestRules().secondPerson) {
    throw new UsageError(
      'An erasure needs the number of an approved request (--request; see `customers privacy receive`), or --emergency.',
    )
  }
  const eventStore = await context.openEventStore()
  const holder = await findHolder(eventStore, customer, context.emailHashKey)
  const question =
    holder.customerId === undefined ? 'Erase what is known of this address' : `Erase customer ${holder.customerId}`
  if (!(await isConfirmed(context, `${question} for good?`, options.yes))) {
    context.note('Nothing was erased.')
    return 1
  }
  const readModel = await context.openReadModel()
  try {
    const shared = { eventStore, readModel, emailHashKey: context.emailHashKey(), officer: officerOf(context) }
    const onResume = ({ number }: { number: number }) =>
      context.note(`Request ${number} had been begun: it is resumed.`)
    const onInterruption = interruptionOf(context)
    let executed: Executed
    if (number === undefined) {
      const subject = await subjectOf(context, eventStore, holder)
      executed = await eraseAtOnce(subject, options.reason?.trim() ?? '', { ...shared, onResume, onInterruption })
    } else {
      await checkSubject(eventStore, Number(number), holder)
      const data = { isShown: shownAccess(context), handOut: async () => {} }
      executed = await executeRequest(Number(number), { ...shared, ...data, onResume, onInterruption })
    }
    await tell(context, executed, options.json)
    return tellClear(context, executed.request)
  } finally {
    await readModel.close()
  }
}

/** @throws AuditError for an address of which nothing is known */
async function subjectOf(context: AuditContext, eventStore: EventStore, holder: Holder): Promise<Subject> {
  if (holder.customerId !== undefined) return { customerId: holder.customerId }
  const { emailKeys, former } = holder
  // Nothing may be left of somebody whose erasure was interrupted before its end was on record.
  const own = [{ emailKeys }, ...(former === undefined ? [] : [{ customerId: former }])]
  for (const subject of own) if (await findInterrupted(eventStore, subject)) return subject
  const held = await holdingsOf(eventStore, undefined, { emailKeys }, context.emailHashKey())
  // A released claim, and what nobody has the key of any more, say nothing of anybody.
  if (held.some(({ fate }) => fate === 'goes')) return { emailKeys }
  throw new AuditError('Nothing is known of this address.')
}

/** @throws AuditError for a request of another kind, or of somebody else */
async function checkSubject(eventStore: EventStore, number: number, holder: Holder): Promise<void> {
  const { kind, subject } = await findRequest(eventStore, number)
  if (kind !== 'erasure') throw new AuditError(`Request ${number} asks for ${kind}, not for an erasure.`)
  if (isSameSubject(subject, holder)) return
  // An erasure that was interrupted may have released the address already.
  if (holder.customerId === undefined && holder.former !== undefined && holder.former === subject.customerId) return
  throw new AuditError(`Request ${number} is about somebody else.`)
}

async function tell(context: AuditContext, { request, erased }: Executed, json: boolean): Promise<void> {
  const { number: asked, subject, done } = request
  const { customerId } = subject
  if (json) {
    const result = customerId === undefined ? { address: 'erased' } : { customerId, customer: erased }
    await context.write(line({ ...result, eventsInClear: done?.eventsInClear ?? 0, request: asked }))
    return
  }
  const text =
    customerId === undefined
      ? 'Nobody has this address; what was known of it is erased.'
      : `Customer ${customerId} is erased.`
  await context.write(`${text}\n`)
  context.note(`It is on record as request ${asked}: customers privacy receipt ${asked}`)
}
