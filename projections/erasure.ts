/**
 * Erasing a person (GDPR art. 17). The events are kept, so that what happened and when remains visible. The keys of
 * their personal fields are destroyed, and streams that only serve a live account are deleted.
 *
 * The `CustomerDeleted` comes first: from then on the customer no longer exists for anybody. The remaining steps
 * ({@link finishErasure}) need only that event. After an interruption they can be repeated, and every projection worker
 * does so when it reaches the event (worker/apply-events.ts). The customer's own key is destroyed last: as long as it
 * exists, the erasure is not finished.
 */

import { asStored } from '../eventstore/as-stored.ts'
import { encode, type Recorded } from '../eventstore/codec.ts'
import { hasKeys, keysOf } from '../eventstore/encryption/customer-keys.ts'
import { chained } from '../eventstore/hash-chain.ts'
import {
  type EventStore,
  type NewEvent,
  type RecordedEvent,
  StreamDeleted,
  WrongExpectedRevision,
} from '../eventstore/port.ts'
import { isDeletion, isOfNoStream, newestEvent, orGone } from '../eventstore/read.ts'
import {
  type DomainEvent,
  type EmailEvent,
  type EventMetadata,
  isErased,
  type SubscriberEvent,
} from '../schema/events.ts'
import { STREAM_PREFIXES, streamOf } from '../schema/streams.ts'
import { customerOf } from './fold.ts'

/** On whose behalf something is erased. */
export interface Eraser {
  /** `operator:<user>` or `customer:<id>` */
  readonly actor: string
  /** Of the request. */
  readonly correlationId: string
  readonly at: Date
}

/** The streams with data about an address, whoever has it. @param emailKey the keyed hash of the address */
export const streamsOfAddress = (emailKey: string) => ({
  claim: streamOf.email(emailKey),
  subscriber: streamOf.subscriber(emailKey),
  access: streamOf.access(emailKey),
  signIns: streamOf.signIns(emailKey),
})

/** The streams of an account beside the customer's own; they are deleted with it. */
export const streamsOfAccount = (customerId: number) => ({
  credentials: streamOf.credentials(customerId),
  signIns: streamOf.signIns(customerId),
})

/** How many rounds an append makes in competition with other writers of the stream. */
const MOST_ROUNDS = 20

/** What the erasure needs to know of a customer's stream. */
export interface Account {
  /** -1: there is no event. */
  readonly revision: number
  /** The stream was deleted in the event store by hand. Then the rest is what the log still has of it. */
  readonly isGone: boolean
  readonly isDeleted: boolean
  /** The addresses that the customer has had, without duplicates, if they can still be decrypted. */
  readonly addresses: readonly string[]
  /** The keyed hashes of the addresses, if the deletion recorded them. */
  readonly emailKeys: readonly string[]
}

/**
 * Scans the events without folding them, because an event that can't be applied must not block the erasure. @throws
 * EventStoreUnavailable
 */
export async function readAccount(eventStore: EventStore, customerId: number): Promise<Account> {
  const stream = streamOf.customer(customerId)
  const account = await scan(orGone(eventStore.readStream(stream)))
  const isGone = account.revision < 0 && (await wasDeleted(eventStore, stream))
  return { ...(isGone ? await scan(remainsOf(eventStore, stream)) : account), isGone }
}

async function scan(events: AsyncIterable<RecordedEvent>): Promise<Omit<Account, 'isGone'>> {
  const addresses = new Set<string>()
  let revision = -1
  let isDeleted = false
  let emailKeys: readonly string[] = []
  for await (const event of events) {
    revision = event.revision
    if (event.type === 'CustomerDeleted') {
      isDeleted = true
      emailKeys = emailKeysOf(event)
    }
    if (event.type !== 'CustomerRegistered' && event.type !== 'CustomerEmailChanged') continue
    const { email } = (event.data ?? {}) as { email?: unknown }
    if (typeof email === 'string' && !isErased(email)) addresses.add(email)
  }
  return { revision, isDeleted, addresses: [...addresses], emailKeys }
}

/** Whether there is such a customer, or was. */
export const isKnown = ({ revision, isGone }: Account): boolean => revision >= 0 || isGone

