/** Persistent subscriptions to $all: the server shares the events out, pinned by stream. */
import {
  type AllStreamRecordedEvent,
  type KurrentDBClient,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  type PersistentSubscriptionToAll,
  persistentSubscriptionToAllSettingsFromDefaults,
  streamNameFilter,
} from '@kurrent/kurrentdb-client'
import { waitAfter } from '../../runtime/back-off.ts'
import { pause } from '../../runtime/time-limits.ts'
import { checkCount } from '../checks.ts'
import {
  type Delivery,
  EventStoreUnavailable,
  GroupExists,
  GroupNotFound,
  type GroupSubscription,
  type Json,
  type PersistentSubscriptions,
  type Position,
  type RecordedEvent,
} from '../port.ts'
import type { Connection } from './connection.ts'
import { toPortError } from './errors.ts'
import { type Incoming, incoming } from './incoming.ts'
import type { Node } from './node.ts'
import { BACK_OFF, type SubscriptionObserver } from './subscription.ts'

/** A node that has just become the leader never answers who came before it had read what groups there are. */
const CONFIRMED_MS = 1_500

/** What the client hands over: its own event, which an acknowledgement has to name. */
interface Resolved {
  readonly event?: AllStreamRecordedEvent
  readonly retryCount: number
}

export function createGroups(
  connection: Connection,
  store: {
    /** @throws EventStoreUnavailable once the store is closed */
    checkOpen(): void
    /** The store ends these when it is closed. */
    readonly subscriptions: Set<{ unsubscribe(): Promise<void> }>
    readonly observer: SubscriptionObserver
    /** The first revision that can be read; undefined for none. @throws EventStoreUnavailable */
    firstRevision(stream: string): Promise<number | undefined>
  },
): PersistentSubscriptions {
  /** @param repeatable whether it does no harm to call again where nobody knows whether it was done */
  async function call<T>(
    group: string,
    repeatable: boolean,
    work: (client: KurrentDBClient, options: { readonly deadline: number }) => Promise<T>,
  ): Promise<T> {
    store.checkOpen()
    try {
      return await connection.call(({ client }, until) => {
        const left = until - performance.now()
        return work(client, { deadline: repeatable ? Math.min(left, CONFIRMED_MS) : left })
      }, repeatable)
    } catch (error) {
      throw toGroupError(error, group)
    }
  }

  return {
    create(group, { filter, from, messageTimeout, maxRetryCount, maxConsumers }) {
      const settings = persistentSubscriptionToAllSettingsFromDefaults({
        startFrom: from,
        consumerStrategyName: 'Pinned',
        ...(messageTimeout !== undefined && { messageTimeout }),
        ...(maxRetryCount !== undefined && { maxRetryCount }),
        ...(maxConsumers !== undefined && { maxSubscriberCount: maxConsumers }),
      })
      const streams = streamNameFilter({ prefixes: [...filter.streamPrefixes] })
      let tries = 0
      return call(group, true, async (client, options) => {
        tries++
        try {
          await client.createPersistentSubscriptionToAll(group, settings, { filter: streams, ...options })
        } catch (error) {
          // It is there by an earlier try whose answer was lost.
          if (tries === 1 || !(error instanceof PersistentSubscriptionExistsError)) throw error
        }
      })
    },

    delete: (group) =>
      call(group, false, (client, options) => client.deletePersistentSubscriptionToAll(group, options)),

    info: (group) =>
      call(group, true, async (client, options) => {
        const { connections, stats } = await client.getPersistentSubscriptionToAllInfo(group, options)
        return {
          consumers: connections.length,
          inFlight: stats.totalInFlightMessages,
          parked: Number(stats.parkedMessageCount),
          checkpoint: position(stats.lastCheckpointedEventPosition),
          lastKnown: position(stats.lastKnownEventPosition),
        }
      }),

    async replayParked(group, limit) {
      // The server wants to know where to stop: a number in the stream of what was ever parked.
      const first = limit === undefined ? undefined : await store.firstRevision(parkedStream(group))
      const stopAt = first === undefined ? undefined : first + (limit as number)
      await call(group, false, (client, options) =>
        client.replayParkedMessagesToAll(group, { ...options, ...(stopAt !== undefined && { stopAt }) }),
      )
    },

    subscribe(group, { bufferSize }) {
      checkCount(bufferSize, 'bufferSize')
      return join(group, bufferSize)
    },
  }

  function join(group: string, bufferSize: number): GroupSubscription {
    const ending = new AbortController()
    /** Of the deliveries of the connection that is open: what came over an older one can't be acknowledged any more. */
    let origins = new WeakMap<Delivery, Resolved>()
    let subscription: PersistentSubscriptionToAll | undefined
    let call: Incoming<Resolved> | undefined
    /** Of those who wait for what they say to be sent: on a connection that takes no more, the client never tells. */
    const answering = new Set<() => void>()

    async function* follow(): AsyncGenerator<readonly Delivery[], void, void> {
      let failures = 0
      while (!ending.signal.aborted) {
        let node: Node | undefined
        try {
          store.checkOpen()
          const until = connection.until()
          node = await connection.node(until)
          const opened = node.client.subscribeToPersistentSubscriptionToAll(group, { bufferSize })
          call = incoming<Resolved>(opened, bufferSize, () => {
            opened.unsubscribe().catch(() => {}) // it was never open
          })
          subscription = opened
          origins = new WeakMap()
          const confirmedBy = Math.min(until, performance.now() + CONFIRMED_MS)
          if (await connection.answered(node, confirmed(opened), confirmedBy)) {
            if (failures > 0) store.observer.onResume?.()
            failures = 0
          }
          while (!ending.signal.aborted) {
            const resolved = await call.take()
            if (resolved === null) throw new EventStoreUnavailable('The event store ended the subscription.')
            const deliveries: Delivery[] = []
            for (const each of resolved) {
              if (each.event === undefined) continue // a link whose event is gone
              const delivery = { event: recorded(each.event), retryCount: each.retryCount }
              origins.set(delivery, each)
              deliveries.push(delivery)
            }
            if (deliveries.length > 0) yield deliveries
          }
        } catch (error) {
          if (ending.signal.aborted) return
          if (node) connection.failed(node, error)
          const cause = toGroupError(error, group)
          if (!(cause instanceof EventStoreUnavailable)) throw cause
          if (failures === 0) store.observer.onDrop?.(cause.message)
          await pause(waitAfter(BACK_OFF, ++failures), ending.signal)
        } finally {
          call?.cancel()
          subscription = undefined
          for (const resolve of answering) resolve()
        }
      }
    }

    /** A connection that breaks here breaks for the consumer too: what was not acknowledged comes again. */
    async function answer(
      deliveries: readonly Delivery[],
      send: (subscription: PersistentSubscriptionToAll, resolved: Resolved[]) => Promise<void>,
    ): Promise<void> {
      const own = deliveries.flatMap((delivery) => origins.get(delivery) ?? [])
      if (own.length === 0 || subscription === undefined) return
      const { promise, resolve } = Promise.withResolvers<void>()
      answering.add(resolve)
      send(subscription, own).then(resolve, () => resolve())
      await promise
      answering.delete(resolve)
    }

    const batches = follow()
    const joined: GroupSubscription = {
      [Symbol.asyncIterator]: () => batches,
      ack: (deliveries) => answer(deliveries, (open, resolved) => open.ack(...(resolved as never[]))),
      nack: (deliveries, action, reason) =>
        answer(deliveries, (open, resolved) => open.nack(action, reason, ...(resolved as never[]))),
      async unsubscribe() {
        if (ending.signal.aborted) return
        store.subscriptions.delete(joined)
        ending.abort()
        await new Promise((resolve) => setImmediate(resolve)) // acknowledgements are on their way before the end
        call?.cancel()
        await new Promise((resolve) => setImmediate(resolve))
      },
    }
    store.subscriptions.add(joined)
    return joined
  }
}

