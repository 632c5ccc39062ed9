/**
 * The event store on EventStoreDB (22.10 and later) or KurrentDB, by the official client. Appends of an instance share
 * a few pipelined calls; reads and subscriptions go through the client's generated stub (see connection.ts).
 */
import { checkCount, checkEvent, checkExpectedRevision, checkMetadata, checkStreamName } from '../argument-checks.ts'
import { type EventPlace, holdsEvent } from '../event-place.ts'
import { type EventStore, EventStoreUnavailable, type Position, type Subscription } from '../port.ts'
import { connectKurrentDb } from './connection/connection.ts'
import { addressOf } from './connection/node.ts'
import { createGroups } from './groups.ts'
import { createReads, filterOf } from './reads.ts'
import { type SubscriptionObserver, subscribe } from './subscription.ts'
import { logSource, type Source, streamSource } from './subscription-sources.ts'
import { createWrites } from './writes.ts'

const BATCH = 500
/** A restarted node of a busy machine has taken several seconds. */
const CATCH_UP_MS = 10_000

/**
 * @param url a connection string: `kurrentdb://user:password@host:2113`, `esdb+discover://…?tls=false`, …
 * @param observer notified when a subscription loses its connection
 * @throws TypeError for a connection string that can't be used, without quoting its credentials
 */
export function openKurrentEventStore(url: string, observer: SubscriptionObserver = {}): EventStore {
  const connection = connectKurrentDb(url)
  const reads = createReads(connection, checkOpen)
  const writes = createWrites(connection, checkOpen)
  const subscriptions = new Set<{ unsubscribe(): Promise<void> }>()
  let closing: Promise<void> | undefined

  function checkOpen(): void {
    if (closing) throw new EventStoreUnavailable('The event store is closed.')
  }

  function follow<Place>(
    source: Source<Place>,
    from: Position | undefined,
    batchSize: number,
    expects?: EventPlace,
  ): Subscription {
    const holds = (place: EventPlace) => holdsEvent(store, place)
    const subscription = subscribe(connection, source, { from, batchSize, observer, expects, holds })
    const followed = registered(subscription, subscriptions)
    if (closing) void followed.unsubscribe()
    return followed
  }

  const store: EventStore = {
    async append(stream, events, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      events.forEach(checkEvent)
      if (events.length === 0) return { revision: await reads.lastRevision(stream) }
      return writes.append(stream, events, expected)
    },

    readStream: reads.readStream,
    readAll: reads.readAll,

    subscribeToAll({ from, expects, filter, batchSize = BATCH }) {
      checkCount(batchSize, 'batchSize')
      const source = logSource(reads, from, filterOf(filter, false))
      return follow(source, typeof from === 'string' ? undefined : from, batchSize, expects)
    },

    subscribeToStream(stream, { from, batchSize = BATCH }) {
      checkStreamName(stream)
      checkCount(batchSize, 'batchSize')
      if (typeof from === 'number') checkExpectedRevision(from)
      return follow(streamSource(reads, stream, from), undefined, batchSize)
    },

    async deleteStream(stream, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      await writes.remove('delete', stream, expected)
    },

    async tombstoneStream(stream, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      await writes.remove('tombstone', stream, expected)
    },

    async setStreamMetadata(stream, metadata) {
      checkStreamName(stream)
      checkMetadata(metadata)
      await writes.setMetadata(stream, metadata)
    },

    async getStreamMetadata(stream) {
      checkStreamName(stream)
      return reads.metadata(stream)
    },

    persistentSubscriptions: createGroups(connection, {
      checkOpen,
      subscriptions,
      observer,
      firstRevision: reads.firstRevision,
    }),

    onDisconnect: connection.onDisconnect,

    ...(connection.mayLag && { catchUpMs: CATCH_UP_MS }),

    async ping() {
      await reads.logEnd()
    },

    async describe() {
      const node = await connection.node(connection.until())
      return [
        { name: 'Kind', value: 'EventStoreDB or KurrentDB' },
        { name: 'Server version', value: node.version() ?? 'not said: older than 21.10' },
        { name: 'Node', value: addressOf(node.endpoint) },
      ]
    },

    close() {
      closing ??= (async () => {
        await writes.settled()
        await Promise.all([...subscriptions].map((each) => each.unsubscribe()))
        await connection.close()
      })()
      return closing
    },
  }
  return store
}

/** Registers a subscription, so that the store ends it when it is closed. */
function registered(inner: Subscription, subscriptions: Set<{ unsubscribe(): Promise<void> }>): Subscription {
  const subscription: Subscription = {
    [Symbol.asyncIterator]: () => inner[Symbol.asyncIterator](),
    async unsubscribe() {
      subscriptions.delete(subscription)
      await inner.unsubscribe()
    },
  }
  subscriptions.add(subscription)
  return subscription
}