/** Whether a stream without events was deleted. */
async function wasDeleted(eventStore: EventStore, stream: string): Promise<boolean> {
  try {
    return isDeletion(await eventStore.getStreamMetadata(stream))
  } catch (error) {
    if (error instanceof StreamDeleted) return true
    throw error
  }
}

/** The record of a tombstone in the log. */
const TOMBSTONE = '$streamDeleted'

/** A server keeps the events of a deleted stream until it is scavenged. Walks the whole log. */
async function* remainsOf(eventStore: EventStore, stream: string): AsyncGenerator<RecordedEvent, void, void> {
  for await (const event of eventStore.readAll({ filter: { streamPrefixes: [stream] } })) {
    if (event.stream === stream && event.type !== TOMBSTONE) yield event
  }
}

/**
 * More would not fit into an event: a customer may have changed the address any number of times. The limit is 320 KB.
 */
const MOST_EMAIL_KEYS = 5_000

/**
 * The event that deletes a customer.
 * @param emailKeys the keyed hashes of the addresses that the customer has had, the newest first
 */
export const customerDeleted = (emailKeys: readonly string[], reason?: string) => ({
  type: 'CustomerDeleted' as const,
  data: { ...(reason !== undefined && { reason }), emailKeys: emailKeys.slice(0, MOST_EMAIL_KEYS) },
})

function emailKeysOf({ data }: RecordedEvent): readonly string[] {
  const { emailKeys } = (data ?? {}) as { emailKeys?: unknown }
  return Array.isArray(emailKeys) ? emailKeys.filter((key) => typeof key === 'string') : []
}

/**
 * The steps after a customer's deletion: erases the data about their addresses, deletes the password and the sign-in
 * history, releases the addresses, and destroys the key. Steps that are done already are skipped.
 * @param emailKeys the keyed hashes of the addresses that the customer has had
 * @param deletedAt when the customer was deleted, if this is a repetition: a newer subscription of an address belongs
 * to somebody else
 * @throws EventStoreUnavailable; InvalidArgument for a store without keys
 */
export async function finishErasure(
  eventStore: EventStore,
  { customerId, emailKeys, deletedAt }: { customerId: number; emailKeys: readonly string[]; deletedAt?: Date },
  eraser: Eraser,
): Promise<void> {
  const keys = keysOf(eventStore)
  for (const key of emailKeys) await eraseAddress(eventStore, key, eraser, { customerId, until: deletedAt })
  const { credentials, signIns } = streamsOfAccount(customerId)
  await deleteStream(eventStore, credentials)
  await deleteStream(eventStore, signIns)
  for (const key of emailKeys) {
    await appendAfter<EmailEvent>(eventStore, streamsOfAddress(key).claim, eraser, (last) =>
      last?.type === 'EmailClaimed' && last.data.customerId === customerId
        ? { type: 'EmailReleased', data: { customerId } }
        : undefined,
    )
  }
  await keys.destroy(String(customerId))
}

/**
 * Finishes the erasure that an event began, if it is not finished, on behalf of whoever deleted the customer.
 * @param event a `CustomerDeleted`
 * @throws EventStoreUnavailable; InvalidArgument for a store without keys
 */
export async function completeErasure(eventStore: EventStore, event: RecordedEvent): Promise<void> {
  const customerId = customerOf(event.stream)
  if (customerId === undefined) return
  const keys = keysOf(eventStore)
  const subject = String(customerId)
  if (await keys.isDestroyed(subject)) {
    await keys.destroy(subject) // what was before the key's destruction may still be there
    return
  }
  const { actor = 'erasure', $correlationId = event.id } = (event.metadata ?? {}) as Partial<EventMetadata>
  const eraser = { actor, correlationId: $correlationId, at: new Date() }
  await finishErasure(eventStore, { customerId, emailKeys: emailKeysOf(event), deletedAt: event.created }, eraser)
}

/**
 * Erases the data about an address outside customers' streams: guest subscriptions and attempts to sign in.
 * @param options.customerId whose address it was: nothing is erased if another customer has it by now
 * @param options.until a guest's subscription written later is kept, with its key
 * @returns whether there was anything to erase
 * @throws EventStoreUnavailable; InvalidArgument for a store without keys
 */
