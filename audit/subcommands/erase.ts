/** `customers audit erase`: erases a person for good. */
import { eraseAddress } from '../../projections/erasure.ts'
import { UsageError } from '../../runtime/errors.ts'
import { findHolder, type Holder } from '../customer-ref.ts'
import { eraseCustomer } from '../erase.ts'
import { AuditError } from '../errors.ts'
import type { AuditContext } from './context.ts'
import { line } from './output.ts'

export interface EraseOptions {
  readonly reason: string
  /** Skip the confirmation. */
  readonly yes: boolean
  readonly json: boolean
}

/** @returns the exit code @throws AuditError if the customer or the address is unknown; EventStoreUnavailable */
export async function erase(context: AuditContext, customer: string, options: EraseOptions): Promise<number> {
  const eventStore = await context.openEventStore()
  const reason = options.reason.trim()
  const eraser = { actor: `operator:${context.operator}`, correlationId: crypto.randomUUID(), at: new Date() }
  const print = (result: object, text: string) => context.write(options.json ? line(result) : `${text}\n`)
  const holder = await findHolder(eventStore, customer, context.emailHashKey)
  if (!options.yes && !(await isConfirmed(context, holder))) {
    context.note('Nothing was erased.')
    return 1
  }
  if (holder.customerId === undefined) {
    const found = []
    for (const key of holder.emailKeys) found.push(await eraseAddress(eventStore, key, eraser))
    if (!found.some(Boolean)) throw new AuditError('Nothing is known of this address.')
    await print({ address: 'erased' }, 'Nobody has this address; what was known of it is erased.')
    return 0
  }
  const { customerId } = holder
  const readModel = await context.openReadModel()
  try {
    const { customer: outcome, inClear } = await eraseCustomer({
      eventStore,
      readModel,
      customerId,
      emailHashKey: context.emailHashKey(),
      eraser,
      reason,
    })
    if (outcome === 'absent') throw new AuditError(`There is no customer ${customerId}.`)
    await print({ customerId, customer: outcome, eventsInClear: inClear }, `Customer ${customerId} is erased.`)
    if (inClear > 0) {
      context.note(
        `Events from before there was encryption: ${inClear}. What is personal in them stays in the log, in clear.`,
      )
    }
    return inClear > 0 ? 1 : 0
  } finally {
    await readModel.close()
  }
}

/** @throws UsageError if nobody can be asked */
async function isConfirmed(context: AuditContext, { customerId }: Holder): Promise<boolean> {
  const what = customerId === undefined ? 'Erase what is known of this address' : `Erase customer ${customerId}`
  const answer = await context.confirm(`${what} for good?`)
  if (answer === undefined) throw new UsageError('erase needs --yes where there is no terminal to ask on.')
  return answer
}