/** Whether the server has taken the consumer in; false: the call has ended before, for a reason that it tells itself. */
function confirmed(opened: PersistentSubscriptionToAll): Promise<boolean> {
  return new Promise((resolve) => {
    opened.once('confirmation', () => resolve(true))
    for (const event of ['error', 'end', 'close'] as const) opened.once(event, () => resolve(false))
  })
}

const parkedStream = (group: string) => `$persistentsubscription-$all::${group}-parked`

function toGroupError(error: unknown, group: string): unknown {
  if (error instanceof PersistentSubscriptionExistsError) return new GroupExists(`Group "${group}" exists already.`)
  if (error instanceof PersistentSubscriptionDoesNotExistError) {
    return new GroupNotFound(`Group "${group}" does not exist.`)
  }
  // So says a node that no longer leads, as well as one whose group was changed; of one that is gone the next try tells.
  if (error instanceof PersistentSubscriptionDroppedError) {
    return new EventStoreUnavailable('The event store dropped the subscription.')
  }
  return toPortError(error, '$all')
}

function recorded({
  streamId,
  revision,
  position,
  id,
  type,
  isJson,
  data,
  metadata,
  created,
}: AllStreamRecordedEvent): RecordedEvent {
  return {
    stream: streamId,
    revision: Number(revision),
    position,
    id,
    type,
    isJson,
    data: data as Json | Uint8Array,
    metadata: metadata as Json | Uint8Array | undefined,
    created,
  }
}

function position(of: Position | undefined): Position | undefined {
  return of && { commit: of.commit, prepare: of.prepare }
}
