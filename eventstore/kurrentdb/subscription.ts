/** Catch-up subscriptions. If the connection drops, they resume after the last delivered event. */
import { type BackOff, waitAfter } from '../../runtime/back-off.ts'
import { pause } from '../../runtime/time-limits.ts'
import { EventStoreUnavailable, type Subscription, type SubscriptionBatch } from '../port.ts'
import type { Connection } from './connection/connection.ts'
import type { Node } from './connection/node.ts'
import { toPortError } from './errors.ts'
import { StreamsClient } from './generated-messages.ts'
import type { Incoming } from './incoming.ts'
import { STREAMS_READ } from './requests.ts'
import { createProgress, type ProgressOptions } from './subscription-progress.ts'
import type { Source } from './subscription-sources.ts'
import { decodeReadResponse, type ReadAnswer } from './wire.ts'

/** Notified about the connection of a subscription. */
export interface SubscriptionObserver {
  /** Called once for each loss, with the server's message; the subscription reconnects. */
  onDrop?(reason: string): void
  /** Called ever more rarely while a loss lasts, with what keeps the subscription from resuming by then. */
  onOutage?(reason: string): void
  onResume?(): void
}

/**
 * Tells the first failure, the tenth, the hundredth and so on: the last ones say why it does not resume, which may have
 * nothing to do with why it dropped.
 * @param failures consecutive failures of the subscription, starting at 1
 */
export function tellFailure(observer: SubscriptionObserver, failures: number, reason: string): void {
  if (failures === 1) observer.onDrop?.(reason)
  else if (/^10+$/.test(String(failures))) observer.onOutage?.(reason)
}

/**
 * Short, because the connection has its own back-off for finding a node, and a subscription often ends on one that was
 * just found.
 */
export const BACK_OFF: BackOff = { firstMs: 50, mostMs: 1_000 }
/** If a server is silent for this long without reporting that it has caught up, it may never report it. */
const QUIET_MS = 100

export function subscribe<Place>(
  connection: Connection,
  source: Source<Place>,
  options: ProgressOptions & { readonly observer: SubscriptionObserver },
): Subscription {
  const { batchSize, observer } = options
  const ending = new AbortController()
  const progress = createProgress(source, options)
  let call: Incoming<ReadAnswer> | undefined

  const open = (node: Node, place: Place) =>
    node.stream({
      service: StreamsClient,
      path: STREAMS_READ,
      request: source.request(place),
      decode: decodeReadResponse,
      buffer: Math.max(batchSize, 64) * 2,
    })

  async function* follow(): AsyncGenerator<SubscriptionBatch, void, void> {
    let failures = 0
    while (!ending.signal.aborted) {
      let node: Node | undefined
      try {
        const place = await progress.begin(failures > 0)
        const until = connection.until()
        node = await connection.node(until)
        call = await open(node, place)
        while (!ending.signal.aborted) {
          if (progress.isConfirmed() && !progress.isCaughtUp() && !(await call.arrives(QUIET_MS))) {
            // Servers before 23.10 do not report it, and the log may end with events that are filtered out.
            const batch = await progress.checkEnd()
            if (batch && !ending.signal.aborted) {
              yield batch
              if (ending.signal.aborted) return
            }
          }
          const answers = await (progress.isConfirmed() ? call.take() : connection.answered(node, call.take(), until))
          if (answers === null) throw new EventStoreUnavailable('The event store ended the subscription.')
          for (const [index, answer] of answers.entries()) {
            if (answer.kind === 'confirmation') {
              if (failures > 0) observer.onResume?.()
              failures = 0
            }
            const batch = progress.apply(answer, index < answers.length - 1)
            if (batch === undefined) continue
            yield batch
            if (ending.signal.aborted) return
          }
        }
      } catch (error) {
        if (ending.signal.aborted) return
        if (node) connection.failed(node, error)
        const cause = toPortError(error, source.name)
        if (!(cause instanceof EventStoreUnavailable)) throw cause
        tellFailure(observer, ++failures, cause.message)
        await pause(waitAfter(BACK_OFF, failures), ending.signal)
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
