/** Decrypts stored events: single ones, reads and subscriptions. */
import { isPersonal, personalOwnerOf, STREAMS } from '../../schema/streams.ts'
import { isEncrypted } from '../codec.ts'
import type {
  Delivery,
  GroupSubscription,
  PersistentSubscriptions,
  RecordedEvent,
  StreamFilter,
  Subscription,
  SubscriptionBatch,
} from '../port.ts'
import { decrypt, decryptAll } from './cipher.ts'
import type { CustomerKeys, Subject } from './customer-keys.ts'

/** The prefixes of the streams whose events have personal fields. */
const PREFIXES = STREAMS.filter(isPersonal).map(({ name }) => name)

/** The maximum age of keys for reading a stream from its start, so that nothing is read that was erased longer ago. */
export const KEY_MAX_AGE_MS = 1_000

/** The owner of a stream; undefined for one without personal fields. */
export const subjectOf = (stream: string): Subject | undefined => personalOwnerOf(stream)

/** Whether a filter matches streams with personal fields. */
export const concernsPersonal = (filter: StreamFilter | undefined): boolean =>
  filter === undefined ||
  filter.streamPrefixes.some((prefix) => PREFIXES.some((own) => own.startsWith(prefix) || prefix.startsWith(own)))

/** undefined: its key is not cached. */
function openWithKnown(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | undefined {
  if (!isEncrypted(event)) return event
  const key = keys.peek(subjectOf(event.stream) ?? '')
  return key && decrypt(event, key)
}

async function openLater(keys: CustomerKeys, event: RecordedEvent, maxAge?: number): Promise<RecordedEvent> {
  await keys.load([subjectOf(event.stream) ?? ''], maxAge)
  return openWithKnown(keys, event) ?? event
}

/** Decrypts a stored event. @throws EventStoreUnavailable */
export function openEvent(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | Promise<RecordedEvent> {
  return openWithKnown(keys, event) ?? openLater(keys, event)
}

/** Decrypts events; keys that are not cached are loaded together. @throws EventStoreUnavailable */
async function openAll(keys: CustomerKeys, events: readonly RecordedEvent[]): Promise<readonly RecordedEvent[]> {
  const sealed = events.filter(isEncrypted)
  if (sealed.length === 0) return events
  const keyOf = ({ stream }: RecordedEvent) => keys.peek(subjectOf(stream) ?? '')
  let found = sealed.map(keyOf)
  if (found.includes(undefined)) {
    await keys.load(
      sealed.filter((_, index) => found[index] === undefined).map(({ stream }) => subjectOf(stream) ?? ''),
    )
    found = sealed.map(keyOf)
  }
  const opened = await decryptAll(sealed, found)
  if (sealed.length === events.length) return opened
  let next = 0
  return events.map((event) => (event === sealed[next] ? (opened[next++] as RecordedEvent) : event))
}

/** Decrypts a read of one stream. @param isWhole whether it begins at the stream's start */
export async function* openStream(
  keys: CustomerKeys,
  events: AsyncIterable<RecordedEvent>,
  isWhole: boolean,
): AsyncGenerator<RecordedEvent> {
  let isFresh = !isWhole
  for await (const event of events) {
    if (!isFresh && isEncrypted(event)) {
      isFresh = true
      yield await openLater(keys, event, KEY_MAX_AGE_MS)
    } else yield openEvent(keys, event)
  }
}

/** Decrypts a read of the log. @param isWhole from start to end: then all keys are loaded first, in their order */
export async function* openLogRead(
  keys: CustomerKeys,
  events: AsyncIterable<RecordedEvent>,
  isWhole: boolean,
): AsyncGenerator<RecordedEvent> {
  // Checked before anything is derived from the log, because the keys may not belong to it.
  await (isWhole ? keys.loadAll() : keys.check())
  for await (const event of events) yield openEvent(keys, event)
}

/** Decrypts a subscription. @param isWhole from the start: then all keys are loaded first, in their order */
export function openSubscription(keys: CustomerKeys, inner: Subscription, isWhole: boolean): Subscription {
  let ended = false
  async function* follow(): AsyncGenerator<SubscriptionBatch> {
    await (isWhole ? keys.loadAll() : keys.check())
    const source = inner[Symbol.asyncIterator]()
    try {
      // While one batch is decrypted in the thread, the next one is read.
      for (let coming = source.next(); ; ) {
        const { value: batch, done } = await coming
        if (done || ended) return
        coming = source.next()
        coming.catch(() => {}) // awaited when its turn comes, or never
        const events = await openAll(keys, batch.events)
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
export function openGroups(keys: CustomerKeys, inner: PersistentSubscriptions): PersistentSubscriptions {
  return {
    ...inner,
    subscribe(group, options): GroupSubscription {
      const joined = inner.subscribe(group, options)
      /** The adapter's original deliveries by decrypted event: an acknowledgement has to pass the original. */
      const originals = new WeakMap<Delivery, Delivery>()
      const given = (deliveries: readonly Delivery[]) => deliveries.map((each) => originals.get(each) ?? each)
      async function* follow(): AsyncGenerator<readonly Delivery[]> {
        for await (const deliveries of joined) {
          const opened = await openAll(
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