export async function eraseAddress(
  eventStore: EventStore,
  emailKey: string,
  eraser: Eraser,
  { customerId, until }: { readonly customerId?: number; readonly until?: Date | undefined } = {},
): Promise<boolean> {
  const keys = keysOf(eventStore)
  const { claim, subscriber, access, signIns } = streamsOfAddress(emailKey)
  const holder = await newestEvent<EmailEvent>(eventStore, claim)
  if (holder?.type === 'EmailClaimed' && holder.data.customerId !== customerId) return false
  let isNewer = false
  const endSubscription = (isEnded: (last: Recorded<SubscriberEvent>) => boolean) =>
    appendAfter<SubscriberEvent>(eventStore, subscriber, eraser, (last) =>
      last === undefined || last.type === 'GuestErased' || isEnded(last)
        ? undefined
        : { type: 'GuestErased', data: {} },
    )
  const found = [
    await endSubscription((last) => {
      isNewer = until !== undefined && last.created > until
      return isNewer
    }),
    !isNewer && (await keys.destroy(emailKey)),
    // One that another process wrote in between, with the key that is destroyed now, can't be read: it is over, too.
    !isNewer && (await endSubscription(({ data }) => !('email' in data) || !isErased(data.email))),
    await deleteStream(eventStore, access),
    await deleteStream(eventStore, signIns),
  ]
  return found.some(Boolean)
}

/**
 * Destroys the keys of guests that were erased and have not subscribed again: a key store that was restored from a
 * backup of before has them once more. (Those of customers are destroyed as their events are applied.)
 * @throws EventStoreUnavailable
 */
export async function completeGuestErasures(eventStore: EventStore): Promise<void> {
  if (!hasKeys(eventStore)) return
  const { keys } = eventStore
  const erased = new Set<string>()
  const streamPrefixes = [STREAM_PREFIXES.subscriber]
  for await (const { type, stream } of asStored(eventStore).readAll({ filter: { streamPrefixes } })) {
    if (type === 'GuestErased') erased.add(stream)
    else erased.delete(stream)
  }
  for (const stream of erased) await keys.destroy(stream.slice(STREAM_PREFIXES.subscriber.length))
}

/** Deletes a stream. @returns whether there was one @throws EventStoreUnavailable */
async function deleteStream(eventStore: EventStore, stream: string): Promise<boolean> {
  try {
    for await (const _ of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) break
    await eventStore.deleteStream(stream, { expected: 'any' })
    return true
  } catch (error) {
    // Another process that finishes the same erasure may have deleted it in between.
    if (isOfNoStream(error)) return false
    if (error instanceof WrongExpectedRevision) return false
    throw error
  }
}

/** Appends what is decided on the stream's newest event. @returns whether something was appended */
const appendAfter = <E extends DomainEvent>(
  eventStore: EventStore,
  stream: string,
  eraser: Eraser,
  decide: (last: Recorded<E> | undefined) => DomainEvent | undefined,
): Promise<boolean> => appendTo(eventStore, stream, eraser, () => newestEvent<E>(eventStore, stream), decide)

/**
 * Appends what is decided on the state of the stream; reads and decides again after a conflict.
 * @param readState returns the revision of the stream; undefined, or -1: there is no such stream
 * @returns whether something was appended
 */
export async function appendTo<State extends { readonly revision: number }>(
  eventStore: EventStore,
  stream: string,
  eraser: Eraser,
  readState: () => Promise<State | undefined>,
  decide: (state: State | undefined) => DomainEvent | undefined,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    const state = await readState()
    const event = decide(state)
    if (event === undefined) return false
    try {
      const expected = state === undefined || state.revision < 0 ? 'no_stream' : state.revision
      await chained(eventStore).append(stream, [encoded(event, eraser)], { expected })
      return true
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision) || attempt === MOST_ROUNDS) throw error
    }
  }
}

function encoded(event: DomainEvent, { actor, correlationId, at }: Eraser): NewEvent {
  const id = crypto.randomUUID()
  return encode(event, id, { $correlationId: correlationId, $causationId: id, actor, at: at.toISOString() })
}
