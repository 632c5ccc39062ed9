/** Catch-up subscriptions: they resume by themselves where the connection drops, after what was handed out last. */
import { type BackOff, waitAfter } from '../../runtime/back-off.ts'
import { pause } from '../../runtime/time-limits.ts'
import { type EventPlace, placeOf } from '../place.ts'
import {
  comparePositions,
  EventStoreUnavailable,
  LogReplaced,
  type Position,
  type RecordedEvent,
  type Subscription,
  type SubscriptionBatch,
} from '../port.ts'
import type { Connection } from './connection.ts'
import { toPortError } from './errors.ts'
import { StreamsClient } from './generated-messages.ts'
import type { Incoming } from './incoming.ts'
import type { Node } from './node.ts'
import { STREAMS_READ } from './requests.ts'
import { decodeReadResponse, type ReadAnswer } from './wire.ts'

/** Told of a subscription's connection. */
export interface SubscriptionObserver {
  /** Once for each loss, with the reason in the server's words; it is tried again. */
  onDrop?(reason: string): void
  onResume?(): void
}

/** What tells a subscription to $all from one to a stream. */
export interface Source<Place> {
  readonly name: string
  /** Checks the first place, and gives it as one that a request can name. @throws what ends the subscription */
  begin(): Promise<Place>
  /** After a lost connection: another log may have come back. @throws InvalidArgument for a place that is not one of it */
  check(place: Place): Promise<void>
  /** The end of what is followed, as of now. */
  end(): Promise<Place>
  /** The end, where no event that is followed lies between the place and it; undefined where one does. */
  endIfNothingAfter(place: Place): Promise<Place | undefined>
  request(from: Place): { serializeBinary(): Uint8Array }
  /** The place after an event. */
  after(event: RecordedEvent): Place
  /** The place of a checkpoint of the server; undefined where it sends none. */
  at(checkpoint: Position): Place | undefined
  /** The position of a place, where it is one. */
  positionOf(place: Place): Position | undefined
  isBefore(a: Place, b: Place): boolean
}

/** Short: the connection looks for a node at its own pace, and what ends here is often one that was just found. */
export const BACK_OFF: BackOff = { firstMs: 50, mostMs: 1_000 }
/** A server that has not said that it has caught up after so long of silence may never say it. */
const QUIET_MS = 100
const START: Position = { commit: 0n, prepare: 0n }

/**
 * @param from the position that the checkpoint starts at, where it is known
 * @param batchSize the most events of one batch
 */
export function subscribe<Place>(
  connection: Connection,
  source: Source<Place>,
  {
    from,
    batchSize,
    observer,
    expects,
    holds,
  }: {
    readonly from?: Position | undefined
    readonly batchSize: number
    readonly observer: SubscriptionObserver
    /** The event that stands at the first place. */
    readonly expects?: EventPlace | undefined
    /** Whether the log still has the event where it was. @throws EventStoreUnavailable */
    readonly holds: (place: EventPlace) => Promise<boolean>
  },
): Subscription {
  const ending = new AbortController()
  let call: Incoming<ReadAnswer> | undefined

  async function* follow(): AsyncGenerator<SubscriptionBatch, void, void> {
    let place: Place | undefined
    let checkpoint = from ?? START
    let failures = 0
    let last: SubscriptionBatch | undefined
    let first: Place | undefined
    let handedOut: RecordedEvent | undefined
    while (!ending.signal.aborted) {
      let node: Node | undefined
      try {
        first ??= await source.begin()
        place ??= first
        if (failures > 0) {
          // Another log may have come back. Only an event can be compared, so what was looked at after it is looked at again.
          const known = handedOut ? placeOf(handedOut) : expects
          if (known === undefined) await source.check(first)
          else if (!(await holds(known))) throw new LogReplaced()
          place = handedOut ? source.after(handedOut) : first
          checkpoint = handedOut?.position ?? from ?? START
        }
        const end = await source.end()
        let caughtUp = !source.isBefore(place, end)
        /** The server's own checkpoint, if it sends one, may lie far before what it has looked at. */
        const reach = (looked: Place, from: Place): Place => {
          const position = source.positionOf(looked)
          if (position && comparePositions(position, checkpoint) > 0) checkpoint = position
          return source.isBefore(from, looked) ? looked : from
        }
        const until = connection.until()
        node = await connection.node(until)
        call = await node.stream({
          service: StreamsClient,
          path: STREAMS_READ,
          request: source.request(place),
          decode: decodeReadResponse,
          buffer: Math.max(batchSize, 64) * 2,
        })
        for (let confirmed = false; !ending.signal.aborted; ) {
          if (confirmed && !caughtUp && !(await call.arrives(QUIET_MS))) {
            // Servers before 23.10 do not say it, and the log may end with events that are not followed.
            const looked = await source.endIfNothingAfter(place).catch(() => undefined)
            if (looked !== undefined && !ending.signal.aborted) {
              place = reach(looked, place)
              caughtUp = true
              last = { events: [], checkpoint, caughtUp }
              yield last
              if (ending.signal.aborted) return
            }
          }
          const answers = await (confirmed ? call.take() : connection.answered(node, call.take(), until))
          if (answers === null) throw new EventStoreUnavailable('The event store ended the subscription.')
          let events: RecordedEvent[] = []
          for (const [index, answer] of answers.entries()) {
            switch (answer.kind) {
              case 'event':
                events.push(answer.event)
                place = source.after(answer.event)
                checkpoint = answer.event.position
                break
              case 'checkpoint':
                place = source.at(answer.position) ?? place
                if (comparePositions(answer.position, checkpoint) > 0) checkpoint = answer.position
                break
              case 'caughtUp':
                place = reach(end, place)
                caughtUp = true
                break
              case 'fellBehind':
                caughtUp = false
                break
              case 'confirmation':
                confirmed = true
                if (failures > 0) observer.onResume?.()
                failures = 0
            }
            caughtUp ||= !source.isBefore(place, end)
            const more = index < answers.length - 1
            if (more && events.length < batchSize) continue
            const batch = { events, checkpoint, caughtUp: caughtUp && !more }
            events = []
            if (!confirmed || (batch.events.length === 0 && isSame(batch, last))) continue
            last = batch
            handedOut = batch.events.at(-1) ?? handedOut
            yield batch
            if (ending.signal.aborted) return
          }
        }
      } catch (error) {
        if (ending.signal.aborted) return
        if (node) connection.failed(node, error)
        const cause = toPortError(error, source.name)
        if (!(cause instanceof EventStoreUnavailable)) throw cause
        if (failures === 0) observer.onDrop?.(cause.message)
        await pause(waitAfter(BACK_OFF, ++failures), ending.signal)
      } finally {
        call?.cancel()
      }
    }
  }

  const batches = follow()
  return {
    [Symbol.asyncIterator]: () => batches,
    async unsubscribe() {
      ending.abort()
      call?.cancel()
      await new Promise((resolve) => setImmediate(resolve)) // a batch on its way arrives before this resolves
    },
  }
}

function isSame(batch: SubscriptionBatch, last: SubscriptionBatch | undefined): boolean {
  return last?.caughtUp === batch.caughtUp && comparePositions(last.checkpoint, batch.checkpoint) === 0
}
