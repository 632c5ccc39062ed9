/** `npm run audit -- erase`: an operator erases a customer. See projections/erasure.ts. */

import { setTimeout as delay } from 'node:timers/promises'
import { hasPersonal, isEncrypted } from '../eventstore/codec.ts'
import type { CustomerKeys } from '../eventstore/encryption/customer-keys.ts'
import { keysOf } from '../eventstore/encryption/customer-keys.ts'
import { KEY_MAX_AGE_MS } from '../eventstore/encryption/decryption.ts'
import type { EventStore, RecordedEvent } from '../eventstore/port.ts'
import { newestStored, orGone } from '../eventstore/read.ts'
import { absentCustomer } from '../projections/customer.ts'
import {
  type Account,
  appendTo,
  customerDeleted,
  type Eraser,
  finishErasure,
  isKnown,
  readAccount,
} from '../projections/erasure.ts'
import { createMarks } from '../projections/fence/marks.ts'
import { type ReadModel, ReadModelUnavailable } from '../projections/read-model.ts'
import { skipEvent } from '../projections/skips.ts'
import { createApplier } from '../projections/worker/apply-events.ts'
import { SILENT } from '../runtime/log.ts'
import { allEmailKeysOf } from '../schema/email-key.ts'
import { streamOf } from '../schema/streams.ts'

/** How often a document is replaced in competition with workers. */
const MOST_ROUNDS = 20

export interface Erased {
  /** The state of the customer: deleted now, or already deleted; `absent`: there is none with this number. */
  readonly customer: 'deleted' | 'already deleted' | 'absent'
  /** Events from before encryption, whose personal fields remain. */
  readonly inClear: number
}

/**
 * Erases a customer on behalf of an operator: the account need not be usable, and nobody has to be signed in.
 * @param options.readModel whose documents are removed at once; otherwise the workers do that
 * @throws EventStoreUnavailable | ReadModelUnavailable; then it can be repeated; InvalidArgument for a store without
 * keys
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
  const keys = keysOf(eventStore) // before anything is written
  const stream = streamOf.customer(customerId)
  const emailKeysOf = ({ addresses, emailKeys }: Account) => [
    ...new Set([...emailKeys, ...addresses.toReversed().flatMap((email) => allEmailKeysOf(emailHashKey, email))]),
  ]
  const readState = () => readAccount(eventStore, customerId)
  const before = await readState()
  const wasThere = isKnown(before)
  const [document = null] = before.isGone && readModel ? await readModel.documents([customerId]) : []
  const addresses = [...before.addresses, ...(document?.status === 'registered' ? [document.email] : [])]
  let emailKeys = emailKeysOf({ ...before, addresses })
  const decide = (account: Account | undefined) => {
    if (account === undefined || account.isGone || account.isDeleted || account.revision < 0) return undefined
    emailKeys = emailKeysOf(account)
    return customerDeleted(emailKeys, reason)
  }
  // Of a stream that is gone, another look would walk the whole log again.
  const deleted = !before.isGone && (await appendTo(eventStore, stream, eraser, readState, decide))
  const inClear = await countInClear(keys, stream)
  if (wasThere) await finishErasure(eventStore, { customerId, emailKeys }, eraser)
  if (readModel && wasThere) {
    if (before.isGone) await removeDocuments(eventStore, readModel, customerId, before.revision)
    else await eraseDocuments(eventStore, readModel, customerId)
  }
  // Other processes may cache the key for this long.
  await delay(KEY_MAX_AGE_MS)
  return { customer: deleted ? 'deleted' : wasThere ? 'already deleted' : 'absent', inClear }
}

/** How many events of a stream have unencrypted personal fields. @throws EventStoreUnavailable */
export async function countInClear({ log }: CustomerKeys, stream: string): Promise<number> {
  let count = 0
  for await (const event of orGone(log.readStream(stream))) if (!isEncrypted(event) && hasPersonal(event)) count++
  return count
}

/**
 * Applies the deletion to the customer's document, which removes those of other generations, and removes the old content
 * from the disk.
 */
async function eraseDocuments(eventStore: EventStore, readModel: ReadModel, customerId: number): Promise<void> {
  const stream = streamOf.customer(customerId)
  const newest = await newestStored(eventStore, stream)
  // Acknowledged like a mutation: whatever happens to the documents, no instance shows the customer any more.
  const marks = createMarks({ eventStore, readModel, log: SILENT })
  try {
    await marks.acknowledge(customerId, newest?.revision ?? -1)
    await bringToDeletion(eventStore, readModel, customerId, newest ? [newest] : [])
  } finally {
    await marks.close()
  }
}

/**
 * The same for a customer whose stream was deleted in the event store by hand: there is no deletion to apply.
 * @param newest the revision of the newest event that the log still has of it; -1: none. A worker that is behind may be about
 * to apply it
 */
async function removeDocuments(
  eventStore: EventStore,
  readModel: ReadModel,
  customerId: number,
  newest: number,
): Promise<void> {
  const marks = createMarks({ eventStore, readModel, log: SILENT })
  try {
    for (let round = 1; ; round++) {
      const [document] = await readModel.documents([customerId])
      if (document ? document.status === 'deleted' : newest < 0) break
      const expected = document?.revision ?? -1
      const revision = Math.max(expected, newest) + 1
      const tokenGeneration = (document?.tokenGeneration ?? 0) + 1
      await marks.acknowledge(customerId, revision)
      await readModel.requestScrub()
      const deleted = { ...absentCustomer(customerId), status: 'deleted' as const, revision, tokenGeneration }
      const [stored] = await readModel.put([{ document: deleted, expected }])
      if (stored === revision) break
      // A worker was faster.
      if (round === MOST_ROUNDS) throw new ReadModelUnavailable('The document of the customer can not be replaced.')
    }
  } finally {
    await marks.close()
  }
  await readModel.unpark(customerId)
  await readModel.forget([customerId])
  await readModel.scrub()
}

async function bringToDeletion(
  eventStore: EventStore,
  readModel: ReadModel,
  customerId: number,
  last: readonly RecordedEvent[],
): Promise<void> {
  // Each round may find another event that can't be applied. Events before a deletion do not matter any more, so they
  // are skipped.
  for (let revision = -1; ; ) {
    await createApplier({ eventStore, readModel, onFailure() {} }).apply(last)
    const parked = (await readModel.parked()).find((each) => each.customerId === customerId)
    if (parked === undefined || parked.revision <= revision) break
    revision = parked.revision
    await skipEvent(eventStore, { customerId, revision, reason: 'the customer is erased', actor: 'erasure' })
  }
  // A worker may have applied the deletion and been killed before its scrub.
  await readModel.scrub()
}
