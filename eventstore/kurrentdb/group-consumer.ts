/** A consumer of a persistent subscription: its deliveries and acknowledgements. */
import type { AllStreamRecordedEvent, PersistentSubscriptionToAll } from '@kurrent/kurrentdb-client'
import { waitAfter } from '../../runtime/back-off.ts'
import { pause } from '../../runtime/time-limits.ts'
import { type Delivery, EventStoreUnavailable, type GroupSubscription, type Json, type RecordedEvent } from '../port.ts'
import type { Connection } from './connection/connection.ts'
import type { Node } from './connection/node.ts'
import { toGroupError } from './errors.ts'
import { type Incoming, incoming } from './incoming.ts'
import { BACK_OFF, type SubscriptionObserver, tellFailure } from './subscription.ts'
import { safeRevision } from './wire.ts'

/**
 * How long a consumer first waits to be accepted, in milliseconds; each time longer, for a server that is slow. A node that has
 * just become the leader never answers consumers that joined before it had loaded the groups.
 */
export const CONFIRMED_MS = 1_500

/** The client's own event, which an acknowledgement has to pass. */
interface Resolved {
  readonly event?: AllStreamRecordedEvent
  readonly retryCount: number
}

/** What groups need from the store. */
export interface StoreOfGroups {
  /** @throws EventStoreUnavailable once the store is closed */
  checkOpen(): void
  /** The store ends these when it is closed. */
  readonly subscriptions: Set<{ unsubscribe(): Promise<void> }>
  readonly observer: SubscriptionObserver
  /** The first revision that can be read; undefined for none. @throws EventStoreUnavailable */
  firstRevision(stream: string): Promise<number | undefined>
}

/** Joins a group as one of its consumers; joins again after a lost connection. */
export function joinGroup(
  connection: Connection,
  store: StoreOfGroups,
  group: string,
  bufferSize: number,
): GroupSubscription {
  const ending = new AbortController()
  /** Deliveries of the open connection: those of an older one can't be acknowledged any more. */
  let origins = new WeakMap<Delivery, Resolved>()
  let subscription: PersistentSubscriptionToAll | undefined
  let call: Incoming<Resolved> | undefined
  /**
   * Ends the wait for each answer under way on the open connection; undefined once that is over. Not a race with a promise
   * of the connection: that would keep something of each answer for as long as the connection lasts.
   */
  let answering: Set<() => void> | undefined

  async function* follow(): AsyncGenerator<readonly Delivery[], void, void> {
    let failures = 0
    while (!ending.signal.aborted) {
      let node: Node | undefined
      try {
        const until = connection.until()
        node = await connection.node(until)
        const opened = node.client.subscribeToPersistentSubscriptionToAll(group, { bufferSize })
        call = incoming<Resolved>(opened, bufferSize, () => {
          opened.unsubscribe().catch(() => {}) // it was never open
        })
        subscription = opened
        const waiting = new Set<() => void>()
        answering = waiting
        untilOver(opened).then(() => {
          if (answering === waiting) answering = undefined
          for (const resolve of waiting) resolve()
        })
        origins = new WeakMap()
        const confirmedBy = Math.min(until, performance.now() + CONFIRMED_MS * (failures + 1))
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
        tellFailure(store.observer, ++failures, cause.message)
        await pause(waitAfter(BACK_OFF, failures), ending.signal)
      } finally {
        call?.cancel()
        subscription = undefined
      }
    }
  }

  /**
   * A connection that breaks here also breaks for the consumer: unacknowledged events are delivered again. The client
   * would wait forever to write to one that is gone, and the consumer may ask for nothing more before it is answered.
   */
  async function answer(
    deliveries: readonly Delivery[],
    send: (subscription: PersistentSubscriptionToAll, resolved: Resolved[]) => Promise<void>,
  ): Promise<void> {
    const own = deliveries.flatMap((delivery) => origins.get(delivery) ?? [])
    const waiting = answering
    if (own.length === 0 || subscription === undefined || waiting === undefined) return
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.add(resolve)
    send(subscription, own).then(resolve, () => resolve())
    await promise
    waiting.delete(resolve)
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

/** Whether the server has accepted the consumer; false: the call ended first, and its error says why. */
function confirmed(opened: PersistentSubscriptionToAll): Promise<boolean> {
  const accepted = new Promise<boolean>((resolve) => opened.once('confirmation', () => resolve(true)))
  return Promise.race([accepted, untilOver(opened).then(() => false)])
}

function untilOver(opened: PersistentSubscriptionToAll): Promise<void> {
  return new Promise((resolve) => {
    for (const event of ['error', 'end', 'close'] as const) opened.once(event, () => resolve())
  })
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
    revision: safeRevision(Number(revision)),
    position,
    id,
    type,
    isJson,
    data: data as Json | Uint8Array,
    metadata: metadata as Json | Uint8Array | undefined,
    created,
  }
}
