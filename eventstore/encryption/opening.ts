/** Events of the log, as they are stored, in clear: single ones, reads and subscriptions. */
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
import { decrypt, isLaterThan } from './cipher.ts'
import type { CustomerKeys, Subject } from './customer-keys.ts'

/** What the names of the streams begin with whose events have personal fields. */
const PREFIXES = STREAMS.filter(isPersonal).map(({ name }) => name)

/** Whoever reads a stream from its start does so with keys no older: then nobody reads what was erased longer ago. */
export const KEY_MAX_AGE_MS = 1_000

/** Whose stream it is; undefined for one without personal fields. */
export const subjectOf = (stream: string): Subject | undefined => personalOwnerOf(stream)

/** Whether a filter lets through streams with personal fields. */
export const concernsPersonal = (filter: StreamFilter | undefined): boolean =>
  filter === undefined ||
  filter.streamPrefixes.some((prefix) => PREFIXES.some((own) => own.startsWith(prefix) || prefix.startsWith(own)))

/** undefined: its key is not in memory. */
function openWithKnown(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | undefined {
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

async function openLater(keys: CustomerKeys, event: RecordedEvent, maxAge?: number): Promise<RecordedEvent> {
  await loadFor(keys, [event], maxAge)
  return openLoaded(keys, event)
}

/** @throws EventStoreUnavailable if the keys were forgotten since they were loaded, because a store had disconnected */
function openLoaded(keys: CustomerKeys, event: RecordedEvent): RecordedEvent {
  const key = keys.peek(subjectOf(event.stream) ?? '')
  if (key) return decrypt(event, key)
  throw new EventStoreUnavailable('The event store disconnected while keys were read.')
}

/** An event of the log, as it is stored, in clear. @throws EventStoreUnavailable */
export function openEvent(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | Promise<RecordedEvent> {
  return openWithKnown(keys, event) ?? openLater(keys, event)
}

/** Events of the log in clear; keys that are not in memory are loaded together. @throws EventStoreUnavailable */
async function openAll(keys: CustomerKeys, events: readonly RecordedEvent[]): Promise<readonly RecordedEvent[]> {
  const opened = events.map((event) => openWithKnown(keys, event))
  if (!opened.includes(undefined)) return opened as RecordedEvent[]
  const closed = events.filter((_, index) => opened[index] === undefined)
  await loadFor(keys, closed)
  return events.map((event, index) => opened[index] ?? openLoaded(keys, event))
}

/** A read of one stream in clear. @param isWhole whether it begins at the stream's start */
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

/** A read of the log in clear. @param isWhole from start to end: then all keys are loaded first, in their order */
export async function* openLogRead(
  keys: CustomerKeys,
  events: AsyncIterable<RecordedEvent>,
  isWhole: boolean,
): AsyncGenerator<RecordedEvent> {
  // Before anything follows from what is in the log: it may be one that the keys do not belong to.
  await (isWhole ? keys.loadAll() : keys.check())
  for await (const event of events) yield openEvent(keys, event)
}

/** A subscription in clear. @param isWhole from the start: then all keys are loaded first, in their order */
export function openSubscription(keys: CustomerKeys, inner: Subscription, isWhole: boolean): Subscription {
  let ended = false
  async function* follow(): AsyncGenerator<SubscriptionBatch> {
    await (isWhole ? keys.loadAll() : keys.check())
    const source = inner[Symbol.asyncIterator]()
    try {
      // While keys of one batch are looked up, the next one is read.
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

/** Persistent subscriptions in clear. */
export function openGroups(keys: CustomerKeys, inner: PersistentSubscriptions): PersistentSubscriptions {
  return {
    ...inner,
    subscribe(group, options): GroupSubscription {
      const joined = inner.subscribe(group, options)
      /** What the adapter has delivered, by what was made of it: an acknowledgement has to name that. */
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
