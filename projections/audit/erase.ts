/** `npm run audit -- erase`: a customer is erased from the outside. See ../erasure.ts. */
import { setTimeout as delay } from 'node:timers/promises'
import { chained } from '../../eventstore/chain.ts'
import { KEY_MAX_AGE_MS } from '../../eventstore/encryption.ts'
import { type EventStore, type RecordedEvent, WrongExpectedRevision } from '../../eventstore/port.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import type { EmailEvent } from '../../schema/events.ts'
import { createApplier } from '../apply.ts'
import {
  type Account,
  appendAfter,
  deleteStream,
  destroyKeys,
  type Eraser,
  encodeErasure,
  eraseAddress,
  MOST_ROUNDS,
  readAccount,
  streamsOfAccount,
  streamsOfAddress,
} from '../erasure.ts'
import { customerStream } from '../fold.ts'
import type { ReadModel } from '../read-model.ts'
import { skipEvent } from '../skips.ts'

export interface Erased {
  /** Of the customer: deleted now, or found deleted; `absent`: there is none with this number. */
  readonly customer: 'deleted' | 'already deleted' | 'absent'
  /** Events from before there was encryption, whose personal fields stay as they are. */
  readonly inClear: number
}

/**
 * Erases a customer, from the outside: the account need not be usable, and nobody signed in.
 * @param options.readModel whose documents go at once; else the workers see to it
 * @throws EventStoreUnavailable | ReadModelUnavailable; after that it can be gone through again
 */
export async function eraseCustomer(options: {
  readonly eventStore: EventStore
  readonly readModel?: ReadModel
  readonly customerId: number
  readonly emailHashKey: string
  readonly eraser: Eraser
  readonly reason: string
}): Promise<Erased> {
  const { eventStore, readModel, customerId, emailHashKey, eraser, reason } = options
  const before = await readAccount(eventStore, customerId)
  // What is found by the addresses comes first: without the key nobody knows them.
  const keys = before.addresses.map((email) => emailKeyOf(emailHashKey, email))
  for (const key of keys) await eraseAddress(eventStore, key, eraser, customerId)
  const { credentials, signIns } = streamsOfAccount(customerId)
  await deleteStream(eventStore, credentials)
  const deleted = await appendDeletion(eventStore, customerId, before, eraser, reason)
  for (const key of keys) {
    await appendAfter<EmailEvent>(eventStore, streamsOfAddress(key).claim, eraser, (last) =>
      last?.type === 'EmailClaimed' && last.data.customerId === customerId
        ? { type: 'EmailReleased', data: { customerId } }
        : undefined,
    )
  }
  await deleteStream(eventStore, signIns)
  const inClear = (await eventStore.keys?.countInClear(customerStream(customerId))) ?? 0
  await destroyKeys(eventStore, [customerId])
  if (readModel && before.revision >= 0) await eraseDocuments(eventStore, readModel, customerId)
  // Other processes may have the key in memory so long.
  await delay(KEY_MAX_AGE_MS)
  return { customer: before.revision < 0 ? 'absent' : deleted ? 'deleted' : 'already deleted', inClear }
}

/** @returns whether the customer was there to be deleted */
async function appendDeletion(
  eventStore: EventStore,
  customerId: number,
  before: Account,
  eraser: Eraser,
  reason: string,
): Promise<boolean> {
  for (let account = before, attempt = 1; ; attempt++) {
    const { revision, isDeleted } = account
    if (isDeleted || revision < 0) return false
    try {
      const event = encodeErasure({ type: 'CustomerDeleted', data: { reason } }, eraser)
      await chained(eventStore).append(customerStream(customerId), [event], { expected: revision })
      return true
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision) || attempt === MOST_ROUNDS) throw error
    }
    account = await readAccount(eventStore, customerId)
  }
}

/** Brings the customer's document to the deletion, in every generation, and what it was off the disk. */
async function eraseDocuments(eventStore: EventStore, readModel: ReadModel, customerId: number): Promise<void> {
  const stream = customerStream(customerId)
  const last: RecordedEvent[] = []
  for await (const event of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) last.push(event)
  await readModel.acknowledge(customerId, last[0]?.revision ?? -1)
  // Each round may meet another event that can't be applied: what was before a deletion does not matter any more.
  for (let revision = -1; ; ) {
    await createApplier({ eventStore, readModel, onFailure() {} }).apply(last)
    const parked = (await readModel.parked()).find((each) => each.customerId === customerId)
    if (parked === undefined || parked.revision <= revision) break
    revision = parked.revision
    await skipEvent(eventStore, { customerId, revision, reason: 'the customer is erased', actor: 'erasure' })
  }
  await readModel.forget([customerId])
  await readModel.scrub()
}
