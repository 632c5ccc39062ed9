/**
 * Erasing a person (GDPR art. 17). The events stay, so that it still shows what happened and when; the keys of their
 * personal fields are destroyed, and streams that only serve a living account are deleted.
 *
 * Cut off anywhere, it can be gone through once more. What must not be left undone, the key and the documents, every
 * projection worker completes when it comes by the `CustomerDeleted` (apply.ts).
 */
import { chained } from '../eventstore/chain.ts'
import { encode, type Recorded } from '../eventstore/codec.ts'
import { type EventStore, type NewEvent, StreamNotFound, WrongExpectedRevision } from '../eventstore/port.ts'
import { newestEvent, orNone } from '../eventstore/reads.ts'
import { type DomainEvent, type EmailEvent, isErased, type SubscriberEvent } from '../schema/events.ts'
import { inTurns } from '../schema/in-turns.ts'
import { customerStream } from './fold.ts'

/** In whose name something is erased. */
export interface Eraser {
  /** `operator:<user>` or `customer:<id>` */
  readonly actor: string
  /** Of the request. */
  readonly correlationId: string
  readonly at: Date
}

/** The streams that hold something of an address, whoever has it. @param emailKey the keyed hash that stands for it */
export const streamsOfAddress = (emailKey: string) => ({
  claim: `customerEmail-${emailKey}`,
  subscriber: `newsletterSubscriber-${emailKey}`,
  access: `customerAccess-${emailKey}`,
  signIns: `customerSignIns-${emailKey}`,
})

/** The streams of an account beside the customer's own, which end with it. */
export const streamsOfAccount = (customerId: number) => ({
  credentials: `customerCredentials-${customerId}`,
  signIns: `customerSignIns-${customerId}`,
})

/** Rounds against other writers of a stream. */
const MOST_ROUNDS = 20

/** A customer's stream as far as its erasure is concerned. */
export interface Account {
  /** -1: there is no such stream. */
  readonly revision: number
  readonly isDeleted: boolean
  /** The addresses that the customer has had, each once, as far as they can still be read. */
  readonly addresses: readonly string[]
}

/** Looked at event by event, and not folded: one that can't be applied must not stand in the way. @throws EventStoreUnavailable */
export async function readAccount(eventStore: EventStore, customerId: number): Promise<Account> {
  const addresses = new Set<string>()
  let revision = -1
  let isDeleted = false
  for await (const event of orNone(eventStore.readStream(customerStream(customerId)))) {
    revision = event.revision
    isDeleted ||= event.type === 'CustomerDeleted'
    if (event.type !== 'CustomerRegistered' && event.type !== 'CustomerEmailChanged') continue
    const { email } = (event.data ?? {}) as { email?: unknown }
    if (typeof email === 'string' && !isErased(email)) addresses.add(email)
  }
  return { revision, isDeleted, addresses: [...addresses] }
}

/**
 * Erases what is known of an address apart from customers: as a guest's who subscribed, and of attempts to sign in.
 * @param customerId whose address it was: nothing happens where another customer has it by now
 * @returns whether there was anything
 * @throws EventStoreUnavailable
 */
export async function eraseAddress(
  eventStore: EventStore,
  emailKey: string,
  eraser: Eraser,
  customerId?: number,
): Promise<boolean> {
  const { claim, subscriber, access, signIns } = streamsOfAddress(emailKey)
  const holder = await newestEvent<EmailEvent>(eventStore, claim)
  if (holder?.type === 'EmailClaimed' && holder.data.customerId !== customerId) return false
  const found = [
    await appendAfter<SubscriberEvent>(eventStore, subscriber, eraser, (last) =>
      last === undefined || last.type === 'GuestErased' ? undefined : { type: 'GuestErased', data: {} },
    ),
    (await eventStore.keys?.destroy(emailKey)) ?? false,
    await deleteStream(eventStore, access),
    await deleteStream(eventStore, signIns),
  ]
  return found.some(Boolean)
}

/** Deletes a stream. @returns whether there was one @throws EventStoreUnavailable */
export async function deleteStream(eventStore: EventStore, stream: string): Promise<boolean> {
  try {
    for await (const _ of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) break
    await eventStore.deleteStream(stream, { expected: 'any' })
    return true
  } catch (error) {
    if (error instanceof StreamNotFound || error instanceof WrongExpectedRevision) return false
    throw error
  }
}

/**
 * Destroys the keys of customers who were deleted: nothing personal in their streams can be read any more. One that is
 * destroyed already is looked at too: what was before it may still be there.
 * @throws EventStoreUnavailable
 */
export async function destroyKeys(eventStore: EventStore, customerIds: readonly number[]): Promise<void> {
  await inTurns(customerIds, async (id) => eventStore.keys?.destroy(String(id)))
}

/** Appends what is decided on the stream's newest event. @returns whether something was appended */
export const appendAfter = <E extends DomainEvent>(
  eventStore: EventStore,
  stream: string,
  eraser: Eraser,
  decide: (last: Recorded<E> | undefined) => DomainEvent | undefined,
): Promise<boolean> => appendTo(eventStore, stream, eraser, () => newestEvent<E>(eventStore, stream), decide)

/**
 * Appends what is decided on a look at the stream; looks and decides again after a conflict.
 * @param look gives the revision that the stream is at; undefined, or -1: there is no such stream
 * @returns whether something was appended
 */
export async function appendTo<State extends { readonly revision: number }>(
  eventStore: EventStore,
  stream: string,
  eraser: Eraser,
  look: () => Promise<State | undefined>,
  decide: (state: State | undefined) => DomainEvent | undefined,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    const state = await look()
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
