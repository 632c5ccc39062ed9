/** Decrypts stored events: single ones, reads and subscriptions. */
import { isPersonal, personalOwnerOf, STREAMS } from '../../schema/streams.ts'
import { isEncrypted } from '../codec.ts'
import {
  type Delivery,
  EventStoreUnavailable,
  type GroupSubscription,
  type PersistentSubscriptions,
  type RecordedEvent,
  type StreamFilter,
  type Subscription,
  type SubscriptionBatch,
} from '../port.ts'
import { missingKey } from './blocks.ts'
import { decrypt, isLaterThan } from './cipher.ts'
import { type CustomerKeys, isOfAddress, type Subject } from './customer-keys.ts'

/** The prefixes of the streams whose events have personal fields. */
const PREFIXES = STREAMS.filter(isPersonal).map(({ name }) => name)

/** A read of a stream from its start uses keys no older than this, so it never shows what was erased longer ago. */
export const KEY_MAX_AGE_MS = 1_000

/** The person whose stream it is; undefined for a stream without personal fields. */
export const subjectOf = (stream: string): Subject | undefined => personalOwnerOf(stream)

/** Whether a filter lets through streams with personal fields. */
export const concernsPersonal = (filter: StreamFilter | undefined): boolean =>
  filter === undefined ||
  filter.streamPrefixes.some((prefix) => PREFIXES.some((own) => own.startsWith(prefix) || prefix.startsWith(own)))

/** Decrypts with a key that is in memory. @returns undefined if it is not */
function decryptWithKnownKey(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | undefined {
  if (!isEncrypted(event)) return event
  const key = keys.peek(subjectOf(event.stream) ?? '')
  return key && !isLaterThan(event, key) ? decrypt(event, key) : undefined
}

/** Loads the keys of events: again those that another process has made anew since they were read here. */
async function loadFor(keys: CustomerKeys, events: readonly RecordedEvent[], maxAge?: number): Promise<void> {
  const subjects = new Set<Subject>()
  const outdated = new Set<Subject>()
  for (const event of events) {
    const subject = subjectOf(event.stream) ?? ''
    const key = keys.peek(subject)
    if (key && isLaterThan(event, key)) outdated.add(subject)
    else subjects.add(subject)
  }
  if (outdated.size > 0) await keys.load(outdated, -1)
  if (subjects.size > 0) await keys.load(subjects, maxAge)
}

async function loadKeyAndDecrypt(keys: CustomerKeys, event: RecordedEvent, maxAge?: number): Promise<RecordedEvent> {
  await loadFor(keys, [event], maxAge)
  return decryptWithLoadedKey(keys, event)
}

/** @throws EventStoreUnavailable if the key store lacks the key, or if the keys were dropped after they were loaded, because a store had disconnected */
function decryptWithLoadedKey(keys: CustomerKeys, event: RecordedEvent): RecordedEvent {
  const subject = subjectOf(event.stream) ?? ''
  const key = keys.peek(subject)
  // Not destroyed, so it must not read as erased. A customer has but one key.
  if (key && isOfAddress(subject) && isLaterThan(event, key)) throw missingKey(subject)
  if (key) return decrypt(event, key)
  throw new EventStoreUnavailable('The event store disconnected while keys were read.')
}

/** Decrypts a stored event. @throws EventStoreUnavailable */
export function decryptEvent(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | Promise<RecordedEvent> {
  return decryptWithKnownKey(keys, event) ?? loadKeyAndDecrypt(keys, event)
}

/** Decrypts events. Keys that are not in memory are loaded together. @throws EventStoreUnavailable */
async function decryptAll(keys: CustomerKeys, events: readonly RecordedEvent[]): Promise<readonly RecordedEvent[]> {
  const opened = events.map((event) => decryptWithKnownKey(keys, event))
  if (!opened.includes(undefined)) return opened as RecordedEvent[]
  const closed = events.filter((_, index) => opened[index] === undefined)
  await loadFor(keys, closed)
  return events.map((event, index) => opened[index] ?? decryptWithLoadedKey(keys, event))
}

/** Decrypts a read of one stream. @param isWhole whether it begins at the stream's start */
export async function* decryptStream(
  keys: CustomerKeys,
  events: AsyncIterable<RecordedEvent>,
  isWhole: boolean,
): AsyncGenerator<RecordedEvent> {
  let isFresh = !isWhole
  for await (const event of events) {
    if (!isFresh && isEncrypted(event)) {
      isFresh = true
      yield await loadKeyAndDecrypt(keys, event, KEY_MAX_AGE_MS)
    } else yield decryptEvent(keys, event)
  }
}

/** Decrypts a read of the log. @param isWhole whether it reads all of it: then all keys are loaded first, sequentially */
export async function* decryptLogRead(
  keys: CustomerKeys,
  events: AsyncIterable<RecordedEvent>,
  isWhole: boolean,
): AsyncGenerator<RecordedEvent> {
  // First of all: nothing may be concluded from a log that the keys do not belong to.
  await (isWhole ? keys.loadAll() : keys.check())
  for await (const event of events) yield decryptEvent(keys, event)
}

/** Decrypts a subscription. @param isWhole whether it begins at the start: then all keys are loaded first, sequentially */
export function decryptSubscription(keys: CustomerKeys, inner: Subscription, isWhole: boolean): Subscription {
  let ended = false
  async function* follow(): AsyncGenerator<SubscriptionBatch> {
    await (isWhole ? keys.loadAll() : keys.check())
    const source = inner[Symbol.asyncIterator]()
    try {
      // The next batch is read while the keys of this one are looked up.
      for (let coming = source.next(); ; ) {
        const { value: batch, done } = await coming
        if (done || ended) return
        coming = source.next()
        coming.catch(() => {}) // awaited in the next round, if there is one
        const events = await decryptAll(keys, batch.events)
        if (ended) return
        yield { ...batch, events }
      }
    } finally {
      await inner.unsubscribe()
    }
  }
  const batches = follow()
  return {
    [Symbol.asyncIterator]: () => batches,
    async unsubscribe() {
      ended = true
      await inner.unsubscribe()
    },
  }
}

/** Decrypts persistent subscriptions. */
export function decryptGroups(keys: CustomerKeys, inner: PersistentSubscriptions): PersistentSubscriptions {
  return {
    ...inner,
    subscribe(group, options): GroupSubscription {
      const joined = inner.subscribe(group, options)
      /** The adapter's deliveries by the decrypted ones: acknowledgements have to name the former. */
      const originals = new WeakMap<Delivery, Delivery>()
      const given = (deliveries: readonly Delivery[]) => deliveries.map((each) => originals.get(each) ?? each)
      async function* follow(): AsyncGenerator<readonly Delivery[]> {
        for await (const deliveries of joined) {
          const opened = await decryptAll(
            keys,
            deliveries.map(({ event }) => event),
          )
          yield deliveries.map((delivery, index) => {
            const clear = { ...delivery, event: opened[index] as RecordedEvent }
            originals.set(clear, delivery)
            return clear
          })
        }
      }
      const batches = follow()
      return {
        [Symbol.asyncIterator]: () => batches,
        ack: (deliveries) => joined.ack(given(deliveries)),
        nack: (deliveries, action, reason) => joined.nack(given(deliveries), action, reason),
        unsubscribe: () => joined.unsubscribe(),
      }
    },
  }
}
